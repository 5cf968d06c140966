//! Content codings: an answer that comes compressed although `identity` was asked for is decoded before it is searched.
//!
//! gzip, deflate (zlib and raw), br and zstd, two layers at most. What comes out is bounded by what went in and by the call's
//! own limit, while it comes out: a bomb ends at its fuse. A coding nobody knows is refused before its body is read.

use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::{Error, Result};

/// Most codings of one answer.
const LAYERS_MAX: usize = 2;
/// Most bytes that one encoded byte may become.
const RATIO_MAX: u64 = 100;
/// Bytes that may come out whatever went in: a small repetitive document is no bomb.
const FREE_BYTES: u64 = 1024 * 1024;
/// Largest decoded answer whatever the call allows, in bytes.
const DECODED_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Largest zstd window, as a power of two: what every decoder must support (RFC 8878).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// How brotli begins whose window is larger than the standard's 16 MiB, in the low seven bits. No answer is in that form, and the
/// decoder would take it: its memory would be what an upstream says.
const BROTLI_LARGE: u8 = 0x11;
/// Buffer of the brotli decoder, in bytes.
const BROTLI_BUFFER: usize = 16 * 1024;

const UNKNOWN: Error = Error::BadGateway { why: "a body in a content coding that cannot be searched" };
const BROKEN: Error = Error::BadGateway { why: "a body that is not in the coding it claims" };
const BOMB: Error = Error::TooLarge { what: "the upstream's answer once decoded" };

/// One known coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Self::Gzip,
            "deflate" => Self::Deflate,
            "br" => Self::Brotli,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }
}

/// Decodes one body, piece by piece. Without a coding every piece passes as it is.
#[derive(Default)]
pub(crate) struct Decoding {
    /// The layer that was put on last comes off first.
    layers: Vec<Layer>,
    encoded: u64,
    bytes_max: u64,
}

impl Decoding {
    /// For a body with this head; `bytes_max` is the call's own limit of what comes out.
    pub(crate) fn of(headers: &HeaderMap, bytes_max: u64) -> Result<Self> {
        let mut codings = Vec::new();
        for value in headers.get_all(CONTENT_ENCODING) {
            let text = value.to_str().map_err(|_| UNKNOWN)?;
            for name in text.split(',').map(str::trim) {
                if name.is_empty() || name.eq_ignore_ascii_case("identity") {
                    continue;
                }
                codings.push(Coding::named(name).ok_or(UNKNOWN)?);
            }
        }
        if codings.len() > LAYERS_MAX {
            return Err(UNKNOWN);
        }
        let layers = codings.into_iter().rev().map(Layer::new).collect::<Result<_>>()?;
        Ok(Self { layers, encoded: 0, bytes_max: bytes_max.min(DECODED_BYTES_MAX) })
    }

    /// For something in this one coding, which becomes `bytes_max` at most.
    fn in_coding(name: &str, bytes_max: u64) -> Result<Self> {
        let layers = match name {
            "identity" => Vec::new(),
            name => vec![Layer::new(Coding::named(name).ok_or(UNKNOWN)?)?],
        };
        Ok(Self { layers, encoded: 0, bytes_max })
    }

    /// Whether anything is decoded at all.
    pub(crate) fn is_active(&self) -> bool {
        !self.layers.is_empty()
    }

    /// Decodes a piece.
    pub(crate) fn push(&mut self, piece: &[u8]) -> Result<Vec<u8>> {
        self.encoded += piece.len() as u64;
        let allowed = self.allowed();
        let mut bytes = piece.to_vec();
        for layer in &mut self.layers {
            bytes = layer.push(&bytes, allowed)?;
        }
        Ok(bytes)
    }

    /// The clean end: every layer must be whole. A body without a single byte (`HEAD`, `304`) has no layers to close.
    pub(crate) fn finish(&mut self) -> Result<Vec<u8>> {
        let allowed = self.allowed();
        let mut bytes = Vec::new();
        if self.encoded == 0 {
            return Ok(bytes);
        }
        for layer in &mut self.layers {
            let mut out = layer.push(&bytes, allowed)?;
            out.extend(layer.finish(allowed)?);
            bytes = out;
        }
        Ok(bytes)
    }

    fn allowed(&self) -> u64 {
        FREE_BYTES.saturating_add(self.encoded.saturating_mul(RATIO_MAX)).min(self.bytes_max)
    }
}

/// What is encoded like this, decoded whole.
pub(crate) fn decoded(coding: &str, bytes: &[u8], bytes_max: u64) -> Result<Vec<u8>> {
    let mut decoding = Decoding::in_coding(coding, bytes_max)?;
    let mut out = decoding.push(bytes)?;
    out.extend(decoding.finish()?);
    Ok(out)
}

