//! Linux on 64-bit RISC-V.

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

// The stack pointer is the only thing that the kernel hands over. The linker may address data by `gp`, once that is
// set, which itself must not be addressed that way.
global_asm!(
    ".globl _start",
    "_start:",
    ".option push",
    ".option norelax",
    "lla gp, __global_pointer$",
    ".option pop",
    "mv fp, zero",
    "mv ra, zero",
    "mv a0, sp",
    "andi sp, sp, -16",
    "call {begin}",
    "unimp",
    begin = sym crate::begin,
);

/// The result of a system call: a negative one is an error number.
pub fn call(call: Call, [a, b, c, d]: [usize; 4]) -> isize {
    let answer;
    // SAFETY: the programs' few calls write at most to memory that an argument points to, which is the caller's own.
    // The kernel leaves all registers but the first as they are.
    unsafe {
        asm!(
            "ecall",
            in("a7") call as usize,
            inlateout("a0") a => answer,
            in("a1") b,
            in("a2") c,
            in("a3") d,
            options(nostack),
        );
    }
    answer
}
