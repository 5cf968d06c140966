//! The token estimate against what providers counted.

use livery_llm::estimate::request_tokens;

use crate::recordings::{self, Exchange};
use crate::{encode, naive};

#[test]
fn the_estimate_is_of_the_right_size() {
    let Some(exchanges) = recordings::all() else { return recordings::skipped("recorded usage of both formats") };
    let readable = |exchange: &&Exchange| exchange.status == 200 && exchange.request["messages"].is_array();
    let percent = |exchange: &Exchange| {
        let request = encode::read(exchange).ok()?;
        let counted = naive::of_exchange(exchange).tokens[0];
        // A greeting is all envelope, and not what budgets are for.
        (counted >= 200).then(|| request_tokens(&request) * 100 / counted)
    };
    let mut percents: Vec<u64> = exchanges.iter().filter(readable).filter_map(percent).collect();
    percents.sort_unstable();
    let at = |share: usize| percents[(percents.len() - 1) * share / 100];
    recordings::say(&format!(
        "estimated {} requests: {} % of the counted tokens at p10, {} % at the median, {} % at p90",
        percents.len(),
        at(10),
        at(50),
        at(90)
    ));
    assert!((40..=150).contains(&at(50)), "{percents:?}");
}
