//! Starts a program with an exact set of descriptors and without copying the caller's memory, which would be slow in a
//! daemon with much memory. It works like `posix_spawn`, which cannot ask the kernel to end the program with its
//! parent. The daemon starts shims with it, and the shim runs the runtime.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::io::fcntl_dupfd_cloexec;

use crate::StateDir;
use crate::shims::PROGRAM;

/// Descriptor of the readiness pipe in a shim.
pub const READY_FD: RawFd = 3;
/// Descriptor of the first attach client in a shim, if there is one.
pub const CLIENT_FD: RawFd = 4;

/// The purpose of a shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Run,
    Adopt,
}

impl Mode {
    /// The mode on the shim's command line.
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
    spawn(shim, &[OsStr::new(PROGRAM), OsStr::new(mode.as_str()), state.path().as_os_str()], &fds)
}

/// Starts `shim` for the exec that `directory` describes, with its client's connected socket. Returns the pid of the
/// process to reap: the shim itself, or, of a detached exec, one that leaves at once as with [`start`].
pub fn start_exec(shim: &Path, directory: &StateDir, client: BorrowedFd<'_>) -> io::Result<i32> {
    let null = null()?;
    let null = null.as_fd();
    let fds = [(null, 0), (null, 1), (null, 2), (client, CLIENT_FD)];
    spawn(shim, &[OsStr::new(PROGRAM), OsStr::new(crate::exec::EXEC), directory.path().as_os_str()], &fds)
}

