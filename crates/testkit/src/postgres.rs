//! A Postgres server of the tests' own: from the machine's packages, in a folder of its own under the temporary one, on a
//! free port of 127.0.0.1 and a Unix socket. Never a server that runs already.
//!
//! It is gone when it is dropped, and also when the process that started it dies in any way: a small shell waits for the
//! end of a pipe and cleans up. Postgres refuses to run as root, so root's tests run it as `postgres` or `nobody`.
//!
//! Calls block: tests start it from a blocking thread or before their runtime.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long the server may take to accept connections.
const READY_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a start is tried anew when the port was taken meanwhile, or processes of a killed server still hold its memory.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Between two tries.
const START_PAUSE: Duration = Duration::from_millis(100);
/// The server's superuser in every cluster made here.
const USER: &str = "livery";
/// Its password over TCP; the socket asks for none.
const PASSWORD: &str = "only-for-tests";
/// What the server says when it accepts connections.
const READY: &str = "ready to accept connections";
/// The users a root process hands the server to, in this order.
const USERS: [&str; 2] = ["postgres", "nobody"];

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No `initdb` and `postgres` in `/usr/lib/postgresql/*/bin` or `PATH`: skip, loudly.
    #[error("no Postgres server is installed (Debian package: postgresql); `cargo xtask setup` installs it")]
    NotInstalled,
    /// It is installed and does not work.
    #[error("the Postgres server of the tests: {0}")]
    Broken(String),
}

type Result<T> = std::result::Result<T, Error>;

/// How a server is started.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Whether a commit waits for the disk. Tests of crashes need it, others are faster without.
    pub fsync: bool,
    /// Connections it takes.
    pub max_connections: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { fsync: true, max_connections: 200 }
    }
}

/// A running (or stopped) server with its data.
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    owner: Option<(u32, u32)>,
    options: Options,
    port: u16,
    server: Option<Child>,
    /// Its end is what the watchdog waits for.
    watchdog: Option<(Child, ChildStdin)>,
}

impl Postgres {
    /// A fresh cluster, durable as in production.
    ///
    /// # Errors
    /// `NotInstalled`, or what went wrong.
    pub fn start() -> Result<Self> {
        Self::start_with(Options::default())
    }

    /// A fresh cluster.
    ///
    /// # Errors
    /// As for [`Postgres::start`].
    pub fn start_with(options: Options) -> Result<Self> {
        let programs = programs().ok_or(Error::NotInstalled)?;
        let folder = new_folder()?;
        let owner = owner(&folder)?;
        // From here on dropping it removes the folder.
        let mut postgres = Self { programs, folder, owner, options, port: 0, server: None, watchdog: None };
        if let Some((user, group)) = owner {
            broken("cannot give the folder away", chown(&postgres.folder, Some(user), Some(group)))?;
        }
        postgres.watchdog = Some(postgres.watch()?);
        postgres.initialise()?;
        postgres.start_again()?;
        Ok(postgres)
    }

