//! HTTP/1.1, the client's half that a load needs: one call at a time on a connection, into buffers that are kept.
//!
//! Not a client for anything else: no redirects, no trailers, no pipelining, no bodies without an end. Invariant: after an
//! answer the connection stands at the next one's first byte; after an error it is not used again.

use std::{io::IoSlice, ops::Range};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::connection::{Answer, Take};

/// Longest head of an answer, bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the buffer at first.
const BUFFER_BYTES: usize = 16 * 1024;

/// What bytes come from and go to.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection.
pub(super) struct Http1 {
    stream: Box<dyn Stream>,
    /// What was read and not used: `buffer[..filled]`.
    buffer: Vec<u8>,
    filled: usize,
    /// A chunked body, put together.
    joined: Vec<u8>,
}

/// An answer's head.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    bytes: usize,
    status: u16,
    length: Length,
    etag: Option<Range<usize>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
}

impl Http1 {
    pub(super) fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: vec![0; BUFFER_BYTES], filled: 0, joined: Vec::new() }
    }

    /// One call.
    pub(super) async fn send(&mut self, head: &[u8], body: &[u8], take: Take) -> Result<Answer> {
        self.write(head, body).await.context("send a request")?;
        let head = loop {
            if let Some(head) = parse(&self.buffer[..self.filled])? {
                break head;
            }
            ensure!(self.filled < HEAD_BYTES_MAX, "an answer's head is too long");
            self.fill().await?;
        };
        let etag = head.etag.filter(|_| take == Take::Etag).map(|at| text(&self.buffer[at]));
        let (body, end) = match head.length {
            Length::Known(bytes) => {
                let end = head.bytes + bytes;
                while self.filled < end {
                    self.fill().await?;
                }
                (&self.buffer[head.bytes..end], end)
            }
            Length::Chunked => {
                let end = self.join(head.bytes).await?;
                (self.joined.as_slice(), end)
            }
        };
        let body = if take.wants_body(head.status) { Bytes::copy_from_slice(body) } else { Bytes::new() };
        self.buffer.copy_within(end..self.filled, 0);
        self.filled -= end;
        Ok(Answer { status: head.status, etag, body })
    }

    async fn write(&mut self, head: &[u8], body: &[u8]) -> std::io::Result<()> {
        let mut sent = 0;
        while sent < head.len() {
            let parts = [IoSlice::new(&head[sent..]), IoSlice::new(body)];
            let wrote = self.stream.write_vectored(&parts).await?;
            if wrote == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            sent += wrote;
        }
        self.stream.write_all(&body[sent - head.len()..]).await
    }

    /// Reads some more.
    async fn fill(&mut self) -> Result<()> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.filled * 2, 0);
        }
        let read = self.stream.read(&mut self.buffer[self.filled..]).await.context("read an answer")?;
        ensure!(read > 0, "the server closed the connection");
        self.filled += read;
        Ok(())
    }

    /// Puts a chunked body together; returns where it ends.
    async fn join(&mut self, from: usize) -> Result<usize> {
        self.joined.clear();
        let mut at = from;
        loop {
            let line = self.line(at).await?;
            let size = text(&self.buffer[at..line]);
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).context("read a chunk's size")?;
            at = line + 2;
            while self.filled < at + size + 2 {
                self.fill().await?;
            }
            self.joined.extend_from_slice(&self.buffer[at..at + size]);
            ensure!(self.buffer[at + size..].starts_with(b"\r\n"), "a chunk has another length than it says");
            at += size + 2;
            if size == 0 {
                return Ok(at);
            }
        }
    }

    /// Where the line ends that begins here.
    async fn line(&mut self, from: usize) -> Result<usize> {
        loop {
            if let Some(length) = find(&self.buffer[from..self.filled], b"\r\n") {
                return Ok(from + length);
            }
            self.fill().await?;
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// A head, once it is whole.
fn parse(bytes: &[u8]) -> Result<Option<Head>> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    ensure!(bytes.starts_with(b"HTTP/1.1 "), "the answer is not HTTP/1.1");
    let status = bytes.get(9..12).context("a status has three digits")?;
    let status = str::from_utf8(status)?.parse().context("a status has three digits")?;
    let mut head = Head { bytes: end + 4, status, length: Length::Known(0), etag: None };
    let mut has_length = matches!(status, 204 | 304);
    let mut at = find(bytes, b"\r\n").unwrap_or(end) + 2;
    while at < end {
        let line = at..at + find(&bytes[at..end], b"\r\n").unwrap_or(end - at);
        at = line.end + 2;
        let Some(colon) = bytes[line.clone()].iter().position(|byte| *byte == b':') else {
            bail!("a header has no name")
        };
        let name = &bytes[line.start..line.start + colon];
        let skipped =
            bytes[line.start + colon + 1..line.end].iter().take_while(|byte| **byte == b' ').count();
        let value = line.start + colon + 1 + skipped..line.end;
        if name.eq_ignore_ascii_case(b"content-length") {
            head.length = Length::Known(str::from_utf8(&bytes[value])?.trim().parse()?);
            has_length = true;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            head.length = Length::Chunked;
            has_length = true;
        } else if name.eq_ignore_ascii_case(b"etag") {
            head.etag = Some(value);
        }
    }
    ensure!(has_length, "an answer says no length");
    if matches!(status, 204 | 304) {
        head.length = Length::Known(0);
    }
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers in pieces of so many bytes, whatever is asked.
    fn answering(text: &'static str, piece: usize) -> Http1 {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            let (mut from, mut to) = tokio::io::split(&mut theirs);
            let mut asked = vec![0; 1024];
            while from.read(&mut asked).await.is_ok_and(|read| read > 0) {
                for part in text.as_bytes().chunks(piece) {
                    to.write_all(part).await.expect("the client reads");
                }
            }
        });
        Http1::new(ours)
    }

    #[tokio::test]
    async fn an_answer_is_read_whole_however_it_is_cut() -> Result<()> {
        let known = "HTTP/1.1 200 OK\r\nETag: \"1-2-3\"\r\ncontent-length: 5\r\n\r\nhello";
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n";
        for piece in [1, 7, 1000] {
            for text in [known, chunked] {
                let mut connection = answering(text, piece);
                // Twice: the second answer begins where the first one ends.
                for _ in 0..2 {
                    let answer = connection.send(b"GET / HTTP/1.1\r\n\r\n", b"", Take::Body).await?;
                    assert_eq!((answer.status, answer.body.as_ref()), (200, b"hello".as_slice()));
                }
            }
        }
        let mut connection = answering(known, 3);
        let answer = connection.send(b"PUT / HTTP/1.1\r\n\r\n", &[b'v'; 500], Take::Etag).await?;
        assert_eq!((answer.etag.as_deref(), answer.body.len()), (Some("\"1-2-3\""), 0));
        Ok(())
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error() {
        for text in [
            "HTTP/1.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n",
        ] {
            let mut connection = answering(text, 100);
            assert!(connection.send(b"GET / HTTP/1.1\r\n\r\n", b"", Take::Nothing).await.is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_without_a_body_has_none() -> Result<()> {
        let head = parse(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n")?;
        assert_eq!(head.map(|head| head.length), Some(Length::Known(0)));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\ncontent-le")?, None);
        Ok(())
    }
}
