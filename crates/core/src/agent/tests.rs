//! Findings as the author of an agent sees them: a folder in, the exact text out.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The folder of these files; a script for `scripted/x` is always there.
fn folder(files: &[(&str, &str)]) -> Folder {
    let script = ("scripts/x.yaml", "turns: []");
    let files = files.iter().copied().chain([script]);
    Folder::from_entries(files.map(|(path, text)| (path, text, false))).unwrap()
}

/// Reads a folder and compares every finding, one a line.
#[track_caller]
fn check(files: &[(&str, &str)], expected: &str) {
    let report = Agent::check(&folder(files));
    let found: String = report.findings.iter().map(|finding| format!("{finding}\n")).collect();
    let expected: String =
        expected.lines().map(|line| format!("{}\n", line.trim_start())).filter(|line| line != "\n").collect();
    assert_eq!(found, expected, "\n--- found\n{found}--- expected\n{expected}");
    let errors = report.findings.iter().any(|finding| finding.severity == Severity::Error);
    assert_eq!(report.agent.is_none(), errors);
}

/// The same for one AGENT.md of this front matter and a short prompt.
#[track_caller]
fn check_head(head: &str, expected: &str) {
    check(&[("AGENT.md", &format!("---\n{head}\n---\nWork.\n"))], expected);
}

const MINIMAL: &str = "---\nname: x\nmodel: scripted/x\n---\nWork.\n";

