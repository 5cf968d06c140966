//! The script that packs, run on this machine: with its own `tar`, and with others in its place.

use std::path::Path;
use std::process::Command;

use super::{MAKE_WAY, What, packing_script};

const DISK_BYTES: u64 = 1024 * 1024;

/// Says it is GNU's, and answers what GNU's does when a file changed while it was read.
const CHANGED: &str = "case $1 in --version) exec /bin/tar --version ;; esac; /bin/tar \"$@\"; exit 1";
/// Another one, which failed in the middle: part of an archive is there.
const OTHER_FAILED: &str = "case $1 in --version) echo 'other tar'; exit 0 ;; esac; /bin/tar \"$@\"; exit 1";
/// Says that all is well, and wrote half of it.
const TORN: &str = "case $1 in --version) exec /bin/tar --version ;; esac
/bin/tar \"$@\"; for a; do case $a in */archive-*) file=$a ;; esac; done
head -c 200 \"$file\" > \"$file.half\"; mv \"$file.half\" \"$file\"; exit 0";
/// The same where the compression ended well: the tar in it has no end.
const ENDLESS: &str = "case $1 in --version) exec /bin/tar --version ;; esac
/bin/tar \"$@\"; for a; do case $a in */archive-*) file=$a ;; esac; done
gzip -dc \"$file\" | head -c 1536 | gzip > \"$file.half\"; mv \"$file.half\" \"$file\"; exit 0";
/// One that does nothing at all.
const ABSENT: &str = "case $1 in --version) exit 1 ;; esac; exit 0";
/// One that does not know files with holes.
const FILLS: &str = "case $1 in --version) echo 'other tar'; exit 0 ;; esac; exec /bin/tar \"$@\"";

struct Packed {
    code: Option<i32>,
    said: String,
    names: Vec<String>,
    home: tempfile::TempDir,
}

/// Packs a folder with `fill` done in it, where `tar` is the script `tar`.
fn packed(tar: &str, fill: &str, what: What) -> Packed {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("workspace");
    let bin = home.path().join("bin");
    for folder in [&root, &bin] {
        std::fs::create_dir(folder).unwrap();
    }
    if !tar.is_empty() {
        std::fs::write(bin.join("tar"), format!("#!/bin/sh\n{tar}\n")).unwrap();
        assert!(Command::new("chmod").arg("755").arg(bin.join("tar")).status().unwrap().success());
    }
    assert!(Command::new("sh").args(["-ec", fill]).current_dir(&root).status().unwrap().success());
    let archive = root.join(".livery/archive-7");
    let script = packing_script(root.to_str().unwrap(), archive.to_str().unwrap(), what, "", DISK_BYTES);
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let ended = Command::new("sh").args(["-c", &script]).env("PATH", path).output().unwrap();
    let names = if archive.exists() { names_in(&archive) } else { Vec::new() };
    Packed { code: ended.status.code(), said: String::from_utf8(ended.stdout).unwrap(), names, home }
}

fn names_in(archive: &Path) -> Vec<String> {
    let listed = Command::new("/bin/tar").arg("-tzf").arg(archive).output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let mut names: Vec<String> = String::from_utf8(listed.stdout).unwrap().lines().map(str::to_owned).collect();
    names.sort_unstable();
    names
}

const FILL: &str =
    "mkdir -p .livery/agent outputs; echo one > notes; echo t > .livery/agent/tool; echo r > outputs/report
echo old > .livery/archive-3; echo old > .livery/copy.tgz; head -c 20000 /dev/urandom > noise";

#[test]
fn an_archive_holds_what_it_should_and_its_size_is_said() {
    let kept = packed("", FILL, What::Kept);
    assert_eq!((kept.code, kept.names.join(" ").as_str()), (Some(0), "./ ./noise ./notes"));
    let bytes = std::fs::metadata(kept.home.path().join("workspace/.livery/archive-7")).unwrap().len();
    assert_eq!(kept.said.trim().parse::<u64>().unwrap(), bytes);
    let all = packed("", FILL, What::All).names.join(" ");
    let wanted = "./ ./.livery/ ./.livery/agent/ ./.livery/agent/tool ./noise ./notes ./outputs/ ./outputs/report";
    assert_eq!(all, wanted, "no archive in an archive");
}

#[test]
fn what_tar_answers_counts_by_whose_it_is() {
    assert_eq!(packed(CHANGED, FILL, What::Kept).code, Some(0), "GNU's: a file changed while it was read");
    assert_eq!(packed(OTHER_FAILED, FILL, What::Kept).code, Some(91), "any other's: it failed");
}

#[test]
fn an_archive_that_is_not_whole_counts_for_nothing() {
    for tar in [TORN, ENDLESS, ABSENT] {
        let refused = packed(tar, FILL, What::Kept);
        assert_eq!(refused.code, Some(92), "{tar}");
        assert_eq!(refused.names, [""; 0], "and none of an earlier attempt is left: {tar}");
    }
}

#[test]
fn a_file_with_holes_is_kept_as_such_or_refused() {
    let holes = "truncate -s 100M holes; echo one > notes";
    let kept = packed("", holes, What::Kept);
    assert_eq!(
        (kept.code, kept.names.join(" ").as_str()),
        (Some(0), "./ ./holes ./notes"),
        "100 MiB fit on a disk of 1"
    );
    assert_eq!(packed(FILLS, holes, What::Kept).code, Some(93), "it could never be laid out again");
    assert_eq!(packed(FILLS, "echo one > notes", What::Kept).code, Some(0));
}

#[test]
fn room_is_made_for_a_file_and_nothing_else_goes() {
    let check = |before: &str, path: &str, left: &str| {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("workspace");
        std::fs::create_dir(&root).unwrap();
        let in_root = |script: &str| Command::new("sh").args(["-ec", script]).current_dir(&root).output().unwrap();
        let fill = format!("echo out > ../outside; mkdir near; echo n > near/kept; {before}");
        assert!(in_root(&fill).status.success());
        assert!(Command::new("sh").args(["-c", MAKE_WAY]).arg(&root).arg(path).status().unwrap().success());
        let found = in_root("find . -mindepth 1 | sort | tr '\\n' ' '; cat ../outside");
        assert_eq!(String::from_utf8(found.stdout).unwrap(), format!("{left}./near ./near/kept out\n"), "{path}");
    };
    check("mkdir -p 'in put/deep'; echo x > 'in put/deep/x'; chmod 500 'in put/deep'", "in put", "");
    check("echo file > data", "data/input", "");
    check("ln -s ../outside data", "data/input", "");
    check("ln -s ../outside input", "input", "./input ");
    check("mkdir -p data/input/deep", "data/input", "./data ");
    check("true", "near/input", "");
}
