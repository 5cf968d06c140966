//! What stands for a machine: the guest out of the initramfs, as a process whose root has the "kernel", which is a busybox, for programs.
//!
//! The host's half of the vsock is what Firecracker's is: a call of the guest's to port `P` connects to the Unix socket `PATH_P`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::json::Json;

/// The port on which a real guest calls its host.
const HOST_PORT: u32 = 17_401;
/// A greeting, and the random bytes it begins with; the clock follows them.
const GREETING_BYTES: usize = 256;
const RANDOM_BYTES: usize = 64;
/// What the kernel hands to process 1 stands behind this word.
const INIT: &str = "rdinit=/init";
/// Words without which a machine of Firecracker's cannot say what happens, or end.
const NEEDED: [&str; 4] = ["console=ttyS0", "reboot=k", "pci=off", INIT];
const APPLETS: [&str; 12] = ["sh", "true", "echo", "cat", "ls", "id", "sleep", "head", "wc", "uname", "ps", "printenv"];
/// Where a guest expects its stream.
const STREAM_FD: i32 = 3;
const F_SETFD: i32 = 2;
const CLONE_NEWUSER: i32 = 0x1000_0000;

unsafe extern "C" {
    fn unshare(flags: i32) -> i32;
    fn dup2(from: i32, to: i32) -> i32;
    fn fcntl(descriptor: i32, command: i32, ...) -> i32;
    fn memfd_create(name: *const std::ffi::c_char, flags: u32) -> i32;
}

/// What a snapshot keeps of a machine: nothing of the initramfs and the kernel's file is read again.
pub(crate) struct Memory {
    guest: Vec<u8>,
    kernel: Vec<u8>,
}

impl Memory {
    /// Whether a test's kernel says that this is to fail.
    pub(crate) fn refuses(&self, mark: &str) -> Result<(), String> {
        let said = crate::mark(&self.kernel);
        if said.as_deref() == Some(mark) { Err(format!("this kernel was made to refuse: {mark}")) } else { Ok(()) }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        [&u64::try_from(self.guest.len()).unwrap_or(0).to_le_bytes()[..], &self.guest, &self.kernel].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (guest, kernel) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
        Some(Self { guest: guest.to_vec(), kernel: kernel.to_vec() })
    }
}

/// Starts the machine of a configuration and stays until it ends.
pub(crate) fn run(text: &str, api: Option<&UnixListener>) -> Result<(), String> {
    let whole = &crate::config::read(text)?;
    let at = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    File::options().read(true).write(true).open("/dev/kvm").map_err(|error| format!("Kvm: {error}"))?;
    let boot = whole.member("boot-source").ok_or("missing field `boot-source`")?;
    let kernel = fs::read(boot.text("kernel_image_path")).map_err(at("The kernel file cannot be opened"))?;
    if !kernel.starts_with(b"\x7fELF") {
        return Err("Cannot load kernel due to invalid memory configuration or invalid kernel image".to_owned());
    }
    let initramfs = fs::read(boot.text("initrd_path")).map_err(at("The initrd file cannot be opened"))?;
    let guest = member(&initramfs, "init").ok_or("this initramfs has no /init")?;
    let folder = workspace(whole)?;
    let words: Vec<&str> = boot.text("boot_args").split(' ').filter(|word| !word.is_empty()).collect();
    if let Some(missing) = NEEDED.iter().find(|needed| !words.contains(needed)) {
        return Err(format!("this kernel's command line lacks {missing}"));
    }
    let own = words.iter().skip_while(|word| **word != INIT).skip(1);
    let given: Vec<&str> = own.copied().filter(|word| !word.contains(['=', '.'])).collect();
    match (given.as_slice(), crate::mark(&kernel).as_deref()) {
        (_, Some("hang")) | (["machine", ..], Some("deaf")) => loop {
            std::thread::park();
        },
        (_, Some("panic")) => println!("Kernel panic - not syncing: this kernel was made to"),
        (["probe"], _) => probe(guest, "probe").map_err(at("probe"))?,
        (["wait"], Some("no-wait")) => return Err("process 1 would not wait".to_owned()),
        (["wait"], _) => {
            let api = api.ok_or("a machine that waits, and nobody who could make a snapshot of it")?;
            let _stream = waiting(whole)?;
            crate::api::serve(api, text, &Memory { guest: guest.to_vec(), kernel })?;
        }
        (["machine", _, _, _, "vsock"], _) => {
            let stream = call(whole)?;
            let folder = folder.ok_or("a machine without a workspace")?;
            serve(guest, &kernel, &folder, &stream).map_err(at("guest"))?;
        }
        (given, _) => return Err(format!("process 1 would be given {given:?}")),
    }
    Ok(())
}

