//! Contents go when their time is over; what proves the log stays.

use serde_json::json;

use crate::support::{SHELL_AGENT, Server, one_command};

#[test]
fn the_contents_of_an_old_run_go_and_its_headers_stay() {
    let mut server = Server::start(&[]);
    let run = server.start_run(SHELL_AGENT, Some(&one_command("echo a-word-nobody-else-says")), &json!({}));
    assert_eq!(server.ended(&run)["status"], "succeeded");
    let before = server.events(&run);
    assert!(before.iter().all(|event| event.get("deleted").is_none()));
    assert!(format!("{before:?}").contains("a-word-nobody-else-says"));
    assert_eq!(server.terminate(), Some(0));

    // No day at all: every run that is over.
    let mut server = Server::again(&server.data, &["--retain-payloads", "0"]);
    let (url, key, path) = (server.url.clone(), server.key.clone(), format!("/v1/runs/{run}/events?limit=1000"));
    let after = server.wait(|| {
        let (_, page) = crate::support::request(&url, &key, "GET", &path, &[], b"");
        let events = page["data"].as_array()?.clone();
        events.first()?.get("deleted").is_some().then_some(events)
    });
    assert_eq!(after.len(), before.len());
    for (old, new) in before.iter().zip(&after) {
        assert_eq!((&old["seq"], &old["type"], &old["at"]), (&new["seq"], &new["type"], &new["at"]));
        assert_eq!((&new["data"], &new["deleted"]), (&json!(null), &json!(true)), "{new}");
    }
    let (status, view) = server.get(&format!("/v1/runs/{run}"));
    assert_eq!(
        (status, &view["status"], &view["input"], &view["output"]),
        (200, &json!("succeeded"), &json!(null), &json!(null))
    );
    assert!(!format!("{view}{after:?}").contains("a-word-nobody-else-says"));
    // A new run is a new run: it has its contents until its own end.
    let next = server.start_run(SHELL_AGENT, Some("turns: [{text: hello}]"), &json!({}));
    assert_eq!(server.ended(&next)["status"], "succeeded");
}