    fn initialise(&self) -> Result<()> {
        let password = self.folder.join("password");
        broken("cannot write the password file", fs::write(&password, PASSWORD))?;
        if let Some((user, group)) = self.owner {
            broken("cannot give the password file away", chown(&password, Some(user), Some(group)))?;
        }
        let mut initdb = self.command("initdb");
        initdb.args(["--no-sync", "--encoding=UTF8", "--auth-local=trust", "--auth-host=scram-sha-256"]);
        // A locale that orders unlike bytes do: what relies on the order has to say so.
        initdb.args(["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]);
        initdb.arg(format!("--username={USER}")).arg("--pwfile").arg(&password).arg("-D").arg(self.data_dir());
        run(&mut initdb)
    }

    /// Starts the stopped server on its data. Its port may be another one; ask for the address again.
    ///
    /// # Errors
    /// What the server said.
    pub fn start_again(&mut self) -> Result<()> {
        let (begun, mut said) = (Instant::now(), String::new());
        while begun.elapsed() < START_TIME_MAX {
            if self.port == 0 {
                self.port = free_port()?;
            }
            match self.try_start() {
                Ok(server) => {
                    self.server = Some(server);
                    return Ok(());
                }
                Err(Error::Broken(words)) if words.contains("still in use") => {
                    said = words;
                    std::thread::sleep(START_PAUSE);
                }
                Err(Error::Broken(words)) if words.contains("could not bind") => {
                    self.port = 0;
                    said = words;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Broken(said))
    }

    fn try_start(&self) -> Result<Child> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data_dir()).args(["-p", &self.port.to_string()]);
        let fsync = if self.options.fsync { "on" } else { "off" };
        for setting in [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", self.folder.display()),
            format!("max_connections={}", self.options.max_connections),
            format!("fsync={fsync}"),
            format!("full_page_writes={fsync}"),
            "shared_buffers=64MB".to_owned(),
            "max_wal_size=256MB".to_owned(),
            "logging_collector=off".to_owned(),
            "log_min_messages=warning".to_owned(),
            "lc_messages=C".to_owned(),
        ] {
            command.args(["-c", &setting]);
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut server = broken("cannot start it", command.spawn())?;
        let (ready, said) = mpsc::sync_channel(1);
        if let Some(stderr) = server.stderr.take() {
            let log = broken("no log", File::options().create(true).append(true).open(self.log_file()))?;
            std::thread::spawn(move || follow(stderr, log, &ready));
        }
        match said.recv_timeout(READY_TIME_MAX) {
            Ok(Ok(())) => Ok(server),
            Ok(Err(words)) => {
                drop(server.wait());
                Err(Error::Broken(words))
            }
            Err(_) => {
                drop(server.kill());
                drop(server.wait());
                Err(Error::Broken("it was not ready in time".into()))
            }
        }
    }

    /// The address of one of its databases over the Unix socket: no password, no encryption.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@/{database}?host={}&port={}", self.folder.display(), self.port)
    }

    /// Its TCP port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The same over TCP, with the password.
    pub fn tcp_url(&self, database: &str) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// A new, empty database; its address.
    ///
    /// # Errors
    /// What the server said.
    pub fn create_database(&self, name: &str) -> Result<String> {
        self.create_database_from(name, "template1")
    }

    /// A copy of a database that nobody is connected to; its address.
    ///
    /// # Errors
    /// What the server said.
    pub fn create_database_from(&self, name: &str, template: &str) -> Result<String> {
        self.sql("postgres", &format!("create database \"{name}\" template \"{template}\""))?;
        Ok(self.url(name))
    }

    /// Runs a statement as the superuser; what it prints, unaligned.
    ///
    /// # Errors
    /// What the server said.
    pub fn sql(&self, database: &str, statement: &str) -> Result<String> {
        let mut psql = self.command("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", USER, "-d", database, "-c", statement]);
        psql.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string()]);
        let output = broken("cannot start psql", psql.output())?;
        if !output.status.success() {
            return Err(Error::Broken(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Stops in good order: running transactions are undone, the data is complete. Does nothing when it is stopped.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        self.signal("INT", server.id())?;
        broken("cannot wait for its end", server.wait()).map(drop)
    }

    /// [`Postgres::stop`], then [`Postgres::start_again`], on the same port.
    ///
    /// # Errors
    /// When it does not stop, or does not start.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start_again()
    }

    /// `kill -9` to the server: the crash. [`Postgres::start_again`] recovers.
    ///
    /// # Errors
    /// When there is none to kill.
    pub fn kill(&mut self) -> Result<()> {
        let Some(mut server) = self.server.take() else {
            return Err(Error::Broken("it is not running".into()));
        };
        // Its processes give up by themselves when it is gone; the next start waits for that.
        broken("cannot kill it", server.kill())?;
        broken("cannot wait for its end", server.wait()).map(drop)
    }

    /// The server's process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// Where its data is.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What it said.
    pub fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn signal(&self, name: &str, pid: u32) -> Result<()> {
        run(Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()))
    }

