use super::*;

#[test]
fn text_round_trips_and_sorts_by_bits() {
    let samples = [0u128, 1, 31, 32, u128::MAX, 0x0190_0000_0000_7000_8000_0000_0000_0001];
    for bits in samples {
        let id = RunId::from_bits(bits);
        assert_eq!(id.to_string().parse::<RunId>().unwrap(), id);
    }
    assert!(RunId::from_bits(5).to_string() < RunId::from_bits(6).to_string());
    assert_eq!(RunId::from_bits(0).to_string(), "run_00000000000000000000000000");
}

#[test]
fn rubbish_is_no_id() {
    for text in [
        "",
        "run_",
        "run_01",
        "org_00000000000000000000000000",
        "run_80000000000000000000000000",
        "run_0000000000000000000000000u",
        "run_0000000000000000000000000O",
        "RUN_00000000000000000000000000",
        "run_000000000000000000000000000",
        "run_0000000000000000000000000é",
    ] {
        assert!(text.parse::<RunId>().is_err(), "{text}");
    }
}

#[test]
fn prefixes_are_unique() {
    let mut seen = std::collections::BTreeSet::new();
    assert!(PREFIXES.iter().all(|prefix| seen.insert(prefix)));
}
