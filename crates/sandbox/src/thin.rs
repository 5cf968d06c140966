//! What only the start needed goes back to the kernel: the server, its keeper and its launcher are one program, and each of
//! them would otherwise keep, for as long as it lives, the code and tables with which it once began.
//!
//! Nothing is lost: pages of the program are clean copies of its file. Whatever is still needed comes back from the page
//! cache at its first use, within microseconds. Read next: `launcher/keeper.rs`, which uses it.

use std::ffi::{c_int, c_void};

/// Gives back the pages of this program and its libraries that were read but never written, and the heap's free ones.
///
/// May be called at any time and from any thread; costs some hundred page faults afterwards. Worth it once, when a
/// process has begun and from then on mostly waits.
pub fn give_back() {
    // SAFETY: the callback keeps to the contract of `dl_iterate_phdr`, and takes no data.
    unsafe { libc::dl_iterate_phdr(Some(object), std::ptr::null_mut()) };
    #[cfg(target_env = "gnu")]
    // SAFETY: releases free memory at the ends of heaps; glibc takes its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// One loaded object: each segment that nobody may ever have written.
extern "C" fn object(info: *mut libc::dl_phdr_info, _size: usize, _data: *mut c_void) -> c_int {
    // SAFETY: the linker passes a description that is valid during this call.
    let (base, headers) = unsafe {
        let info = &*info;
        (info.dlpi_addr, std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)))
    };
    // An object that relocates its own code has written to it.
    if headers.iter().any(|header| header.p_type == libc::PT_DYNAMIC && writes_code(base, header)) {
        return 0;
    }
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
            drop_pages(base + header.p_vaddr, header.p_memsz);
        }
    }
    0
}

/// Whether `DT_TEXTREL` (or its flag) is in an object's dynamic section.
fn writes_code(base: u64, header: &libc::Elf64_Phdr) -> bool {
    const DT_NULL: u64 = 0;
    const DT_TEXTREL: u64 = 22;
    const DT_FLAGS: u64 = 30;
    const DF_TEXTREL: u64 = 4;
    let count = usize::try_from(header.p_memsz).unwrap_or(0) / size_of::<[u64; 2]>();
    let first = (base + header.p_vaddr) as *const [u64; 2];
    // SAFETY: the dynamic section of a loaded object is mapped, aligned, and as long as its header says.
    let entries = unsafe { std::slice::from_raw_parts(first, count) };
    let entries = entries.iter().take_while(|[tag, _]| *tag != DT_NULL);
    entries.into_iter().any(|[tag, value]| *tag == DT_TEXTREL || (*tag == DT_FLAGS && value & DF_TEXTREL != 0))
}

/// Forgets the whole pages of a segment that was mapped from a file, privately, and never written.
fn drop_pages(start: u64, length: u64) {
    // SAFETY: a plain question about the system.
    let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let (from, to) = (start.next_multiple_of(page), (start + length) / page * page);
    if let (true, Ok(bytes)) = (from < to, usize::try_from(to.saturating_sub(from))) {
        // SAFETY: no page of the range was ever written, so what is read next time, from the file, is what is there now. A
        // failure changes nothing.
        unsafe { libc::madvise(from as *mut c_void, bytes, libc::MADV_DONTNEED) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: [u64; 4096] = {
        let mut table = [0; 4096];
        let mut at = 0;
        while at < 4096 {
            table[at] = (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            at += 1;
        }
        table
    };

    fn program_kib() -> u64 {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    #[test]
    fn pages_go_and_come_back_as_they_were() {
        let sum = || TABLE.iter().fold(0_u64, |sum, value| sum.rotate_left(7) ^ value);
        let (before, kib) = (sum(), program_kib());
        give_back();
        let after = program_kib();
        assert!(after < kib, "{kib} KiB before, {after} after");
        assert_eq!(sum(), before);
        // Code, unwinding tables and other libraries come back as well.
        assert!(std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(1))).is_err());
        assert!((2.0_f64.powf(std::hint::black_box(0.5)) - std::f64::consts::SQRT_2).abs() < 1e-12);
    }
}
