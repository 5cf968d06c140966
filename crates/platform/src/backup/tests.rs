use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use livery_core::Timestamp;
use livery_core::id::{FileId, OrgId};
use livery_store::{FileRow, Options, OrganizationRow, Store};
use sha2::{Digest as _, Sha256};

use super::{BackUp, Manifest, back_up, restore};
use crate::files::hex;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// A data directory with an organization and a file in it.
async fn data(home: &Path) -> PathBuf {
    let dir = home.join("data");
    std::fs::create_dir(&dir).unwrap();
    let store = Store::open(&dir.join("livery.db"), Options::default()).await.unwrap();
    let (org, file) = (OrgId::from_bits(7), FileId::from_bits(9));
    let name = file.to_string();
    let row = FileRow {
        id: file,
        org,
        application: None,
        name: "a.txt".into(),
        content_type: "text/plain".into(),
        bytes: 5,
        sha256: hex(&Sha256::digest(b"hello")),
        storage_path: format!("files/{org}/{}/{name}", &name[name.len() - 2..]),
        created_at: NOW,
    };
    let path = dir.join(&row.storage_path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, b"hello").unwrap();
    let organization =
        OrganizationRow { id: org, name: "one".into(), max_concurrent_runs: None, created_at: NOW, minimum_tier: None };
    store
        .write(move |tx| {
            Box::pin(async move {
                tx.insert_organization(&organization).await?;
                tx.insert_file(&row).await
            })
        })
        .await
        .unwrap();
    std::fs::write(dir.join("root.key"), "the root key").unwrap();
    // Left open: a backup is taken beside a server at work.
    std::mem::forget(store);
    dir
}

fn order(data_dir: &Path, out: &Path, include_root_key: bool) -> BackUp {
    BackUp { data_dir: data_dir.to_owned(), out: out.to_owned(), include_root_key, now: NOW }
}

fn back(from: &Path, into: &Path) -> Result<Manifest, String> {
    restore(from, into, |_| Ok(())).map(|restored| restored.manifest).map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_was_backed_up_comes_back() {
    let home = tempfile::tempdir().unwrap();
    let data = data(home.path()).await;
    let (out, into) = (home.path().join("b.livery"), home.path().join("restored"));
    let manifest = back_up(&order(&data, &out, true)).unwrap();
    assert_eq!((manifest.organizations, manifest.files, manifest.files_elsewhere), (1, 1, 0));
    assert!(back_up(&order(&data, &out, true)).is_err(), "an earlier backup is not overwritten");
    assert_eq!(back(&out, &into), Ok(manifest));
    assert_eq!(std::fs::read(into.join("root.key")).unwrap(), b"the root key");
    assert!(back(&out, &into).unwrap_err().contains("not empty"));
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "no working copies stay: {left:?}");

    let without = home.path().join("without.livery");
    assert!(!back_up(&order(&data, &without, false)).unwrap().root_key);
    back(&without, &home.path().join("other")).unwrap();
    assert!(!home.path().join("other/root.key").exists());
}

#[tokio::test]
async fn a_damaged_backup_is_refused_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let data = data(home.path()).await;
    let (out, into) = (home.path().join("b.livery"), home.path().join("restored"));
    back_up(&order(&data, &out, false)).unwrap();
    let whole = std::fs::read(&out).unwrap();
    let bad = home.path().join("bad.livery");
    let middle = whole.len() / 2;
    for end in [0, 3, middle, whole.len() - 1] {
        std::fs::write(&bad, &whole[..end]).unwrap();
        assert!(back(&bad, &into).is_err(), "cut at {end} of {}", whole.len());
    }
    for place in [middle, whole.len() - 20] {
        let mut altered = whole.clone();
        altered[place] ^= 1;
        std::fs::write(&bad, &altered).unwrap();
        assert!(back(&bad, &into).is_err(), "altered at {place} of {}", whole.len());
    }
    assert!(!into.exists() && !home.path().join("restored.restoring").exists());
}

/// A stored file that is not what its row says is no part of a backup.
#[tokio::test]
async fn a_file_that_changed_stops_the_backup() {
    let home = tempfile::tempdir().unwrap();
    let data = data(home.path()).await;
    let folder = data.join("files").join(OrgId::from_bits(7).to_string()).join("09");
    let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&file, b"other").unwrap();
    let out = home.path().join("b.livery");
    assert!(back_up(&order(&data, &out, false)).unwrap_err().to_string().contains("not what was stored"));
    assert!(!out.exists());
}

/// An archive with the given entries after a valid beginning.
fn hostile(out: &Path, bad: &Path, forge: impl FnOnce(&mut tar::Builder<zstd::Encoder<'static, File>>)) {
    let mut tar = tar::Builder::new(zstd::Encoder::new(File::create(bad).unwrap(), 1).unwrap());
    let mut good = tar::Archive::new(zstd::Decoder::new(File::open(out).unwrap()).unwrap());
    for entry in good.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut header = entry.header().clone();
        let path = entry.path().unwrap().into_owned();
        tar.append_data(&mut header, path, &mut entry).unwrap();
    }
    forge(&mut tar);
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
}

#[tokio::test]
async fn a_hostile_archive_writes_nothing_outside() {
    let home = tempfile::tempdir().unwrap();
    let data = data(home.path()).await;
    let (out, bad, into) = (home.path().join("b"), home.path().join("bad"), home.path().join("deep/restored"));
    std::fs::create_dir(home.path().join("deep")).unwrap();
    back_up(&order(&data, &out, false)).unwrap();
    for name in ["../escaped", "/tmp/livery-escaped", "files/../../escaped", "sandboxes/x", "files/a/b/c", "root.key"] {
        hostile(&out, &bad, |tar| {
            let mut header = tar::Header::new_old();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(3);
            header.set_cksum();
            tar.append(&header, &b"bad"[..]).unwrap();
        });
        assert!(back(&bad, &into).unwrap_err().contains("which no backup has"), "{name}");
    }
    for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Directory] {
        hostile(&out, &bad, |tar| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(0);
            tar.append_link(&mut header, "files", "/etc").unwrap();
        });
        assert!(back(&bad, &into).unwrap_err().contains("no file"), "{kind:?}");
    }
    assert!(!into.exists() && !home.path().join("escaped").exists() && !Path::new("/tmp/livery-escaped").exists());
}
