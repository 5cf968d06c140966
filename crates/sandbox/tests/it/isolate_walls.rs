//! The list of checks at the walls around an isolate: what is tried from code in place of programs.
//!
//! Check 50, attacks on the engine and its host's objects, is in `isolate_escape.rs`.

use std::net::TcpListener;
use std::time::Duration;

use livery_sandbox::{ArtifactLimits, Code, CodeOutcome, Error, Language, LostReason, Sandbox, Spec, Tool};
use serde_json::json;

use crate::checks;
use crate::house::{As, House, PATIENCE, Wall, is_root, isolates, until};
use crate::isolate::{js, run, thrown};
use crate::lifetime::{cgroups, kill_9, mounts_below, of_threads};

/// Attempts of code, each with the word by which it is refused.
async fn refused(sandbox: &Sandbox, attempts: &[(String, &str)]) {
    for (attempt, word) in attempts {
        let (message, _) = thrown(sandbox, attempt).await;
        assert!(message.contains(word), "{attempt}: {message}");
    }
}

#[tokio::test]
async fn files_of_others_and_of_the_host_are_out_of_reach() {
    for wall in isolates() {
        let house = House::open(wall);
        let neighbour = house.sandbox("neighbour").await;
        neighbour.put("secret", b"canary", 0o644).await.unwrap();
        let sandbox = house.sandbox("hostile").await;
        let state = house.config.state_dir.display();
        let read = |path: String| (format!("Deno.readTextFileSync('{path}')"), "read access");
        let write = |path: &str| (format!("Deno.writeTextFileSync('{path}', 'x')"), "write access");
        refused(&sandbox, &[read("/proc/self/environ".to_owned()), read("/proc/1/environ".to_owned())]).await;
        refused(&sandbox, &[("Deno.env.toObject()".to_owned(), "env access")]).await;
        checks::held(wall, &[1]);
        refused(
            &sandbox,
            &[read(format!("{state}/workspaces/neighbour/secret")), read("../neighbour/secret".to_owned())],
        )
        .await;
        checks::held(wall, &[4]);
        refused(&sandbox, &[read(format!("{state}/journal")), read("/run/docker.sock".to_owned())]).await;
        checks::held(wall, &[5]);
        refused(&sandbox, &[write("/host/run.js"), write("/lib64/libc.so.6"), write("/etc/passwd")]).await;
        checks::held(wall, &[10]);
        // Where no wall stands there are such files, and the neighbour has its own.
        assert_eq!(js(&neighbour, "Deno.readTextFileSync('secret')").await, json!("canary"));
        if is_root() {
            assert!(std::fs::read(house.config.state_dir.join("workspaces/neighbour/secret")).is_ok());
            checks::control(&[1, 4, 5, 10]);
        }
    }
}

#[tokio::test]
async fn what_is_collected_is_plain_files_of_the_workspace() {
    for wall in isolates() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        let links = [
            ("Deno.symlinkSync('/etc/passwd', 'outputs/link')".to_owned(), "--allow-read"),
            ("Deno.linkSync('/host/run.js', 'outputs/hard')".to_owned(), "access"),
            ("(await import('node:fs')).symlinkSync('/etc', 'outputs/folder')".to_owned(), "--allow-read"),
        ];
        js(&sandbox, "Deno.mkdirSync('outputs'); Deno.writeTextFileSync('outputs/a.txt', 'a'); 1").await;
        refused(&sandbox, &links).await;
        // A file of holes, up to what one file may have.
        run(
            &sandbox,
            Language::Js,
            "const f = Deno.openSync('outputs/holes', {write: true, create: true}); f.truncateSync(2 ** 29); 1",
        )
        .await;
        let found = sandbox.artifacts(ArtifactLimits::default()).await.unwrap();
        assert_eq!(found.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["a.txt"]);
        assert!(found.left_out.iter().all(|(path, why)| path == "holes" && *why == "too large"), "{found:?}");
        // Without links nothing can be swapped for one; a folder that comes and goes leads nowhere else.
        let swap = "for (;;) { Deno.renameSync('outputs', 'away'); Deno.renameSync('away', 'outputs') }";
        let code = Code { timeout: Duration::from_secs(2), ..Code::new(Language::Js, swap) };
        let (swapped, ()) = tokio::join!(sandbox.run_code(code, |_, _| {}), async {
            let began = std::time::Instant::now();
            while began.elapsed() < Duration::from_secs(2) {
                if let Ok(part) = sandbox.get("outputs/a.txt", 0, 10).await {
                    assert_eq!(part.bytes, b"a");
                }
            }
        });
        assert_eq!(swapped.unwrap().outcome, CodeOutcome::Timeout);
        checks::held(wall, &[7, 8, 9]);
    }
}

