//! The system's own checker reads what is written here, file for file.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::launcher::root::RootPlan;

fn plan(folder: &Path) -> RootPlan {
    let skeleton = folder.join("skeleton");
    for name in ["usr", "etc", "tmp", "-before", "zzz"] {
        fs::create_dir_all(skeleton.join(name)).unwrap();
    }
    fs::write(skeleton.join("etc/passwd"), "root\n").unwrap();
    symlink("usr/bin", skeleton.join("bin")).unwrap();
    let usr = folder.join("usr");
    fs::create_dir_all(usr.join("bin")).unwrap();
    fs::create_dir_all(usr.join("many")).unwrap();
    for number in 0..1000 {
        fs::write(usr.join(format!("many/file-with-a-name-{number}")), format!("{number}")).unwrap();
    }
    for (name, bytes) in
        [("empty", 0), ("short", 100), ("block", 4096), ("long", 10_000), ("edge", 2048), ("over", 2049)]
    {
        fs::write(usr.join("bin").join(name), vec![b'x'; bytes]).unwrap();
    }
    fs::hard_link(usr.join("bin/long"), usr.join("bin/same")).unwrap();
    fs::write(usr.join("bin/secret"), "secret").unwrap();
    fs::set_permissions(usr.join("bin/secret"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::set_permissions(usr.join("bin/short"), PermissionsExt::from_mode(0o4755)).unwrap();
    RootPlan { skeleton, binds: vec![(usr, "usr".into()), ("/no/such".into(), "zzz".into())] }
}

#[test]
fn a_checker_reads_every_file() {
    let temp = tempfile::tempdir().unwrap();
    let plan = plan(temp.path());
    let forest = Forest::of(&plan).unwrap();
    let digest = forest.digest().unwrap();
    let disk = temp.path().join("disk");
    write(&forest, &File::create(&disk).unwrap()).unwrap();
    assert!(!fs::read(&disk).unwrap().windows(6).any(|bytes| bytes == b"secret"), "its name is gone with it");
    // The same tree is the same disk; another one is not.
    assert_eq!(Forest::of(&plan).unwrap().digest().unwrap(), digest);
    fs::write(plan.skeleton.join("etc/passwd"), "r00t\n").unwrap();
    assert_ne!(Forest::of(&plan).unwrap().digest().unwrap(), digest);
    let Some(checker) = ["/usr/bin/fsck.erofs"].into_iter().map(PathBuf::from).find(|path| path.exists()) else {
        return;
    };
    let checked = Command::new(&checker)
        .arg(format!("--extract={}", temp.path().join("out").display()))
        .arg(&disk)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let out = temp.path().join("out");
    assert_eq!(fs::read_link(out.join("bin")).unwrap(), Path::new("usr/bin"));
    for name in ["empty", "short", "block", "long", "edge", "over", "same"] {
        let path = Path::new("usr/bin").join(name);
        assert_eq!(fs::read(out.join(&path)).unwrap(), fs::read(temp.path().join(&path)).unwrap(), "{name}");
    }
    assert_eq!(fs::read_dir(out.join("usr/many")).unwrap().count(), 1000);
    assert_eq!(fs::metadata(out.join("usr/bin/short")).unwrap().permissions().mode() & 0o7777, 0o755);
}
