//! Linux on x86-64.

use core::arch::{asm, global_asm};

/// The system calls that are needed, by their numbers here. Each program makes some of them.
#[allow(dead_code)]
#[derive(Clone, Copy)]
pub enum Call {
    Write = 1,
    SignalMask = 14,
    Ioctl = 16,
    Pid = 39,
    Clone = 56,
    Execute = 59,
    Wait = 61,
    Kill = 62,
    SetGroup = 109,
    SignalWait = 128,
    ProcessControl = 157,
    Exit = 231,
}

// The stack pointer is the only thing that the kernel hands over; a call wants it on a multiple of 16.
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {begin}",
    "ud2",
    begin = sym crate::begin,
);

/// The result of a system call: a negative one is an error number.
pub fn call(call: Call, [a, b, c, d]: [usize; 4]) -> isize {
    let answer;
    // SAFETY: the programs' few calls write at most to memory that an argument points to, which is the caller's own.
    // The kernel leaves all registers but these as they are.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") call as usize => answer,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer
}
