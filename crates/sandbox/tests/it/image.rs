//! A folder as image: its tree is the root, read-only, with the sandbox's own parts on top.

use std::fs;
use std::path::{Path, PathBuf};

use livery_sandbox::{Error, RootFs, Spec};

use crate::house::{House, everyone, output, shell};

/// A root of one shell and what it is linked against.
fn build(folder: &Path) -> PathBuf {
    let image = folder.join("tiny");
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
    image
}

#[tokio::test]
async fn a_folder_is_the_root() {
    for user in everyone() {
        let images = tempfile::tempdir().unwrap();
        fs::set_permissions(images.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let image = build(images.path());
        let house = House::open_with(user, |config| config.image_dirs = vec![images.path().to_owned()]);
        let spec = Spec { image: RootFs::Directory(image.clone()), ..Spec::new("one") };
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
        for outside in ["/", "/usr"] {
            let spec = Spec { image: RootFs::Directory(outside.into()), ..Spec::new("two") };
            assert!(matches!(house.sandboxes.create(spec).await, Err(Error::Invalid(_))), "{outside}");
        }
    }
}
