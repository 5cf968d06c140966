//! What objdump prints, as it prints it.

use std::collections::BTreeSet;

use super::{Needs, needs, parse_needs};

const DYNAMIC: &str = "
/tmp/livery:     file format elf64-x86-64

Dynamic Section:
  NEEDED               libgcc_s.so.1
  NEEDED               libc.so.6
  INIT                 0x0000000000001000

Version References:
  required from libgcc_s.so.1:
    0x0b792650 0x00 07 GCC_3.0
  required from libc.so.6:
    0x09691972 0x00 02 GLIBC_2.2.5
    0x069691b4 0x00 08 GLIBC_2.34
    0x09691974 0x00 05 GLIBC_2.9
";

#[test]
fn the_newest_version_that_is_asked_for_decides() {
    let libraries = BTreeSet::from(["libc.so.6".to_owned(), "libgcc_s.so.1".to_owned()]);
    let found = parse_needs(DYNAMIC);
    assert_eq!(found, Needs::Shared { libraries, glibc: Some((2, 34)) });
    assert_eq!(found.to_string(), "the GNU C library 2.34 or newer, and these libraries: libc.so.6, libgcc_s.so.1");
}

#[test]
fn a_static_program_needs_the_kernel_alone() {
    assert_eq!(parse_needs("\n/tmp/livery:     file format elf64-x86-64\n\nProgram Header:\n"), Needs::Static);
    assert_eq!(needs(b"#!/bin/sh\n").unwrap(), Needs::Unknown("it is no ELF file"));
}

#[test]
fn this_very_test_needs_a_c_library() {
    if !crate::setup::on_path("objdump") {
        println!("SKIPPED: objdump is not installed");
        return;
    }
    let own = std::fs::read("/proc/self/exe").unwrap();
    let found = needs(&own).unwrap();
    assert!(matches!(found, Needs::Shared { .. }), "{found}");
}
