//! A sandbox does what a run needs: commands, files, and an end without a trace.

use std::time::Duration;

use livery_sandbox::{Error, Exec, LauncherCommand, Stream};

use crate::checks;
use crate::house::{
    As, House, is_root, output, shell, until_running, walls, walls_with_a_machine, walls_with_machines,
};

/// Longer than any end takes, and far shorter than the commands that are ended would.
const LONG: Duration = Duration::from_secs(120);

#[tokio::test]
async fn runs_commands_and_moves_files() {
    for wall in walls_with_a_machine() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        assert_eq!(
            output(&sandbox, "id -u; id -g; whoami; pwd; hostname; echo $HOME").await,
            "1000\n1000\nagent\n/workspace\nsandbox\n/workspace",
            "{wall:?}"
        );
        sandbox.put("deep/er/file.txt", b"kept", 0o644).await.unwrap();
        assert_eq!(output(&sandbox, "cat deep/er/file.txt; stat -c %a%U deep/er/file.txt").await, "kept644agent");
        let mut part = sandbox.get("/workspace/deep/er/file.txt", 1, 2).await.unwrap();
        assert_eq!((part.bytes.as_slice(), part.size), (&b"ep"[..], 4));
        output(&sandbox, "ln -s file.txt deep/er/link; mkfifo deep/pipe").await;
        let listing = sandbox.list("", 9, 100).await.unwrap();
        let names: Vec<&str> = listing.entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(names, ["deep", "deep/er", "deep/pipe", "deep/er/file.txt", "deep/er/link"]);
        part = sandbox.get("deep/er/link", 0, 100).await.unwrap();
        assert_eq!(part.bytes, b"kept");
        assert!(sandbox.get("absent", 0, 1).await.unwrap_err().is_not_found());
        assert!(matches!(sandbox.get("deep/pipe", 0, 1).await, Err(Error::Guest { .. })));
        let teardown = sandbox.kill("test").await.unwrap();
        assert!(teardown.was_alive && teardown.processes_gone && teardown.cgroups_removed, "{teardown:?}");
        let again = sandbox.kill("test").await.unwrap();
        assert!(!again.was_alive);
        // The workspace outlives it, and goes when told.
        let sandbox = house.sandbox("one").await;
        assert_eq!(output(&sandbox, "cat deep/er/file.txt").await, "kept");
        assert!(house.sandboxes.remove_workspace("one").await.is_err(), "alive");
        sandbox.kill("test").await.unwrap();
        house.sandboxes.remove_workspace("one").await.unwrap();
        assert!(house.sandboxes.workspaces().await.unwrap().is_empty());
        house.sandboxes.shutdown().await.unwrap();
    }
}

/// Service managers and careful people set a umask that closes everything to others.
#[tokio::test]
async fn a_closed_umask_closes_no_sandbox() {
    let wall = if is_root() { As::Root } else { As::User };
    let house = House::open_with(wall, |config| {
        let own = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
        let script = "umask 077; exec \"$0\" \"$@\"".to_owned();
        let args = ["-c".to_owned(), script, own].into_iter().chain(config.launcher.args.clone()).collect();
        config.launcher = LauncherCommand { program: "/bin/sh".into(), args, ..config.launcher.clone() };
    });
    let sandbox = house.sandbox("one").await;
    assert_eq!(output(&sandbox, "cat /dev/null; ls -d /tmp; echo kept > file; cat file").await, "/tmp\nkept");
    house.sandboxes.shutdown().await.unwrap();
}

