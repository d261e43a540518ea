//! The first process of a container that was made with `--init`: it runs the command as its child, passes signals on to
//! it, reaps orphaned processes, and ends as the command has ended.
//!
//! Compiled by `build.rs` like the pause program, without a standard library and without libc. All signals except those
//! for faults of its own are blocked and taken one by one; the command begins with the mask that init began with, in a
//! process group of its own, which is the terminal's foreground if there is a terminal.
//!
//! It leaves with the command's status, with 128 and the signal's number if a signal has ended it, with 127 if the
//! command was not found and 126 if it cannot be executed.

#![no_std]
#![no_main]
// The compiler must not turn loops into calls of library functions.
#![no_builtins]

#[cfg(target_arch = "aarch64")]
#[path = "../pause/aarch64.rs"]
mod arch;
#[cfg(target_arch = "riscv64")]
#[path = "../pause/riscv64.rs"]
mod arch;
#[cfg(target_arch = "x86_64")]
#[path = "../pause/x86_64.rs"]
mod arch;

use core::mem::MaybeUninit;

use arch::{Call, call};

const SIGCHLD: isize = 17;
/// SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS: blocked, a fault of init would be an endless one.
const FAULTS: [u32; 7] = [4, 5, 6, 7, 8, 11, 31];
/// SIGTTIN and SIGTTOU: they concern the terminal, which is the command's.
const OF_TERMINAL: [isize; 2] = [21, 22];
const SIG_BLOCK: usize = 0;
const SIG_SETMASK: usize = 2;
const WNOHANG: usize = 1;
const ANY_CHILD: usize = usize::MAX;
const STDIN: usize = 0;
const STDERR: usize = 2;
const TIOCSPGRP: usize = 0x5410;
const PR_SET_CHILD_SUBREAPER: usize = 36;
const ENOENT: isize = -2;
const ENOTDIR: isize = -20;
const NOT_FOUND: usize = 127;
const NOT_EXECUTABLE: usize = 126;
const PATH_KEY: &[u8] = b"PATH=";
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\0";
const PATH_MAX: usize = 4096;

/// The kernel's signal set: a bit for each of 64 signals.
type SignalSet = u64;

/// A text that ends with a NUL, or a list of those that ends with a null pointer.
type Text = *const u8;
type List = *const Text;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(125)
}

/// Called by the entry point with the contents of the initial stack: the number of arguments, the arguments, a null
/// pointer, the environment, a null pointer.
///
/// # Safety
/// `stack` is the stack pointer that the process began with.
#[unsafe(no_mangle)]
unsafe extern "C" fn begin(stack: List) -> ! {
    // SAFETY: the kernel lays the stack out so; both lists end with a null pointer, as `execve` requires.
    let (command, environment) = unsafe {
        let count = *(stack as *const usize);
        if count < 2 {
            write_stderr(&[b"no command was given"]);
            exit(125);
        }
        (stack.add(2), stack.add(count + 2))
    };
    let mask = block_signals();
    // Not process 1 where the host's pid namespace is shared: as a subreaper it gets orphans all the same.
    call(Call::ProcessControl, [PR_SET_CHILD_SUBREAPER, 1, 0, 0]);
    let child = call(Call::Clone, [SIGCHLD as usize, 0, 0, 0]);
    match child {
        0 => run(command, environment, mask),
        1.. => watch(child),
        _ => {
            write_stderr(&[b"cannot make a process"]);
            exit(125)
        }
    }
}

/// Blocks all signals but faults; returns the mask before.
fn block_signals() -> SignalSet {
    let faults = FAULTS.iter().fold(0, |set: SignalSet, signal| set | 1 << (signal - 1));
    let (blocked, mut before): (SignalSet, SignalSet) = (!faults, 0);
    let (set, old) = (&raw const blocked as usize, &raw mut before as usize);
    call(Call::SignalMask, [SIG_BLOCK, set, old, size_of::<SignalSet>()]);
    before
}

/// The parent: until the command has ended.
fn watch(child: isize) -> ! {
    let all: SignalSet = !0;
    let set = &raw const all as usize;
    loop {
        // One signal may stand for several ended children, or have come before it was blocked.
        if let Some(status) = reap(child) {
            // Other processes that have ended with it, as the last step.
            reap(child);
            exit(status);
        }
        match call(Call::SignalWait, [set, 0, 0, size_of::<SignalSet>()]) {
            SIGCHLD => {}
            signal if signal > 0 && !OF_TERMINAL.contains(&signal) => {
                call(Call::Kill, [child as usize, signal as usize, 0, 0]);
            }
            _ => {}
        }
    }
}