#[tokio::test]
async fn nothing_but_the_broker_is_reached() {
    for wall in isolates() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connect = |host: &str, port: u16| format!("await Deno.connect({{hostname: '{host}', port: {port}}})");
        for host in ["169.254.169.254", "fd00:ec2::254"] {
            refused(&sandbox, &[(connect(host, 80), "")]).await;
        }
        refused(&sandbox, &[("await fetch('http://169.254.169.254/')".to_owned(), "")]).await;
        checks::held(wall, &[30]);
        let names = [
            "await Deno.resolveDns('example.com', 'A')",
            "await (await import('node:dns')).promises.lookup('example.com')",
        ];
        refused(&sandbox, &names.map(|name| (name.to_owned(), ""))).await;
        checks::held(wall, &[31]);
        for host in ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::ffff:127.0.0.1"] {
            refused(&sandbox, &[(connect(host, port), "")]).await;
        }
        checks::held(wall, &[32]);
        for address in ["192.0.2.1", "224.0.0.251", "127.0.0.53"] {
            let send = format!(
                "const s = (await import('node:dgram')).createSocket('udp4'); \
                 await new Promise((yes, no) => {{ s.on('error', no); s.on('message', yes); s.send('x', 53, '{address}', (e) => e && no(e)); \
                 setTimeout(() => no(new Error('no answer')), 300) }})"
            );
            // Its host may wait for ever for a socket that can reach nothing.
            let code = Code { timeout: Duration::from_secs(3), ..Code::new(Language::Js, &send) };
            let outcome = sandbox.run_code(code, |_, _| {}).await.unwrap().outcome;
            assert!(matches!(outcome, CodeOutcome::Exception { .. } | CodeOutcome::Timeout), "{send}: {outcome:?}");
        }
        checks::held(wall, &[35]);
        // The control: outside, the same port answers.
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        checks::control(&[30, 32]);
    }
}

#[tokio::test]
async fn a_full_disk_or_memory_ends_the_program_or_the_run() {
    for wall in isolates() {
        let house = House::open(wall);
        let quiet = house.sandbox("quiet").await;
        let loud = house.sandboxes.create(Spec { disk_mb: 8, memory_mb: 128, ..house.spec("loud") }).await.unwrap();
        let fill = "const piece = new Uint8Array(1e6).fill(7); for (let i = 0; i < 60; i++) { Deno.writeFileSync('f' + i, piece) } \
                    await new Promise((r) => setTimeout(r, 60000))";
        match loud.run_code(Code::new(Language::Js, fill), |_, _| {}).await {
            Err(Error::Lost(lost)) => assert_eq!(lost.reason, LostReason::DiskFull, "{wall:?}"),
            other => panic!("{wall:?}: {other:?}"),
        }
        checks::held(wall, &[38]);
        let loud = house.sandboxes.create(Spec { memory_mb: 128, ..house.spec("loud-2") }).await.unwrap();
        let bomb = "const a = []; for (;;) a.push(new Array(1e5).fill(1.5))";
        let outcome = run(&loud, Language::Js, bomb).await.outcome;
        assert!(matches!(outcome, CodeOutcome::Memory | CodeOutcome::Crashed { .. }), "{outcome:?}");
        checks::held(wall, &[37]);
        // The control: in measure, both are well.
        assert_eq!(
            js(&quiet, "Deno.writeFileSync('f', new Uint8Array(6e6)); new Array(1e5).fill(1.5).length").await,
            json!(100_000)
        );
        checks::control(&[37, 38]);
    }
}

#[tokio::test]
async fn code_that_takes_all_or_will_not_end_is_ended() {
    for wall in isolates() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        let threads = "const {Worker} = await import('node:worker_threads'); for (let i = 0; i < 4; i++) new Worker('for (;;);', {eval: true}); for (;;);";
        let code = Code { timeout: Duration::from_secs(2), ..Code::new(Language::Js, threads) };
        let ended = sandbox.run_code(code, |_, _| {}).await.unwrap();
        assert!(!matches!(ended.outcome, CodeOutcome::Value(_)), "{ended:?}");
        checks::held(wall, &[40, 43]);
        // What it had started does not go on.
        let group = group_of(&house);
        until("its threads end", || hosts_that_run(&group, wall) == 0).await;
        let flood = "for (let i = 0; i < 3e5; i++) console.log('flood'); 1";
        let code = Code { output_limit: 4096, ..Code::new(Language::Js, flood) };
        let flooded = sandbox.run_code(code, |_, _| {}).await.unwrap();
        assert!(flooded.stdout.len() < 5000, "{}", flooded.stdout.len());
        checks::held(wall, &[41]);
        let late = house
            .sandboxes
            .create(Spec { wall_clock: Duration::from_millis(2500), ..house.spec("late") })
            .await
            .unwrap();
        let code = Code { timeout: PATIENCE, ..Code::new(Language::Js, "for (;;);") };
        match late.run_code(code, |_, _| {}).await {
            Err(Error::Lost(lost)) => assert_eq!(lost.reason, LostReason::WallClock),
            other => panic!("{other:?}"),
        }
        checks::held(wall, &[42]);
        // The control: code in measure says all it has to say.
        let said =
            sandbox.run_code(Code::new(Language::Js, "console.log('a'.repeat(3000)); 1"), |_, _| {}).await.unwrap();
        assert_eq!(said.stdout.len(), 3001);
        checks::control(&[40, 41]);
    }
}

