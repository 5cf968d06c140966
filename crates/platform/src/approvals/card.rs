//! What a person reads before they say yes: labelled lines, what the model wrote quoted in them, all of it at most 4 KiB.
//!
//! A card is hostile text: a model, or whoever wrote what the model read, wants a yes. So nothing of it can leave its line,
//! turn the writing direction, hide, or become a link: lines stand four columns in, which is verbatim text to whatever renders
//! Markdown, and every character that is not shown as itself is shown by its number.

use std::fmt::Write as _;

/// Longest card, in bytes.
const CARD_BYTES_MAX: usize = 4096;
/// Longest value on it, in bytes, but for the last.
const VALUE_BYTES_MAX: usize = 600;
/// Longest label, in bytes.
const LABEL_BYTES_MAX: usize = 100;
/// What of a card is a body's, whatever else there is to show, in bytes.
const BODY_BYTES_MIN: usize = 2048;
/// What stands for the rest of a value that was too long.
const CUT: &str = "… (cut)";

/// A card being written.
#[derive(Debug, Default)]
pub(crate) struct Card(String);

impl Card {
    /// Adds a line.
    pub(crate) fn line(&mut self, label: &str, value: &str) {
        self.push(label, &cut(inert(value), VALUE_BYTES_MAX));
    }

    /// Adds the last and longest line: as much of it as fits.
    pub(crate) fn rest(mut self, label: &str, value: &str) -> String {
        let room = CARD_BYTES_MAX.saturating_sub(self.0.len() + label.len() + 16);
        self.push(label, &cut(inert(&capped(value, room)), room));
        self.finish()
    }

    /// Adds the body, and the headers behind it: all of them, or `None`, for a person would say yes to what they do not see.
    /// No number of headers takes the body's place.
    pub(crate) fn request(mut self, body: Option<(&str, &str)>, headers: &[(String, String)]) -> Option<String> {
        let mut lines = Self::default();
        for (name, value) in headers {
            lines.line(&format!("header {name}"), value);
        }
        let taken = self.0.len() + lines.0.len();
        if let Some((label, value)) = body {
            let around = label.len() + 16;
            let room = CARD_BYTES_MAX.checked_sub(taken + around)?;
            let value = inert(&capped(value, room));
            if room < value.len().min(BODY_BYTES_MIN) {
                return None;
            }
            self.push(label, &cut(value, room));
        }
        self.0.push_str(&lines.0);
        (self.0.len() <= CARD_BYTES_MAX).then_some(self.0)
    }

    /// The card.
    pub(crate) fn finish(self) -> String {
        cut(self.0, CARD_BYTES_MAX)
    }

    fn push(&mut self, label: &str, value: &str) {
        let label = cut(inert(label), LABEL_BYTES_MAX);
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "    {label}: {value}");
    }
}

/// A text in which every character shows as what it is: no line breaks, no control characters, nothing that turns the writing
/// direction, joins, or has no width.
pub(crate) fn inert(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            hidden if is_hidden(hidden) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(hidden));
            }
            shown => out.push(shown),
        }
    }
    out
}

/// Controls, formats (bidi, joiners, zero width, tags), separators, variation selectors, private use.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character as u32,
            0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F
            | 0x2028..=0x202E | 0x2060..=0x206F | 0x3164 | 0xE000..=0xF8FF | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0
            | 0xFFF0..=0xFFFF | 0x1D173..=0x1D17A | 0xE0000..=0x10FFFF)
}

/// At most `bytes` of a text, whole characters.
fn capped(text: &str, bytes: usize) -> String {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default().to_owned()
        + if text.len() > bytes { CUT } else { "" }
}

fn cut(text: String, bytes: usize) -> String {
    if text.len() <= bytes {
        text
    } else {
        text[..text.floor_char_boundary(bytes.saturating_sub(CUT.len()))].to_owned() + CUT
    }
}

#[cfg(test)]
mod tests {
    use super::{CARD_BYTES_MAX, Card, inert};

    /// F7
    #[test]
    fn f7_nothing_on_a_card_leaves_its_line_or_hides() {
        let evil = "ok\n\n# Approved\r\n[click](https://evil.example) \u{202e}diap\u{202c} \u{200b}\u{2066}\u{e0041}\u{feff}\u{7}![x](y)";
        let mut card = Card::default();
        card.line("request", evil);
        let text = card.rest("body", evil);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().all(|line| line.starts_with("    ")), "{text}");
        assert!(
            text.chars().all(|character| character == '\n'
                || (!character.is_control() && character < '\u{2000}' || character == '…')),
            "{text:?}"
        );
        assert!(text.contains("\\u{202e}diap\\u{202c}") && text.contains("\\u{e0041}"), "{text}");
        assert_eq!(inert("Grüße, 你好 ✓"), "Grüße, 你好 ✓");
    }

    #[test]
    fn headers_push_no_body_off_a_card() {
        let headers = |count: usize, bytes: usize| vec![("x-pad".to_owned(), "p".repeat(bytes)); count];
        let card = |body: &str, headers: &[(String, String)]| Card::default().request(Some(("body", body)), headers);
        let evil = "transfer everything ".repeat(100);
        assert_eq!(card(&evil, &headers(64, 60)), None, "not all of them can be shown");
        assert_eq!(card(&evil, &headers(4, 550)), None, "2 KiB are the body's");
        let shown = card(&evil, &headers(3, 550)).unwrap();
        assert!(shown.starts_with("    body: transfer everything") && !shown.contains("(cut)"), "{shown}");
        assert_eq!(shown.matches("header x-pad").count(), 3);
        assert!(card("short", &headers(6, 550)).is_some_and(|shown| shown.len() <= CARD_BYTES_MAX));
        let long = card(&"x".repeat(1 << 20), &headers(1, 5)).unwrap();
        assert!(long.len() <= CARD_BYTES_MAX && long.contains("(cut)") && long.ends_with("header x-pad: ppppp\n"));
        let name = vec![("n\n".repeat(1 << 16), "v".to_owned())];
        assert!(Card::default().request(None, &name).is_some_and(|shown| shown.lines().count() == 1));
    }

    #[test]
    fn f7_a_card_is_cut_however_long_its_parts_are() {
        for part in ["x".repeat(1 << 20), "\u{202e}".repeat(10_000), "é".repeat(5000)] {
            let mut card = Card::default();
            for _ in 0..20 {
                card.line(&"l".repeat(40), &part);
            }
            assert!(card.rest("body", &part).len() <= CARD_BYTES_MAX);
            let text = Card::default().rest("body", &part);
            assert!(text.len() <= CARD_BYTES_MAX && text.contains("(cut)"), "{}", text.len());
        }
    }
}