/// Reaps all ended children; returns the command's status when it is among them.
fn reap(child: isize) -> Option<usize> {
    let mut of_command = None;
    loop {
        let mut status: u32 = 0;
        let ended = call(Call::Wait, [ANY_CHILD, &raw mut status as usize, WNOHANG, 0]);
        if ended <= 0 {
            return of_command;
        }
        if ended == child {
            let signal = (status & 0x7f) as usize;
            of_command = Some(if signal == 0 { (status >> 8 & 0xff) as usize } else { 128 + signal });
        }
    }
}

/// The child: becomes the command.
fn run(command: List, environment: List, mask: SignalSet) -> ! {
    call(Call::SetGroup, [0, 0, 0, 0]);
    // Done while SIGTTOU is blocked. Without a terminal it fails, which is harmless.
    let own = call(Call::Pid, [0; 4]) as i32;
    call(Call::Ioctl, [STDIN, TIOCSPGRP, &raw const own as usize, 0]);
    let set = &raw const mask as usize;
    call(Call::SignalMask, [SIG_SETMASK, set, 0, size_of::<SignalSet>()]);
    // SAFETY: the list has at least one text, and each ends with a NUL.
    let name = unsafe { bytes(*command) };
    let error = execute(name, command, environment);
    let (reason, status): (&[u8], usize) = match error {
        ENOENT | ENOTDIR => (b"not found", NOT_FOUND),
        -13 => (b"permission denied", NOT_EXECUTABLE),
        -8 => (b"exec format error", NOT_EXECUTABLE),
        _ => (b"it cannot be executed", NOT_EXECUTABLE),
    };
    write_stderr(&[b"exec `", &name[..name.len() - 1], b"`: ", reason]);
    exit(status)
}

/// Looks along PATH unless the name is a path; returns only with an error.
fn execute(name: &[u8], command: List, environment: List) -> isize {
    if name.contains(&b'/') {
        return attempt(name, command, environment);
    }
    let mut outcome = ENOENT;
    for dir in path(environment).split(|byte| *byte == b':' || *byte == 0) {
        let length = dir.len() + 1 + name.len();
        if dir.is_empty() || length > PATH_MAX {
            continue;
        }
        let mut place = MaybeUninit::<[u8; PATH_MAX]>::uninit();
        let room: *mut u8 = place.as_mut_ptr().cast();
        for (at, byte) in dir.iter().chain(b"/").chain(name).enumerate() {
            // SAFETY: `at` is below `length`, which is at most the room's size.
            unsafe { room.add(at).write(*byte) };
        }
        // SAFETY: all of it was written just now.
        let place = unsafe { core::slice::from_raw_parts(room, length) };
        match attempt(place, command, environment) {
            ENOENT | ENOTDIR => {}
            // A better match may be further on.
            error => outcome = error,
        }
    }
    outcome
}

/// `place` ends with a NUL.
fn attempt(place: &[u8], command: List, environment: List) -> isize {
    call(Call::Execute, [place.as_ptr() as usize, command as usize, environment as usize, 0])
}

/// The value of PATH, or the usual default, with its NUL.
fn path(environment: List) -> &'static [u8] {
    let mut next = environment;
    loop {
        // SAFETY: the list ends with a null pointer, where this ends too; texts live as long as the process.
        let entry = unsafe {
            if (*next).is_null() {
                return DEFAULT_PATH;
            }
            bytes(*next)
        };
        if entry.len() > PATH_KEY.len() && entry.iter().zip(PATH_KEY).all(|(a, b)| a == b) {
            return &entry[PATH_KEY.len()..];
        }
        // SAFETY: this was not the end.
        next = unsafe { next.add(1) };
    }
}

/// A text with its NUL.
///
/// # Safety
/// `text` points to a NUL-terminated text that lives as long as the process.
unsafe fn bytes(text: Text) -> &'static [u8] {
    let mut length = 0;
    // SAFETY: the NUL is the end.
    unsafe {
        while *text.add(length) != 0 {
            length += 1;
        }
        core::slice::from_raw_parts(text, length + 1)
    }
}

fn write_stderr(parts: &[&[u8]]) {
    let write = |part: &[u8]| call(Call::Write, [STDERR, part.as_ptr() as usize, part.len(), 0]);
    write(b"isulad-init: ");
    parts.iter().for_each(|part| {
        write(part);
    });
    write(b"\n");
}

fn exit(status: usize) -> ! {
    loop {
        call(Call::Exit, [status, 0, 0, 0]);
    }
}
