//! The example's words are read as it says them, and nothing else is taken for them.

use super::super::example::milliseconds;
use super::{READ, READ_WARM};

#[test]
fn what_the_example_says() {
    let text = "create: min 1ms, median 2ms, p99 3ms\ncreate to first output: min 980µs, median 4.5ms, p99 1.25s\n\
                second command: min 1ms, median 1.5ms, p99 2ms\nkill: min 1ms\nwhole lives, 50 at a time: 412.5 /s\n\
                asked for at once, 100, until each has answered: 2.5s\nhost memory each: 1536 KiB; launcher RSS: 9 KiB\ncreate to first output among them: min 1s, median 2s, p99 3s\n";
    let read = READ.map(|read| read(text).unwrap());
    assert_eq!(read, [0.98, 4.5, 1250.0, 1.5, 412.5, 1.5, 2500.0]);
    assert!(READ[0]("create to first output: soon").is_err());
    let warm =
        "create to first output: min 1s\ncreate to first output of one that waited: min 1ms, median 2ms, p99 3ms\n";
    assert_eq!(READ_WARM.map(|read| read(warm).unwrap()), [1.0, 2.0, 3.0]);
    assert!(READ_WARM[0](text).is_err());
}

#[test]
fn durations() {
    assert_eq!(milliseconds("2s"), Some(2000.0));
    assert_eq!(milliseconds("1.5ms"), Some(1.5));
    assert_eq!(milliseconds("soon"), None);
}
