//! Linux on AArch64.

use core::arch::{asm, global_asm};

/// The system calls that are needed, by their numbers here. Each program makes some of them.
#[allow(dead_code)]
#[derive(Clone, Copy)]
pub enum Call {
    Ioctl = 29,
    Write = 64,
    Exit = 94,
    Kill = 129,
    SignalMask = 135,
    SignalWait = 137,
    SetGroup = 154,
    ProcessControl = 167,
    Pid = 172,
    Clone = 220,
    Execute = 221,
    Wait = 260,
}

// The stack pointer is the only thing that the kernel hands over, on a multiple of 16 already.
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {begin}",
    "brk #1",
    begin = sym crate::begin,
);

/// The result of a system call: a negative one is an error number.
pub fn call(call: Call, [a, b, c, d]: [usize; 4]) -> isize {
    let answer;
    // SAFETY: the programs' few calls write at most to memory that an argument points to, which is the caller's own.
    // The kernel leaves all registers but the first as they are.
    unsafe {
        asm!(
            "svc #0",
            in("x8") call as usize,
            inlateout("x0") a => answer,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            options(nostack),
        );
    }
    answer
}
