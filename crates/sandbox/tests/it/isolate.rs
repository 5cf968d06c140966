//! The isolate tier from outside: what a program answers, what it may touch, and how it ends when it takes too much.

use std::time::Duration;

use livery_sandbox::{Code, CodeOutcome, CodeResult, Error, Exec, Language, Sandbox};
use serde_json::{Value, json};

use crate::house::{House, isolates};

pub(crate) async fn run(sandbox: &Sandbox, language: Language, source: &str) -> CodeResult {
    sandbox.run_code(Code::new(language, source), |_, _| {}).await.unwrap()
}

/// The value of a program in JavaScript.
pub(crate) async fn js(sandbox: &Sandbox, source: &str) -> Value {
    value(run(sandbox, Language::Js, source).await)
}

fn value(result: CodeResult) -> Value {
    match result.outcome {
        CodeOutcome::Value(value) => value.unwrap_or(Value::Null),
        other => panic!("{other:?}\n{}", String::from_utf8_lossy(&result.stderr)),
    }
}

/// The sentence and the stack of what a program throws.
pub(crate) async fn thrown(sandbox: &Sandbox, source: &str) -> (String, String) {
    match run(sandbox, Language::Js, source).await.outcome {
        CodeOutcome::Exception { message, stack } => (message, stack.unwrap_or_default()),
        other => panic!("{source}: {other:?}"),
    }
}

#[tokio::test]
async fn a_program_answers_with_its_value_its_output_or_what_went_wrong() {
    for wall in isolates() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        assert_eq!(js(&sandbox, "const a = [1, 2]; a.map((n) => n * 2)").await, json!([2, 4]));
        assert_eq!(js(&sandbox, "const a = await Promise.resolve(41);\na + 1").await, json!(42));
        assert_eq!(js(&sandbox, "Promise.resolve({late: true})").await, json!({"late": true}));
        assert_eq!(js(&sandbox, "export default new Date(0)").await, json!("1970-01-01T00:00:00.000Z"));
        assert_eq!(js(&sandbox, "import { sep } from 'node:path';\nexport default sep").await, json!("/"));
        let ts = async |source| value(run(&sandbox, Language::Ts, source).await);
        assert_eq!(ts("const n: number = 1; const add = (a: number): number => a + n; add(2)").await, json!(3));
        assert_eq!(ts("enum Level { Low = 4 }\nLevel.Low").await, json!(4));
        assert_eq!(ts("enum Level { Low = 4 }\nexport default Level.Low as number").await, json!(4));
        // No value is not the value null.
        let nothing = run(&sandbox, Language::Js, "undefined").await.outcome;
        assert_eq!(nothing, CodeOutcome::Value(None));
        assert_eq!(run(&sandbox, Language::Js, "null").await.outcome, CodeOutcome::Value(Some(Value::Null)));

        let mut live = Vec::new();
        let code = Code::new(
            Language::Js,
            "console.log('out'); console.error('err'); setTimeout(() => console.log('later'), 20); 1",
        );
        let result = sandbox.run_code(code, |_, bytes| live.extend_from_slice(bytes)).await.unwrap();
        assert_eq!((result.stdout.as_slice(), result.stderr.as_slice()), (&b"out\nlater\n"[..], &b"err\n"[..]));
        assert_eq!(live.len(), result.stdout.len() + result.stderr.len());

        let syntax = run(&sandbox, Language::Js, "const = 1").await.outcome;
        assert!(matches!(&syntax, CodeOutcome::Syntax(message) if message.starts_with("SyntaxError")), "{syntax:?}");
        let syntax = run(&sandbox, Language::Ts, "let a: = 1").await.outcome;
        assert!(matches!(&syntax, CodeOutcome::Syntax(_)), "{syntax:?}");
        let syntax = run(&sandbox, Language::Js, "export default (").await.outcome;
        assert!(matches!(&syntax, CodeOutcome::Syntax(_)), "{syntax:?}");
        let (message, stack) = thrown(&sandbox, "function inner() { throw new TypeError('boom') }\ninner()").await;
        assert_eq!(message, "TypeError: boom");
        assert!(
            stack.contains("inner (code.js:1:") && stack.contains("code.js:2:1") && !stack.contains("ext:"),
            "{stack}"
        );
        let (message, stack) = thrown(&sandbox, "await 0;\nthrow new RangeError('after')").await;
        assert!(message == "RangeError: after" && stack.contains("code.js:2:7"), "{message} {stack}");
        // An error of its own making is not taken for one in its text.
        assert!(thrown(&sandbox, "await 0; JSON.parse('{')").await.0.starts_with("SyntaxError"));
        assert_eq!(thrown(&sandbox, "throw {odd: 1}").await.0, "Uncaught { odd: 1 }");
        assert!(thrown(&sandbox, "const a = {}; a.a = a; a").await.0.contains("circular"));
        assert!(thrown(&sandbox, "'x'.repeat(1 << 20)").await.0.contains("write it to a file"));
        assert!(thrown(&sandbox, "setTimeout(() => { throw new Error('late') }, 5); 1").await.0.contains("late"));
        let own = run(&sandbox, Language::Js, "Deno.exit(3)").await.outcome;
        assert_eq!(own, CodeOutcome::Crashed { exit_code: Some(3), signal: None });
    }
}

