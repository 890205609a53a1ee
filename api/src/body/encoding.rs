//! `Content-Encoding`: none, gzip or zstd.
//!
//! Invariant: a body whose encoding is not understood is refused before it is read; it is never taken as it is.

use http::{HeaderMap, HeaderValue, header};

use crate::problem::{Code, Problem};

/// What the body is wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames, with the windows of RFC 9659.
    Zstd,
}

impl Encoding {
    /// None: the body is what it is.
    ///
    /// # Errors
    /// 415 for any other, and for more than one.
    pub(super) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut lines = headers.get_all(header::CONTENT_ENCODING).iter();
        let name = match (lines.next(), lines.next()) {
            (None, _) => return Ok(None),
            (Some(one), None) => one.as_bytes(),
            (Some(_), Some(_)) => return Err(unsupported()),
        };
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match () {
            () if is("identity") => Ok(None),
            // RFC 9110: the two are one.
            () if is("gzip") || is("x-gzip") => Ok(Some(Self::Gzip)),
            () if is("zstd") => Ok(Some(Self::Zstd)),
            () => Err(unsupported()),
        }
    }
}

fn unsupported() -> Problem {
    Problem::new(Code::EncodingUnsupported, "a body has one content encoding: gzip, zstd or identity")
        .header(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd, identity"))
}
