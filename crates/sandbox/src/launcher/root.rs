//! Skeletons: folders that become `/` of sandboxes, with mount points and a small `/etc`.
//!
//! The host's image is its `/usr` and chosen files of `/etc`, copied so that nothing else of `/etc` is reachable. A folder
//! image is bound entry by entry. A skeleton is shared by all sandboxes, read-only, and rebuilt by each launcher.
//! Read next: `mounts.rs`, which binds the rest onto it.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use livery_guest::masks;

use super::{INSIDE_ID, INSIDE_USER};

/// Files and folders of the host's `/etc` that programs need and that hold no secret.
const ETC: &[&str] = &[
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "gitconfig",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "magic",
    "mime.types",
    "mke2fs.conf",
    "nsswitch.conf",
    "os-release",
    "pki/tls/openssl.cnf",
    "perl",
    "profile",
    "protocols",
    "python3",
    "python3.11",
    "python3.12",
    "python3.13",
    "redhat-release",
    "services",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
    "java-17-openjdk",
    "java-21-openjdk",
];
/// Larger folders of that kind, bound as they are rather than copied at each start of a launcher.
const ETC_FOLDERS: &[&str] = &["alternatives", "fonts", "ssl/certs", "pki/tls/certs", "pki/ca-trust/extracted"];
/// Files copied at most, and the largest one.
const COPIES_MAX: usize = 8000;
const COPY_BYTES_MAX: u64 = 4 * 1024 * 1024;
const COPY_DEPTH_MAX: usize = 8;
/// Folders at the top of an image: each is a mount of every sandbox.
const BINDS_MAX: usize = 64;

/// A root ready to be mounted; paths are relative to the state folder.
#[derive(Clone, Debug)]
pub(crate) struct RootPlan {
    pub(crate) skeleton: PathBuf,
    /// What is bound where, read-only: source, and name below the skeleton.
    pub(crate) binds: Vec<(PathBuf, PathBuf)>,
}

/// Builds the host image's skeleton below `roots`.
pub(crate) fn host(roots: &Path) -> io::Result<RootPlan> {
    let mut plan = skeleton(roots, "host", Path::new("/"), |name| {
        matches!(name, "usr" | "bin" | "sbin" | "lib" | "lib32" | "lib64" | "libx32" | "nix" | "gnu")
    })?;
    let etc = plan.skeleton.join("etc");
    make_dir(&etc)?;
    let mut left = COPIES_MAX;
    for name in ETC {
        let (source, target) = (Path::new("/etc").join(name), etc.join(name));
        if fs::symlink_metadata(&source).is_ok() {
            fs::create_dir_all(target.parent().unwrap_or(&etc))?;
            copy(&source, &target, COPY_DEPTH_MAX, &mut left)?;
        }
    }
    for name in ETC_FOLDERS {
        let source = Path::new("/etc").join(name);
        if fs::symlink_metadata(&source).is_ok_and(|m| m.is_dir()) {
            make_dir(&etc.join(name))?;
            plan.binds.push((source, Path::new("etc").join(name)));
        }
    }
    identity_files(&etc)?;
    Ok(plan)
}

/// Builds a folder image's skeleton below `roots`. Its `/etc` is the image's own, with the identity files on top.
pub(crate) fn directory(roots: &Path, name: &str, image: &Path) -> io::Result<RootPlan> {
    let not_ours = |entry: &str| !matches!(entry, "proc" | "sys" | "dev" | "tmp" | "run" | "workspace" | "etc");
    let mut plan = skeleton(roots, name, image, not_ours)?;
    // Beside the skeleton, where nothing has a name that the image chose.
    let identity = identity_of(&plan.skeleton);
    remove_tree(&identity)?;
    make_dir(&identity)?;
    identity_files(&identity)?;
    let etc = image.join("etc");
    make_dir(&plan.skeleton.join("etc"))?;
    if fs::symlink_metadata(&etc).is_ok_and(|m| m.is_dir()) {
        plan.binds.push((etc.clone(), "etc".into()));
        for file in IDENTITY_FILES {
            if fs::symlink_metadata(etc.join(file)).is_ok_and(|m| m.is_file()) {
                plan.binds.push((identity.join(file), Path::new("etc").join(file)));
            }
        }
    } else {
        identity_files(&plan.skeleton.join("etc"))?;
    }
    Ok(plan)
}

