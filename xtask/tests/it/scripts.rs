//! The shell scripts: read by `sh` and by shellcheck, and the small ones run.

use std::process::Command;

use super::{command, installed, path, said};

const SCRIPTS: &[&str] = &["install.sh", "docker/entrypoint.sh", "compose/secrets.sh"];

#[test]
fn shellcheck_has_nothing_to_say() {
    for script in SCRIPTS {
        let output = command("sh", &["-n", script]);
        assert!(output.status.success(), "{script}: {}", said(&output));
    }
    if installed("shellcheck") {
        let output = command("shellcheck", SCRIPTS);
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn the_container_reads_secrets_from_files() {
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("database");
    std::fs::write(&secret, "postgres://livery:it's \"$HOME\"@db/livery\n").unwrap();
    let output = Command::new("sh")
        .arg(path("docker/entrypoint.sh"))
        .args(["sh", "-c", "printf '%s|%s' \"$LIVERY_DATABASE\" \"${LIVERY_DATABASE_FILE-gone}\""])
        .env("LIVERY_DATABASE_FILE", &secret)
        .output()
        .unwrap();
    assert_eq!(said(&output), "postgres://livery:it's \"$HOME\"@db/livery|gone");
    let output = Command::new("sh")
        .arg(path("docker/entrypoint.sh"))
        .args(["sh", "-c", "printf '%s|%s' \"$LIVERY_ROOT_KEY_OTHERS\" \"${LIVERY_ROOT_KEY-unset}\""])
        .env("LIVERY_ROOT_KEY_OTHERS_FILE", &secret)
        .env_remove("LIVERY_ROOT_KEY")
        .output()
        .unwrap();
    assert_eq!(said(&output), "postgres://livery:it's \"$HOME\"@db/livery|unset");
    let output = Command::new("sh")
        .arg(path("docker/entrypoint.sh"))
        .arg("true")
        .env("LIVERY_ROOT_KEY_FILE", home.path().join("missing"))
        .output()
        .unwrap();
    assert!(!output.status.success(), "a secret that is not there is no empty secret");
}

#[test]
fn secrets_are_made_once() {
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("secrets.sh");
    std::fs::copy(path("compose/secrets.sh"), &script).unwrap();
    let run = || {
        let output = Command::new("sh").arg(&script).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        ["root_key", "postgres_password", "database"]
            .map(|name| std::fs::read_to_string(home.path().join("secrets").join(name)).unwrap())
    };
    let first = run();
    assert_eq!(first[0].len(), 64);
    assert!(first[0].chars().all(|c| c.is_ascii_hexdigit()));
    assert_eq!(first[2], format!("postgres://livery:{}@postgres:5432/livery", first[1]));
    assert_eq!(run(), first);
}
