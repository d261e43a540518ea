//! Frees the memory of code that is not needed any more: a shim waits for most of its life, and a host may run a
//! thousand.

/// Takes this program's code out of its resident memory. Code that is executed again comes back from the page cache,
/// whose copy all shims share. Does nothing where the program's bounds are not known.
pub fn leave_code() {
    let page = rustix::param::page_size();
    let start = (&raw const __executable_start).addr().next_multiple_of(page);
    let end = (&raw const etext).addr() / page * page;
    let Some(length) = end.checked_sub(start).filter(|length| *length > 0) else { return };
    // SAFETY: the range is that of the program's headers, read-only data and code, as its linker laid it out: private
    // mappings of the executable file, which has no writer. Dropping such pages changes no byte that is read later.
    let _ = unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(start), length, libc::MADV_DONTNEED) };
}

unsafe extern "C" {
    /// Where the linker begins the program; only its address means something.
    static __executable_start: u8;
    /// Where the linker ends the code; likewise.
    static etext: u8;
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_program_runs_on_without_its_code_in_memory() {
        super::leave_code();
        let sum: u64 = (1..=100).sum();
        assert_eq!(format!("{sum}"), "5050");
    }
}
