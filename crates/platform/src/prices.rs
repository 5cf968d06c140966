//! What models cost. A model without a price is run and shown as `unpriced`, never as free.

use livery_core::Usd;
use livery_core::run::Pricing;
use livery_llm::stream::TokenUsage;

/// Millionths of a dollar per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Price {
    input: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
}

const fn dollars(input: u64, cache_read: u64, cache_write: u64, output: u64) -> Price {
    Price {
        input: input * 10_000,
        cache_read: cache_read * 10_000,
        cache_write: cache_write * 10_000,
        output: output * 10_000,
    }
}

/// Public list prices in cents per million tokens, by prefix of the model's name; the longest prefix wins. Operators' own
/// prices come with the `models` resource.
const LIST: &[(&str, &str, Price)] = &[
    ("anthropic", "claude-opus-4", dollars(1500, 150, 1875, 7500)),
    ("anthropic", "claude-opus-4-5", dollars(500, 50, 625, 2500)),
    ("anthropic", "claude-sonnet-4", dollars(300, 30, 375, 1500)),
    ("anthropic", "claude-haiku-4", dollars(100, 10, 125, 500)),
    ("openai", "gpt-5", dollars(125, 13, 125, 1000)),
    ("openai", "gpt-5-mini", dollars(25, 3, 25, 200)),
    ("openai", "gpt-5-nano", dollars(5, 1, 5, 40)),
    ("openai", "gpt-4.1", dollars(200, 50, 200, 800)),
    ("openai", "gpt-4.1-mini", dollars(40, 10, 40, 160)),
];

fn price_of(provider: &str, model: &str) -> Option<Price> {
    LIST.iter()
        .filter(|(kind, prefix, _)| *kind == provider && model.starts_with(prefix))
        .max_by_key(|(_, prefix, _)| prefix.len())
        .map(|(_, _, price)| *price)
}

/// Whether a model has a price here.
pub(crate) fn is_priced(provider: &str, model: &str) -> bool {
    price_of(provider, model).is_some()
}

/// The cost of one call, and how sure it is. `provider` is the kind's name (`anthropic`, `openai`, `scripted`).
pub(crate) fn cost(provider: &str, model: &str, usage: &TokenUsage) -> (Usd, Pricing) {
    if provider == "scripted" {
        return (Usd::ZERO, Pricing::Free);
    }
    let price = price_of(provider, model);
    let Some(price) = price else { return (Usd::ZERO, Pricing::Unpriced) };
    let part = |tokens: u64, rate: u64| u128::from(tokens) * u128::from(rate);
    let total = part(usage.input_uncached, price.input)
        + part(usage.input_cache_read, price.cache_read)
        + part(usage.input_cache_write, price.cache_write)
        + part(usage.output_total, price.output);
    // Rounded up: a budget must never be passed by rounding.
    let micros = i64::try_from(total.div_ceil(1_000_000)).unwrap_or(i64::MAX);
    (Usd::from_micros(micros), Pricing::Priced)
}

#[cfg(test)]
mod tests {
    use super::cost;
    use livery_core::Usd;
    use livery_core::run::Pricing;
    use livery_llm::stream::TokenUsage;

    #[test]
    fn the_longest_prefix_prices_a_call() {
        let usage = TokenUsage { input_uncached: 1_000_000, output_total: 100_000, ..TokenUsage::default() };
        assert_eq!(cost("anthropic", "claude-sonnet-4-6", &usage), (Usd::from_micros(4_500_000), Pricing::Priced));
        assert_eq!(cost("openai", "gpt-5-mini", &usage), (Usd::from_micros(450_000), Pricing::Priced));
        assert_eq!(cost("openai", "llama", &usage), (Usd::ZERO, Pricing::Unpriced));
        assert_eq!(cost("scripted", "hello", &usage), (Usd::ZERO, Pricing::Free));
    }
}
