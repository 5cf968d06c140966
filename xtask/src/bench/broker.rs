//! What the broker adds to a request, without the platform around it: the crate's own example measures, this reads what it
//! says.

use std::path::Path;

use anyhow::Context as _;

use super::example::{line, said_by, time};
use super::{Figures, progress};

/// The example, beside the binary that is measured.
const EXAMPLE: &str = "overhead";

/// What the example said.
#[derive(Debug, PartialEq)]
struct Said {
    p50_us: f64,
    p99_us: f64,
    per_second: f64,
    megabytes_per_second: f64,
}

/// Adds the broker's four figures.
pub fn overhead(binary: &Path, figures: &mut Figures) {
    progress("requests through the broker");
    match said_by(binary, EXAMPLE, &[]).and_then(|text| read(&text)) {
        Ok(said) => {
            figures.add("broker_added_p50_us", said.p50_us);
            figures.add("broker_added_p99_us", said.p99_us);
            figures.add("broker_per_s", said.per_second);
            figures.add("broker_stream_mb_s", said.megabytes_per_second);
        }
        Err(error) => {
            for key in ["broker_added_p50_us", "broker_added_p99_us", "broker_per_s", "broker_stream_mb_s"] {
                figures.absent(key, format!("{error:#}"));
            }
        }
    }
}

fn read(text: &str) -> anyhow::Result<Said> {
    let number = |start: &str, unit: &str| {
        let number = line(text, start)?.strip_suffix(unit).and_then(|number| number.parse::<f64>().ok());
        number.with_context(|| format!("no number behind {start:?}"))
    };
    let added = line(text, "added: ")?;
    Ok(Said {
        p50_us: time(added, "p50 ")? * 1e3,
        p99_us: time(added, "p99 ")? * 1e3,
        per_second: number("requests: ", " /s")?,
        megabytes_per_second: number("streaming: ", " MB/s")?,
    })
}

#[cfg(test)]
mod tests {
    use super::{Said, read};

    #[test]
    fn what_the_example_says() {
        let said = read("added: p50 61.5µs, p99 1.25ms\nrequests: 8123 /s\nstreaming: 512 MB/s\n").unwrap();
        let expected = Said { p50_us: 61.5, p99_us: 1250.0, per_second: 8123.0, megabytes_per_second: 512.0 };
        assert_eq!(said, expected);
        assert!(read("added: p50 soon, p99 1ms\nrequests: 1 /s\nstreaming: 1 MB/s\n").is_err());
        assert!(read("requests: 1 /s\n").is_err());
    }
}
