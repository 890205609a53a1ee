//! One connection, from its first byte to its last: HTTP/1.1, or HTTP/2 when its preface comes first.
//!
//! Not here: TLS. Invariant: a client that was refused in the middle of sending can still read why, and a connection
//! at which no call is at work holds no buffer but that of a head that has begun.

mod http1;
mod http2;
mod lent;

use std::{io, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    frames::PREFACE,
    front::Front,
    phase::{Phase, Timeouts},
    timed::Timed,
};

/// How much of what a refused client still sends is read and dropped, bytes: more than any body that is taken.
const LINGER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// And for how long.
const LINGER: Duration = Duration::from_secs(1);

/// How much of a head is read before the library's buffers are made, bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// How much is read at first, bytes: most heads.
const FIRST_BYTES: usize = 256;

/// Serves a connection until it ends; after `shutdown`, until its open calls are answered.
pub(crate) async fn serve(stream: TcpStream, front: Front, timeouts: Timeouts, shutdown: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot turn off Nagle's algorithm");
    }
    let phase = Phase::new();
    let mut socket = Timed::new(stream, timeouts, phase.clone());
    let (mut begun, mut first) = (Bytes::new(), true);
    let socket = loop {
        let version = tokio::select! {
            biased;
            version = await_head(&mut socket, &begun, first) => version,
            () = shutdown.cancelled() => return,
        };
        first = false;
        let (front, phase, shutdown) = (front.clone(), phase.clone(), shutdown.clone());
        // Boxed: a connection that waits for a head needs neither.
        match version {
            Ok(Some(Version::Http1)) => match Box::pin(http1::serve(socket, front, phase, shutdown)).await {
                Left::Quiet(quiet, read) => (socket, begun) = (*quiet, read),
                Left::Over(over) => break Some(over),
            },
            Ok(Some(Version::Http2)) => {
                socket.is_http2();
                break Box::pin(http2::serve(socket, front, phase, shutdown)).await;
            }
            Ok(None) => break None,
            Err(error) => {
                tracing::debug!(%error, "a connection ended between calls");
                break None;
            }
        }
    };
    if let Some(socket) = socket {
        linger(socket).await;
    }
}

/// What is left of a connection when the library is done with it.
enum Left {
    /// No call is at work: the socket, and what was read of the next head.
    Quiet(Box<Timed<TcpStream>>, Bytes),
    /// It ends.
    Over(TcpStream),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// Reads until a head is there, or so much of it that it needs the library's buffers, and puts back what was read.
/// None: nothing came. `begun`: what is there already; `first`: HTTP/2 may begin here.
async fn await_head(socket: &mut Timed<TcpStream>, begun: &[u8], first: bool) -> io::Result<Option<Version>> {
    // While nothing comes, there is only this.
    let mut small = [0; FIRST_BYTES];
    let mut head = begun.to_vec();
    loop {
        let read = if head.is_empty() {
            let read = socket.read(&mut small).await?;
            head.extend_from_slice(small.get(..read).unwrap_or_default());
            read
        } else {
            head.reserve(FIRST_BYTES);
            socket.read_buf(&mut head).await?
        };
        if head.is_empty() {
            return Ok(None);
        }
        let is_preface = first && PREFACE.starts_with(head.get(..PREFACE.len()).unwrap_or(&head));
        let is_http2 = is_preface && head.len() >= PREFACE.len();
        if read == 0
            || is_http2
            || head.len() >= HEAD_BYTES_MAX
            || (!is_preface && (is_wrong(&head) || ends(&head)))
        {
            socket.put_back(head.into());
            return Ok(Some(if is_http2 { Version::Http2 } else { Version::Http1 }));
        }
    }
}

/// Whether it can be no head, such as the first bytes of TLS: that is told at once.
fn is_wrong(head: &[u8]) -> bool {
    head.iter().find(|byte| !matches!(byte, b'\r' | b'\n')).is_some_and(|byte| !byte.is_ascii_graphic())
}

/// Whether an empty line ends a head.
fn ends(head: &[u8]) -> bool {
    let empty = |line: &[u8]| matches!(line, b"" | b"\r");
    // The first line may be one, and what is behind the last one is none yet.
    let mut lines = head.split(|byte| *byte == b'\n').skip_while(|line| empty(line));
    let begun = lines.next().is_some();
    let mut rest = lines.peekable();
    begun && std::iter::from_fn(|| rest.next().filter(|_| rest.peek().is_some())).any(empty)
}

/// Says that nothing more comes, and reads on for a moment: closing at once would make the system drop the answer.
async fn linger(mut socket: TcpStream) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let mut left = LINGER_BYTES_MAX;
    let mut dropped = vec![0; 16 * 1024];
    let drain = async {
        while left > 0 {
            match socket.read(&mut dropped).await {
                Ok(0) | Err(_) => break,
                Ok(read) => left = left.saturating_sub(read),
            }
        }
    };
    let _late = timeout(LINGER, drain).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_an_empty_line() {
        for whole in
            ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\nhost: a\n\nmore", "\r\nGET /\r\na: b\r\n\r\n"]
        {
            assert!(ends(whole.as_bytes()), "{whole:?}");
        }
        for part in
            ["", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n\r", "\r\n\r\n", "\r\nGET /\r\n", "a\nb\n"]
        {
            assert!(!ends(part.as_bytes()), "{part:?}");
        }
    }
}
