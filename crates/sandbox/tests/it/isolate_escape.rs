//! Check 50: what a hostile program tries from inside an isolate, each with a control that shows the attempt works where it may.
//!
//! A program that takes too much is answered with a type, and the next one runs; the quiet neighbour does not notice.

use std::time::Duration;

use livery_sandbox::{Code, CodeOutcome, Language, Sandbox};
use serde_json::json;

use crate::checks;
use crate::house::{House, isolates, until};
use crate::isolate::{js, run, thrown};

async fn sandbox(house: &House, id: &str) -> Sandbox {
    let spec = livery_sandbox::Spec { memory_mb: 256, ..house.spec(id) };
    house.sandboxes.create(spec).await.unwrap()
}

/// What became of a program within some seconds; the next one must run.
async fn end_of(sandbox: &Sandbox, source: &str) -> CodeOutcome {
    let code = Code { timeout: Duration::from_secs(20), ..Code::new(Language::Js, source) };
    let ended = sandbox.run_code(code, |_, _| {}).await;
    let outcome = ended.unwrap_or_else(|error| panic!("{source}: {error}")).outcome;
    assert_eq!(js(sandbox, "6 * 7").await, json!(42), "after {source}");
    outcome
}

#[tokio::test]
async fn no_way_of_naming_a_power_gives_it() {
    for wall in isolates() {
        let house = House::open(wall);
        let sandbox = sandbox(&house, "one").await;
        // Each ends in the host's own word for no, whichever way it is reached.
        let attempts = [
            ("Deno.readTextFileSync('/proc/self/environ')", "read access"),
            ("Deno.readTextFileSync('/host/run.js')", "read access"),
            ("Deno.readTextFileSync('/workspace/../host/run.js')", "read access"),
            ("[...Deno.readDirSync('/')]", "read access"),
            ("(await import('node:fs')).readFileSync('/proc/1/maps')", "read access"),
            ("Deno.symlinkSync('/', '/workspace/root')", "--allow-read"),
            ("Deno.writeTextFileSync('/tmp/x', '')", "write access"),
            ("Deno.writeTextFileSync('/tmp/deno/x', '')", "write access"),
            ("Deno.env.toObject()", "env access"),
            ("process.env.PATH", "env access"),
            ("new Deno.Command('/host/deno').outputSync()", "--allow-run"),
            ("(await import('node:child_process')).execFileSync('/host/deno')", "--allow-"),
            ("process.kill(1, 9)", "access"),
            ("Deno.kill(1, 'SIGKILL')", "access"),
            ("Deno.dlopen('/lib64/libc.so.6', {})", "ffi"),
            ("Deno.hostname()", "sys access"),
            ("Deno.osRelease()", "sys access"),
            ("new (await import('node:inspector')).Session().connect()", "sys access"),
            ("Function('return Deno')().hostname()", "sys access"),
            ("(() => {}).constructor.constructor('return this')().Deno.hostname()", "sys access"),
            ("(async () => {}).constructor('return await Deno.hostname()')()", "sys access"),
            ("Reflect.construct(Function, ['return globalThis'])().Deno.env.get('HOME')", "env access"),
            ("new (await import('node:vm')).Script('process.env.HOME').runInThisContext()", "env access"),
            ("await import('https://example.com/x.js')", "import access"),
            ("await import('npm:left-pad')", "no-npm"),
            ("await import('jsr:@std/assert')", "import access"),
            ("await import('file:///host/deno')", "read access"),
            ("await fetch('https://example.com/')", "no network"),
            ("await Deno.connect({hostname: '1.1.1.1', port: 80})", "unreachable"),
            ("await Deno.connect({hostname: '169.254.169.254', port: 80})", "unreachable"),
            ("await Deno.resolveDns('example.com', 'A')", ""),
        ];
        let mut other = Vec::new();
        for (attempt, word) in attempts {
            let (message, _) = thrown(&sandbox, attempt).await;
            if !message.contains(word) {
                other.push(format!("{attempt}: {message}"));
            }
        }
        assert!(other.is_empty(), "{other:#?}");
        // What is asked for is not given either.
        for name in ["run", "ffi", "env", "sys", "import"] {
            let program = format!("(await Deno.permissions.request({{name: '{name}'}})).state");
            assert_eq!(js(&sandbox, &program).await, json!("denied"), "{name}");
        }
        // The control: the same ways to what a program may have.
        sandbox.put("mine.js", b"export default 'read'", 0o644).await.unwrap();
        assert_eq!(js(&sandbox, "Deno.readTextFileSync('/workspace/../workspace/mine.js').length").await, json!(21));
        assert_eq!(js(&sandbox, "(await import('file:///workspace/mine.js')).default").await, json!("read"));
        assert_eq!(
            js(&sandbox, "(() => {}).constructor.constructor('return this')().Deno.version.v8.length > 3").await,
            json!(true)
        );
        assert_eq!(js(&sandbox, "(await import('data:text/javascript,export default 7')).default").await, json!(7));
    }
}

