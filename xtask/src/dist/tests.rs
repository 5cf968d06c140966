//! Releases of a program that was written for these tests, installed by the real script, by the machine's own `sh`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{Options, Release, make};

/// What stands in for the program: it says its version and answers what a release asks of it.
fn program(version: &str) -> String {
    format!(
        "#!/bin/sh\ncase \"$1\" in\n--version) echo 'livery {version}' ;;\ncompletions) echo \"for $2\" ;;\n\
         up) printf 'Options:\\n      --data <DIR>  Where [env: LIVERY_DATA=]\\n      --listen <ADDR>  There [env: LIVERY_LISTEN=]\\n' ;;\n\
         *) exit 2 ;;\nesac\n"
    )
}

/// A temporary home with releases in it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Packs a release of this version into `NAME`.
    fn release(&self, version: &str, name: &str) -> Release {
        let binary = self.path(&format!("program-{version}"));
        std::fs::write(&binary, program(version)).unwrap();
        make(&Options { out: Some(self.path(name)), target: Some(target()), binary: Some(binary) }, &|_| {}).unwrap()
    }

    /// Runs the install script with these arguments.
    fn install(&self, arguments: &[&str]) -> Output {
        Command::new("sh")
            .arg(crate::root::folder().join("dist/install.sh"))
            .args(arguments)
            .env("TMPDIR", self.0.path())
            .output()
            .unwrap()
    }

    fn installs(&self, release: &Release, prefix: &Path) -> String {
        let output = self.install(&["--file", text(&release.archive), "--prefix", text(prefix)]);
        assert!(output.status.success(), "{}", all(&output));
        all(&output)
    }
}

/// A release for this machine's kind, whatever it is.
fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn all(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What the installed program says its version is.
fn version(prefix: &Path) -> String {
    let output = Command::new(prefix.join("bin/livery")).arg("--version").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Everything below a folder, links included.
fn everything(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
            found.push(entry.path().strip_prefix(folder).unwrap().to_string_lossy().into_owned());
        }
    }
    found.sort();
    found
}

#[test]
fn the_same_program_and_commit_make_the_same_archive() {
    let home = Home::new();
    let (first, second) = (home.release("7.0.0", "one"), home.release("7.0.0", "two"));
    assert_eq!(std::fs::read(&first.archive).unwrap(), std::fs::read(&second.archive).unwrap());
    assert_eq!(first.sha256, second.sha256);
    let sums = std::fs::read_to_string(home.path("one/SHA256SUMS")).unwrap();
    assert!(sums.contains(&format!("{}  livery-7.0.0-{}.tar.gz\n", first.sha256, target())), "{sums}");
}

#[test]
fn a_release_has_everything_in_it() {
    let home = Home::new();
    let release = home.release("7.0.0", "out");
    let unpacked = home.path("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    let done = Command::new("tar").args(["-xzf", text(&release.archive), "-C", text(&unpacked)]).status().unwrap();
    assert!(done.success());
    let folder = unpacked.join(format!("livery-7.0.0-{}", target()));
    for file in [
        "bin/livery",
        "LICENSE",
        "README.md",
        "docs/install.md",
        "docs/errors/internal.md",
        "examples/hello/AGENT.md",
        "completions/livery",
        "completions/_livery",
        "completions/livery.fish",
        "systemd/livery.service",
        "systemd/livery.sysusers",
        "systemd/livery.tmpfiles",
        "systemd/livery.env",
        "docker/Dockerfile",
        "compose/compose.yaml",
        "helm/livery/Chart.yaml",
        "install.sh",
        "sbom.cdx.json",
        "THIRD_PARTY_LICENSES",
        "RELEASE",
    ] {
        assert!(folder.join(file).is_file(), "{file} is missing");
    }
    // The machine's own tool agrees with every digest, and says so of every file.
    let check =
        Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&folder).output().unwrap();
    assert!(check.status.success(), "{}", all(&check));
    assert_eq!(
        all(&check).lines().count(),
        everything(&folder).iter().filter(|path| folder.join(path).is_file()).count() - 1
    );
    let licences = std::fs::read_to_string(folder.join("THIRD_PARTY_LICENSES")).unwrap();
    assert!(licences.contains("tokio@") && licences.contains("Permission is hereby granted"));
    let settings = std::fs::read_to_string(folder.join("systemd/livery.env")).unwrap();
    assert!(settings.contains("\n#LIVERY_LISTEN=\n"), "{settings}");
}