fn group_of(house: &House) -> String {
    livery_sandbox::launcher::cgroup_name(&house.config.state_dir.canonicalize().unwrap())
}

/// Threads of this house's isolate hosts that are running right now, at a look. As an ordinary user there is no cgroup to know
/// them by: then none is counted.
fn hosts_that_run(group: &str, wall: Wall) -> usize {
    if wall.user == As::User {
        return 0;
    }
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let mine = all.filter(|entry| {
        std::fs::read_to_string(entry.path().join("cgroup")).is_ok_and(|text| text.contains(group))
            && std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.starts_with(b"/host/deno\0"))
    });
    let running = mine.flat_map(|entry| std::fs::read_dir(entry.path().join("task")).into_iter().flatten().flatten());
    running
        .filter(|thread| std::fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| stat.contains(") R ")))
        .count()
}

#[tokio::test]
async fn however_it_ends_nothing_is_left() {
    for wall in isolates() {
        let mut house = House::open(wall);
        // The guest is taken away: its run is lost, and no other.
        let sandbox = house.sandbox("one").await;
        let children = of_threads(house.launcher_pid, "children");
        kill_9(children.split_whitespace().next().unwrap().parse().unwrap());
        let error = sandbox.run_code(Code::new(Language::Js, "1"), |_, _| {}).await.unwrap_err();
        assert!(matches!(error, Error::Lost(ref lost) if lost.reason == LostReason::GuestExited), "{error}");
        checks::held(wall, &[34]);
        drop(sandbox);
        let count = |house: &House| {
            let fds = std::fs::read_dir(format!("/proc/{}/fd", house.launcher_pid)).map_or(0, Iterator::count);
            fds + of_threads(house.launcher_pid, "mountinfo").lines().count() + cgroups(house).len()
        };
        house.sandbox("warm").await.kill("test").await.unwrap();
        let before = count(&house);
        for round in 0..40 {
            let sandbox = house.sandbox(&format!("round-{round}")).await;
            assert_eq!(js(&sandbox, "1").await, json!(1));
            let teardown = sandbox.kill("test").await.unwrap();
            assert!(teardown.processes_gone && teardown.cgroups_removed, "{teardown:?}");
        }
        // Two that wait for a run hold something; forty that left something would hold more.
        until("the launcher holds little more than before", || count(&house) < before + 40).await;
        checks::held(wall, &[45]);
        let sandbox = house.sandbox("last").await;
        js(&sandbox, "Deno.writeTextFileSync('file', 'kept'); 1").await;
        kill_9(house.launcher_pid);
        let lost = sandbox.lost().wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert_eq!(lost.reason, LostReason::LauncherGone);
        house.reopen();
        let sandbox = house.sandbox("last").await;
        assert_eq!(js(&sandbox, "Deno.readTextFileSync('file')").await, json!("kept"));
        house.sandboxes.shutdown().await.unwrap();
        assert!(cgroups(&house).is_empty(), "{wall:?}");
        assert_eq!(mounts_below(&house.config.state_dir), 0);
        checks::held(wall, &[44]);
    }
}

#[tokio::test]
async fn a_host_that_is_not_the_one_that_was_meant_is_refused() {
    for wall in isolates() {
        let temp = tempfile::tempdir().unwrap();
        let meant = crate::house::deno().unwrap();
        let tampered = temp.path().join("deno");
        let mut bytes = std::fs::read(&meant.path).unwrap();
        bytes.push(0);
        std::fs::write(&tampered, bytes).unwrap();
        let cases = [
            (Tool { path: tampered, ..meant.clone() }, "has the SHA-256"),
            (Tool { path: "/no/such/deno".into(), ..meant.clone() }, "No such file"),
        ];
        for (tool, why) in cases {
            let house = House::open_with(wall, |config| config.isolate_host = Some(tool.clone()));
            let refused = house.sandboxes.create(house.spec("one")).await;
            assert!(matches!(&refused, Err(Error::Tier { detail, .. }) if detail.contains(why)), "{refused:?}");
        }
        checks::held(wall, &[47]);
        // The control: the one that was meant works.
        assert_eq!(js(&House::open(wall).sandbox("one").await, "1").await, json!(1));
        checks::control(&[47]);
    }
}