/// A process without a machine, which gets one from a snapshot.
pub(crate) fn restored(api: &UnixListener) -> Result<(), String> {
    let (whole, Memory { guest, kernel }) = crate::api::load(api)?;
    let folder = workspace(&whole)?.ok_or("a machine without a workspace")?;
    // The reset of its stream: it calls again.
    let mut stream = waiting(&whole)?;
    let mut greeting = [0; GREETING_BYTES];
    stream.read_exact(&mut greeting).map_err(|error| format!("nobody greets: {error}"))?;
    let text = String::from_utf8_lossy(&greeting[RANDOM_BYTES + 8..]).into_owned();
    let words: Vec<&str> = text.trim_end_matches('\0').split(' ').collect();
    let ["machine", _, _, _, "vsock"] = words[..] else { return Err(format!("it is greeted with {words:?}")) };
    // What a run's first command sees of it.
    let random: String = greeting[..RANDOM_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
    let clock = u64::from_le_bytes(greeting[RANDOM_BYTES..RANDOM_BYTES + 8].try_into().unwrap_or_default());
    let root = folder.join("machine");
    let told = fs::create_dir_all(&root).and_then(|()| fs::write(root.join("greeting"), format!("{random} {clock}\n")));
    told.map_err(|error| error.to_string())?;
    serve(&guest, &kernel, &folder, &stream).map_err(|error| format!("guest: {error}"))
}

/// The guest's call to its host.
fn call(whole: &Json) -> Result<UnixStream, String> {
    let vsock = whole.member("vsock").ok_or("the guest's call finds no vsock")?;
    let path = format!("{}_{HOST_PORT}", vsock.text("uds_path"));
    UnixStream::connect(&path).map_err(|error| format!("{path}: {error}"))
}

/// The same of a guest that waits: it says so.
fn waiting(whole: &Json) -> Result<UnixStream, String> {
    let mut stream = call(whole)?;
    stream.write_all(b"W").map_err(|error| error.to_string())?;
    Ok(stream)
}

/// Opens every disk as a machine would, and answers the folder of the one that can be written.
fn workspace(whole: &Json) -> Result<Option<PathBuf>, String> {
    let Some(Json::List(drives)) = whole.member("drives") else { return Ok(None) };
    let mut folder = None;
    for drive in drives {
        let (path, fixed) = (drive.text("path_on_host"), drive.member("is_read_only") == Some(&Json::Bool(true)));
        let opened = File::options().read(true).write(!fixed).open(path);
        opened.map_err(|error| format!("Unable to open the block device file {path}: {error}"))?;
        if !fixed {
            folder = Path::new(path).parent().map(Path::to_owned);
        }
    }
    Ok(folder)
}

/// A machine that only says a word: its console is this process's output.
fn probe(guest: &[u8], word: &str) -> io::Result<()> {
    // SAFETY: a C string that outlives the call; the descriptor that comes back is owned by no one else.
    let mut program = unsafe { File::from_raw_fd(memfd_create(c"init".as_ptr(), 0)) };
    program.write_all(guest)?;
    let path = format!("/proc/self/fd/{}", program.as_raw_fd());
    // The word is said on standard error; that the program ends with an error is what a kernel panics for.
    Command::new(path).arg(word).status().map(drop)
}

/// The guest, until it ends, in a root of its own below the workspace.
fn serve(guest: &[u8], kernel: &[u8], folder: &Path, stream: &UnixStream) -> io::Result<()> {
    let root = folder.join("machine");
    for name in ["bin", "workspace", "tmp", "dev"] {
        fs::create_dir_all(root.join(name))?;
    }
    for (name, bytes) in [("init", guest), ("bin/busybox", kernel)] {
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o755)
            .open(root.join(name))?
            .write_all(bytes)?;
    }
    for applet in APPLETS {
        let _ = symlink("busybox", root.join("bin").join(applet));
    }
    let mut command = Command::new("/init");
    let descriptor = stream.as_raw_fd();
    // SAFETY: plain system calls in the child of a process with one thread; the path was made before.
    unsafe {
        command.env_clear().pre_exec(move || {
            // In a namespace of its own an ordinary user may change its root.
            let moved = dup2(descriptor, STREAM_FD) != -1 && fcntl(STREAM_FD, F_SETFD, 0) != -1;
            let failed = !moved || unshare(CLONE_NEWUSER) == -1;
            if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
        let root = std::ffi::CString::new(root.as_os_str().as_encoded_bytes())?;
        command.pre_exec(move || {
            let path = std::str::from_utf8(root.as_bytes()).map_err(io::Error::other)?;
            std::os::unix::fs::chroot(path)?;
            std::env::set_current_dir("/workspace")
        });
    }
    command.status().map(drop)
}

/// One file of an archive in the format `newc` of cpio: the last of that name.
fn member<'a>(archive: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    let (mut left, mut found) = (archive, None);
    while left.starts_with(b"070701") {
        let field = |index: usize| {
            let text = std::str::from_utf8(left.get(6 + 8 * index..14 + 8 * index)?).ok()?;
            usize::from_str_radix(text, 16).ok()
        };
        let (size, name_size) = (field(6)?, field(11)?);
        let name = left.get(110..110 + name_size.checked_sub(1)?)?;
        let start = (110 + name_size).next_multiple_of(4);
        let data = left.get(start..start + size)?;
        if name == wanted.as_bytes() {
            found = Some(data);
        }
        left = left.get((start + size).next_multiple_of(4)..)?;
    }
    found
}