#[test]
fn upgrades_keep_the_version_before_and_go_back_to_it() {
    let home = Home::new();
    let prefix = home.path("prefix");
    for number in ["7.0.0", "7.1.0", "7.2.0"] {
        home.installs(&home.release(number, number), &prefix);
        assert_eq!(version(&prefix), format!("livery {number}"));
    }
    let kept =
        std::fs::read_dir(prefix.join("lib/livery")).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
    assert_eq!(kept, 2, "{:?}", everything(&prefix));
    // The way back lies beside the versions; a second step goes forward again.
    let script = prefix.join("lib/livery/install.sh");
    for number in ["7.1.0", "7.2.0"] {
        let back = Command::new("sh").arg(&script).args(["--prefix", text(&prefix), "--rollback"]).output().unwrap();
        assert!(back.status.success(), "{}", all(&back));
        assert_eq!(version(&prefix), format!("livery {number}"));
    }
}

#[test]
fn installing_twice_changes_nothing_and_removing_leaves_nothing() {
    let home = Home::new();
    let prefix = home.path("prefix");
    let release = home.release("7.0.0", "out");
    // An installation was killed here: its number is that of no process.
    std::fs::create_dir_all(prefix.join("lib/livery/.incoming.2147483647/livery")).unwrap();
    home.installs(&release, &prefix);
    let once = everything(&prefix);
    assert!(!once.iter().any(|path| path.contains(".incoming")), "{once:?}");
    assert!(home.installs(&release, &prefix).contains("already in"));
    assert_eq!(everything(&prefix), once);
    for path in ["bin/livery", "share/bash-completion/completions/livery", "share/zsh/site-functions/_livery"] {
        assert!(prefix.join(path).exists(), "{path} leads nowhere");
    }
    let mode = std::fs::metadata(prefix.join("bin/livery")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let removed = home.install(&["--prefix", text(&prefix), "--uninstall"]);
    assert!(removed.status.success() && all(&removed).contains("stays"), "{}", all(&removed));
    assert!(everything(&prefix).iter().all(|path| prefix.join(path).is_dir()), "{:?}", everything(&prefix));
    assert!(home.install(&["--prefix", text(&prefix), "--uninstall"]).status.success(), "the second time too");
}

#[test]
fn a_tampered_archive_is_refused_before_anything_changes() {
    let home = Home::new();
    let prefix = home.path("prefix");
    let good = home.release("7.0.0", "good");
    home.installs(&good, &prefix);
    let before = everything(&prefix);
    let bad = home.release("7.1.0", "bad");
    let mut bytes = std::fs::read(&bad.archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&bad.archive, bytes).unwrap();
    let refused = home.install(&["--file", text(&bad.archive), "--prefix", text(&prefix)]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(all(&refused).contains("not what it should be; nothing was changed"), "{}", all(&refused));
    // Neither is one without a digest, nor one whose digest was given wrong.
    std::fs::remove_file(home.path("good/SHA256SUMS")).unwrap();
    let refused = home.install(&["--file", text(&good.archive), "--prefix", text(&prefix)]);
    assert!(!refused.status.success() && all(&refused).contains("no digest to compare with"), "{}", all(&refused));
    let wrong = "0".repeat(64);
    let refused = home.install(&["--file", text(&good.archive), "--sha256", &wrong, "--prefix", text(&prefix)]);
    assert!(!refused.status.success() && all(&refused).contains(&good.sha256), "{}", all(&refused));
    assert_eq!(everything(&prefix), before);
    assert_eq!(version(&prefix), "livery 7.0.0");
}

#[test]
fn a_program_that_does_not_work_here_is_not_installed() {
    let home = Home::new();
    let prefix = home.path("prefix");
    let release = home.release("7.0.0", "out");
    let unpacked = home.path("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    Command::new("tar").args(["-xzf", text(&release.archive), "-C", text(&unpacked)]).status().unwrap();
    let folder = unpacked.join(format!("livery-7.0.0-{}", target()));
    // Damaged after unpacking: the list inside notices.
    std::fs::write(folder.join("bin/livery"), "#!/bin/sh\nexit 1\n").unwrap();
    let script = folder.join("install.sh");
    let refused = Command::new("sh").arg(&script).args(["--prefix", text(&prefix)]).output().unwrap();
    assert!(!refused.status.success() && all(&refused).contains("damaged: bin/livery"), "{}", all(&refused));
    // Whole, but for another machine: the program is tried before anything points to it.
    let digest = super::archive::sha256(b"#!/bin/sh\nexit 1\n");
    let sums = std::fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    let lines = sums.lines().map(|line| {
        if line.ends_with("  bin/livery") { format!("{digest}  bin/livery\n") } else { format!("{line}\n") }
    });
    std::fs::write(folder.join("SHA256SUMS"), lines.collect::<String>()).unwrap();
    let refused = Command::new("sh").arg(&script).args(["--prefix", text(&prefix)]).output().unwrap();
    assert!(!refused.status.success() && all(&refused).contains("does not work on this machine"), "{}", all(&refused));
    assert!(!prefix.join("bin").exists());
    assert!(everything(&prefix.join("lib/livery")).is_empty());
}

#[test]
fn an_unpacked_archive_installs_itself_and_a_dry_run_only_talks() {
    let home = Home::new();
    let prefix = home.path("prefix");
    let release = home.release("7.0.0", "out");
    let dry = home.install(&[
        "--file",
        text(&release.archive),
        "--prefix",
        text(&prefix),
        "--systemd",
        "--root",
        text(&home.path("root")),
        "--dry-run",
    ]);
    assert!(dry.status.success() && all(&dry).contains("would run:"), "{}", all(&dry));
    assert!(!prefix.exists() && !home.path("root").exists());
    Command::new("tar").args(["-xzf", text(&release.archive), "-C", text(home.0.path())]).status().unwrap();
    let script = home.path(&format!("livery-7.0.0-{}/install.sh", target()));
    let done = Command::new("sh").arg(script).args(["--prefix", text(&prefix)]).output().unwrap();
    assert!(done.status.success(), "{}", all(&done));
    assert_eq!(version(&prefix), "livery 7.0.0");
}

#[test]
fn the_service_is_laid_out_for_the_prefix_and_settings_are_written_once() {
    let home = Home::new();
    let root = home.path("root");
    let release = home.release("7.0.0", "out");
    let install = |more: &[&str]| {
        let mut arguments = vec!["--file", text(&release.archive), "--root", text(&root), "--prefix", "/opt/livery"];
        arguments.extend_from_slice(more);
        let output = home.install(&arguments);
        assert!(output.status.success(), "{}", all(&output));
    };
    install(&["--systemd"]);
    let unit = std::fs::read_to_string(root.join("etc/systemd/system/livery.service")).unwrap();
    assert!(unit.contains("\nExecStart=/opt/livery/bin/livery up\n"), "{unit}");
    let settings = root.join("etc/livery/livery.env");
    assert_eq!(std::fs::metadata(&settings).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&settings, "LIVERY_LISTEN=127.0.0.1:7000\n").unwrap();
    install(&["--systemd"]);
    assert_eq!(std::fs::read_to_string(&settings).unwrap(), "LIVERY_LISTEN=127.0.0.1:7000\n");
    let removed = home.install(&["--root", text(&root), "--prefix", "/opt/livery", "--uninstall"]);
    assert!(removed.status.success(), "{}", all(&removed));
    assert!(!root.join("etc/systemd/system/livery.service").exists());
    assert!(settings.exists(), "settings are the operator's");
}
