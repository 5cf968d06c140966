//! What the tests share: a platform with a launcher, as root or as an ordinary user.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use livery_sandbox::{
    Exec, ExecResult, LauncherCommand, Microvm, Monitor, Sandbox, SandboxConfig, Sandboxes, Spec, Tier, Tool,
    spawn_launcher,
};

/// How long a state may take to come before a test fails. Generous: a loaded machine is slow, and no test measures time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a state.
const LOOK: Duration = Duration::from_millis(10);

/// The launcher's user in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum As {
    Root,
    User,
}

/// Everyone in turn that this test process can be. Being an ordinary user, only that.
pub(crate) fn everyone() -> Vec<As> {
    if is_root() {
        vec![As::Root, As::User]
    } else {
        eprintln!("SKIPPED: the launcher as root, because this test does not run as root");
        vec![As::User]
    }
}

/// A tier, and the launcher's user in it: one row of the table of tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wall {
    pub(crate) tier: Tier,
    pub(crate) user: As,
}

impl From<As> for Wall {
    fn from(user: As) -> Self {
        Self { tier: Tier::Container, user }
    }
}

impl std::fmt::Display for Wall {
    /// As the table of checks has it: `container-root`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let user = match self.user {
            As::Root => "root",
            As::User => "user",
        };
        write!(f, "{}-{user}", self.tier)
    }
}

/// Every wall this machine can put up. What it cannot is said, once for each test that wanted it.
pub(crate) fn walls() -> Vec<Wall> {
    let mut walls: Vec<Wall> = everyone().into_iter().map(Wall::from).collect();
    match runsc() {
        Ok(_) => walls.push(Wall { tier: Tier::Gvisor, user: As::Root }),
        Err(why) => eprintln!("SKIPPED: the tier gvisor, because {why}"),
    }
    walls
}

/// The same with machines: for tests that make few, as each may cost seconds of a played processor.
pub(crate) fn walls_with_machines() -> Vec<Wall> {
    [walls(), machine_walls()].concat()
}

/// The same with one user's machines: where the launcher's user makes no difference to what is tried.
pub(crate) fn walls_with_a_machine() -> Vec<Wall> {
    [walls(), machine_walls().into_iter().take(1).collect()].concat()
}

/// Every wall around a machine that this host can put up. What it cannot is said.
pub(crate) fn machine_walls() -> Vec<Wall> {
    match machines() {
        Ok(_) => everyone().into_iter().map(|user| Wall { tier: Tier::Microvm, user }).collect(),
        Err(why) => {
            eprintln!("SKIPPED: the tier microvm, because {why}");
            Vec::new()
        }
    }
}

/// The machine's own QEMU and the kernel of `cargo xtask setup`. The processor may be played: what is tested is ours.
pub(crate) fn machines() -> Result<Microvm, String> {
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/machines");
    let tool = |path: PathBuf| {
        let missing = |_| format!("there is no {}: `cargo xtask setup` brings it", path.display());
        let sha256 = sha256(&std::fs::read(&path).map_err(missing)?);
        Ok::<_, String>(Tool { path, sha256 })
    };
    let [kernel, modules] = ["vmlinux", "modules.cpio"].map(|name| PathBuf::from(format!("{tools}/{name}")));
    let qemu = tool(PathBuf::from("/usr/bin/qemu-system-x86_64"))?;
    Ok(Microvm {
        monitor: Monitor::Qemu(qemu),
        kernel: tool(kernel)?,
        modules: Some(tool(modules)?),
        tcg: true,
        snapshot_mb: None,
    })
}

/// The runsc of `cargo xtask setup`, or another one named by `LIVERY_TEST_RUNSC`.
pub(crate) fn runsc() -> Result<Tool, String> {
    if !is_root() {
        return Err("this test does not run as root".to_owned());
    }
    let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/runsc/runsc");
    let path = std::env::var_os("LIVERY_TEST_RUNSC").map_or_else(|| PathBuf::from(installed), PathBuf::from);
    let Ok(bytes) = std::fs::read(&path) else {
        return Err(format!("there is no {}: `cargo xtask setup` brings it", path.display()));
    };
    Ok(Tool { path, sha256: sha256(&bytes) })
}

/// The deno of `cargo xtask setup`, or another one named by `LIVERY_TEST_DENO`.
pub(crate) fn deno() -> Result<Tool, String> {
    let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/deno/deno");
    let path = std::env::var_os("LIVERY_TEST_DENO").map_or_else(|| PathBuf::from(installed), PathBuf::from);
    let Ok(bytes) = std::fs::read(&path) else {
        return Err(format!("there is no {}: `cargo xtask setup` brings it", path.display()));
    };
    Ok(Tool { path, sha256: sha256(&bytes) })
}