/// Starts `program` with `args` (the first is its own name) and the caller's environment. Each pair of `fds` is a
/// descriptor of the caller and its number in the child; all others that are close-on-exec are closed. Signals are
/// unblocked and have their default action. Returns the pid; an error of the exec itself is returned too.
pub fn spawn(program: &Path, args: &[&OsStr], fds: &[(BorrowedFd<'_>, RawFd)]) -> io::Result<i32> {
    start_child(program, args, fds, false)
}

/// The same for a program that must not outlive the calling thread: the kernel kills it when that thread ends, in any
/// way. Processes that the program has started are not killed.
pub fn spawn_dependent(program: &Path, args: &[&OsStr], fds: &[(BorrowedFd<'_>, RawFd)]) -> io::Result<i32> {
    start_child(program, args, fds, true)
}

fn start_child(program: &Path, args: &[&OsStr], fds: &[(BorrowedFd<'_>, RawFd)], dependent: bool) -> io::Result<i32> {
    let program = c_string(program.as_os_str())?;
    let args = args.iter().map(|arg| c_string(arg)).collect::<io::Result<Vec<CString>>>()?;
    let mut argv: Vec<*const libc::c_char> = args.iter().map(|arg| arg.as_ptr()).collect();
    argv.push(std::ptr::null());
    let descriptors = Descriptors::new(fds)?;
    let plan = Plan {
        program: &program,
        argv: &argv,
        descriptors: &descriptors.pairs,
        parent: dependent.then(nix::unistd::getpid),
        failed: AtomicI32::new(0),
    };
    plan.carry_out()
}

fn null() -> io::Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?)
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "an argument holds a nul byte"))
}

/// Descriptor numbers in the caller and in the child.
struct Descriptors {
    pairs: Vec<(RawFd, RawFd)>,
    /// Duplicates above every target number, so that no `dup2` overwrites the source of a later one.
    _sources: Vec<OwnedFd>,
}

impl Descriptors {
    fn new(fds: &[(BorrowedFd<'_>, RawFd)]) -> io::Result<Self> {
        let mut descriptors = Self { pairs: Vec::with_capacity(fds.len()), _sources: Vec::with_capacity(fds.len()) };
        let above = fds.iter().map(|(_, target)| target + 1).max().unwrap_or(0);
        for (source, target) in fds {
            let mut number = source.as_raw_fd();
            if number < above {
                let duplicate = fcntl_dupfd_cloexec(source, above)?;
                number = duplicate.as_raw_fd();
                descriptors._sources.push(duplicate);
            }
            descriptors.pairs.push((number, *target));
        }
        Ok(descriptors)
    }
}

/// The work of a child between `clone` and the program. The child shares the caller's memory, and the caller's thread
/// waits until the child has executed the program or exited (`CLONE_VM | CLONE_VFORK`, as `posix_spawn` does).
struct Plan<'a> {
    program: &'a CStr,
    argv: &'a [*const libc::c_char],
    descriptors: &'a [(RawFd, RawFd)],
    /// The process that the child must not outlive.
    parent: Option<nix::unistd::Pid>,
    /// The error number of a step that failed in the child.
    failed: AtomicI32,
}

/// Stack for the child's few calls, also in a build that is not optimized.
const STACK: usize = 64 << 10;
/// The highest signal number.
const LAST_SIGNAL: libc::c_int = 64;

impl Plan<'_> {
    fn carry_out(&self) -> io::Result<i32> {
        let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
        // No handler of the caller may run in the child, which shares the caller's memory.
        let mut before = SigSet::empty();
        nix::sys::signal::pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
        // SAFETY: `top` is the end of an allocation that outlives the child's use of it, since the caller's thread is
        // suspended until the child has replaced its memory or left; it is aligned as a u128 is. The argument is
        // `self`, which outlives the call for the same reason. `in_child` neither allocates nor unwinds.
        let pid = unsafe {
            let top = stack.as_mut_ptr().add(stack.capacity());
            let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
            libc::clone(in_child, top.cast(), flags, std::ptr::from_ref(self).cast_mut().cast())
        };
        let error = io::Error::last_os_error();
        let restored = nix::sys::signal::pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
        if pid < 0 {
            return Err(error);
        }
        match self.failed.load(Ordering::Relaxed) {
            0 => restored.map(|()| pid).map_err(io::Error::from),
            errno => {
                let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    /// Executes the program; returns only after an error, which is in `errno`.
    ///
    /// # Safety
    /// Only in the child: it changes signals and descriptors of the process.
    unsafe fn become_program(&self) {
        // SAFETY: system calls on numbers and on memory that the caller keeps alive and does not touch meanwhile; each
        // is async-signal-safe. A handler is not inherited but an ignored signal would be, so each is reset; for two
        // signals of the C library that is refused. `environ` is the C library's own array.
        unsafe {
            for number in 1..=LAST_SIGNAL {
                libc::signal(number, libc::SIG_DFL);
            }
            for (source, target) in self.descriptors {
                if libc::dup2(*source, *target) < 0 {
                    return;
                }
            }
            if let Some(parent) = self.parent {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) < 0 {
                    return;
                }
                // The parent may have ended before this request.
                if libc::getppid() != parent.as_raw() {
                    libc::_exit(127);
                }
            }
            let mut none = MaybeUninit::<libc::sigset_t>::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
            libc::execve(self.program.as_ptr(), self.argv.as_ptr(), environ);
        }
    }
}

/// The entry point of the child; it returns only if the program cannot be executed.
extern "C" fn in_child(plan: *mut libc::c_void) -> libc::c_int {
    // SAFETY: `carry_out` passes a `Plan` that lives until this process has exited.
    let plan = unsafe { &*plan.cast::<Plan<'_>>() };
    // SAFETY: this is the child.
    unsafe { plan.become_program() };
    plan.failed.store(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL), Ordering::Relaxed);
    // SAFETY: exits without running any code of the caller.
    unsafe { libc::_exit(127) }
}

unsafe extern "C" {
    /// The environment of this process, as the C library keeps it.
    static environ: *const *const libc::c_char;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn descriptors_arrive_under_their_numbers_even_when_they_cross() {
        let (mut first_read, first_write) = io::pipe().unwrap();
        let (mut second_read, second_write) = io::pipe().unwrap();
        // Each target is the number of the other descriptor.
        let fds = [(first_write.as_fd(), second_write.as_raw_fd()), (second_write.as_fd(), first_write.as_raw_fd())];
        // A shell need not know a descriptor of more than one digit by its number.
        let script = format!("echo one >/proc/self/fd/{}; echo two >/proc/self/fd/{}", fds[0].1, fds[1].1);
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
    fn a_dependent_program_ends_with_the_thread_that_started_it() {
        let sleep = || spawn_dependent(Path::new("/bin/sleep"), &[OsStr::new("sleep"), OsStr::new("1000")], &[]);
        let pid = std::thread::spawn(move || sleep().unwrap()).join().unwrap();
        let status = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
        let killed = nix::sys::wait::WaitStatus::Signaled(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
            false,
        );
        assert_eq!(status, killed);
    }

    #[test]
    fn ignored_and_blocked_signals_are_not_passed_on() {
        let (mut read, write) = io::pipe().unwrap();
        let script = "grep -E '^Sig(Blk|Ign):' /proc/self/status | cut -f2";
        let program = || {
            // SIGPIPE is ignored by every Rust program.
            SigSet::all().thread_block().unwrap();
            let args = [OsStr::new("sh"), OsStr::new("-c"), OsStr::new(script)];
            let pid = spawn(Path::new("/bin/sh"), &args, &[(write.as_fd(), 1)]).unwrap();
            assert!(
                SigSet::thread_get_mask().unwrap().contains(nix::sys::signal::Signal::SIGTERM),
                "the caller's signals stay blocked"
            );
            nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None).unwrap();
        };
        std::thread::scope(|scope| scope.spawn(program).join().unwrap());
        drop(write);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        // The C library does not allow changes to its signals 32 and 33.
        let left = text.lines().map(|line| u64::from_str_radix(line, 16).unwrap() & !(3 << 31));
        assert_eq!(left.collect::<Vec<_>>(), [0, 0]);
    }

    #[test]
    fn a_missing_program_is_an_error_of_the_call() {
        let error = spawn(Path::new("/no/such/program"), &[OsStr::new("x")], &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