#[tokio::test]
async fn the_wall_stands_where_the_host_would_say_yes() {
    for wall in isolates() {
        let house = House::open(wall);
        let sandbox = sandbox(&house, "one").await;
        // What the launcher gave, as seen from the host of this machine: deno's own permissions are not the wall.
        let group = livery_sandbox::launcher::cgroup_name(&house.config.state_dir.canonicalize().unwrap());
        let mut found = Vec::new();
        until("a host waits for a program", || {
            found = deno_processes(&group);
            !found.is_empty()
        })
        .await;
        for status in found {
            let field = |name: &str| {
                status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
            };
            assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".to_owned(), "2".to_owned()), "{status}");
            assert_eq!(
                (field("CapEff:"), field("CapBnd:")),
                ("0000000000000000".to_owned(), "0000000000000000".to_owned())
            );
            assert_ne!(field("Uid:").split_whitespace().next(), Some("0"), "{status}");
        }
        // There is no other program, and no file system but what is listed here.
        let entries = sandbox.list("/", 1, 100).await.unwrap().entries;
        let names: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(names, ["dev", "host", "lib64", "proc", "run", "tmp", "var", "workspace"]);
        let host = sandbox.list("/host", 1, 100).await.unwrap().entries;
        assert_eq!(host.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["deno", "run.js"]);
        assert!(sandbox.put("/host/run.js", b"0", 0o644).await.is_err(), "the host is read-only");
        assert!(sandbox.put("/lib64/libc.so.6", b"0", 0o644).await.is_err(), "its libraries too");
        // The control: what may be written is.
        sandbox.put("/workspace/x", b"0", 0o755).await.unwrap();
    }
}

/// The status of every isolate host in this house's cgroup, or below a launcher of this user where there is none.
fn deno_processes(group: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let arguments = read("cmdline");
        if arguments.starts_with("/host/deno\0")
            && (read("cgroup").contains(group) || !read("cgroup").contains("livery"))
        {
            let status = read("status");
            found.extend((!status.is_empty()).then_some(status));
        }
    }
    found
}

#[tokio::test]
async fn what_a_program_does_to_its_realm_stays_there() {
    for wall in isolates() {
        let house = House::open(wall);
        let sandbox = sandbox(&house, "one").await;
        let poisons = [
            "Object.prototype.value = 'forged'; Object.prototype.error = {kind: 'syntax', message: 'forged'}; 1",
            "Object.defineProperty(Object.prototype, 'kind', {get() { for (;;) throw 1 }}); 1",
            "Array.prototype.push = Array.prototype.map = String.prototype.split = () => { throw 1 }; 1",
            "Promise.prototype.then = function () { return this }; 1",
            "globalThis.fetch = globalThis.eval = globalThis.Function = null; 1",
            "JSON.stringify = () => '{\"value\":\"forged\"}'; Deno.writeTextFileSync = () => {}; 1",
            "Deno.exit = () => {}; Deno.args.length = 0; delete globalThis.Deno; 1",
        ];
        for poison in poisons {
            // It may spoil its own answer, no more.
            let _ = run(&sandbox, Language::Js, poison).await;
            assert_eq!(
                js(&sandbox, "const a = {}; [1, a.value ?? 2, JSON.stringify([3])]").await,
                json!([1, 2, "[3]"]),
                "{poison}"
            );
        }
        // The control: a program that says anything about itself is heard, and is only that.
        let forged = "Deno.writeTextFileSync(Deno.args[0], '{\"value\":\"own word\"}'); Deno.exit(0)";
        assert_eq!(js(&sandbox, forged).await, json!("own word"));
        for rubbish in ["[", "{\"error\":7}", "\\u0000", "x".repeat(600_000).as_str()] {
            let program = format!("Deno.writeTextFileSync(Deno.args[0], '{rubbish}'); Deno.exit(0)");
            let outcome = end_of(&sandbox, &program).await;
            assert!(matches!(outcome, CodeOutcome::Crashed { .. } | CodeOutcome::Value(None)), "{outcome:?}");
        }
    }
}