#[tokio::test]
async fn commands_end_as_they_should() {
    for wall in walls_with_a_machine() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        let result = shell(&sandbox, "echo out; echo err >&2; exit 3").await;
        assert_eq!(
            (result.exit_code, result.stdout.as_slice(), result.stderr.as_slice()),
            (Some(3), &b"out\n"[..], &b"err\n"[..])
        );
        let missing = sandbox.exec(Exec::new(["no-such-program"]), |_, _| {}).await;
        assert!(missing.unwrap_err().is_not_found());
        let stdin = vec![b'x'; 3_000_000];
        let counted = sandbox.exec(Exec { stdin, ..Exec::new(["wc", "-c"]) }, |_, _| {}).await.unwrap();
        assert_eq!(counted.stdout, b"3000000\n");
        // SIGTERM ignored by the whole group: SIGKILL follows.
        let timeout = Duration::from_millis(200);
        let stubborn =
            Exec { timeout, ..Exec::shell("trap '' TERM; sh -c 'trap \"\" TERM; sleep 600' & sleep 600; sleep 600") };
        let result = sandbox.exec(stubborn, |_, _| {}).await.unwrap();
        assert!(result.timed_out && result.took < LONG, "{result:?}");
        until_running(&sandbox, "sleep", 0).await;
        // A background server survives the command that started it, and is listed.
        let result = shell(&sandbox, "sleep 600 & echo started").await;
        assert_eq!((result.stdout.as_slice(), result.exit_code), (&b"started\n"[..], Some(0)));
        let background =
            sandbox.exec(Exec { background: true, ..Exec::shell("echo log; sleep 600") }, |_, _| {}).await.unwrap();
        let pid = background.background_pid.unwrap();
        until_running(&sandbox, "sleep", 2).await;
        // The other `sleep` was never one of them.
        assert_eq!(sandbox.jobs().await.unwrap(), [pid]);
        assert!(!sandbox.signal_job(pid + 1000, libc::SIGTERM).await.unwrap());
        assert!(sandbox.signal_job(pid, libc::SIGTERM).await.unwrap());
        until_running(&sandbox, "sleep", 1).await;
        assert!(sandbox.jobs().await.unwrap().is_empty());
        sandbox.kill("test").await.unwrap();
    }
}

#[tokio::test]
async fn long_output_keeps_head_and_tail_and_the_whole_in_a_file() {
    for wall in walls_with_machines() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        let mut live = Vec::new();
        let exec = Exec { output_limit: 1000, ..Exec::shell("seq 1 100000") };
        let result = sandbox.exec(exec, |stream, bytes| {
            assert_eq!(stream, Stream::Stdout);
            live.extend_from_slice(bytes);
        });
        let result = result.await.unwrap();
        assert!(result.truncated && result.stdout.starts_with(b"1\n2\n") && result.stdout.ends_with(b"\n100000\n"));
        assert_eq!(live.len(), 500);
        let path = result.full_output.unwrap();
        assert_eq!(output(&sandbox, &format!("tail -n1 {path}; wc -l < {path}")).await, "100000\n100000");
        // A flood neither stops the command nor fills this process.
        let exec = Exec { timeout: Duration::from_secs(1), output_limit: 4096, ..Exec::shell("yes flood") };
        let result = sandbox.exec(exec, |_, _| {}).await.unwrap();
        assert!(result.timed_out && result.stdout.len() < 5000);
        checks::held(wall, &[41]);
        // The control: so much and more there is, where it is asked for.
        let exec = Exec { output_limit: 1_000_000, ..Exec::shell("seq 1 100000") };
        assert_eq!(sandbox.exec(exec, |_, _| {}).await.unwrap().stdout.len(), 588_895);
        checks::control(&[41]);
    }
}

#[tokio::test]
async fn many_commands_share_a_channel_and_a_dropped_one_is_killed() {
    for wall in walls_with_a_machine() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..20 {
            let sandbox = sandbox.clone();
            tasks.spawn(async move { (number, output(&sandbox, &format!("sleep 0.05; echo {number}")).await) });
        }
        while let Some(done) = tasks.join_next().await {
            let (number, text) = done.unwrap();
            assert_eq!(text, number.to_string());
        }
        let endless = sandbox.exec(Exec::shell("sleep 1000"), |_, _| {});
        tokio::select! {
            ended = endless => panic!("{ended:?}"),
            () = until_running(&sandbox, "sleep", 1) => {}
        }
        until_running(&sandbox, "sleep", 0).await;
    }
}

#[tokio::test]
async fn create_is_idempotent_by_id_and_refuses_nonsense() {
    for wall in walls() {
        let house = House::open(wall);
        let (a, b) =
            tokio::join!(house.sandboxes.create(house.spec("same")), house.sandboxes.create(house.spec("same")));
        output(&a.unwrap(), "touch here").await;
        assert_eq!(output(&b.unwrap(), "ls").await, "here");
        // Given up half-way, and asked for again at once.
        for _ in 0..20 {
            let create = house.sandboxes.create(house.spec("hasty"));
            let given_up = tokio::time::timeout(Duration::from_millis(1), create).await;
            drop(given_up);
            house.sandbox("hasty").await.kill("test").await.unwrap();
        }
        for bad in ["", "../x", "a b"] {
            assert!(matches!(house.sandboxes.create(house.spec(bad)).await, Err(Error::Invalid(_))));
        }
    }
}