    /// One of its programs, as the user it runs under.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.folder).stdin(Stdio::null()).process_group(0).env_remove("LC_ALL");
        command.envs([("LC_MESSAGES", "C"), ("PGCONNECT_TIMEOUT", "10")]);
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    /// A shell that cleans up when this process dies: the pipe it reads ends then. A word on it means that all is well.
    fn watch(&self) -> Result<(Child, ChildStdin)> {
        const SCRIPT: &str = "read word && exit 0; \
            pid=$(head -n 1 \"$1/data/postmaster.pid\" 2>/dev/null) && kill -QUIT \"$pid\" 2>/dev/null; \
            tries=0; while [ -e \"$1/data/postmaster.pid\" ] && [ $tries -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done; \
            rm -rf \"$1\"";
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "postgres-watchdog"]).arg(&self.folder).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut watchdog = broken("cannot start the watchdog", command.spawn())?;
        let pipe = watchdog.stdin.take().ok_or_else(|| Error::Broken("the watchdog has no pipe".into()))?;
        Ok((watchdog, pipe))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // An error leaves nothing to do but to clean up as far as it goes.
        if self.stop().is_err()
            && let Some(mut server) = self.server.take()
        {
            drop(server.kill());
            drop(server.wait());
        }
        if let Some((mut watchdog, mut pipe)) = self.watchdog.take() {
            drop(pipe.write_all(b"done\n"));
            drop(pipe);
            drop(watchdog.wait());
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Reads the server's words to their end, into its log; says when it is ready, or why it will not be.
fn follow(stderr: impl io::Read, mut log: File, ready: &mpsc::SyncSender<std::result::Result<(), String>>) {
    let mut words = String::new();
    let mut told = false;
    for line in BufReader::new(stderr).lines().map_while(io::Result::ok) {
        // A full disk loses the log, not the test.
        drop(writeln!(log, "{line}"));
        if !told {
            words.push_str(&line);
            words.push('\n');
            if line.contains(READY) {
                told = true;
                drop(ready.send(Ok(())));
            }
        }
    }
    if !told {
        drop(ready.send(Err(words)));
    }
}

/// The newest version's programs.
fn programs() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(io::Result::ok)
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_unstable();
    let on_path = std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let packaged = versions.into_iter().rev().map(|(_, folder)| folder);
    let complete = |folder: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).is_file());
    packaged.chain(on_path.unwrap_or_default()).find(complete)
}

fn new_folder() -> Result<PathBuf> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let started = Instant::now();
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        // Short: the path of a Unix socket may have 107 bytes.
        let folder = std::env::temp_dir().join(format!("livery-pg-{}-{number}", std::process::id()));
        match fs::create_dir(&folder) {
            Ok(()) => {
                // Any user of the machine may reach the socket, as a server that left root must; the data is its owner's.
                broken("cannot open the folder", fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)))?;
                return Ok(folder);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && started.elapsed() < READY_TIME_MAX => {}
            Err(error) => return Err(Error::Broken(format!("cannot make {}: {error}", folder.display()))),
        }
    }
}

/// Whom a root process hands the server to; nobody, when we are not root: what we make is ours.
fn owner(folder: &Path) -> Result<Option<(u32, u32)>> {
    use std::os::unix::fs::MetadataExt;
    if broken("cannot look at the folder", fs::metadata(folder))?.uid() != 0 {
        return Ok(None);
    }
    let users = broken("cannot read the users", fs::read_to_string("/etc/passwd"))?;
    let find = |name: &str| {
        let fields: Vec<&str> =
            users.lines().map(|line| line.split(':').collect()).find(|f: &Vec<&str>| f[0] == name)?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    let found = USERS.iter().find_map(|name| find(name));
    found
        .map(Some)
        .ok_or_else(|| Error::Broken("Postgres refuses root, and there is no user postgres or nobody".into()))
}

fn free_port() -> Result<u16> {
    let listener = broken("no free port", TcpListener::bind(("127.0.0.1", 0)))?;
    broken("no free port", listener.local_addr()).map(|address| address.port())
}

fn run(command: &mut Command) -> Result<()> {
    let output = broken("cannot start a program", command.output())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Broken(format!("{}: {}", command.get_program().display(), said.trim())))
}

fn broken<T>(what: &str, result: io::Result<T>) -> Result<T> {
    result.map_err(|error| Error::Broken(format!("{what}: {error}")))
}
