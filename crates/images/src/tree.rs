//! An image's root while it is written: every step begins at an open folder, and no path or link leads out of it.
//!
//! The kernel resolves each path as if the root were `/` (`openat2` with `RESOLVE_IN_ROOT`), which is what a link in an image
//! means. Everything belongs to whoever writes; folders are 0755, files 0444 or 0555: an image is no place for secrets, every
//! run that has it can read all of it. Read next: `unpack.rs`.

use std::ffi::{CString, OsStr};
use std::fs::{self, File, FileTimes};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Doing, Error, Result};
use crate::layer::{show, split};
use crate::limits::TOP_MAX;

/// Folders really in each other: more than a path can say, as links shorten paths.
const REAL_DEPTH_MAX: usize = 256;
/// How often a folder is opened that the kernel could not be sure of.
const OPENINGS_MAX: usize = 100;
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);
const FILE_MODE: Mode = Mode::from_raw_mode(0o444);
const PROGRAM_MODE: Mode = Mode::from_raw_mode(0o555);

/// A root being written.
pub(crate) struct Tree {
    root: OwnedFd,
    root_depth: usize,
    /// The folder written to last: archives are sorted.
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// A path of many parts makes many folders, so that they are counted by themselves.
    folders: u64,
    folders_max: u64,
}

impl Tree {
    /// A new, empty root that may have so many folders.
    pub(crate) fn create(path: &Path, folders_max: u64) -> io::Result<Self> {
        fs::DirBuilder::new().mode(0o755).create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        rustix::fs::fchmod(&root, FOLDER_MODE)?;
        let root_depth = real_depth(root.as_fd())?;
        Ok(Self { root, root_depth, last: None, folders: 0, folders_max })
    }

    /// A folder, if there is none.
    pub(crate) fn folder(&mut self, path: &[u8]) -> Result<()> {
        if path.is_empty() {
            return Ok(());
        }
        let (parent, name) = self.place(path)?;
        if kind_at(parent.as_fd(), &name).doing(|| unpacking(path))? == Some(FileType::Directory) {
            return Ok(());
        }
        self.clear(&parent, &name).doing(|| unpacking(path))?;
        self.make_folder(&parent, &name, path)
    }

