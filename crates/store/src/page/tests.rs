use livery_core::Timestamp;
use livery_core::id::OrgId;

use super::{PAGE_LIMIT_MAX, Page, Position, Scope};
use crate::Error;
use crate::sql::Rows;

fn scope(filter: &str) -> Scope {
    Scope::new("runs", OrgId::from_bits(7)).with(filter)
}

fn position(seconds: i64) -> Position {
    Position { created_at: Timestamp::from_micros(seconds * 1_000_000), id_bits: 42 }
}

fn cursor_of(scope: &Scope) -> String {
    let page = Page { limit: 1, cursor: None };
    page.finish(scope, Rows { rows: vec![5, 4], cut: false }, |second| position(*second)).next_cursor.unwrap()
}

#[test]
fn a_cursor_leads_back_to_its_row() {
    let scope = scope("failed");
    let page = Page { limit: 10, cursor: Some(cursor_of(&scope)) };
    let (from, rows) = page.start(&scope).unwrap();
    assert_eq!((from.created_at, from.id_bits, rows), (position(5).created_at, 42, 11));
}

#[test]
fn a_cursor_from_elsewhere_or_altered_is_refused() {
    let cursor = cursor_of(&scope("failed"));
    let refused = |scope: Scope, cursor: String| {
        matches!(Page { limit: 1, cursor: Some(cursor) }.start(&scope), Err(Error::InvalidCursor))
    };
    assert!(refused(scope("queued"), cursor.clone()), "another filter");
    assert!(refused(Scope::new("runs", OrgId::from_bits(8)).with("failed"), cursor.clone()), "another tenant");
    assert!(refused(Scope::new("agents", OrgId::from_bits(7)).with("failed"), cursor.clone()), "another list");
    for place in 0..cursor.len() {
        let mut altered = cursor.clone().into_bytes();
        altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
        assert!(refused(scope("failed"), String::from_utf8(altered).unwrap()), "character {place}");
    }
    for text in ["", "x", "not base64!", &cursor[1..]] {
        assert!(refused(scope("failed"), text.to_owned()), "{text}");
    }
}

#[test]
fn parts_of_a_filter_do_not_run_into_each_other() {
    let cursor = cursor_of(&Scope::new("runs", OrgId::from_bits(7)).with("ab").with("c"));
    let page = Page { limit: 1, cursor: Some(cursor) };
    assert!(page.start(&Scope::new("runs", OrgId::from_bits(7)).with("a").with("bc")).is_err());
}

#[test]
fn limits_are_clamped_and_the_last_page_has_no_cursor() {
    for (asked, fetched) in
        [(0, 2), (1, 2), (PAGE_LIMIT_MAX, PAGE_LIMIT_MAX + 1), (PAGE_LIMIT_MAX + 1, PAGE_LIMIT_MAX + 1)]
    {
        assert_eq!(Page { limit: asked, cursor: None }.start(&scope("")).unwrap().1, fetched);
    }
    let finish = |cut| {
        Page { limit: 2, cursor: None }.finish(&scope(""), Rows { rows: vec![2, 1], cut }, |second| position(*second))
    };
    assert_eq!((finish(false).data, finish(false).next_cursor), (vec![2, 1], None));
    assert!(finish(true).next_cursor.is_some(), "rows were left out for their size");
}
