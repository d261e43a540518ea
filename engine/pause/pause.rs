//! The program of a sandbox's own container: it holds the sandbox's namespaces and does nothing else.
//!
//! Compiled by `build.rs`, without a standard library and without libc, so that it is a few kilobytes on disk and one
//! or two pages in memory: there is one per sandbox. As the first process of a pid namespace it becomes the parent of
//! orphaned processes, and reaps them. SIGINT and SIGTERM end it with 0, since that is how a sandbox ends; other
//! signals are ignored.
//!
//! All signals are blocked and taken one by one: a blocked signal stays pending even where the kernel would drop it, as
//! it drops those that a namespace's first process has no handler for.

#![no_std]
#![no_main]

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod arch;
#[cfg(target_arch = "riscv64")]
#[path = "riscv64.rs"]
mod arch;
#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod arch;

use arch::{Call, call};

const VERSION: &[u8] = b"isulad-pause 1\n";

const SIGINT: isize = 2;
const SIGTERM: isize = 15;
const SIGCHLD: isize = 17;
const SIG_BLOCK: usize = 0;
const WNOHANG: usize = 1;
const ANY_CHILD: usize = usize::MAX;
const STDOUT: usize = 1;

/// The kernel's signal set: a bit for each of 64 signals.
type SignalSet = u64;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(1)
}

/// Called by the entry point with the contents of the initial stack: the number of arguments, and the arguments.
///
/// # Safety
/// `stack` is the stack pointer that the process began with.
#[unsafe(no_mangle)]
unsafe extern "C" fn begin(stack: *const *const u8) -> ! {
    // SAFETY: the kernel puts the number of arguments first, and that many pointers to texts that end with a NUL.
    let asked = unsafe {
        let count = stack as *const usize;
        *count > 1 && is_version(*stack.add(2))
    };
    if asked {
        call(Call::Write, [STDOUT, VERSION.as_ptr() as usize, VERSION.len(), 0]);
        exit(0);
    }
    run()
}

/// Whether an argument asks for the version.
///
/// # Safety
/// `argument` points to a text that ends with a NUL.
unsafe fn is_version(argument: *const u8) -> bool {
    let same = |wanted: &[u8]| {
        // SAFETY: the comparison ends at the first difference, so it never gets beyond the NUL.
        wanted.iter().enumerate().all(|(at, byte)| unsafe { *argument.add(at) } == *byte)
    };
    same(b"-v\0") || same(b"--version\0")
}

fn run() -> ! {
    let all: SignalSet = !0;
    let set = &raw const all as usize;
    call(Call::SignalMask, [SIG_BLOCK, set, 0, size_of::<SignalSet>()]);
    // Children that ended before the signals were blocked have sent none that is pending.
    reap();
    loop {
        match call(Call::SignalWait, [set, 0, 0, size_of::<SignalSet>()]) {
            SIGINT | SIGTERM => exit(0),
            SIGCHLD => reap(),
            _ => {}
        }
    }
}

/// Reaps all ended children: one signal may stand for several.
fn reap() {
    while call(Call::Wait, [ANY_CHILD, 0, WNOHANG, 0]) > 0 {}
}

fn exit(status: usize) -> ! {
    loop {
        call(Call::Exit, [status, 0, 0, 0]);
    }
}
