//! Decoding gzip and zstd: in small steps, between which other calls go on.
//!
//! Not here: reading the wire. A stream is decoded only when all of it came, so no slow client holds a decoder.
//! Invariant: work and memory are bounded by the decoded limit: output beyond it ends decoding, and so does input that
//! brings no output.

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::{Budget, Limit, Whole, encoding::Encoding, too_large};
use crate::problem::{Code, Problem};

/// Most input of one step, bytes.
const STEP_IN_BYTES: usize = 64 * 1024;
/// Most output of one step, bytes.
const STEP_OUT_BYTES: usize = 128 * 1024;
/// What a decoder holds besides its window and the output, bytes.
const STATE_BYTES: usize = 256 * 1024;
/// How much longer than the decoded bytes their encoding may be, besides a sixteenth: headers, skippable frames, and a
/// block of zstd that is read before it is written.
const OVERHEAD_BYTES: usize = 256 * 1024;
/// Largest window of zstd: 8 MiB, the most that a content encoding may ask for (RFC 9659).
const WINDOW_LOG_MAX: u32 = 23;
/// How a frame of today's zstd begins; what the library knows besides are formats from before the standard.
const ZSTD_MAGIC: u32 = 0xfd2f_b528;
/// How a frame of zstd to be skipped begins; the last four bits are anything.
const ZSTD_MAGIC_SKIPPABLE: u32 = 0x184d_2a50;

/// The longest encoding that is taken of so many bytes.
pub(super) fn wire_bytes_max(decoded_bytes: usize) -> usize {
    decoded_bytes + decoded_bytes / 16 + OVERHEAD_BYTES
}

/// Decodes a whole body.
///
/// # Errors
/// 413 where the decoded bytes pass the limit, 400 for what is no such stream or ends early, 503 when too many bodies
/// are being read.
pub(super) async fn decode(
    encoding: Encoding,
    wire: &[u8],
    limit: Limit,
    budget: &Budget,
) -> Result<Whole, Problem> {
    let mut held = budget.take(STATE_BYTES)?;
    let mut decoder = Decoder::new(encoding, wire)?;
    let mut out = Vec::new();
    let mut step = vec![0; STEP_OUT_BYTES.min(limit.bytes + 1)];
    loop {
        let written = decoder.step(&mut step)?;
        if out.len() + written > limit.bytes {
            return Err(too_large(limit));
        }
        out.extend_from_slice(&step[..written]);
        // The window is filled as the output is.
        budget.raise(&mut held, STATE_BYTES + 2 * out.capacity())?;
        if decoder.read > wire_bytes_max(out.len()) {
            return Err(invalid("the content encoding makes the body far longer than it is"));
        }
        if decoder.is_done() {
            return Ok(Whole { bytes: Bytes::from(out), _budget: held });
        }
        tokio::task::yield_now().await;
    }
}

/// A stream in decoding: one member or frame after another.
struct Decoder<'a> {
    codec: Codec,
    rest: &'a [u8],
    /// Bytes of the wire that were decoded.
    read: usize,
    /// Whether a member or frame ended there.
    ended: bool,
}

enum Codec {
    Gzip(Decompress),
    Zstd(DCtx<'static>),
}

/// What one step did.
struct Step {
    read: usize,
    written: usize,
    ended: bool,
}

impl<'a> Decoder<'a> {
    fn new(encoding: Encoding, wire: &'a [u8]) -> Result<Self, Problem> {
        let codec = match encoding {
            Encoding::Gzip => Codec::gzip(),
            Encoding::Zstd => Codec::zstd(wire)?,
        };
        Ok(Self { codec, rest: wire, read: 0, ended: false })
    }

    /// Decodes some of it: so many bytes of `out`.
    fn step(&mut self, out: &mut [u8]) -> Result<usize, Problem> {
        if self.ended {
            self.codec.begin(self.rest)?;
        }
        let input = self.rest.get(..STEP_IN_BYTES).unwrap_or(self.rest);
        let Step { read, written, ended } = self.codec.step(input, out)?;
        if read == 0 && written == 0 && !ended {
            return Err(invalid("the encoded body ends early"));
        }
        self.rest = self.rest.get(read..).unwrap_or_default();
        self.read += read;
        self.ended = ended;
        Ok(written)
    }

    fn is_done(&self) -> bool {
        self.ended && self.rest.is_empty()
    }
}

impl Codec {
    fn gzip() -> Self {
        // The largest window that there is, 32 KiB.
        Self::Gzip(Decompress::new_gzip(15))
    }

    fn zstd(wire: &[u8]) -> Result<Self, Problem> {
        check_magic(wire)?;
        let mut context = DCtx::try_create().ok_or_else(|| Problem::new(Code::Overloaded, ""))?;
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(|_| not_zstd())?;
        Ok(Self::Zstd(context))
    }

    /// Another member or frame follows.
    fn begin(&mut self, rest: &[u8]) -> Result<(), Problem> {
        match self {
            Self::Gzip(_) => *self = Self::gzip(),
            Self::Zstd(_) => check_magic(rest)?,
        }
        Ok(())
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Problem> {
        match self {
            Self::Gzip(gzip) => {
                let (read, written) = (gzip.total_in(), gzip.total_out());
                let status = gzip
                    .decompress(input, out, FlushDecompress::None)
                    .map_err(|_| invalid("the body is no gzip stream"))?;
                let since = |now: u64, then| usize::try_from(now - then).expect("a step is short");
                Ok(Step {
                    read: since(gzip.total_in(), read),
                    written: since(gzip.total_out(), written),
                    ended: status == Status::StreamEnd,
                })
            }
            Self::Zstd(context) => {
                let (mut input, mut out) = (InBuffer::around(input), OutBuffer::around(out));
                let wanted = context.decompress_stream(&mut out, &mut input).map_err(|_| not_zstd())?;
                Ok(Step { read: input.pos(), written: out.pos(), ended: wanted == 0 })
            }
        }
    }
}

fn check_magic(frame: &[u8]) -> Result<(), Problem> {
    let magic = frame.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    match magic {
        Some(magic) if magic == ZSTD_MAGIC || magic & !0xf == ZSTD_MAGIC_SKIPPABLE => Ok(()),
        Some(_) => Err(not_zstd()),
        None => Err(invalid("the encoded body ends early")),
    }
}

fn not_zstd() -> Problem {
    invalid("the body is no zstd stream with windows of at most 8 MiB and no dictionary")
}

fn invalid(detail: &'static str) -> Problem {
    Problem::new(Code::BodyInvalid, detail)
}

#[cfg(test)]
mod tests;
