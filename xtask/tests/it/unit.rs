//! The systemd unit, as systemd itself reads it.

use std::process::Command;

use super::{installed, said, text};

/// Keys that a systemd before 254 does not know and ignores.
const NEW_KEYS: &[&str] = &["RestartSteps", "RestartMaxDelaySec", "DelegateSubgroup"];

#[test]
fn systemd_reads_the_unit_without_a_complaint() {
    if !installed("systemd-analyze") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let unit = home.path().join("livery.service");
    // The program of the unit must exist for the check.
    std::fs::write(&unit, text("systemd/livery.service").replace("/usr/local/bin/livery up", "/bin/true up")).unwrap();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output().unwrap();
    let complaints: Vec<String> = said(&output)
        .lines()
        .filter(|line| line.contains("livery.service"))
        .filter(|line| !NEW_KEYS.iter().any(|key| line.contains(&format!("Unknown key '{key}'"))))
        .map(str::to_owned)
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn the_unit_is_as_closed_as_the_page_says() {
    if !installed("systemd-analyze") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let unit = home.path().join("livery.service");
    std::fs::write(&unit, text("systemd/livery.service")).unwrap();
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=65", "--no-pager"])
        .arg(&unit)
        .output()
        .unwrap();
    let said = said(&output);
    if said.contains("unrecognized option") {
        println!("SKIPPED: this systemd-analyze cannot judge a file");
        return;
    }
    assert!(output.status.success(), "{said}");
}

#[test]
fn what_would_break_sandboxes_is_off() {
    let unit = text("systemd/livery.service");
    let set = |line: &str| unit.lines().any(|other| other == line);
    for word in [
        "ProtectProc=",
        "ProcSubset=",
        "ProtectKernelTunables=",
        "ProtectKernelLogs=",
        "PrivateUsers=",
        "ProtectControlGroups=",
        "RestrictNamespaces=",
        "MemoryDenyWriteExecute=",
        "User=",
        "StateDirectory=",
        "DynamicUser=",
    ] {
        assert!(!unit.lines().any(|line| line.starts_with(word)), "{word}");
    }
    for line in
        ["KillMode=mixed", "Restart=always", "Delegate=cpu memory pids", "NoNewPrivileges=yes", "ProtectSystem=strict"]
    {
        assert!(set(line), "{line}");
    }
}
