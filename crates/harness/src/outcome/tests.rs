use super::{FileEntry, IMAGE_BYTES_MAX, Match, ShellOutput, ToolOutcome};
use crate::text::RESULT_BYTES_MAX;
use crate::tools::ReadFile;
use livery_llm::message::Part;
use serde_json::{Value, json};

fn read(path: &str) -> ReadFile {
    ReadFile { path: path.into(), offset: 1, limit: 10 }
}

fn shell(output: ShellOutput) -> (bool, Value) {
    let rendered = ToolOutcome::Shell(output).render();
    (rendered.ok, serde_json::from_str(&rendered.text).unwrap())
}

#[test]
fn a_command_is_answered_with_the_contracts_object() {
    let output = ShellOutput { exit_code: Some(2), stdout: "a\n".into(), stderr: "b".into(), ..ShellOutput::default() };
    assert_eq!(shell(output), (false, json!({"exit_code": 2, "stdout": "a\n", "stderr": "b", "truncated": false})));
    let path = Some("/workspace/.livery/background-1.log".to_owned());
    let running = ShellOutput { background_pid: Some(41), full_output: path, ..ShellOutput::default() };
    let expected = json!({"exit_code": null, "background_pid": 41, "full_output": "/workspace/.livery/background-1.log",
        "stdout": "", "stderr": "", "truncated": false});
    assert_eq!(shell(running), (true, expected), "to run on is what was asked");
    let killed = ShellOutput { signal: Some(9), ..ShellOutput::default() };
    assert_eq!(
        shell(killed),
        (false, json!({"exit_code": null, "signal": 9, "stdout": "", "stderr": "", "truncated": false}))
    );
    let stopped = ShellOutput { timed_out: true, ..ShellOutput::default() };
    assert_eq!(
        shell(stopped),
        (false, json!({"exit_code": null, "stdout": "", "stderr": "", "truncated": false, "timed_out": true}))
    );
}

#[test]
fn long_output_keeps_both_ends_of_both_streams_and_names_the_whole() {
    let long = |letter: &str| format!("first {letter}\n{}last {letter}\n", format!("{letter}\n").repeat(50_000));
    let path = Some("/workspace/.livery/out-1".to_owned());
    let output = ShellOutput {
        exit_code: Some(0),
        stdout: long("o"),
        stderr: long("e"),
        full_output: path,
        ..ShellOutput::default()
    };
    let (ok, object) = shell(output);
    assert!(ok);
    for (stream, letter) in [("stdout", "o"), ("stderr", "e")] {
        let text = object[stream].as_str().unwrap();
        assert!(
            text.starts_with(&format!("first {letter}\n")) && text.ends_with(&format!("last {letter}\n")),
            "{stream}"
        );
    }
    assert_eq!((&object["truncated"], &object["full_output"]), (&json!(true), &json!("/workspace/.livery/out-1")));
}

#[test]
fn a_hundred_megabytes_stay_small() {
    for text in ["x".repeat(100 << 20), "\u{1}".repeat(100 << 20), "\"\n".repeat(50 << 20)] {
        let output = ShellOutput { exit_code: Some(0), stdout: text.clone(), ..ShellOutput::default() };
        let rendered = ToolOutcome::Shell(output).render();
        assert!(serde_json::from_str::<Value>(&rendered.text).is_ok());
        assert!(rendered.text.len() <= RESULT_BYTES_MAX && rendered.text.len() > RESULT_BYTES_MAX / 2);
        assert!(ToolOutcome::text(text).render().text.len() <= RESULT_BYTES_MAX);
    }
}

#[test]
fn own_tools_answer_with_their_standard_output() {
    let ok = ToolOutcome::Own(ShellOutput {
        exit_code: Some(0),
        stdout: "{\"a\":1}".into(),
        stderr: "noise".into(),
        ..ShellOutput::default()
    });
    assert_eq!(ok.render().text, "{\"a\":1}");
    let late = ToolOutcome::Own(ShellOutput { timed_out: true, stdout: "half".into(), ..ShellOutput::default() });
    let rendered = late.render();
    assert_eq!(
        (rendered.ok, rendered.text.as_str()),
        (false, "The tool was stopped at its time limit.\nStandard output:\nhalf")
    );
    assert_eq!(
        ToolOutcome::Own(ShellOutput { exit_code: Some(0), ..ShellOutput::default() }).render().text,
        "(no output)"
    );
}

#[test]
fn an_own_tools_long_result_names_the_whole() {
    let path = "/workspace/.livery/output-3.log";
    let output = ShellOutput {
        exit_code: Some(0),
        stdout: "row\n".repeat(20_000),
        full_output: Some(path.into()),
        ..ShellOutput::default()
    };
    let text = ToolOutcome::Own(output).render().text;
    assert!(text.len() <= RESULT_BYTES_MAX);
    assert!(
        text.ends_with(&format!("row\n\n(Something is left out; the whole output is in {path}.)")),
        "{}",
        &text[text.len() - 120..]
    );
    let failed = ShellOutput {
        exit_code: Some(1),
        stdout: "o\n".repeat(20_000),
        stderr: "e\n".repeat(20_000),
        ..ShellOutput::default()
    };
    let text = ToolOutcome::Own(failed).render().text;
    assert!(text.starts_with("The tool failed with exit code 1.\nStandard error:\ne\n") && text.ends_with("o\no\n"));
    assert!(text.len() <= RESULT_BYTES_MAX);
}

#[test]
fn files_are_lines_pictures_or_neither() {
    assert_eq!(ToolOutcome::file(b"a\nb", &read("x")), ToolOutcome::text("     1\ta\n     2\tb\n"));
    let rendered = ToolOutcome::file(b"\x89PNG\r\n\x1a\n", &read("x.txt")).render();
    assert_eq!(rendered.attachments, [Part::Image { media_type: "image/png".into(), data: "iVBORw0KGgo=".into() }]);
    for binary in [&b"\xff\xfe\x00"[..], b"a\0b"] {
        let rendered = ToolOutcome::file(binary, &read("x")).render();
        assert_eq!(
            (rendered.ok, rendered.text.as_str()),
            (false, "x is a binary file of 3 bytes; look at it with shell.")
        );
    }
    let mut huge = b"\xff\xd8\xff".to_vec();
    huge.resize(IMAGE_BYTES_MAX + 1, 0);
    assert!(!ToolOutcome::file(&huge, &read("x.jpg")).render().ok);
}

#[test]
fn matches_are_path_line_text() {
    let found = |text: &str| Match { path: "a/b.csv".into(), line: 7, text: text.into() };
    let outcome = ToolOutcome::Matches { matches: vec![found("x,1\r"), found(&"y".repeat(5_000))], more: false };
    let text = outcome.render().text;
    assert!(text.starts_with("a/b.csv:7:x,1\na/b.csv:7:yyy"));
    assert!(text.len() < 1_000, "a minified file does not fill the window");
    assert_eq!(ToolOutcome::Matches { matches: vec![], more: false }.render().text, "(no match)");
    assert_eq!(ToolOutcome::Files { entries: vec![], more: false }.render().text, "(nothing)");
    let many = vec![FileEntry { path: "f".into(), bytes: None }; 600];
    assert_eq!(ToolOutcome::Files { entries: many, more: false }.render().text.lines().count(), 501);
}
