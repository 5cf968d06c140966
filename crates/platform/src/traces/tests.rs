use livery_core::id::RunId;

use super::{RunTrace, TraceContext, current, within};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_header_is_read_and_written_alike() {
    let context = TraceContext::parse(CALLER).unwrap();
    assert_eq!(context.to_string(), CALLER);
    assert!(!TraceContext::parse(&CALLER.replace("-01", "-00")).unwrap().sampled);
    // A later version may have more; its first four parts are read.
    assert_eq!(TraceContext::parse(&format!("cc{}-more", &CALLER[2..])), Some(context));
    for bad in [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0af7651916cd43dd8448eb211c80319cb-7ad6b7169203331-01",
        "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        assert_eq!(TraceContext::parse(bad), None, "{bad}");
    }
}

#[test]
fn every_life_of_a_run_has_the_same_span() {
    let run = RunId::from_bits(0x0190_0000_0000_7000_8000_0000_0000_0042);
    let alone = RunTrace::of(run, None);
    assert_eq!(alone, RunTrace::of(run, Some("nonsense")));
    assert!(alone.parent.is_none() && alone.context.sampled && alone.context.trace_id == run.bits());
    let called = RunTrace::of(run, Some(CALLER));
    assert_eq!(called.context.span_id, alone.context.span_id);
    assert_eq!(called.context.trace_id, TraceContext::parse(CALLER).unwrap().trace_id);
}

#[tokio::test]
async fn the_trace_of_a_request_is_known_within_it() {
    let context = TraceContext::parse(CALLER);
    assert_eq!(within(context, async { current() }).await, context);
    assert_eq!(within(None, async { current() }).await, None);
}
