use super::markdown::html;
use super::page::reference;
use super::{CODES, PAGES, SCRIPT, STYLE, errors_index};

#[test]
fn every_code_has_its_page() {
    for (code, _) in CODES {
        assert!(PAGES.get_file(format!("{code}.md")).is_some(), "docs/errors/{code}.md is missing");
    }
    assert!(errors_index().contains("href=\"/docs/errors/unknown_field\""));
}

#[test]
fn markdown_is_shown_and_never_trusted() {
    for (text, expected) in [
        ("# `code`\n\nOne\ntwo.\n", "<h1><code>code</code></h1><p>One two.</p>"),
        ("- a\n  b\n- **c**\n\nend", "<ul><li>a b</li><li><strong>c</strong></li></ul><p>end</p>"),
        ("```sh\n<x> & \"y\"\n```", "<pre><code>&lt;x&gt; &amp; &quot;y&quot;</code></pre>"),
        (
            "[docs](/docs) [out](https://example.com/?a=\"b)",
            "<p><a href=\"/docs\">docs</a> <a href=\"https://example.com/?a=&quot;b\">out</a></p>",
        ),
        (
            "[x](javascript:alert(1)) [y](//evil.example) <script>",
            "<p>[x](javascript:alert(1)) [y](//evil.example) &lt;script&gt;</p>",
        ),
        ("a ** b [c", "<p>a ** b [c</p>"),
    ] {
        assert_eq!(html(text), expected);
    }
}

#[test]
fn the_reference_shows_every_operation_and_loads_nothing_foreign() {
    let document: serde_json::Value = serde_json::from_str(&crate::document()).unwrap();
    let page = reference(&document);
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values().filter_map(|operation| operation["operationId"].as_str()) {
            assert!(page.contains(&format!("<article id=\"{operation}\">")), "{operation}");
        }
    }
    for text in [page.as_str(), STYLE, SCRIPT] {
        assert!(
            !text.contains("//cdn")
                && !text.contains("src=\"http")
                && !text.contains("@import")
                && !text.contains("url(")
        );
        assert!(!text.contains(" style=\"") && !text.contains(" onclick"), "the policy of the page forbids it");
    }
}
