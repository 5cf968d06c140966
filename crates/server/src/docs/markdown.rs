//! The little Markdown our own pages use, to HTML: headings, paragraphs, lists, code, emphasis, links.
//!
//! Everything is escaped first; what is not understood stays text.

use super::page::escape;

/// A page's text as HTML.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        if line.starts_with("```") {
            let code: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            out.push_str(&format!("<pre><code>{}</code></pre>", escape(&code.join("\n"))));
        } else if let Some((level, heading)) = heading(line) {
            out.push_str(&format!("<h{level}>{}</h{level}>", inline(heading)));
        } else if let Some(first) = line.strip_prefix("- ") {
            let mut items = vec![first.to_owned()];
            while let Some(line) = lines.next_if(|line| line.starts_with("- ") || line.starts_with("  ")) {
                match (line.strip_prefix("- "), items.last_mut()) {
                    (Some(item), _) => items.push(item.to_owned()),
                    (None, Some(last)) => *last = format!("{last} {}", line.trim()),
                    (None, None) => {}
                }
            }
            let items: String = items.iter().map(|item| format!("<li>{}</li>", inline(item))).collect();
            out.push_str(&format!("<ul>{items}</ul>"));
        } else {
            let mut paragraph = line.to_owned();
            while let Some(line) = lines.next_if(|line| goes_on(line)) {
                paragraph = format!("{paragraph} {line}");
            }
            out.push_str(&format!("<p>{}</p>", inline(&paragraph)));
        }
    }
    out
}

fn heading(line: &str) -> Option<(usize, &str)> {
    let level = line.bytes().take_while(|byte| *byte == b'#').count();
    let text = line.get(level..)?.strip_prefix(' ')?;
    (1..=6).contains(&level).then_some((level, text))
}

fn goes_on(line: &str) -> bool {
    !line.trim().is_empty() && heading(line).is_none() && !line.starts_with("- ") && !line.starts_with("```")
}

/// Code, links and emphasis within a line.
pub(crate) fn inline(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        // Every second part stands between back ticks.
        if index % 2 == 1 {
            out.push_str(&format!("<code>{}</code>", escape(part)));
        } else {
            out.push_str(&emphasis(&links(part)));
        }
    }
    out
}

/// `[text](address)`, escaped; only our own pages and `https` are led to.
fn links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        out.push_str(&escape(before));
        let parts = link.split_once("](").and_then(|(words, after)| {
            let (address, after) = after.split_once(')')?;
            Some((words, address, after))
        });
        match parts {
            Some((words, address, after)) if is_safe(address) => {
                out.push_str(&format!("<a href=\"{}\">{}</a>", escape(address), escape(words)));
                rest = after;
            }
            _ => {
                out.push('[');
                rest = link;
            }
        }
    }
    out.push_str(&escape(rest));
    out
}

fn is_safe(address: &str) -> bool {
    let own = (address.starts_with('/') && !address.starts_with("//")) || address.starts_with('#');
    own || address.starts_with("https://")
}

/// `**bold**` in text that is escaped already.
fn emphasis(text: &str) -> String {
    let parts: Vec<&str> = text.split("**").collect();
    if parts.len().is_multiple_of(2) {
        return text.to_owned();
    }
    let wrap = |(index, part): (usize, &&str)| {
        if index % 2 == 1 { format!("<strong>{part}</strong>") } else { (*part).to_owned() }
    };
    parts.iter().enumerate().map(wrap).collect()
}
