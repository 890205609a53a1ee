//! A client that sends exactly the HTTP/2 frames that it is told to, for what no well-behaved client would send.
//!
//! Invariant: it answers nothing by itself, not even settings and pings.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpStream, tcp},
    time::timeout,
};

/// How long a frame or an end may take before a test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// What comes before the first frame.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame's type.
#[expect(missing_docs, reason = "RFC 9113 names them")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Data = 0,
    Headers = 1,
    Reset = 3,
    Settings = 4,
    Ping = 6,
    GoAway = 7,
    Window = 8,
    Continuation = 9,
    Other = 255,
}

impl Kind {
    fn of(byte: u8) -> Self {
        let all = [
            Self::Data,
            Self::Headers,
            Self::Reset,
            Self::Settings,
            Self::Ping,
            Self::GoAway,
            Self::Window,
            Self::Continuation,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte).unwrap_or(Self::Other)
    }
}

/// Flag of DATA and HEADERS: nothing more comes on this stream.
pub const END_STREAM: u8 = 1;
/// Flag of HEADERS and CONTINUATION: the head is whole.
pub const END_HEADERS: u8 = 4;

/// One frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its type.
    pub kind: Kind,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0: the connection.
    pub stream: u32,
    /// What it holds.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame to be sent.
    pub fn new(kind: Kind, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// As bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("a frame is short").to_be_bytes();
        let head = [&length[1..], &[self.kind as u8, self.flags], &self.stream.to_be_bytes()].concat();
        [head, self.payload.clone()].concat()
    }

    /// The whole frames at the start of these bytes.
    pub fn all(mut bytes: &[u8]) -> Vec<Self> {
        let mut frames = Vec::new();
        while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
            let (length, frame) = Self::begun(*head);
            let Some((payload, rest)) = rest.split_at_checked(length) else { break };
            frames.push(Self { payload: payload.to_owned(), ..frame });
            bytes = rest;
        }
        frames
    }

    /// A frame without its payload, and that one's length.
    fn begun([a, b, c, kind, flags, stream @ ..]: [u8; 9]) -> (usize, Self) {
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        (
            length,
            Self { kind: Kind::of(kind), flags, stream: u32::from_be_bytes(stream), payload: Vec::new() },
        )
    }

    /// The error code of a GOAWAY or `RST_STREAM`.
    pub fn code(&self) -> Option<u32> {
        let last = self.payload.get(if self.kind == Kind::GoAway { 4..8 } else { 0..4 })?;
        Some(u32::from_be_bytes(last.try_into().ok()?))
    }
}

/// A header block of literals that no table remembers.
pub fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            put_length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of 7 bits.
fn put_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(u8::try_from(length).expect("it is below 127"));
        return;
    }
    block.push(127);
    let mut left = length - 127;
    while left >= 128 {
        block.push(u8::try_from(left % 128 + 128).expect("it is a byte"));
        left /= 128;
    }
    block.push(u8::try_from(left).expect("it is below 128"));
}

/// A request's header block.
pub fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut headers = vec![(":method", method), (":path", path), (":scheme", "http"), (":authority", "pond")];
    headers.extend_from_slice(more);
    block(&headers)
}

/// One connection.
pub struct Frames {
    receiving: BufReader<tcp::OwnedReadHalf>,
    sending: tcp::OwnedWriteHalf,
}

impl Frames {
    /// Connects and sends the preface and settings, each an identifier and a value.
    pub async fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (receiving, sending) = stream.into_split();
        let mut frames = Self { receiving: BufReader::new(receiving), sending };
        let pairs =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
        let settings = Frame::new(Kind::Settings, 0, 0, pairs.collect::<Vec<_>>()).bytes();
        frames.send_bytes(&[PREFACE, &settings].concat()).await;
        Ok(frames)
    }

    /// Sends a frame. That the other side has closed already is no error.
    pub async fn send(&mut self, kind: Kind, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) {
        self.send_bytes(&Frame::new(kind, flags, stream, payload).bytes()).await;
    }

    /// Sends bytes; whether the other side still takes them.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.sending.write_all(bytes).await.is_ok()
    }

    /// The next frame. None: the connection is closed.
    pub async fn receive(&mut self) -> Result<Option<Frame>> {
        let frame = async {
            let mut head = [0; 9];
            self.receiving.read_exact(&mut head).await.ok()?;
            let (length, frame) = Frame::begun(head);
            let mut payload = vec![0; length];
            self.receiving.read_exact(&mut payload).await.ok()?;
            Some(Frame { payload, ..frame })
        };
        timeout(PATIENCE, frame).await.context("no frame in a minute")
    }

    /// The next frame of a kind; others are passed over.
    pub async fn next(&mut self, kind: Kind) -> Result<Frame> {
        loop {
            let frame = self.receive().await?.with_context(|| format!("it is closed before a {kind:?}"))?;
            if frame.kind == kind {
                return Ok(frame);
            }
        }
    }

    /// All frames until the connection is closed.
    pub async fn rest(&mut self) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        while let Some(frame) = self.receive().await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// Its two halves, to send and receive at once.
    pub fn split(self) -> (BufReader<tcp::OwnedReadHalf>, tcp::OwnedWriteHalf) {
        (self.receiving, self.sending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_coded_as_the_rfc_does() {
        let of = |length| {
            let mut block = Vec::new();
            put_length(&mut block, length);
            block
        };
        assert_eq!((of(126), of(127), of(1337)), (vec![126], vec![127, 0], vec![127, 186, 9]));
    }
}
