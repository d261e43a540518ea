//! Starting a program with an exact set of descriptors and without a copy of the caller's memory: `posix_spawn`, which
//! a daemon with much memory feels. Used by the daemon to start a shim, and by the shim to run the runtime.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::fcntl_dupfd_cloexec;

use crate::StateDir;

/// Descriptor of the readiness pipe in a shim.
pub const READY_FD: RawFd = 3;
/// Descriptor of the first attach client in a shim, if there is one.
pub const CLIENT_FD: RawFd = 4;

/// What a shim is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Run,
    Adopt,
}

impl Mode {
    /// The word on the shim's command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Adopt => "adopt",
        }
    }
}

/// Starts `shim` for `state`, with `ready` (the write end of the readiness pipe) and the first client's connected
/// socket, if `process.json` promises one. Standard input, output and error are /dev/null.
///
/// Returns the pid of the process to reap: it leaves at once with 0 when `shim-pid` is written, and the shim that
/// stays is not a child of the caller. Drop `ready` afterwards, or the pipe never ends.
pub fn start(
    shim: &Path,
    mode: Mode,
    state: &StateDir,
    ready: BorrowedFd<'_>,
    first_client: Option<BorrowedFd<'_>>,
) -> io::Result<i32> {
    let null = null()?;
    let null = null.as_fd();
    let mut fds = vec![(null, 0), (null, 1), (null, 2), (ready, READY_FD)];
    fds.extend(first_client.map(|client| (client, CLIENT_FD)));
    spawn(shim, &[OsStr::new("isulad-shim"), OsStr::new(mode.as_str()), state.path().as_os_str()], &fds)
}

/// Starts `shim` for the exec that `directory` describes, with its client's connected socket. Returns the pid of the
/// process to reap: the shim itself, or, of a detached exec, one that leaves at once as with [`start`].
pub fn start_exec(shim: &Path, directory: &StateDir, client: BorrowedFd<'_>) -> io::Result<i32> {
    let null = null()?;
    let null = null.as_fd();
    let fds = [(null, 0), (null, 1), (null, 2), (client, CLIENT_FD)];
    spawn(shim, &[OsStr::new("isulad-shim"), OsStr::new(crate::exec::EXEC), directory.path().as_os_str()], &fds)
}

/// Starts `program` with `args` (the first is its own name) and the caller's environment. Each pair of `fds` is a
/// descriptor of the caller and its number in the child; all others that are close-on-exec are closed. Signals are
/// unblocked and have their default action. Returns the pid; an error of the exec itself is returned too.
pub fn spawn(program: &Path, args: &[&OsStr], fds: &[(BorrowedFd<'_>, RawFd)]) -> io::Result<i32> {
    let program = c_string(program.as_os_str())?;
    let args = args.iter().map(|arg| c_string(arg)).collect::<io::Result<Vec<CString>>>()?;
    let actions = FileActions::new(fds)?;
    let attributes = Attributes::new()?;
    posix_spawn(&program, &args, &actions, &attributes)
}

fn null() -> io::Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?)
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "an argument holds a nul byte"))
}

struct FileActions {
    inner: libc::posix_spawn_file_actions_t,
    /// Duplicates above every target number, so that no `dup2` overwrites the source of a later one.
    _sources: Vec<OwnedFd>,
}

impl FileActions {
    fn new(fds: &[(BorrowedFd<'_>, RawFd)]) -> io::Result<Self> {
        let mut inner = MaybeUninit::uninit();
        // SAFETY: the call initializes what it is given.
        check(unsafe { libc::posix_spawn_file_actions_init(inner.as_mut_ptr()) })?;
        // SAFETY: initialized by the call above, which succeeded.
        let mut actions = Self { inner: unsafe { inner.assume_init() }, _sources: Vec::with_capacity(fds.len()) };
        let above = fds.iter().map(|(_, target)| target + 1).max().unwrap_or(0);
        for (source, target) in fds {
            let mut number = source.as_raw_fd();
            if number < above {
                let duplicate = fcntl_dupfd_cloexec(source, above)?;
                number = duplicate.as_raw_fd();
                actions._sources.push(duplicate);
            }
            // SAFETY: `inner` is initialized; the call only notes two numbers.
            check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut actions.inner, number, *target) })?;
        }
        Ok(actions)
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialized in `new`, destroyed only here.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.inner) };
    }
}

struct Attributes {
    inner: libc::posix_spawnattr_t,
}

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut inner = MaybeUninit::uninit();
        // SAFETY: the call initializes what it is given.
        check(unsafe { libc::posix_spawnattr_init(inner.as_mut_ptr()) })?;
        // SAFETY: initialized by the call above, which succeeded.
        let mut attributes = Self { inner: unsafe { inner.assume_init() } };
        let empty = nix::sys::signal::SigSet::empty();
        let all = nix::sys::signal::SigSet::all();
        // SAFETY: `inner` is initialized; the set is only read.
        check(unsafe { libc::posix_spawnattr_setsigmask(&raw mut attributes.inner, empty.as_ref()) })?;
        // SAFETY: as above.
        check(unsafe { libc::posix_spawnattr_setsigdefault(&raw mut attributes.inner, all.as_ref()) })?;
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        // SAFETY: `inner` is initialized; the flags fit a short.
        check(unsafe { libc::posix_spawnattr_setflags(&raw mut attributes.inner, flags as libc::c_short) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialized in `new`, destroyed only here.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.inner) };
    }
}

fn posix_spawn(program: &CStr, args: &[CString], actions: &FileActions, attributes: &Attributes) -> io::Result<i32> {
    let mut argv: Vec<*mut libc::c_char> = args.iter().map(|arg| arg.as_ptr().cast_mut()).collect();
    argv.push(std::ptr::null_mut());
    let mut pid = 0;
    // SAFETY: every pointer is valid for the call: `argv` ends with null and points into `args`, which outlives it;
    // `environ` is the C library's own array, and nothing here changes the environment concurrently.
    check(unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.inner,
            &raw const attributes.inner,
            argv.as_ptr(),
            environ,
        )
    })?;
    Ok(pid)
}

fn check(errno: libc::c_int) -> io::Result<()> {
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

unsafe extern "C" {
    /// The environment of this process, as the C library keeps it.
    static environ: *const *mut libc::c_char;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn descriptors_arrive_under_their_numbers_even_when_they_cross() {
        let (mut first_read, first_write) = io::pipe().unwrap();
        let (mut second_read, second_write) = io::pipe().unwrap();
        // Each one's target is the other one's number.
        let fds = [(first_write.as_fd(), second_write.as_raw_fd()), (second_write.as_fd(), first_write.as_raw_fd())];
        let script = format!("echo one >&{}; echo two >&{}", fds[0].1, fds[1].1);
        let pid =
            spawn(Path::new("/bin/sh"), &[OsStr::new("sh"), OsStr::new("-c"), OsStr::new(&script)], &fds).unwrap();
        drop((first_write, second_write));
        let mut text = String::new();
        first_read.read_to_string(&mut text).unwrap();
        second_read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\n");
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
    }

    #[test]
    fn a_missing_program_is_an_error_of_the_call() {
        let error = spawn(Path::new("/no/such/program"), &[OsStr::new("x")], &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