#[tokio::test]
async fn nothing_of_a_program_is_there_for_the_next_but_its_files() {
    for wall in isolates() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        js(&sandbox, "globalThis.left = 1; Array.prototype.map = () => 'mine'; JSON.parse = () => 0; Deno.writeTextFileSync('a.txt', 'kept')").await;
        assert_eq!(js(&sandbox, "[typeof left, [1].map((n) => n)]").await, json!(["undefined", [1]]));
        assert_eq!(js(&sandbox, "Deno.readTextFileSync('/workspace/a.txt')").await, json!("kept"));
        assert_eq!(sandbox.get("a.txt", 0, 100).await.unwrap().bytes, b"kept");
        sandbox.put("lib/sum.ts", b"export const sum = (a: number, b: number): number => a + b;", 0o644).await.unwrap();
        let program = "import { sum } from './lib/sum.ts';\nexport default sum(20, 22)";
        assert_eq!(js(&sandbox, program).await, json!(42));
        let names = sandbox.list("/workspace", 1, 100).await.unwrap().entries;
        assert_eq!(names.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["a.txt", "lib"]);
    }
}

#[tokio::test]
async fn commands_and_programs_each_have_their_tier() {
    for wall in isolates() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        let refused = sandbox.exec(Exec::shell("true"), |_, _| {}).await;
        assert!(matches!(refused, Err(Error::Unsupported("commands"))), "{refused:?}");
        let container = house.sandboxes.create(livery_sandbox::Spec::new("container")).await.unwrap();
        let refused = container.run_code(Code::new(Language::Js, "1"), |_, _| {}).await;
        assert!(matches!(refused, Err(Error::Unsupported(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_killed_and_the_next_one_runs() {
    for wall in isolates() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        for endless in ["for (;;) {}", "await new Promise((r) => setTimeout(r, 1e9))", "setInterval(() => {}, 5); 1"] {
            let code = Code { timeout: Duration::from_millis(600), ..Code::new(Language::Js, endless) };
            let result = sandbox.run_code(code, |_, _| {}).await.unwrap();
            assert_eq!(result.outcome, CodeOutcome::Timeout, "{endless}");
            assert_eq!(js(&sandbox, "1").await, json!(1), "{endless}");
        }
        // A call that is dropped ends its program too.
        let code = Code::new(Language::Js, "Deno.writeTextFileSync('began', ''); for (;;) {}");
        let dropped = tokio::time::timeout(Duration::from_millis(800), sandbox.run_code(code, |_, _| {})).await;
        assert!(dropped.is_err());
        assert_eq!(js(&sandbox, "2").await, json!(2));
    }
}

#[tokio::test]
async fn what_a_program_leaves_cuts_or_forgets_harms_no_other() {
    for wall in isolates() {
        let house = House::open(wall);
        let sandbox = house.sandbox("one").await;
        // There is no storage beside the files.
        for storage in
            ["localStorage.setItem('a', 'b')", "await (await caches.open('a')).put('http://a/', new Response('b'))"]
        {
            thrown(&sandbox, storage).await;
        }
        // Settings of another tool, and a folder in the answer's place.
        sandbox.put(".npmrc", b"registry=${NPM_REGISTRY}\n", 0o644).await.unwrap();
        run(&sandbox, Language::Js, "Deno.removeSync(Deno.args[0]); Deno.mkdirSync(Deno.args[0]); Deno.exit(0)").await;
        for round in 0..3 {
            assert_eq!(js(&sandbox, &format!("{round} + 1")).await, json!(round + 1));
        }
        // Half of a character, in a value, a key and an error.
        assert_eq!(js(&sandbox, "'\u{1F600}abc'.slice(1)").await, json!("\u{FFFD}abc"));
        assert_eq!(
            js(&sandbox, "({['\u{1F600}'.slice(1)]: ['\u{1F600}'.slice(0, 1)]})").await,
            json!({"\u{FFFD}": ["\u{FFFD}"]})
        );
        assert!(thrown(&sandbox, "throw new Error('\u{1F600}'.slice(1))").await.0.starts_with("Error: "));
        let deep = "let a = 1; for (let i = 0; i < 200; i++) a = [a]; a";
        assert!(thrown(&sandbox, deep).await.0.contains("levels deep"));
        // What ends the engine for another reason is not called memory.
        let never = run(&sandbox, Language::Js, "await new Promise(() => {})").await.outcome;
        assert!(!matches!(never, CodeOutcome::Memory | CodeOutcome::Value(_)), "{never:?}");
    }
}
