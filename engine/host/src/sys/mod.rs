//! The engine's only `unsafe`: registering a descriptor with the event loop, changing the daemon's own environment,
//! preparing a child process before its program runs, the settings of the allocator, and unmapping the program's pages.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::unix::AsyncFd;

/// Waits for this descriptor in the event loop, as long as the result lives. It must be non-blocking, and of a kind
/// that can be waited for (a pipe, a pidfd, inotify; no regular file).
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one open descriptor from here until it is dropped, and `AsyncFd` owns it: it cannot be
    // closed or replaced while it is registered.
    unsafe { AsyncFd::register(fd) }.map_err(Into::into)
}

/// Has the kernel kill the program when the thread that starts it ends, as every thread of the event loop does with the
/// daemon, however that ends.
pub fn die_with_parent(command: &mut tokio::process::Command) {
    let parent = nix::unistd::getpid();
    let ask = move || {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
        // The parent may have ended before the signal was requested.
        if nix::unistd::getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: between fork and exec only `prctl` and `getppid` run, which are async-signal-safe; nothing allocates or
    // locks.
    unsafe { command.pre_exec(ask) };
}

/// Takes a variable out of the environment, so that no child inherits it.
///
/// # Panics
/// When the process has another thread already, which might be reading the environment.
pub fn take_variable(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    assert_eq!(threads, 1, "the environment is changed before any thread is started");
    // SAFETY: this is the only thread of the process, so the environment is not read meanwhile.
    unsafe { std::env::remove_var(name) };
    Some(value)
}

/// Has the allocator keep few heaps, and give large blocks back when they are freed. To be called before any thread is
/// started.
pub fn limit_memory() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [
        // By default eight for each processor, each with holes of its own. No thread allocates so much at once that
        // threads wait for each other.
        (libc::M_ARENA_MAX, 2),
        // Fixed: by default the threshold grows with the freed blocks, and large blocks come to lie among small ones.
        (libc::M_MMAP_THRESHOLD, 256 << 10),
        (libc::M_TRIM_THRESHOLD, 256 << 10),
    ] {
        // SAFETY: both are plain numbers; an unknown parameter is refused, without any change.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives all free pages of the allocator back to the kernel.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's own locks and touches no allocated memory.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Time that the processors have worked for this process.
pub fn processor_time() -> Duration {
    use nix::sys::time::TimeValLike as _;
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    let of = |time: nix::sys::time::TimeVal| Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0));
    usage.map_or(Duration::ZERO, |usage| of(usage.user_time()) + of(usage.system_time()))
}

/// Unmaps the read-only pages of the program and its libraries. A page that is used again is mapped from the page cache,
/// or read anew where the kernel has been short of memory since. Breakpoints of a debugger in them are lost.
pub fn give_back_program() {
    // SAFETY: the callback has the signature that is asked for, and no state.
    unsafe { libc::dl_iterate_phdr(Some(give_back_object), std::ptr::null_mut()) };
}

/// Of one loaded object; returns 0, for the next one.
unsafe extern "C" fn give_back_object(
    object: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: the loader passes a valid object, with its headers, which lives during the call.
    let (base, headers) = unsafe {
        let object = &*object;
        if object.dlpi_phdr.is_null() {
            return 0;
        }
        (object.dlpi_addr, std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)))
    };
    let page = page_size();
    if has_text_relocations(base, headers) {
        return 0;
    }
    // Never a segment that was writable at first: relocations were written to it, and its file does not have them.
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        // Only whole pages: the next segment may share the last one.
        let first = base.wrapping_add(header.p_vaddr);
        let Some(begin) = first.checked_next_multiple_of(page) else { continue };
        let end = first.wrapping_add(header.p_filesz) / page * page;
        if begin < end {
            // SAFETY: a mapping that this process has never changed: the kernel maps the same bytes again, of the file or
            // of its own where it is the kernel's (vdso).
            unsafe { libc::madvise(begin as *mut libc::c_void, (end - begin) as usize, libc::MADV_DONTNEED) };
        }
    }
    0
}

/// Whether the loader has changed pages of the object's read-only segments. Never so for what current compilers make.
fn has_text_relocations(base: u64, headers: &[libc::Elf64_Phdr]) -> bool {
    const TEXTREL: u64 = 22;
    const FLAGS: u64 = 30;
    const FLAG_TEXTREL: u64 = 4;
    let Some(dynamic) = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC) else { return false };
    let count = usize::try_from(dynamic.p_memsz).unwrap_or(0) / size_of::<[u64; 2]>();
    let place = base.wrapping_add(dynamic.p_vaddr) as *const [u64; 2];
    // SAFETY: the loader keeps the table of a loaded object in memory, with the size that its header has.
    let entries = unsafe { std::slice::from_raw_parts(place, count) };
    let live = entries.iter().take_while(|[tag, _]| *tag != 0);
    live.into_iter().any(|[tag, value]| *tag == TEXTREL || (*tag == FLAGS && value & FLAG_TEXTREL != 0))
}

/// Bytes of the allocator's heaps that are not in use, given back or not.
pub fn free_memory() -> u64 {
    // SAFETY: it takes the allocator's own locks and returns plain numbers.
    #[cfg(target_env = "gnu")]
    let free = unsafe { libc::mallinfo2() }.fordblks as u64;
    #[cfg(not(target_env = "gnu"))]
    let free = 0;
    free
}

pub fn page_size() -> u64 {
    let told = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    told.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}