/// A decoder that is written to and leaves what it makes of it in its [`Sink`].
trait Unpack: Write + Send + Sync {
    fn sink(&mut self) -> &mut Sink;
    /// Says whether the stream ended where it was to end.
    fn close(&mut self) -> io::Result<()>;
}

macro_rules! unpack {
    ($($decoder:ty, $close:ident;)*) => {$(
        impl Unpack for $decoder {
            fn sink(&mut self) -> &mut Sink {
                self.get_mut()
            }

            fn close(&mut self) -> io::Result<()> {
                self.$close()
            }
        }
    )*};
}

unpack! {
    MultiGzDecoder<Sink>, try_finish;
    ZlibDecoder<Sink>, try_finish;
    DeflateDecoder<Sink>, try_finish;
    DecompressorWriter<Sink>, close;
    zstd::stream::write::Decoder<'static, Sink>, do_finish;
}

/// One coding being taken off.
struct Layer {
    coding: Coding,
    /// `None` until the first bytes tell: of brotli whether it is the standard's, of `deflate` what that means here.
    decoder: Option<Box<dyn Unpack>>,
    held: Vec<u8>,
    /// Bytes that came out of it so far.
    decoded: u64,
}

impl Layer {
    fn new(coding: Coding) -> Result<Self> {
        let decoder: Option<Box<dyn Unpack>> = match coding {
            Coding::Gzip => Some(Box::new(MultiGzDecoder::new(Sink::default()))),
            Coding::Deflate | Coding::Brotli => None,
            Coding::Zstd => Some(Box::new(zstd_decoder().map_err(|_| BROKEN)?)),
        };
        Ok(Self { coding, decoder, held: Vec::new(), decoded: 0 })
    }

    /// The decoder of what begins like this; `None`: that takes more bytes to tell.
    fn begun(&self) -> Result<Option<Box<dyn Unpack>>> {
        Ok(match (self.coding, &self.held[..]) {
            (Coding::Brotli, [first, ..]) if first & 0x7f == BROTLI_LARGE => return Err(BROKEN),
            (Coding::Brotli, [_, ..]) => Some(Box::new(DecompressorWriter::new(Sink::default(), BROTLI_BUFFER))),
            (_, [first, second, ..]) => Some(deflate_decoder(*first, *second)),
            _ => None,
        })
    }

    fn push(&mut self, piece: &[u8], allowed: u64) -> Result<Vec<u8>> {
        if self.decoder.is_none() {
            self.held.extend_from_slice(piece);
            self.decoder = self.begun()?;
            if self.decoder.is_none() {
                return Ok(Vec::new());
            }
            let held = std::mem::take(&mut self.held);
            return self.run(allowed, |decoder| decoder.write_all(&held));
        }
        self.run(allowed, |decoder| decoder.write_all(piece))
    }

    fn finish(&mut self, allowed: u64) -> Result<Vec<u8>> {
        self.run(allowed, |decoder| decoder.close())
    }

    /// Works the decoder and takes what came out.
    fn run(&mut self, allowed: u64, work: impl FnOnce(&mut dyn Unpack) -> io::Result<()>) -> Result<Vec<u8>> {
        let decoder = self.decoder.as_deref_mut().ok_or(BROKEN)?;
        decoder.sink().room = usize::try_from(allowed.saturating_sub(self.decoded)).unwrap_or(usize::MAX);
        let outcome = work(decoder).and_then(|()| decoder.flush());
        let sink = decoder.sink();
        let out = std::mem::take(&mut sink.bytes);
        self.decoded += out.len() as u64;
        match outcome {
            Ok(()) => Ok(out),
            Err(_) if sink.full => Err(BOMB),
            Err(_) => Err(BROKEN),
        }
    }
}

/// RFC 1950: the low half of the first byte is 8, and both bytes together are a multiple of 31.
fn deflate_decoder(first: u8, second: u8) -> Box<dyn Unpack> {
    let is_zlib = first & 0x0f == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31);
    if is_zlib { Box::new(ZlibDecoder::new(Sink::default())) } else { Box::new(DeflateDecoder::new(Sink::default())) }
}

fn zstd_decoder() -> io::Result<zstd::stream::write::Decoder<'static, Sink>> {
    let mut decoder = zstd::stream::raw::Decoder::new()?;
    decoder.set_parameter(zstd::stream::raw::DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
    Ok(zstd::stream::write::Decoder::with_decoder(Sink::default(), decoder))
}

/// Where decoded bytes gather, as many as there is room for.
#[derive(Default)]
struct Sink {
    bytes: Vec<u8>,
    room: usize,
    full: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.room {
            self.full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
