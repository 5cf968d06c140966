//! A folder as image: its tree is the root, read-only, with the sandbox's own parts on top.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use livery_sandbox::{Error, RootFs, Spec};

use crate::house::{As, House, Wall, everyone, machine_walls, output, shell};

/// Who unpacks images, where root starts them.
const OWNER: u32 = 54_322;

/// A root of one shell and what it is linked against.
fn build(folder: &Path) -> PathBuf {
    let image = folder.join("a".repeat(64));
    let add = |path: &str| {
        let target = image.join(path.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    };
    add("/bin/sh");
    let linked = std::process::Command::new("ldd").arg("/bin/sh").output().unwrap();
    let text = String::from_utf8_lossy(&linked.stdout).into_owned();
    text.split_whitespace().filter(|word| word.starts_with('/')).for_each(add);
    fs::create_dir_all(image.join("etc")).unwrap();
    fs::write(image.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    fs::write(image.join("etc/release"), "tiny image\n").unwrap();
    fs::create_dir_all(image.join("home/secret")).unwrap();
    fs::write(image.join("top-level-file"), "").unwrap();
    // Names that an image could hope to have followed, by a launcher that is root.
    std::os::unix::fs::symlink(folder.join("outside"), image.join(".livery")).unwrap();
    std::os::unix::fs::symlink(folder.join("outside"), image.join("var")).unwrap();
    image
}

#[tokio::test]
async fn a_folder_is_the_root() {
    let machine = machine_walls().into_iter().take(1);
    for wall @ Wall { user, .. } in everyone().into_iter().map(Wall::from).chain(machine) {
        let images = tempfile::tempdir().unwrap();
        fs::set_permissions(images.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let outside = images.path().join("outside");
        fs::create_dir(&outside).unwrap();
        // Where only its owner may go, as below a data directory.
        let closed = images.path().join("closed");
        fs::create_dir(&closed).unwrap();
        let image = build(&closed);
        let house = House::open_with(wall, |config| {
            config.image_dirs = vec![closed.clone()];
            config.image_owner = Some(OWNER);
        });
        let own = |folder: &Path, uid: u32| std::os::unix::fs::chown(folder, Some(uid), Some(uid)).unwrap();
        if user == As::Root {
            own(&closed, OWNER);
            own(&image, OWNER);
            fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
        }
        let spec = Spec { image: RootFs::Directory(image.clone()), ..house.spec("one") };
        let sandbox = house.sandboxes.create(spec).await.unwrap();
        let script = "read line < /etc/release; echo $line; while read line; do echo $line; done < /etc/passwd; echo /*; echo > /etc/x || echo > /bin/x || echo held";
        let result = shell(&sandbox, script).await;
        let text = String::from_utf8_lossy(&result.stdout).into_owned();
        assert!(text.starts_with("tiny image\nroot:x:0:0:root:"), "{user:?} {result:?}");
        assert!(text.contains("\nagent:x:1000:"), "{text}");
        assert!(
            text.contains("\n/bin /dev /etc /home /lib")
                && text.contains(" /proc /run /tmp ")
                && text.ends_with("held\n"),
            "{text}"
        );
        assert_eq!(output(&sandbox, "echo x > /workspace/f && echo y > /tmp/f && echo fine").await, "fine");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{user:?}");
        // The same path, and another image there.
        fs::rename(&image, images.path().join("old")).unwrap();
        let image = build(&closed);
        fs::write(image.join("etc/release"), "another image\n").unwrap();
        let spec = Spec { image: RootFs::Directory(image.clone()), ..house.spec("three") };
        let another = house.sandboxes.create(spec).await.unwrap();
        assert_eq!(output(&another, "read line < /etc/release; echo $line").await, "another image");
        assert_eq!(output(&sandbox, "read line < /etc/release; echo $line").await, "tiny image");
        // What the platform's user can put where an image has to be: a link out, and what is not this user's.
        let (link, other) = (closed.join("b".repeat(64)), closed.join("c".repeat(64)));
        std::os::unix::fs::symlink("/usr", &link).unwrap();
        let mut refused = vec![PathBuf::from("/"), PathBuf::from("/usr"), images.path().join("old"), link];
        if user == As::Root {
            fs::create_dir(&other).unwrap();
            own(&other, OWNER + 1);
            refused.push(other);
        }
        for path in refused {
            let spec = Spec { image: RootFs::Directory(path.clone()), ..house.spec("two") };
            assert!(matches!(house.sandboxes.create(spec).await, Err(Error::Invalid(_))), "{}", path.display());
        }
    }
}
