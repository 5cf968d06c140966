//! The root key in GNOME Keyring, on a session bus of the test's own: made at the first start, there after everything was
//! started again, locked, and moved to and from a file.

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{contains, rewrap, seal, up, works};
use crate::support::{PATIENCE, Server, bytes_below, livery, output, skip, text};

const ENTRY: &str = "keyring:livery-test/root";
/// Of the keyring's own.
const PASSWORD: &[u8] = b"correct horse";
/// A session bus that starts no service by itself: a keyring started by it would stay locked.
const BUS: &str = r#"<busconfig><type>session</type><listen>BUS</listen><auth>EXTERNAL</auth><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"#;
/// Whom Livery becomes when the tests are root's: the bus has to be that user's.
const NOBODY: u32 = 65534;

/// A desktop's session without a desktop. Dropped, its programs are killed.
struct Session {
    home: tempfile::TempDir,
    bus: Child,
    keyring: Child,
}

impl Session {
    /// `None`, said aloud, where the programs are missing.
    fn start() -> Option<Self> {
        let there = |program: &str| Path::new("/usr/bin").join(program).exists();
        if !["dbus-daemon", "dbus-send", "gnome-keyring-daemon", "secret-tool"].into_iter().all(there) {
            skip("D-Bus, GNOME Keyring or secret-tool is missing; `cargo xtask setup` installs them");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let own = home.path().join("own");
        std::fs::create_dir(&own).unwrap();
        if rustix::process::geteuid().is_root() {
            chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let config = own.join("bus.conf");
        std::fs::write(&config, BUS.replace("BUS", &bus_of(home.path()))).unwrap();
        let config = format!("--config-file={}", config.display());
        let mut bus = program(home.path(), "dbus-daemon", &["--nofork", "--nopidfile", &config]);
        let bus = bus.spawn().unwrap();
        wait_for(|| own.join("bus").exists());
        let keyring = keyring(home.path());
        let session = Self { home, bus, keyring };
        session.answers();
        Some(session)
    }

    /// What a server gets that finds the bus.
    fn environment(&self) -> [(&'static str, String); 2] {
        [("LIVERY_ROOT_KEY", ENTRY.to_owned()), ("DBUS_SESSION_BUS_ADDRESS", bus_of(self.home.path()))]
    }

    /// Ends the keyring's program and starts it again, unlocked.
    fn restart(&mut self) {
        end(&mut self.keyring);
        self.keyring = keyring(self.home.path());
        self.answers();
    }

    /// What an ordinary tool finds under the entry's name.
    fn looked_up(&self) -> String {
        let tool = ["lookup", "service", "livery-test", "username", "root"];
        text(&output(&mut program(self.home.path(), "secret-tool", &tool)).stdout)
    }

    fn lock(&self) {
        let lock = [
            "--session",
            "--print-reply",
            "--dest=org.freedesktop.secrets",
            "/org/freedesktop/secrets",
            "org.freedesktop.Secret.Service.Lock",
            "array:objpath:/org/freedesktop/secrets/collection/login",
        ];
        assert!(output(&mut program(self.home.path(), "dbus-send", &lock)).status.success());
    }

    /// Waits until the keyring is on the bus.
    fn answers(&self) {
        let store = ["store", "--label=probe", "service", "probe"];
        wait_for(|| {
            let mut child = program(self.home.path(), "secret-tool", &store).stdin(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(b"x").unwrap();
            child.wait().unwrap().success()
        });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        end(&mut self.keyring);
        end(&mut self.bus);
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn bus_of(home: &Path) -> String {
    format!("unix:path={}", home.join("own/bus").display())
}

/// A program of the session, as the user that a server becomes.
fn program(home: &Path, name: &str, args: &[&str]) -> Command {
    let own = home.join("own");
    let mut command = Command::new(Path::new("/usr/bin").join(name));
    command
        .args(args)
        .env_clear()
        .env("HOME", &own)
        .env("XDG_RUNTIME_DIR", &own)
        .env("XDG_DATA_HOME", own.join("data"));
    command.env("DBUS_SESSION_BUS_ADDRESS", bus_of(home)).current_dir(&own);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn keyring(home: &Path) -> Child {
    let args = ["--foreground", "--components=secrets", "--unlock"];
    let mut child = program(home, "gnome-keyring-daemon", &args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(PASSWORD).unwrap();
    child
}

fn wait_for(mut look: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !look() {
        assert!(begun.elapsed() < PATIENCE, "nothing came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Flags of a server whose user has the bus.
fn flags() -> Vec<&'static str> {
    if rustix::process::geteuid().is_root() { vec!["--user", "65534"] } else { vec![] }
}

fn start(data: &Path, environment: &[(&'static str, String)]) -> Server {
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Server::again_with(data, &flags(), &environment)
}

fn refused(data: &Path, environment: &[(&'static str, String)]) -> (Option<i32>, String) {
    let mut all: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    if rustix::process::geteuid().is_root() {
        all.push(("LIVERY_USER", "65534"));
    }
    up(data, &all)
}

/// A data directory, and what holds it.
fn new_data() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let data = home.path().join("data");
    (home, data)
}

#[test]
fn the_root_key_is_made_in_the_keyring_and_stays_there() {
    let Some(mut session) = Session::start() else { return };
    let (_home, data) = new_data();
    let mut first = start(&data, &session.environment());
    let connection = seal(&first, "pay");
    assert_eq!(first.terminate(), Some(0));
    let key = session.looked_up();
    assert_eq!(key.len(), 44, "other programs find it: {key:?}");
    let disk = bytes_below(&data);
    assert!(!contains(&disk, key.as_bytes()) && !data.join("root.key").exists());

    session.restart();
    let mut second = start(&data, &session.environment());
    works(&second, &connection);
    second.terminate();
    assert_eq!(session.looked_up(), key, "no second key");

    session.lock();
    let (code, said) = refused(&data, &session.environment());
    assert!(code == Some(1) && said.contains("the keyring is locked"), "{code:?} {said}");
    session.restart();

    let elsewhere = [("LIVERY_ROOT_KEY", "keyring:livery-test/other".to_owned()), session.environment()[1].clone()];
    let (code, said) = refused(&data, &elsewhere);
    assert!(code == Some(1) && said.contains("has no entry livery-test/other"), "{code:?} {said}");
    let nowhere = [session.environment()[0].clone(), ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/bus".to_owned())];
    let (code, said) = refused(&data, &nowhere);
    assert!(code == Some(1) && said.contains("DBUS_SESSION_BUS_ADDRESS"), "{code:?} {said}");
    drop(start(&data, &session.environment()));
}

#[test]
fn a_root_key_moves_from_its_file_to_the_keyring_and_back() {
    let Some(session) = Session::start() else { return };
    let (_home, data) = new_data();
    let mut first = start(&data, &[]);
    let connection = seal(&first, "pay");
    first.terminate();

    let mut second = start(&data, &session.environment());
    works(&second, &connection);
    rewrap(&second);
    second.terminate();
    std::fs::remove_file(data.join("root.key")).unwrap();
    let mut third = start(&data, &session.environment());
    works(&third, &connection);
    third.terminate();

    let made = output(livery().args(["vault", "new-root-key", "--data"]).arg(&data));
    assert!(made.status.success(), "{}", text(&made.stderr));
    let [(_, entry), bus] = session.environment();
    let mut fourth = start(&data, &[("LIVERY_ROOT_KEY_OTHERS", entry), bus]);
    works(&fourth, &connection);
    rewrap(&fourth);
    fourth.terminate();
    drop(session);
    works(&start(&data, &[]), &connection);
}
