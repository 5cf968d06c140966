//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the client's side: it shows that it knows the password and that the server does, and
//! sends nothing that the password could be read from. With channel binding (`-PLUS`, RFC 5929) where both sides have it, the
//! exchange is good on this one TLS connection alone.

use aws_lc_rs::pbkdf2;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::Failure;
use crate::Secret;

/// With channel binding.
const PLUS: &str = "SCRAM-SHA-256-PLUS";
/// Without.
const PLAIN: &str = "SCRAM-SHA-256";
/// Fewest rounds a server may ask for (RFC 7677 §4).
const ROUNDS_MIN: u32 = 4096;
/// Most rounds a server may ask for: it chooses how long we work.
const ROUNDS_MAX: u32 = 2_000_000;
/// Longest message of a server, in bytes.
const MESSAGE_BYTES_MAX: usize = 2 * 1024;
/// Bytes of our part of the nonce.
const NONCE_BYTES: usize = 24;

/// An exchange that has begun.
pub(super) struct Scram {
    /// `SCRAM-SHA-256` or `SCRAM-SHA-256-PLUS`.
    pub(super) mechanism: &'static str,
    /// `p=tls-server-end-point,,`, `y,,` or `n,,`
    header: &'static str,
    binding: Vec<u8>,
    first_bare: String,
    nonce: String,
}

/// What has to come back when the server knows the password too.
pub(super) struct Expected([u8; 32]);

impl Scram {
    /// Begins with the best mechanism of those that are offered.
    ///
    /// # Errors
    /// None of them is SCRAM-SHA-256.
    pub(super) fn begin(offered: &[&str], certificate: Option<&[u8]>) -> Result<Self, Failure> {
        let binding = certificate.and_then(end_point);
        let (mechanism, header) = match (offered.contains(&PLUS), &binding) {
            (true, Some(_)) => (PLUS, "p=tls-server-end-point,,"),
            // It says that we would have bound the channel: a stranger between who took the offer away is found out.
            (false, Some(_)) if offered.contains(&PLAIN) => (PLAIN, "y,,"),
            (_, None) if offered.contains(&PLAIN) => (PLAIN, "n,,"),
            _ => return Err(Failure::Unsafe("the server offers no SCRAM-SHA-256")),
        };
        let mut random = [0; NONCE_BYTES];
        getrandom::fill(&mut random).map_err(|_| Failure::Unsafe("there is no randomness"))?;
        let nonce = STANDARD.encode(random);
        let binding = if mechanism == PLUS { binding.unwrap_or_default() } else { Vec::new() };
        // PostgreSQL takes the name of the startup message and looks at none here.
        Ok(Self { mechanism, header, binding, first_bare: format!("n=,r={nonce}"), nonce })
    }

    /// The client's first message.
    pub(super) fn first(&self) -> String {
        format!("{}{}", self.header, self.first_bare)
    }

    /// The client's last message, for the server's first. It costs as much time as the server asks for: not for an async thread.
    ///
    /// # Errors
    /// A message that is malformed, has another nonce, or asks for too few or too many rounds.
    pub(super) fn last(&self, server_first: &[u8], password: &Secret) -> Result<(String, Expected), Failure> {
        let text = std::str::from_utf8(server_first).ok().filter(|text| text.len() <= MESSAGE_BYTES_MAX);
        let text = text.ok_or(Failure::Unsafe("the server's part of SCRAM cannot be read"))?;
        let (nonce, salt, rounds) =
            challenge(text).ok_or(Failure::Unsafe("the server's part of SCRAM cannot be read"))?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(Failure::Unsafe("the server answers another exchange"));
        }
        if !(ROUNDS_MIN..=ROUNDS_MAX).contains(&rounds) {
            return Err(Failure::Unsafe("the server asks for too few or too many rounds of SCRAM"));
        }
        let rounds = std::num::NonZeroU32::new(rounds).ok_or(Failure::Unsafe("no rounds"))?;
        let mut salted = Zeroizing::new([0_u8; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.expose_secret(), &mut *salted);
        let bound = STANDARD.encode([self.header.as_bytes(), &self.binding].concat());
        let without_proof = format!("c={bound},r={nonce}");
        let whole = format!("{},{text},{without_proof}", self.first_bare);
        let client_key = Zeroizing::new(mac(&*salted, b"Client Key")?);
        let stored_key: [u8; 32] = Sha256::digest(*client_key).into();
        let signature = mac(&stored_key, whole.as_bytes())?;
        let mut proof = Zeroizing::new(*client_key);
        proof.iter_mut().zip(signature).for_each(|(byte, other)| *byte ^= other);
        let server_key = Zeroizing::new(mac(&*salted, b"Server Key")?);
        let expected = Expected(mac(&*server_key, whole.as_bytes())?);
        Ok((format!("{without_proof},p={}", STANDARD.encode(*proof)), expected))
    }
}

