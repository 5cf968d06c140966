//! What Firecracker's API answers, read as bytes that anybody may have written: a status, a few lines, a short body.
//!
//! The monitor is behind a wall because a guest may have taken it over, so its answers are as hostile as the guest's. Only a status and a
//! fault's message are taken from them, within limits. Read next: `launcher/tiers/microvm/firecracker/api.rs`, which asks.

/// The status line with the lines below it.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// What stands behind them.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// The longest fault that is passed on, in characters.
pub const FAULT_CHARS_MAX: usize = 240;

/// One whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 100 to 599.
    pub status: u16,
    /// Bytes of it, from the first.
    pub bytes: usize,
    /// What went wrong, if it says so; printable, at most [`FAULT_CHARS_MAX`].
    pub fault: Option<String>,
}

/// It is no answer, and nothing behind it will make it one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not answer as its API does")]
pub struct NoAnswer;

impl Answer {
    /// Reads the first answer of `bytes`. `None`: it goes on.
    ///
    /// # Errors
    /// [`NoAnswer`], also for what is longer than the limits or has a length that can be read in two ways.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, NoAnswer> {
        let Some(head) = head(bytes)? else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[..head]).map_err(|_| NoAnswer)?;
        let mut lines = text.strip_suffix("\r\n\r\n").unwrap_or(text).split("\r\n");
        let status = status(lines.next().unwrap_or_default())?;
        let length = length(lines)?;
        // An answer without content has none, whatever it says of it.
        let length = if status == 204 || status < 200 { 0 } else { length };
        let Some(body) = bytes.get(head..head + length) else { return Ok(None) };
        let fault = (status >= 300).then(|| fault(body)).flatten();
        Ok(Some(Self { status, bytes: head + length, fault }))
    }

    /// Whether what was asked is done.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.status >= 200 && self.status < 300
    }
}

/// Where the body begins.
fn head(bytes: &[u8]) -> Result<Option<usize>, NoAnswer> {
    let looked_at = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    match looked_at.windows(4).position(|part| part == b"\r\n\r\n") {
        Some(at) => Ok(Some(at + 4)),
        None if bytes.len() >= HEAD_BYTES_MAX => Err(NoAnswer),
        None => Ok(None),
    }
}

fn status(line: &str) -> Result<u16, NoAnswer> {
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 ")).ok_or(NoAnswer)?;
    let (digits, rest) = rest.split_at_checked(3).ok_or(NoAnswer)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit()) && (rest.is_empty() || rest.starts_with(' '));
    digits.parse().ok().filter(|status| is_number && (100..600).contains(status)).ok_or(NoAnswer)
}

/// The one length there is; none is none.
fn length<'a>(lines: impl Iterator<Item = &'a str>) -> Result<usize, NoAnswer> {
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(NoAnswer)?;
        let value = value.trim_matches([' ', '\t']);
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(NoAnswer);
        }
        if name.eq_ignore_ascii_case("content-length") {
            let is_number = !value.is_empty() && value.len() <= 8 && value.bytes().all(|byte| byte.is_ascii_digit());
            let number = value.parse::<usize>().ok().filter(|number| is_number && *number <= BODY_BYTES_MAX);
            if length.replace(number.ok_or(NoAnswer)?).is_some() {
                return Err(NoAnswer);
            }
        }
    }
    Ok(length.unwrap_or(0))
}

fn fault(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Fault {
        fault_message: String,
    }
    let Fault { fault_message } = serde_json::from_slice(body).ok()?;
    let printable = fault_message.chars().map(|c| if c.is_control() { ' ' } else { c });
    Some(printable.take(FAULT_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: &[u8] = b"HTTP/1.1 204 No Content\r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n";

    #[test]
    fn answers_as_firecracker_gives_them() {
        assert_eq!(Answer::read(DONE), Ok(Some(Answer { status: 204, bytes: DONE.len(), fault: None })));
        let body = "{\"fault_message\":\"Load snapshot error: no \\u001b[2J such file\"}";
        let text = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let answer = Answer::read(text.as_bytes()).unwrap().unwrap();
        assert_eq!((answer.status, answer.is_good(), answer.bytes), (400, false, text.len()));
        assert_eq!(answer.fault.as_deref(), Some("Load snapshot error: no  [2J such file"));
        // What follows is another answer.
        assert_eq!(Answer::read(&[DONE, DONE].concat()).unwrap().unwrap().bytes, DONE.len());
    }

    #[test]
    fn what_is_none_is_refused_and_what_goes_on_is_waited_for() {
        for end in 0..DONE.len() {
            assert_eq!(Answer::read(&DONE[..end]), Ok(None), "{end}");
        }
        let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(HEAD_BYTES_MAX));
        for bad in [
            "SSH-2.0-OpenSSH\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 20\r\n\r\n",
            "HTTP/1.1 2000\r\n\r\n",
            "HTTP/1.1 +20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &long,
        ] {
            assert_eq!(Answer::read(bad.as_bytes()), Err(NoAnswer), "{:.40}", bad);
        }
    }

    /// However the bytes are cut, and whatever follows them, the answer is the same.
    #[test]
    fn a_walk_over_changed_answers() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap()
        };
        let seed = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 21\r\n\r\n{\"fault_message\":\"x\"}".to_vec();
        for _ in 0..20_000 {
            let mut bytes = seed.clone();
            for _ in 0..=next() % 3 {
                let at = next() % bytes.len();
                bytes[at] = u8::try_from(next() % 256).unwrap();
            }
            let cut = next() % bytes.len();
            match (Answer::read(&bytes[..cut]), Answer::read(&bytes)) {
                (Ok(None), _) => {}
                (early, late) => assert_eq!(early, late),
            }
            if let Ok(Some(answer)) = Answer::read(&bytes) {
                assert!(
                    answer.bytes <= bytes.len()
                        && answer.fault.is_none_or(|said| said.chars().count() <= FAULT_CHARS_MAX)
                );
            }
        }
    }
}