/// Takes a folder image's skeleton away again.
pub(crate) fn remove(plan: &RootPlan) -> io::Result<()> {
    remove_tree(&identity_of(&plan.skeleton))?;
    remove_tree(&plan.skeleton)
}

fn identity_of(skeleton: &Path) -> PathBuf {
    skeleton.with_extension("etc")
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Builds a skeleton below `roots` with nothing of any image.
pub(crate) fn bare(roots: &Path, name: &str) -> io::Result<RootPlan> {
    let skeleton = roots.join(name);
    remove_tree(&skeleton)?;
    for folder in ["", "proc", "dev", "dev/pts", "dev/shm", "tmp", "run", "var", "workspace"] {
        make_dir(&skeleton.join(folder))?;
    }
    for (device, ..) in masks::DEVICES {
        fs::write(skeleton.join("dev").join(device), "")?;
    }
    let links =
        [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("ptmx", "pts/ptmx")];
    for (name, target) in links {
        symlink(target, skeleton.join("dev").join(name))?;
    }
    Ok(RootPlan { skeleton, binds: Vec::new() })
}

fn skeleton(roots: &Path, name: &str, source: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<RootPlan> {
    let mut plan = bare(roots, name)?;
    let skeleton = plan.skeleton.clone();
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        if !wanted(&name.to_string_lossy()) {
            continue;
        }
        if kind.is_symlink() {
            // A folder of ours stays one, whatever the image has in its place.
            if fs::symlink_metadata(skeleton.join(&name)).is_err() {
                symlink(fs::read_link(entry.path())?, skeleton.join(&name))?;
            }
        } else if kind.is_dir() {
            make_dir_if_missing(&skeleton.join(&name))?;
            plan.binds.push((entry.path(), name.into()));
        }
        if plan.binds.len() > BINDS_MAX {
            return Err(io::Error::other(format!("more than {BINDS_MAX} folders at its top")));
        }
    }
    if !plan.binds.iter().any(|(_, name)| name == Path::new("var")) {
        symlink("/tmp", skeleton.join("var/tmp"))?;
    }
    Ok(plan)
}

const IDENTITY_FILES: [&str; 4] = ["passwd", "group", "hosts", "hostname"];

/// Who the run is and the only host there is.
fn identity_files(etc: &Path) -> io::Result<()> {
    let passwd = format!(
        "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n\
         {INSIDE_USER}:x:{INSIDE_ID}:{INSIDE_ID}::/workspace:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    );
    let group = format!("root:x:0:\n{INSIDE_USER}:x:{INSIDE_ID}:\nnogroup:x:65534:\n");
    let hosts = "127.0.0.1 localhost sandbox\n::1 localhost\n".to_owned();
    for (name, text) in IDENTITY_FILES.into_iter().zip([passwd, group, hosts, "sandbox\n".to_owned()]) {
        fs::write(etc.join(name), text)?;
        fs::set_permissions(etc.join(name), fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Copies world-readable files, folders and links; everything else is left out.
fn copy(source: &Path, target: &Path, depth: usize, left: &mut usize) -> io::Result<()> {
    let metadata = fs::symlink_metadata(source)?;
    if *left == 0 || depth == 0 {
        return Ok(());
    }
    *left -= 1;
    if metadata.is_symlink() {
        return symlink(fs::read_link(source)?, target);
    }
    if metadata.mode() & 0o004 == 0 {
        return Ok(());
    }
    if metadata.is_dir() {
        make_dir_if_missing(target)?;
        for entry in fs::read_dir(source)? {
            let entry = entry?;
            copy(&entry.path(), &target.join(entry.file_name()), depth - 1, left)?;
        }
    } else if metadata.is_file() && metadata.len() <= COPY_BYTES_MAX {
        fs::write(target, fs::read(source)?)?;
        fs::set_permissions(target, fs::Permissions::from_mode(metadata.mode() & 0o755))?;
    }
    Ok(())
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o755).recursive(true).create(path)
}

fn make_dir_if_missing(path: &Path) -> io::Result<()> {
    if path.is_dir() { Ok(()) } else { make_dir(path) }
}