/// Every wall around an isolate that this machine can put up. What it cannot is said.
pub(crate) fn isolates() -> Vec<Wall> {
    match deno() {
        Ok(_) => everyone().into_iter().map(|user| Wall { tier: Tier::Isolate, user }).collect(),
        Err(why) => {
            eprintln!("SKIPPED: the tier isolate, because {why}");
            Vec::new()
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// An uid nobody has, for the launcher as an ordinary user.
pub(crate) const USER: u32 = 54_321;

/// A platform with its launcher and a state folder that vanishes with it.
pub(crate) struct House {
    pub(crate) sandboxes: Sandboxes,
    pub(crate) config: SandboxConfig,
    pub(crate) launcher_pid: u32,
    pub(crate) wall: Wall,
    _temp: tempfile::TempDir,
}

impl House {
    pub(crate) fn open(wall: impl Into<Wall>) -> Self {
        Self::open_with(wall, |_| {})
    }

    pub(crate) fn open_with(wall: impl Into<Wall>, change: impl FnOnce(&mut SandboxConfig)) -> Self {
        let wall @ Wall { tier, user } = wall.into();
        let temp = tempfile::tempdir().unwrap();
        std::fs::set_permissions(temp.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let mut config = SandboxConfig::new(state_dir(&temp, user));
        config.launcher = LauncherCommand::test_function("launcher_process");
        if user == As::User && is_root() {
            config.launcher.user = Some((USER, USER));
        }
        if tier == Tier::Gvisor {
            config.runsc = Some(runsc().unwrap());
        }
        if matches!(tier, Tier::Gvisor | Tier::Microvm) {
            // What is counted before and after is what the test made.
            config.waiting = Some(0);
        }
        if tier == Tier::Isolate {
            config.isolate_host = Some(deno().unwrap());
        }
        if tier == Tier::Microvm {
            config.microvm = Some(machines().unwrap());
            config.disks_dir = Some(disks_dir(user));
        }
        change(&mut config);
        let (sandboxes, launcher_pid) = connect(&config);
        Self { sandboxes, config, launcher_pid, wall, _temp: temp }
    }

    /// The configuration alone, for what starts its own launcher elsewhere.
    pub(crate) fn closed(user: As) -> SandboxConfig {
        let mut config = SandboxConfig::new("/nonexistent");
        config.launcher = LauncherCommand::test_function("launcher_process");
        config.launcher.user = (user == As::User && is_root()).then_some((USER, USER));
        config
    }

    /// A new platform life on the same state folder.
    pub(crate) fn reopen(&mut self) {
        (self.sandboxes, self.launcher_pid) = connect(&self.config);
    }

    /// Ends the platform without a word, as SIGKILL does; the launcher's socket closes. Only paths are left to look at.
    pub(crate) fn abandon(mut self) -> Self {
        let config = SandboxConfig {
            launcher: LauncherCommand { program: "/bin/true".into(), ..LauncherCommand::default() },
            ..self.config.clone()
        };
        self.sandboxes = connect(&config).0;
        self
    }

    /// The default sandbox of this house's tier.
    pub(crate) fn spec(&self, id: &str) -> Spec {
        Spec { tier: self.wall.tier, ..Spec::new(id) }
    }

    pub(crate) async fn sandbox(&self, id: &str) -> Sandbox {
        self.sandboxes.create(self.spec(id)).await.unwrap()
    }
}

fn state_dir(temp: &tempfile::TempDir, user: As) -> PathBuf {
    let folder = temp.path().join("state");
    std::fs::create_dir(&folder).unwrap();
    if user == As::User && is_root() {
        std::os::unix::fs::chown(&folder, Some(USER), Some(USER)).unwrap();
    }
    folder
}

/// Where an image becomes a disk once, for all tests with a launcher of this user, and nobody else's business.
fn disks_dir(user: As) -> PathBuf {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    let own = rustix::process::geteuid().as_raw();
    let owner = if user == As::User && is_root() { USER } else { own };
    let folder = std::env::temp_dir().join(format!("livery-test-disks-{owner}"));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
    assert!(made.is_ok() || folder.symlink_metadata().is_ok(), "{}: {made:?}", folder.display());
    let found = folder.symlink_metadata().unwrap();
    let whose = [owner, own].contains(&found.uid());
    assert!(found.is_dir() && whose && found.mode() & 0o077 == 0, "{} is not this test's own", folder.display());
    if found.uid() != owner {
        std::os::unix::fs::lchown(&folder, Some(owner), Some(owner)).unwrap();
    }
    folder
}

fn connect(config: &SandboxConfig) -> (Sandboxes, u32) {
    let process = spawn_launcher(config).unwrap();
    let pid = process.pid();
    (Sandboxes::connect(process).unwrap(), pid)
}

/// Runs a shell line and answers it whole.
pub(crate) async fn shell(sandbox: &Sandbox, script: &str) -> ExecResult {
    sandbox.exec(Exec::shell(script), |_, _| {}).await.unwrap()
}

/// Runs a shell line that must succeed and answers its trimmed output.
pub(crate) async fn output(sandbox: &Sandbox, script: &str) -> String {
    let result = shell(sandbox, script).await;
    let text = String::from_utf8_lossy(&result.stdout).trim().to_owned();
    assert_eq!(result.exit_code, Some(0), "{script}: {text} {}", String::from_utf8_lossy(&result.stderr));
    text
}

/// Waits until `done`.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until as many processes of this name run in a sandbox: a fork shows before its program does, and the killed
/// show until they are reaped.
pub(crate) async fn until_running(sandbox: &Sandbox, name: &str, count: usize) {
    let began = Instant::now();
    loop {
        let all = output(sandbox, "ps -e -o stat=,comm=").await;
        let running = all.lines().filter(|line| !line.starts_with('Z') && line.ends_with(&format!(" {name}"))).count();
        if running == count {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{running} of {name}, not {count}:\n{all}");
        tokio::time::sleep(LOOK).await;
    }
}