    /// A file with what `content` has, all of it.
    pub(crate) fn file(&mut self, path: &[u8], content: &mut impl Read, executable: bool, mtime: u64) -> Result<()> {
        let (parent, name) = self.place(path)?;
        let doing = || unpacking(path);
        self.clear(&parent, &name).doing(doing)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&*parent, &name, flags, Mode::RUSR | Mode::WUSR).doing(doing)?);
        io::copy(content, &mut file).doing(doing)?;
        rustix::fs::fchmod(&file, if executable { PROGRAM_MODE } else { FILE_MODE }).doing(doing)?;
        // Interpreters compare it with what their caches say.
        let when = SystemTime::UNIX_EPOCH + Duration::from_secs(mtime);
        file.set_times(FileTimes::new().set_modified(when)).doing(doing)
    }

    /// Another name for a file of the image.
    pub(crate) fn hard(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let missing =
            || Error::invalid(format!("{} is another name of {}, which is no file", show(path), show(target)));
        let (folder, target_name) = split(target);
        let target_name = c_name(target_name)?;
        let Some(target_folder) = self.open(folder).doing(|| unpacking(path))? else { return Err(missing()) };
        if kind_at(target_folder.as_fd(), &target_name).doing(|| unpacking(path))? != Some(FileType::RegularFile) {
            return Err(missing());
        }
        let (parent, name) = self.place(path)?;
        let same = |a: &rustix::fs::Stat, b: &rustix::fs::Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        let stat = |folder: BorrowedFd<'_>, name: &CString| rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        if let (Ok(there), Ok(wanted)) = (stat(parent.as_fd(), &name), stat(target_folder.as_fd(), &target_name))
            && same(&there, &wanted)
        {
            return Ok(());
        }
        self.clear(&parent, &name).doing(|| unpacking(path))?;
        rustix::fs::linkat(&target_folder, &target_name, &*parent, &name, AtFlags::empty()).doing(|| unpacking(path))
    }

    /// A link that says `text`.
    pub(crate) fn symbolic(&mut self, path: &[u8], text: &[u8]) -> Result<()> {
        let (parent, name) = self.place(path)?;
        self.clear(&parent, &name).doing(|| unpacking(path))?;
        rustix::fs::symlinkat(OsStr::from_bytes(text), &*parent, &name).doing(|| unpacking(path))
    }

    /// Takes a name away, with what is below it, if it is there.
    pub(crate) fn remove(&mut self, path: &[u8]) -> Result<()> {
        let (folder, name) = split(path);
        let name = c_name(name)?;
        match self.open(folder).doing(|| unpacking(path))? {
            Some(folder) => self.clear(&folder, &name).doing(|| unpacking(path)),
            None => Ok(()),
        }
    }

    /// Takes everything in a folder away, if there is such a folder.
    pub(crate) fn empty(&mut self, path: &[u8]) -> Result<()> {
        self.last = None;
        let Some(folder) = self.open(path).doing(|| unpacking(path))? else { return Ok(()) };
        remove_below(folder.as_fd()).doing(|| unpacking(path))
    }

    /// On disk, for good; then it may be used. Fails when it has more at its top than a sandbox may mount.
    pub(crate) fn finish(self) -> Result<()> {
        let names = names(self.root.as_fd()).doing(|| "looking at the image".to_owned())?;
        if names.len() > TOP_MAX {
            return Err(Error::limit("folders at the top of the image", TOP_MAX as u64));
        }
        rustix::fs::syncfs(&self.root).doing(|| "writing the image to disk".to_owned())
    }

    /// The folder that has or gets this name, made if there is none, and the name.
    fn place(&mut self, path: &[u8]) -> Result<(Rc<OwnedFd>, CString)> {
        let (folder, name) = split(path);
        if name.is_empty() {
            return Err(Error::invalid("the image's root is no folder"));
        }
        Ok((self.folder_at(folder)?, c_name(name)?))
    }

    fn folder_at(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>> {
        if let Some((last, folder)) = &self.last
            && last == path
        {
            return Ok(Rc::clone(folder));
        }
        let folder = match self.open(path).doing(|| unpacking(path))? {
            Some(folder) => Rc::new(folder),
            None => {
                let (parent, name) = self.place(path)?;
                self.make_folder(&parent, &name, path)?;
                let made = self.open(path).doing(|| unpacking(path))?;
                Rc::new(made.ok_or_else(|| Error::invalid(format!("{} leads nowhere", show(path))))?)
            }
        };
        self.last = Some((path.to_vec(), Rc::clone(&folder)));
        Ok(folder)
    }

    /// A folder of the image, by a path that may go over its links.
    fn open(&self, path: &[u8]) -> io::Result<Option<OwnedFd>> {
        let path = if path.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(path) };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        match open_within(&self.root, path, flags, within) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn make_folder(&mut self, parent: &OwnedFd, name: &CString, path: &[u8]) -> Result<()> {
        let depth = real_depth(parent.as_fd()).doing(|| unpacking(path))?;
        if depth > self.root_depth + REAL_DEPTH_MAX {
            return Err(Error::limit("folders in each other", REAL_DEPTH_MAX as u64));
        }
        self.folders += 1;
        if self.folders > self.folders_max {
            return Err(Error::limit("folders in the image", self.folders_max));
        }
        let made = rustix::fs::mkdirat(parent, name, FOLDER_MODE);
        // The umask may have had its say.
        made.and_then(|()| rustix::fs::chmodat(parent, name, FOLDER_MODE, AtFlags::empty())).doing(|| unpacking(path))
    }

    /// Makes room for something of this name.
    fn clear(&mut self, parent: &OwnedFd, name: &CString) -> io::Result<()> {
        let Some(kind) = kind_at(parent.as_fd(), name)? else { return Ok(()) };
        self.last = None;
        remove_at(parent.as_fd(), name, kind)
    }
}

/// Opens what lies in a folder. The kernel gives up when anything anywhere is renamed while it looks, so it is asked again.
pub(crate) fn open_within(
    folder: &OwnedFd,
    path: impl rustix::path::Arg + Copy,
    flags: OFlags,
    within: ResolveFlags,
) -> rustix::io::Result<OwnedFd> {
    for _ in 1..OPENINGS_MAX {
        match rustix::fs::openat2(folder, path, flags, Mode::empty(), within) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    rustix::fs::openat2(folder, path, flags, Mode::empty(), within)
}

fn unpacking(path: &[u8]) -> String {
    format!("unpacking {}", show(path))
}

fn c_name(name: &[u8]) -> Result<CString> {
    CString::new(name).map_err(|_| Error::invalid("a name with a zero byte"))
}

/// What has this name, links not followed.
fn kind_at(parent: BorrowedFd<'_>, name: &CString) -> io::Result<Option<FileType>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn remove_at(parent: BorrowedFd<'_>, name: &CString, kind: FileType) -> io::Result<()> {
    if kind != FileType::Directory {
        return Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // As deep as folders may be in each other, and no deeper.
    remove_below(rustix::fs::openat(parent, name, flags, Mode::empty())?.as_fd())?;
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

fn remove_below(folder: BorrowedFd<'_>) -> io::Result<()> {
    for name in names(folder)? {
        if let Some(kind) = kind_at(folder, &name)? {
            remove_at(folder, &name, kind)?;
        }
    }
    Ok(())
}

fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    // A descriptor that only names the folder cannot be read from.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(folder, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&readable)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

/// How many folders a folder lies in, whatever path led to it.
fn real_depth(folder: BorrowedFd<'_>) -> io::Result<usize> {
    let path = fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd()))?;
    Ok(path.as_os_str().as_bytes().iter().filter(|byte| **byte == b'/').count())
}