#[test]
fn the_example_of_the_contract_is_read_whole() {
    let text = r#"---
name: invoice-reconcile            # [a-z0-9-]{1,64}
description: Matches invoices to bank lines and explains what does not match.
model: anthropic/claude-sonnet-4-6 # PROVIDER/MODEL, or a list: fallbacks in order
tools: [shell, read_file, write_file]
input:
  type: object
  properties: {month: {type: string, pattern: "^[0-9]{4}-[0-9]{2}$"}}
  required: [month]
output:
  type: object
  properties: {matched: {type: integer}, unmatched: {type: array, items: {type: string}}}
  required: [matched, unmatched]
limits: {timeout_s: 600, max_turns: 60, max_tokens: 200000, max_cost_usd: 1.5}
sandbox: {tier: container, or_stronger: false, image: host, cpu: 1, memory_mb: 512, disk_mb: 1024, network: broker}
connections:
  bank: {connector: http, required: true}
---
Reconcile the invoices of {{input.month}} …
"#;
    let agent = Agent::parse(&folder(&[("AGENT.md", text)])).unwrap();
    let json = serde_json::to_value(&agent).unwrap();
    assert_eq!(
        json,
        json!({
            "name": "invoice-reconcile",
            "description": "Matches invoices to bank lines and explains what does not match.",
            "model": ["anthropic/claude-sonnet-4-6"],
            "tools": ["shell", "read_file", "write_file"],
            "input": {"type": "object", "properties": {"month": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"}}, "required": ["month"]},
            "output": {"type": "object", "properties": {"matched": {"type": "integer"}, "unmatched": {"type": "array", "items": {"type": "string"}}}, "required": ["matched", "unmatched"]},
            "limits": {"timeout_s": 600, "max_turns": 60, "max_tokens": 200000, "max_cost_usd": "1.50"},
            "sandbox": {"tier": "container", "or_stronger": false, "image": "host", "cpu": 1, "memory_mb": 512, "disk_mb": 1024, "network": "broker"},
            "connections": {"bank": {"connector": "http", "required": true}},
            "prompt": "Reconcile the invoices of {{input.month}} …"
        })
    );
    assert_eq!(serde_json::from_value::<Agent>(json).unwrap(), agent);
    assert_eq!(agent.prompt.render(&json!({"month": "2026-10"})), "Reconcile the invoices of 2026-10 …");
    assert!(agent.allows_tool("shell") && agent.allows_tool("finish") && !agent.allows_tool("edit_file"));
    assert!(!agent.allows_tool("terminal"));
    assert!(!agent.answers_in_text());
}

#[test]
fn a_minimal_agent_gets_every_default() {
    let agent = Agent::parse(&folder(&[("AGENT.md", MINIMAL)])).unwrap();
    assert_eq!(agent.sandbox, SandboxSpec::default());
    assert_eq!(agent.limits, Limits::default());
    assert_eq!(
        (agent.input.clone(), agent.answers_in_text(), agent.allows_tool("shell") && !agent.allows_tool("terminal")),
        (json!({"type": "object"}), true, true)
    );
    assert_eq!(serde_json::from_value::<Agent>(serde_json::to_value(&agent).unwrap()).unwrap(), agent);
}

#[test]
fn everything_wrong_is_told_at_once() {
    let text = "---
nam: x
model: claude
tools: [shel, shell, shell, remember, my_tool]
limits: {timeout_s: 0, max_turn: 3, max_cost_usd: -1, max_tokens: many}
sandbox:
  tier: gvizor
  cpu: 0
  memory_mb: 5.5
  network: internet
  gpu: 1
input: {type: strng}
mcp: []
---
Hello {{input.name}} and {{user}} and {{input.
";
    check(
        &[("AGENT.md", text)],
        "AGENT.md:2:1 `name` is missing (add name: my-agent)
         AGENT.md:2:1 unknown key `nam` in the front matter (did you mean `name`?)
         AGENT.md:3:8 `claude` is no model (write PROVIDER/MODEL, like anthropic/claude-sonnet-4-6)
         AGENT.md:4:9 no tool is called `shel` (did you mean `shell`?)
         AGENT.md:4:22 the tool `shell` is here twice (keep one)
         AGENT.md:4:29 the tool `remember` is not supported yet (leave it out)
         AGENT.md:4:39 no tool is called `my_tool` (built in: shell, run_code, terminal, read_file, write_file, edit_file, list_files, search_files, call_api, query_sql, send_email, finish; an own tool is a folder tools/NAME)
         AGENT.md:5:21 `timeout_s` must be a whole number from 1 to 86400, not 0
         AGENT.md:5:24 unknown key `max_turn` in `limits` (did you mean `max_turns`?)
         AGENT.md:5:51 `-1` is no amount in dollars (like 1.5: not negative, at most six decimals)
         AGENT.md:5:67 `max_tokens` must be a whole number, not text
         AGENT.md:7:9 no tier is called `gvizor` (did you mean `gvisor`?)
         AGENT.md:8:8 `cpu` must be a number from 0.1 to 64, not 0
         AGENT.md:9:14 `memory_mb` must be a whole number from 32 to 65536, not 5.5
         AGENT.md:10:12 no network is called `internet` (none, broker or {allow: [host, …]})
         AGENT.md:11:3 unknown key `gpu` in `sandbox` (known keys: tier, or_stronger, image, cpu, memory_mb, disk_mb, network)
         AGENT.md:12:15 `input` is not a valid JSON Schema at /type: \"strng\" is no type: write array, boolean, integer, null, number, object, string or a list of them
         AGENT.md:13:1 `mcp` is not supported yet (leave it out)
         AGENT.md:15:26 unknown placeholder `user` (write {{input.name}}, or \\{{ for a literal {{)
         AGENT.md:15:39 this placeholder has no `}}` in its line (close it, or write \\{{ for a literal {{)",
    );
}

#[test]
fn wrong_types_say_what_is_there() {
    check_head(
        "name: 123\ndescription: [a]\nmodel: {a: b}\ntools: shell\nlimits: 3\nsandbox: {or_stronger: yes, image: ../x}\nconnections: [a]\ninput: text",
        "AGENT.md:2:7 `name` must be text, not a number (quote it: \"123\")
         AGENT.md:3:14 `description` must be text, not a list
         AGENT.md:4:8 `model` must be PROVIDER/MODEL or a list of them, not a mapping
         AGENT.md:5:8 `tools` must be a list, not text
         AGENT.md:6:9 `limits` must be a mapping, not a number
         AGENT.md:7:24 `or_stronger` must be true or false, not text (write true)
         AGENT.md:7:36 `../x` is no name of an image (`host`, or an image you imported)
         AGENT.md:8:14 `connections` must be a mapping, not a list
         AGENT.md:9:8 `input` must be a JSON Schema (a mapping), not text",
    );
    check_head(
        "name:\nmodel: [scripted/x, scripted/x, a/b/c, scripted/y, scripted/a/b]\nconnections: {Bank: {conector: http}, b: {connector: http, required: no}}",
        "AGENT.md:2:1 `name` has no value (write name: my-agent)
         AGENT.md:3:21 the model `scripted/x` is here twice (keep one)
         AGENT.md:3:40 there is no file `scripts/y.yaml` (scripts here: x)
         AGENT.md:3:52 `scripted/a/b` is no model (write PROVIDER/MODEL, like anthropic/claude-sonnet-4-6)
         AGENT.md:4:15 `Bank` is no name for a connection (1 to 64 of a-z, 0-9, _ and -)
         AGENT.md:4:15 `connector` is missing (add connector: http)
         AGENT.md:4:22 unknown key `conector` in a connection (did you mean `connector`?)
         AGENT.md:4:70 `required` must be true or false, not text (write false)",
    );
    check_head(
        "name: Big_Name\nmodel: []\nsandbox: {network: {allow: [example.com, 'http://x', 10.0.0.1, '*.com', localhost, 'example.com:8443', 'a.com:0', 'a.com:']}}",
        "AGENT.md:2:7 `Big_Name` is no name for an agent (1 to 64 of a-z, 0-9 and -)
         AGENT.md:3:8 `model` must name 1 to 8 models, not 0
         AGENT.md:4:42 `http://x` is no name of a host (a plain name like api.example.com or api.example.com:8443, in lower case)
         AGENT.md:4:54 `10.0.0.1` is no name of a host (a plain name like api.example.com or api.example.com:8443, in lower case)
         AGENT.md:4:64 `*.com` is no name of a host (a plain name like api.example.com or api.example.com:8443, in lower case)
         AGENT.md:4:73 `localhost` is no name of a host (a plain name like api.example.com or api.example.com:8443, in lower case)
         AGENT.md:4:104 `a.com:0` is no name of a host (a plain name like api.example.com or api.example.com:8443, in lower case)
         AGENT.md:4:115 `a.com:` is no name of a host (a plain name like api.example.com or api.example.com:8443, in lower case)",
    );
}

#[test]
fn front_matter_is_found_or_said_to_be_missing() {
    check(&[], "AGENT.md:1:1 this file is missing (an agent is a folder with AGENT.md at its top)");
    check(
        &[("agent.md", "x")],
        "AGENT.md:1:1 this file is missing (rename agent.md)
         agent.md:1:1 warning: this is not part of an agent and is ignored (did you mean `AGENT.md`?)",
    );
    check(
        &[("AGENT.md", "")],
        "AGENT.md:1:1 the file does not begin with front matter (begin with a line --- , YAML, and a second line ---)",
    );
    check(
        &[("AGENT.md", "---\nname: x\n")],
        "AGENT.md:1:1 the front matter has no end (close it with a second line ---)",
    );
    check(&[("AGENT.md", "---\n---\nWork")], "AGENT.md:2:1 the front matter must be a mapping, not nothing");
    check(
        &[("AGENT.md", "---\nname: x\nmodel: scripted/x\n---\n")],
        "AGENT.md:4:1 warning: the prompt is empty (write what the agent is to do below the second ---)",
    );
    // A byte order mark and Windows line ends are no findings.
    let windows = "\u{feff}---\r\nname: x\r\nmodel: scripted/x\r\n---\r\n\r\nWork on {{input.a}}.\r\n";
    check(&[("AGENT.md", windows)], "");
    let folder = Folder::from_entries([("AGENT.md", b"---\nname: \xff\n---\n".to_vec(), false)]).unwrap();
    assert_eq!(
        Agent::parse(&folder).unwrap_err()[0].to_string(),
        "AGENT.md:2:7 the file is not UTF-8 text (save it as UTF-8)"
    );
    let large = Folder::from_entries([("AGENT.md", vec![b' '; 256 * 1024 + 1], false)]).unwrap();
    assert_eq!(
        Agent::parse(&large).unwrap_err()[0].to_string(),
        "AGENT.md:1:1 the file is larger than 262144 bytes (move long text into files/ or a skill)"
    );
}

#[test]
fn schemas_are_checked_where_they_stand() {
    check_head(
        "name: x\nmodel: scripted/x\ninput:\n  type: object\n  properties:\n    a: {type: string, minLength: -1}\n    b: {type: [string, nul]}\noutput: {type: array}",
        "AGENT.md:7:34 `input` is not a valid JSON Schema at /properties/a/minLength: -1 is less than the minimum of 0
         AGENT.md:8:15 `input` is not a valid JSON Schema at /properties/b/type: [\"string\",\"nul\"] is no type: write array, boolean, integer, null, number, object, string or a list of them
         AGENT.md:9:16 `output` must describe an object (type: object, with the value as one of its properties)",
    );
    check_head(
        "name: x\nmodel: scripted/x\ninput: {type: object, properties: {a: {$ref: 'https://example.com/a.json'}}}\noutput: {type: object, properties: {a: {pattern: '('}}}",
        "AGENT.md:4:46 `input`: a $ref cannot be followed: only parts of the same schema can, like #/$defs/name
         AGENT.md:5:50 `output`: not a valid JSON Schema: \"(\" is not a \"regex\"",
    );
    let agent = Agent::parse(&folder(&[(
        "AGENT.md",
        "---\nname: x\nmodel: scripted/x\ninput: {properties: {a: {}}}\n---\nWork.\n",
    )]))
    .unwrap();
    assert_eq!(agent.input, json!({"properties": {"a": {}}, "type": "object"}));
}

#[test]
fn words_that_are_nearly_keywords_get_a_warning() {
    check_head(
        "name: x\nmodel: scripted/x\ninput: {type: object, requierd: [a], properties: {requierd: {type: string, minLenght: 3, x-note: hi, default: {tpye: 1}}}}",
        "AGENT.md:4:23 warning: `requierd` means nothing in `input` (did you mean `required`?)
         AGENT.md:4:76 warning: `minLenght` means nothing in `input` (did you mean `minLength`?)",
    );
}

#[test]
fn placeholders_name_what_the_input_can_have() {
    let head = "---
name: x
model: scripted/x
input:
  type: object
  properties:
    month: {type: string}
    customer: {$ref: '#/$defs/customer'}
    lines: {type: array, items: {type: object, properties: {amount: {type: number}}}}
    extra: {type: object}
  $defs:
    customer: {type: object, properties: {name: {type: string}}, additionalProperties: false}
---
";
    let check_body = |body: &str, expected: &str| check(&[("AGENT.md", &format!("{head}{body}"))], expected);
    check_body(
        "{{input}} {{ input.month }} {{input.customer.name}} {{input.lines.0.amount}} {{input.extra.any.thing}}",
        "",
    );
    check_body(
        "\n  {{input.moth}} ü{{input.month.x}}\n{{input.customer.nam}}{{input.lines.x}} {{input.lines.0.amont}}\n",
        "AGENT.md:15:3 the input has no `moth` (name it under `input` → `properties`, or mend the placeholder)
         AGENT.md:15:19 the input has no `month.x` (name it under `input` → `properties`, or mend the placeholder)
         AGENT.md:16:1 the input has no `customer.nam` (name it under `input` → `properties`, or mend the placeholder)
         AGENT.md:16:23 the input has no `lines.x` (name it under `input` → `properties`, or mend the placeholder)
         AGENT.md:16:41 the input has no `lines.0.amont` (name it under `input` → `properties`, or mend the placeholder)",
    );
    check_body(
        r"\{{input.moth}} {{input.}} {{input.a b}} {{}} {{{input.month}}}",
        "AGENT.md:14:17 `input.` is no path into the input (write {{input.name}}, or \\{{ for a literal {{)
         AGENT.md:14:28 `input.a b` is no path into the input (write {{input.name}}, or \\{{ for a literal {{)
         AGENT.md:14:42 unknown placeholder `` (write {{input.name}}, or \\{{ for a literal {{)
         AGENT.md:14:47 unknown placeholder `{input.month` (write {{input.name}}, or \\{{ for a literal {{)",
    );
}

#[test]
fn own_tools_are_read_with_their_scripts() {
    let tool = "description: Adds.\ninput: {type: object, properties: {a: {type: integer}}}\ncommand: [./run.sh, --fast]\ntimeout_s: 5\n";
    let script = ("tools/add/run.sh", "#!/bin/sh\ncat\n");
    let agent = Agent::parse(&folder(&[("AGENT.md", MINIMAL), ("tools/add/tool.yaml", tool), script])).unwrap();
    assert_eq!(
        serde_json::to_value(&agent.own_tools).unwrap(),
        json!([{"name": "add", "description": "Adds.", "input": {"type": "object", "properties": {"a": {"type": "integer"}}}, "command": ["./run.sh", "--fast"], "timeout_s": 5}])
    );
    check(
        &[
            ("AGENT.md", "---\nname: x\nmodel: scripted/x\ntools: [shell, add]\n---\nWork.\n"),
            ("tools/add/tool.yaml", "description: Adds.\ncommand: [./rum.sh]\ntimeout: 3\n"),
            script,
            ("tools/shell/tool.yaml", "description: ''\ninput: {type: string}\ncommand: []\n"),
            ("tools/plain/tool.yaml", "description: Plain.\ncommand: [run.txt]\n"),
            ("tools/plain/run.txt", "cat\n"),
            ("tools/bit/tool.yaml", "description: Bit.\ncommand: [./run]\n"),
            ("tools/bit/run", "cat\n"),
            ("tools/has space/tool.yaml", "description: x\ncommand: [cat]\n"),
            ("tools/empty/run.sh", "#!/bin/sh\n"),
            ("tools/README.md", "x"),
            ("tools/list/tool.yaml", "- a\n"),
        ],
        "tools/README.md:1:1 warning: this file is not used (a tool is a folder: tools/NAME/tool.yaml)
         tools/add/tool.yaml:2:11 there is no file `tools/add/rum.sh` (did you mean `run.sh`?)
         tools/add/tool.yaml:3:1 unknown key `timeout` in tool.yaml (did you mean `timeout_s`?)
         tools/bit/tool.yaml:2:11 `tools/bit/run` is not executable (begin it with #! and its interpreter, or set the bit (chmod +x))
         tools/empty/tool.yaml:1:1 this file is missing (a tool needs {description, input, command})
         tools/has space/tool.yaml:1:1 `has space` is no name for a tool (letters, digits, _ and -, at most 64)
         tools/list/tool.yaml:1:1 the file must be a mapping, not a list
         tools/plain/tool.yaml:2:11 `run.txt` would be looked up in PATH (write ./run.txt for the file beside tool.yaml)
         tools/shell/tool.yaml:1:1 `shell` is the name of a built-in tool (rename the folder)
         tools/shell/tool.yaml:1:14 `description` is empty (write it or leave the key out)
         tools/shell/tool.yaml:2:15 `input` must describe an object (type: object, with the value as one of its properties)
         tools/shell/tool.yaml:3:10 `command` must have 1 to 64 words, not 0",
    );
}

#[test]
fn skills_keep_the_rules_of_their_format() {
    let skill = "---\nname: csv-tricks\ndescription: How to join CSV files.\nlicense: MIT\nmetadata: {author: us}\nallowed-tools: shell read_file\n---\nUse join.\n";
    let agent = Agent::parse(&folder(&[("AGENT.md", MINIMAL), ("skills/csv-tricks/SKILL.md", skill)])).unwrap();
    assert_eq!(
        serde_json::to_value(&agent.skills).unwrap(),
        json!([{"name": "csv-tricks", "description": "How to join CSV files.", "license": "MIT", "metadata": {"author": "us"}, "allowed_tools": ["shell", "read_file"]}])
    );
    let long = format!("---\nname: long\ndescription: {}\n---\n", "x".repeat(1025));
    check(
        &[
            ("AGENT.md", MINIMAL),
            ("skills/a/SKILL.md", "---\nname: b\ndescription: ' '\ncolour: red\nmetadata: {n: 1}\n---\n"),
            ("skills/a--b/SKILL.md", "---\nname: a--b\n---\n"),
            ("skills/long/SKILL.md", &long),
            ("skills/none/notes.md", "x"),
            ("skills/plain/SKILL.md", "# Plain\n"),
        ],
        "skills/a--b/SKILL.md:1:1 `a--b` is no name for a skill (1 to 64 of a-z, 0-9 and single hyphens inside)
         skills/a--b/SKILL.md:2:1 `description` is missing (add description: what it does and when to use it)
         skills/a/SKILL.md:2:7 the name `b` is not that of its folder (name: a)
         skills/a/SKILL.md:3:14 `description` is empty (write it or leave the key out)
         skills/a/SKILL.md:4:1 warning: the key `colour` is not used
         skills/a/SKILL.md:5:15 a value of `metadata` must be text, not a number (quote it: \"1\")
         skills/long/SKILL.md:3:14 `description` has 1025 characters, at most 1024 fit (shorten it)
         skills/none/SKILL.md:1:1 this file is missing (a skill needs a SKILL.md with name and description)
         skills/plain/SKILL.md:1:1 the file does not begin with front matter (begin with a line --- , YAML, and a second line ---)",
    );
}

#[test]
fn what_is_no_part_of_an_agent_is_a_warning() {
    check(
        &[
            ("AGENT.md", MINIMAL),
            ("README.md", ""),
            ("LICENSE", ""),
            (".gitignore", ""),
            ("files/a", ""),
            ("files/.livery/agent/tools/x/run.sh", ""),
            ("tool/x/tool.yaml", ""),
            ("data.csv", ""),
        ],
        "data.csv:1:1 warning: this is not part of an agent and is ignored (what the agent works on belongs in files/)
         files/.livery/agent/tools/x/run.sh:1:1 `.livery` in the workspace belongs to Livery (rename the folder)
         tool:1:1 warning: this is not part of an agent and is ignored (did you mean `tools/`?)",
    );
}

#[test]
fn a_flood_of_findings_ends() {
    let keys: String = (0..500).map(|n| format!("k{n}: 1\n")).collect();
    let findings = Agent::parse(&folder(&[("AGENT.md", &format!("---\n{keys}---\nx"))])).unwrap_err();
    assert_eq!(findings.len(), crate::finding::FINDINGS_MAX);
    assert_eq!(findings.last().unwrap().detail(), "and 403 more findings (mend the ones above first)");
}

#[test]
fn input_is_checked_against_the_agent() {
    let text = "---\nname: x\nmodel: scripted/x\ninput: {properties: {month: {type: string}}, required: [month], additionalProperties: false}\n---\n{{input.month}}\n";
    let agent = Agent::parse(&folder(&[("AGENT.md", text)])).unwrap();
    let places = |input: serde_json::Value| -> Vec<String> {
        agent.validate_input(&input).into_iter().map(|error| format!("{} {}", error.pointer, error.code)).collect()
    };
    assert!(places(json!({"month": "2026-10"})).is_empty());
    assert_eq!(places(json!({"month": 1})), ["/input/month schema"]);
    assert_eq!(places(json!({})), ["/input schema"]);
    assert_eq!(places(json!([])), ["/input wrong_type"]);
    assert_eq!(places(json!({"month": "x".repeat(1024 * 1024)})), ["/input too_large"]);
    let many = format!("---\nname: x\nmodel: scripted/x\n---\n{}", "{{input.a}}".repeat(100));
    let agent = Agent::parse(&folder(&[("AGENT.md", &many)])).unwrap();
    assert!(agent.validate_input(&json!({"a": "x".repeat(40_000)})).is_empty());
    let long = json!({"a": "x".repeat(50_000)});
    assert_eq!(agent.validate_input(&long)[0].code, "too_large");
    let rendered = agent.prompt.render(&long);
    assert!(rendered.len() < 4 * 1024 * 1024 + 1_000 && rendered.ends_with("(left out: the prompt would be too long)"));
}

/// Every finding stands inside its file.
fn assert_in_bounds(folder: &Folder, findings: &[Finding]) {
    for finding in findings {
        let Some(file) = folder.get(&finding.file) else {
            assert_eq!((finding.line, finding.column), (1, 1), "{finding}");
            continue;
        };
        let text = String::from_utf8_lossy(&file.bytes);
        let line =
            text.split('\n').nth(finding.line as usize - 1).unwrap_or_else(|| panic!("{finding} is below {text:?}"));
        assert!(finding.column as usize <= line.chars().count() + 1, "{finding} is right of {line:?}");
        assert!(!finding.to_string().contains('\n'), "{finding:?}");
    }
}

proptest! {
    #[test]
    fn reading_never_panics_and_stays_in_bounds(
        head in r"([a-z\[\]{}:,&*!|>'\x22#%@`\- \n\t?~0-9.é]|name: x\n|model: scripted/x\n|input: |tools: |\{\{){0,60}",
        body in r"([a-z {}\\.\n]|\{\{|\}\}|input){0,30}",
        tail in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut bytes = format!("---\n{head}\n---\n{body}").into_bytes();
        bytes.extend(tail);
        let folder = Folder::from_entries([
            ("AGENT.md", bytes.clone(), false),
            ("tools/t/tool.yaml", bytes.clone(), false),
            ("skills/s/SKILL.md", bytes, false),
        ]).unwrap();
        let report = Agent::check(&folder);
        assert_in_bounds(&folder, &report.findings);
        if let Some(agent) = report.agent {
            let stored = serde_json::to_string(&agent).unwrap();
            prop_assert_eq!(serde_json::from_str::<Agent>(&stored).unwrap(), agent);
        }
    }

    #[test]
    fn reading_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let folder = Folder::from_entries([("AGENT.md", bytes, false)]).unwrap();
        assert_in_bounds(&folder, &Agent::check(&folder).findings);
    }

    #[test]
    fn a_rendered_value_is_never_interpreted(value in r"[a-z{}\\.]{0,20}|\{\{input.b\}\}") {
        let prompt = Prompt::parse("[{{input.a}}]").unwrap();
        let input = json!({"a": value, "b": "secret"});
        prop_assert_eq!(prompt.render(&input), format!("[{value}]"));
    }

    #[test]
    fn literal_text_is_kept(text in r"[a-z}\n ]{0,40}") {
        let escaped = format!("{text}\\{{{{{text}");
        prop_assert_eq!(Prompt::parse(&escaped).unwrap().render(&json!({})), format!("{text}{{{{{text}"));
    }
}

#[test]
fn values_go_in_as_text_or_json() {
    let prompt =
        Prompt::parse("{{input.s}}|{{input.n}}|{{input.o}}|{{input.l.1}}|{{input.none.x}}|{{input.nil}}|}}").unwrap();
    let input = json!({"s": "a \"b\"", "n": 1.5, "o": {"k": [true]}, "l": [1, "two"], "nil": null});
    assert_eq!(prompt.render(&input), r#"a "b"|1.5|{"k":[true]}|two||null|}}"#);
}

#[test]
fn a_run_changes_the_sandbox_within_its_ranges() {
    let wish = |value: serde_json::Value| serde_json::from_value::<SandboxOverride>(value).unwrap();
    let spec = SandboxSpec { tier: Tier::Gvisor, ..SandboxSpec::default() };
    let changed = spec.with_override(&wish(json!({"tier": "microvm", "cpu": 0.5, "memory_mb": 1024}))).unwrap();
    assert_eq!(
        (changed.tier, changed.cpu.as_millis(), changed.memory_mb, changed.disk_mb),
        (Tier::Microvm, 500, 1024, 1024)
    );
    let refused = spec
        .with_override(&wish(json!({"tier": "container", "image": "a b", "memory_mb": 1, "disk_mb": 1_000_000})))
        .unwrap_err();
    let told: Vec<String> = refused.iter().map(|error| format!("{} {}", error.pointer, error.detail)).collect();
    assert_eq!(
        told,
        [
            "/sandbox/tier the agent asks for gvisor or stronger, not container",
            "/sandbox/image not a name of an image",
            "/sandbox/memory_mb memory_mb must be from 32 to 65536, not 1",
            "/sandbox/disk_mb disk_mb must be from 16 to 102400, not 1000000",
        ]
    );
    assert!(serde_json::from_value::<SandboxOverride>(json!({"cpu": 1000})).is_err());
    assert!(
        !Tier::Isolate.satisfies(Tier::Container)
            && !Tier::Microvm.satisfies(Tier::Isolate)
            && Tier::Isolate.satisfies(Tier::Isolate)
    );
}