#[tokio::test]
async fn what_takes_too_much_is_answered_with_a_type_and_the_sandbox_lives() {
    for wall in isolates() {
        let house = House::open(wall);
        let loud = sandbox(&house, "loud").await;
        let quiet = sandbox(&house, "quiet").await;
        let bombs = [
            "const a = []; for (;;) a.push(new Array(1e5).fill(1.5))",
            "const m = new Map(); for (let i = 0;; i++) m.set(i, {i})",
            "JSON.parse('['.repeat(5e7))",
            "JSON.parse('[' + '0,'.repeat(2e8))",
            "new (await import('node:worker_threads')).Worker('const a = []; for (;;) a.push([a])', {eval: true}); 1",
        ];
        for bomb in bombs {
            let outcome = end_of(&loud, bomb).await;
            let contained =
                matches!(outcome, CodeOutcome::Memory | CodeOutcome::Exception { .. } | CodeOutcome::Crashed { .. });
            assert!(contained || outcome == CodeOutcome::Timeout, "{bomb}: {outcome:?}");
            assert_eq!(js(&quiet, "1").await, json!(1));
        }
        let caught = [
            ("const a = []; for (;;) a.push(new Uint8Array(1e7).fill(1))", "allocation failed"),
            ("new ArrayBuffer(8e9)", "allocation failed"),
            ("new SharedArrayBuffer(8e9)", "allocation failed"),
            ("const m = new WebAssembly.Memory({initial: 1, maximum: 65536}); for (;;) m.grow(256)", "grow"),
            ("let s = 'x'; for (;;) s += s", "Invalid string length"),
            ("function f() { f() } f()", "Maximum call stack"),
            ("const f = () => [f()]; f()", "Maximum call stack"),
            ("new Worker('data:text/javascript,for(;;);', {type: 'module'})", "Worker is not defined"),
            ("for (let i = 0; i < 1e5; i++) Promise.reject(i)", "Uncaught"),
        ];
        for (bomb, word) in caught {
            match end_of(&loud, bomb).await {
                CodeOutcome::Exception { message, .. } => assert!(message.contains(word), "{bomb}: {message}"),
                // Whether the engine or the allocator meets the limit first.
                CodeOutcome::Memory if word == "allocation failed" => {}
                other => panic!("{bomb}: {other:?}"),
            }
        }
        for endless in [
            "/^(a+)+$/.test('a'.repeat(40) + 'b')",
            "Atomics.wait(new Int32Array(new SharedArrayBuffer(8)), 0, 0)",
            "const f = () => Promise.resolve().then(f); await f()",
            "for (;;) { try { (function f() { f() })() } catch {} }",
        ] {
            let code = Code { timeout: Duration::from_millis(700), ..Code::new(Language::Js, endless) };
            assert_eq!(loud.run_code(code, |_, _| {}).await.unwrap().outcome, CodeOutcome::Timeout, "{endless}");
        }
        // The controls: the same means, in measure.
        assert_eq!(js(&loud, "new Uint8Array(1e7).fill(1).reduce((a, b) => a + b)").await, json!(10_000_000));
        assert_eq!(js(&loud, "new WebAssembly.Memory({initial: 1}).grow(16)").await, json!(1));
        assert_eq!(js(&loud, "JSON.parse('['.repeat(1000) + ']'.repeat(1000)).length").await, json!(1));
        assert_eq!(js(&loud, "Promise.reject(1).catch((n) => n + 1)").await, json!(2));
        assert_eq!(js(&loud, "/^(a+)+$/.test('aaaa')").await, json!(true));
        assert!(loud.lost().borrow().is_none() && quiet.lost().borrow().is_none());
        checks::held(wall, &[50]);
        checks::control(&[50]);
    }
}
