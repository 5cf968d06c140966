//! Folders from hostile entries.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn refused(entries: &[(&str, usize)], expected: &[&str]) {
    let findings =
        Folder::from_entries(entries.iter().map(|(path, size)| (*path, vec![b'x'; *size], false))).unwrap_err();
    let found: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

#[test]
fn paths_that_could_leave_are_refused() {
    refused(
        &[
            ("", 1),
            ("/etc/passwd", 1),
            ("a/../../b", 1),
            ("a//b", 1),
            ("./a", 1),
            ("a/", 1),
            ("a\\b", 1),
            ("a\0b", 1),
            ("a\nb", 1),
            ("..", 1),
            ("\u{202e}cod.exe", 1),
        ],
        &[
            "(folder):1:1 an empty path (use a relative path like files/data.csv)",
            "..:1:1 the path has a `.` or `..` part (use a relative path like files/data.csv)",
            "./a:1:1 the path has a `.` or `..` part (use a relative path like files/data.csv)",
            "/etc/passwd:1:1 the path is absolute (use a relative path like files/data.csv)",
            "a/:1:1 the path has an empty part (use a relative path like files/data.csv)",
            "a/../../b:1:1 the path has a `.` or `..` part (use a relative path like files/data.csv)",
            "a//b:1:1 the path has an empty part (use a relative path like files/data.csv)",
            "a\\b:1:1 the path has a backslash (separate folders with /)",
            "a\u{fffd}b:1:1 the path has a control character (use a relative path like files/data.csv)",
            "\u{fffd}cod.exe:1:1 the path has a control character (use a relative path like files/data.csv)",
        ],
    );
    refused(
        &[("a", 1), ("a", 1), ("b", 1), ("b/c", 1), (&"x".repeat(256), 1), (&"d/".repeat(16), 1)],
        &[
            "a:1:1 this path is here twice (keep one)",
            "b/c:1:1 `b` is a file and a folder (rename one)",
            "d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/:1:1 the path has more than 16 parts (flatten it)",
            &format!("{}:1:1 the path is longer than 255 bytes (shorten it)", "x".repeat(255)),
        ],
    );
}

#[test]
fn sizes_and_counts_have_limits() {
    let large = ["a", "b", "c", "d"].map(|path| (path, FILE_BYTES_MAX));
    let message = "too large: a file has at most 20971520 bytes, the folder 67108864 (upload large data as an input file of the run)";
    refused(&large, &[&format!("d:1:1 {message}")]);
    refused(&[("a", FILE_BYTES_MAX + 1)], &[&format!("a:1:1 {message}")]);
    let names: Vec<String> = (0..=FILES_MAX + 1).map(|n| n.to_string()).collect();
    let many: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 0)).collect();
    refused(&many, &["(folder):1:1 more than 2000 files (leave out what the agent does not need)"]);
}

#[test]
fn the_room_shrinks_with_what_is_in() {
    let mut builder = Builder::new();
    assert_eq!(builder.room(), FILE_BYTES_MAX);
    for path in ["a", "b", "c"] {
        builder.add(path, vec![0; FILE_BYTES_MAX], false);
    }
    assert_eq!(builder.room(), FOLDER_BYTES_MAX - 3 * FILE_BYTES_MAX);
    for n in 0..FILES_MAX {
        builder.add(&n.to_string(), Vec::new(), false);
    }
    assert_eq!(builder.room(), 0);
}

#[test]
fn inline_files_are_base64() {
    let files = |text: &str| BTreeMap::from([("files/a".to_owned(), text.to_owned())]);
    let folder = Folder::from_inline("x", &files("IyEvYmluL3NoCg==")).unwrap();
    assert_eq!(folder.get("files/a"), Some(&File { bytes: b"#!/bin/sh\n".to_vec(), executable: true }));
    let refused = Folder::from_inline("x", &files("no base64")).unwrap_err();
    assert_eq!(
        refused[0].to_string(),
        "files/a:1:1 the content is not base64 (use the standard alphabet with padding)"
    );
    let twice = Folder::from_inline("x", &BTreeMap::from([("AGENT.md".to_owned(), String::new())])).unwrap_err();
    assert_eq!(twice[0].to_string(), "AGENT.md:1:1 this path is here twice (keep one)");
    let fits = "A".repeat(FILE_BYTES_MAX.div_ceil(3) * 4 + 8);
    assert!(Folder::from_inline("x", &files(&fits)).unwrap_err()[0].message.starts_with("too large"));
}

#[test]
fn the_digest_tells_folders_apart() {
    let digest = |entries: &[(&str, &str, bool)]| Folder::from_entries(entries.iter().copied()).unwrap().digest();
    let base = digest(&[("a", "1", false), ("b", "2", false)]);
    assert_eq!(base, digest(&[("b", "2", false), ("a", "1", false)]));
    assert_eq!(base.len(), 64);
    for other in [
        digest(&[("a", "1", true), ("b", "2", false)]),
        digest(&[("a", "12", false), ("b", "", false)]),
        digest(&[("a", "1", false), ("c", "2", false)]),
        digest(&[("a", "1", false)]),
    ] {
        assert_ne!(base, other);
    }
}

#[test]
fn one_wrapping_folder_is_taken_off() {
    let paths = |entries: &[&str]| -> Vec<String> {
        let folder = Folder::from_entries(entries.iter().map(|path| (*path, "", false))).unwrap().unwrapped();
        folder.iter().map(|(path, _)| path.to_owned()).collect()
    };
    assert_eq!(paths(&["me/AGENT.md", "me/files/a"]), ["AGENT.md", "files/a"]);
    for kept in [&["AGENT.md", "me/AGENT.md"][..], &["a/AGENT.md", "b/x"], &["a/b/AGENT.md"], &["x"]] {
        assert_eq!(paths(kept), kept);
    }
}

#[test]
fn names_are_those_directly_below() {
    let folder = Folder::from_entries(
        ["tools/a-b/x", "tools/a/x", "tools/a/y", "tools/z", "toolsmith"].map(|path| (path, "", false)),
    )
    .unwrap();
    assert_eq!(folder.names("tools/").collect::<Vec<_>>(), ["a-b/", "a/", "z"]);
    assert_eq!(folder.names("").collect::<Vec<_>>(), ["tools/", "toolsmith"]);
}

proptest! {
    /// Whatever the entries: no panic, and a folder that stands can be written to disk below any root.
    #[test]
    fn no_accepted_path_leaves_its_root(entries in proptest::collection::vec((r"([a-b./\\\x00é ]|\.\./){0,12}", 0usize..4, any::<bool>()), 0..8)) {
        let entries = entries.into_iter().map(|(path, size, bit)| (path, vec![b'x'; size], bit));
        let Ok(folder) = Folder::from_entries(entries) else { return Ok(()) };
        for (path, _) in folder.iter() {
            let mut parts = std::path::Path::new(path).components();
            prop_assert!(parts.all(|part| matches!(part, std::path::Component::Normal(_))), "{path:?}");
            let normal: std::path::PathBuf = std::path::Path::new(path).components().collect();
            prop_assert_eq!(normal.to_str(), Some(path));
        }
        let json = serde_json::to_string(&folder).unwrap();
        prop_assert_eq!(serde_json::from_str::<Folder>(&json).unwrap(), folder);
    }
}
