//! Archives as tools write them, and those built to do harm.

use super::*;

/// One entry's blocks.
fn block(kind: u8, path: &[u8], link: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    let bytes = header.as_mut_bytes();
    bytes[..path.len()].copy_from_slice(path);
    bytes[157..157 + link.len()].copy_from_slice(link);
    header.set_entry_type(EntryType::new(kind));
    header.set_size(content.len() as u64);
    header.set_mode(0o4755);
    header.set_mtime(7);
    header.set_cksum();
    let mut blocks = header.as_bytes().to_vec();
    blocks.extend_from_slice(content);
    blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
    blocks
}

fn read(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let mut tar = Tar::new(bytes, 1 << 20);
    let mut entries = Vec::new();
    while let Some(entry) = tar.next_entry().map_err(|error| error.to_string())? {
        entries.push(entry);
    }
    Ok(entries)
}

/// Each entry in one line, or why the archive is refused.
fn told(parts: &[Vec<u8>]) -> String {
    match read(&parts.concat()) {
        Err(error) => format!("refused: {error}"),
        Ok(entries) => {
            let lines = entries.iter().map(|entry| {
                let what = match &entry.kind {
                    Kind::Folder => "folder".to_owned(),
                    Kind::File { executable } => format!("file {} {executable}", entry.size),
                    Kind::Hard(target) => format!("hard {}", show(target)),
                    Kind::Symbolic(text) => format!("link {}", show(text)),
                    Kind::Whiteout(path) => format!("hides {}", show(path)),
                    Kind::Opaque(path) => format!("empties {}", show(path)),
                    Kind::Left => "left".to_owned(),
                };
                format!("{} {what}", show(&entry.path))
            });
            lines.collect::<Vec<_>>().join("; ")
        }
    }
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let line = |(key, value): &(&str, &str)| {
        let rest = format!(" {key}={value}\n");
        let length =
            (1..).map(|digits| rest.len() + digits).find(|length| length.to_string().len() + rest.len() == *length);
        format!("{}{rest}", length.unwrap())
    };
    block(b'x', b"pax", b"", records.iter().map(line).collect::<String>().as_bytes())
}

#[test]
fn what_tools_write_is_read() {
    assert_eq!(
        told(&[block(b'5', b"./usr/", b"", b""), block(b'0', b"/usr//./a", b"", b"hello")]),
        "usr folder; usr/a file 5 true"
    );
    assert_eq!(
        told(&[block(b'1', b"b", b"usr/a", b""), block(b'2', b"c", b"../../etc", b"")]),
        "b hard usr/a; c link ../../etc"
    );
    assert_eq!(told(&[block(b'3', b"dev/null", b"", b""), block(b'6', b"p", b"", b"")]), "dev/null left; p left");
    assert_eq!(told(&[block(0, b"old/", b"", b""), block(0, b"old/f", b"", b"")]), "old folder; old/f file 0 true");
    assert_eq!(
        told(&[block(b'L', b"././@LongLink", b"", b"a/long/name\0"), block(b'0', b"a", b"", b"x")]),
        "a/long/name file 1 true"
    );
    assert_eq!(
        told(&[
            pax(&[("path", "p/q"), ("SCHILY.xattr.security.capability", "x"), ("mtime", "1.5")]),
            block(b'0', b"a", b"", b"x")
        ]),
        "p/q file 1 true"
    );
    assert_eq!(told(&[pax(&[("linkpath", "t")]), block(b'2', b"a", b"x", b"")]), "a link t");
    assert_eq!(told(&[block(b'g', b"g", b"", b"16 comment=abcd\n"), block(b'5', b"a", b"", b"")]), "a folder");
    assert_eq!(
        told(&[
            block(b'0', b"a/.wh.b", b"", b""),
            block(b'0', b".wh..wh..opq", b"", b""),
            block(b'0', b"a/.wh..wh.plnk", b"", b"")
        ]),
        "a/.wh.b hides a/b; .wh..wh..opq empties ; a/.wh..wh.plnk left"
    );
    let entries = read(&[block(b'0', b"a", b"", b"12"), vec![0; 1024], b"behind the end".to_vec()].concat()).unwrap();
    assert_eq!((entries.len(), entries[0].offset, entries[0].mtime), (1, 512, 7));
}

#[test]
fn what_is_built_to_do_harm_is_refused() {
    let deep = "d/".repeat(DEPTH_MAX + 1);
    let sized = |kind| {
        let mut bytes = block(kind, b"a", b"b", b"content");
        bytes.truncate(BLOCK);
        bytes
    };
    let huge = {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[0] = b'a';
        header.set_size(u64::MAX / 2);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    for (parts, why) in [
        (vec![block(b'0', b"../x", b"", b"")], "leads out of the image"),
        (vec![block(b'0', b"a/../../x", b"", b"")], "leads out of the image"),
        (vec![block(b'1', b"a", b"../../etc/shadow", b"")], "leads out of the image"),
        (vec![pax(&[("path", "../x")]), block(b'0', b"a", b"", b"")], "leads out of the image"),
        (vec![pax(&[("path", "a\0b")]), block(b'0', b"a", b"", b"")], "zero byte"),
        (vec![pax(&[("path", "a"), ("path", "b")]), block(b'0', b"a", b"", b"")], "named twice"),
        (vec![pax(&[("size", "9")]), block(b'0', b"a", b"", b"x")], "two sizes"),
        (vec![pax(&[("GNU.sparse.major", "1")]), block(b'0', b"a", b"", b"x")], "sparse"),
        (vec![block(b'x', b"p", b"", b"999999 path=a\n"), block(b'0', b"a", b"", b"")], "not as POSIX has it"),
        (vec![block(b'g', b"g", b"", b"10 path=a\n"), block(b'0', b"a", b"", b"")], "names every entry"),
        (vec![block(b'L', b"l", b"", &[b'a'; PATH_BYTES_MAX + 2]), block(b'0', b"a", b"", b"")], "bytes of a name"),
        (vec![block(b'L', b"l", b"", &[b'a'; NAME_BYTES_MAX + 1]), block(b'0', b"a", b"", b"")], "bytes of a name"),
        (vec![block(b'L', b"l", b"", b"a")], "ends after a long name"),
        (vec![pax(&[("path", &deep)]), block(b'0', b"a", b"", b"")], "folders in each other"),
        (vec![block(b'2', b"a", b"", b"")], "links to nothing"),
        (vec![block(b'S', b"a", b"", b"")], "of the kind `S`"),
        (vec![sized(b'1')], "no file and has a size"),
        (vec![sized(b'5')], "no file and has a size"),
        (vec![sized(b'0')], "in the middle of a file"),
        (vec![huge], "bytes of a"),
        (vec![block(b'0', b".wh.", b"", b"")], "no whiteout"),
        (vec![block(b'0', b"a/.wh...", b"", b"")], "no whiteout"),
        (vec![block(b'0', b".wh.a/b", b"", b"")], "no whiteout"),
        (vec![block(b'1', b"a", b"b/.wh.c", b"")], "no whiteout"),
        (vec![vec![1; 512]], "no tar archive"),
        (vec![block(b'5', b"a", b"", b"")[..300].to_vec()], "in the middle of an entry"),
    ] {
        let told = told(&parts);
        assert!(told.starts_with("refused: ") && told.contains(why), "{told:?}, not {why:?}");
    }
}