impl Expected {
    /// Whether the server showed that it knows the password.
    ///
    /// # Errors
    /// It did not.
    pub(super) fn check(&self, server_last: &[u8]) -> Result<(), Failure> {
        use subtle::ConstantTimeEq as _;
        let shown =
            server_last.strip_prefix(b"v=").and_then(|encoded| STANDARD.decode(encoded).ok()).unwrap_or_default();
        match bool::from(self.0.as_slice().ct_eq(&shown)) {
            true => Ok(()),
            false => Err(Failure::Unsafe("the server does not show that it knows the password")),
        }
    }
}

/// `r=…,s=…,i=…`, and nothing before.
fn challenge(text: &str) -> Option<(&str, Vec<u8>, u32)> {
    let mut parts = text.split(',');
    let nonce = parts.next()?.strip_prefix("r=")?;
    let salt = STANDARD.decode(parts.next()?.strip_prefix("s=")?).ok().filter(|salt| !salt.is_empty())?;
    let rounds = parts.next()?.strip_prefix("i=")?;
    let plain = !rounds.is_empty() && rounds.bytes().all(|byte| byte.is_ascii_digit());
    let printable = nonce.bytes().all(|byte| byte.is_ascii_graphic());
    (plain && printable).then_some((nonce, salt, rounds.parse().ok()?))
}

fn mac(key: &[u8], message: &[u8]) -> Result<[u8; 32], Failure> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Failure::Unsafe("a key of no length"))?;
    mac.update(message);
    Ok(mac.finalize().into_bytes().into())
}

/// The binding `tls-server-end-point`: the certificate's digest, by the algorithm it is signed with (RFC 5929 §4.1). `None` for
/// a signature that says no such algorithm.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    let (body, _) = der(certificate)?;
    let (_, behind) = der(body)?;
    let (algorithm, _) = der(behind)?;
    let (oid, _) = der(algorithm)?;
    let (last, family) = oid.split_last()?;
    Some(match (family, last) {
        // MD5 and SHA-1 count as SHA-256.
        (RSA, 4 | 5 | 11) | (ECDSA_SHA2, 2) => Sha256::digest(certificate).to_vec(),
        (RSA, 12) | (ECDSA_SHA2, 3) => Sha384::digest(certificate).to_vec(),
        (RSA, 13) | (ECDSA_SHA2, 4) => Sha512::digest(certificate).to_vec(),
        _ => return None,
    })
}

/// What the first element holds, and what is behind it.
fn der(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.get(1..)?.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            (digits.iter().fold(0_usize, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange() -> Scram {
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        Scram { mechanism: PLAIN, header: "n,,", binding: Vec::new(), first_bare: format!("n=user,r={nonce}"), nonce }
    }

    /// The example of RFC 7677 §3.
    #[test]
    fn the_example_of_the_rfc() {
        let server = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (last, expected) = exchange().last(server, &Secret::from("pencil".to_owned())).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        expected.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert!(expected.check(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G8=").is_err());
        assert!(expected.check(b"e=other-error").is_err());
        assert!(expected.check(b"").is_err());
    }

    /// F11: nothing that gives the password away in fewer steps than it should.
    #[test]
    fn f11_a_server_that_weakens_the_exchange_is_left() {
        let password = Secret::from("pencil".to_owned());
        let refused = |server: &str| exchange().last(server.as_bytes(), &password).is_err();
        let nonce = "rOprNGfwEbeRWgbNEkqO";
        for server in [
            format!("r={nonce}x,s=QSXCR+Q6sek8bf92,i=1"),
            format!("r={nonce}x,s=QSXCR+Q6sek8bf92,i=4095"),
            format!("r={nonce}x,s=QSXCR+Q6sek8bf92,i=4294967295"),
            format!("r={nonce}x,s=QSXCR+Q6sek8bf92,i=-1"),
            format!("r={nonce},s=QSXCR+Q6sek8bf92,i=4096"),
            "r=another,s=QSXCR+Q6sek8bf92,i=4096".to_owned(),
            format!("r={nonce}x,s=,i=4096"),
            format!("m=ext,r={nonce}x,s=QSXCR+Q6sek8bf92,i=4096"),
            String::new(),
            "x".repeat(5000),
        ] {
            assert!(refused(&server), "{server}");
        }
        assert!(Scram::begin(&["SCRAM-SHA-1", "PLAIN"], None).is_err());
        assert!(Scram::begin(&[], None).is_err());
        assert!(Scram::begin(&["SCRAM-SHA-256-PLUS"], None).is_err());
    }

    #[test]
    fn the_channel_is_bound_where_both_sides_can() {
        let made = rcgen::generate_simple_self_signed(["db.example.com".to_owned()]).unwrap();
        let der = made.cert.der();
        let plus = Scram::begin(&[PLUS, PLAIN], Some(der)).unwrap();
        assert_eq!((plus.mechanism, plus.first().starts_with("p=tls-server-end-point,,n=,r=")), (PLUS, true));
        assert_eq!(plus.binding, Sha256::digest(der).to_vec());
        let alone = Scram::begin(&[PLAIN], Some(der)).unwrap();
        assert_eq!((alone.mechanism, alone.header), (PLAIN, "y,,"));
        assert_eq!(Scram::begin(&[PLUS, PLAIN], None).unwrap().header, "n,,");
        assert!(end_point(b"").is_none() && end_point(&[0x30, 0x84, 1, 2, 3]).is_none());
    }
}
