//! The report is about what was tried, and names a fix where there is one.

use livery_sandbox::{LauncherCommand, SandboxConfig, Status, probe};

use crate::house::{As, House, everyone};

#[test]
fn the_report_tries_a_sandbox() {
    for user in everyone() {
        let house = House::closed(user);
        let report = probe(&house);
        assert!(report.is_usable(), "{user:?} {report:#?}");
        let check = |name: &str| {
            report.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("{name}: {report:#?}"))
        };
        assert!(check("self_test").detail.starts_with("a sandbox ran `true`"), "{report:#?}");
        let root = user == As::Root;
        assert_eq!(check("launcher").status == Status::Ok, root);
        assert_eq!(check("run_uids").fix.is_none(), root);
        assert_eq!(report.grants.as_ref().unwrap().privileged, root);
        for check in &report.checks {
            assert!(!check.detail.is_empty(), "{check:?}");
        }
    }
}

#[test]
fn a_launcher_that_does_not_start_is_said() {
    let program = "/bin/false".into();
    let launcher = LauncherCommand { program, ..LauncherCommand::default() };
    let report = probe(&SandboxConfig { launcher, ..SandboxConfig::new("/nonexistent") });
    assert_eq!(report.status, Status::Unusable);
    assert_eq!(report.checks.last().unwrap().detail, "the launcher process is gone");
    let nowhere = LauncherCommand { program: "/no/such/program".into(), ..LauncherCommand::default() };
    let report = probe(&SandboxConfig { launcher: nowhere, ..SandboxConfig::new("/nonexistent") });
    assert!(report.checks.last().unwrap().detail.starts_with("starting the launcher: No such file"));
}

#[tokio::test]
async fn a_state_folder_in_use_is_refused_with_a_reason() {
    let house = House::open(everyone()[0]);
    house.sandboxes.grants().await.unwrap();
    let process = livery_sandbox::spawn_launcher(&house.config).unwrap();
    let second = livery_sandbox::Sandboxes::connect(process).unwrap();
    let error = second.grants().await.unwrap_err().to_string();
    assert!(
        error.starts_with("the sandbox could not start (at state folder)")
            && error.ends_with("another launcher uses it"),
        "{error}"
    );
}
