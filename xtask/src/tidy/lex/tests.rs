//! Code, text and comments are told apart where they look alike.

use super::{Kind, tokens};

/// `kind:text@line` of each token, punctuation left out.
fn check(source: &str, expected: &[&str]) {
    let seen: Vec<String> = tokens(source)
        .into_iter()
        .filter(|token| token.kind != Kind::Sign)
        .map(|token| {
            let kind = match token.kind {
                Kind::Word => 'w',
                Kind::Text => 't',
                Kind::Comment => 'c',
                Kind::Sign => 's',
            };
            format!("{kind}:{}@{}", token.text, token.line)
        })
        .collect();
    assert_eq!(seen, expected, "in {source:?}");
}

#[test]
fn words_in_strings_and_comments_are_not_code() {
    check("let a = \"unsafe\"; // unsafe", &["w:let@1", "w:a@1", "t:unsafe@1", "c:// unsafe@1"]);
    check("/* a /* b */ c */ unsafe", &["c:/* a /* b */ c */@1", "w:unsafe@1"]);
}

#[test]
fn strings_of_every_sort() {
    check(r##"r#"say "hi""# b"x" br"y" c"z""##, &["t:say \"hi\"@1", "t:x@1", "t:y@1", "t:z@1"]);
    check(r#""a\"b" c"#, &[r#"t:a\"b@1"#, "w:c@1"]);
    check("\"two\nlines\" next", &["t:two\nlines@1", "w:next@2"]);
}

#[test]
fn quotes_that_open_no_string() {
    check("'\"' a '\\'' b 'static c '\\u{41}' d", &["w:a@1", "w:b@1", "w:c@1", "w:d@1"]);
    check("r#type x", &["w:r@1", "w:type@1", "w:x@1"]);
    check("bar\"s\"", &["w:bar@1", "t:s@1"]);
}

#[test]
fn every_cut_of_a_file_ends() {
    let source = "fn f() { let s = r#\"é\"#; /* x */ '\\n'; b\"\\\"\" } // é";
    for end in (0..=source.len()).filter(|end| source.is_char_boundary(*end)) {
        let _ = tokens(&source[..end]);
    }
}
