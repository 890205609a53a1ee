//! A socket that gives up on slow clients: slow heads, long idling, answers that nobody takes.
//!
//! hyper's own head timeout also ends idle connections, so idling and heads are told apart here, by when the first
//! byte after an answer comes. Not here: slow bodies. Invariant: no client holds a connection for nothing.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    frames::Frames,
    phase::{Phase, Timeouts},
};

/// Most bytes of an answer of hyper's own that are kept: such a head is shorter.
const OWN_BYTES_MAX: usize = 512;

/// The socket.
#[derive(Debug)]
pub(crate) struct Timed<S> {
    inner: S,
    timeouts: Timeouts,
    phase: Phase,
    reading: Pin<Box<Sleep>>,
    sending: Option<Pin<Box<Sleep>>>,
    /// Read already, to tell which HTTP it is.
    before: Bytes,
    /// HTTP/2: since when a head is incomplete.
    head: Option<(Frames, Option<Instant>)>,
    /// What hyper wanted to answer to a head that it cannot read.
    own: Vec<u8>,
}

impl<S> Timed<S> {
    pub(crate) fn new(inner: S, timeouts: Timeouts, phase: Phase) -> Self {
        let reading = Box::pin(sleep_until(Instant::now() + timeouts.head));
        Self {
            inner,
            timeouts,
            phase,
            reading,
            sending: None,
            before: Bytes::new(),
            head: None,
            own: Vec::new(),
        }
    }

    /// These bytes are read again.
    pub(crate) fn put_back(&mut self, bytes: Bytes) {
        self.before = bytes;
    }

    /// The bytes are frames from here on.
    pub(crate) fn is_http2(&mut self) {
        self.phase.is_http2();
        self.head = Some((Frames::new(), None));
    }

    /// How long a client may take.
    pub(crate) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Takes what hyper wanted to answer to a head that it cannot read. Empty: there was none.
    pub(crate) fn take_own(&mut self) -> Vec<u8> {
        // What comes from now on is to be sent.
        drop(self.phase.busy());
        std::mem::take(&mut self.own)
    }

    /// The socket itself.
    pub(crate) fn into_inner(self) -> S {
        self.inner
    }

    /// Keeps what answers no call: hyper's answer to a head that it cannot read has no body and no request id.
    fn kept(&mut self, bytes: &[u8]) {
        let left = OWN_BYTES_MAX.saturating_sub(self.own.len()).min(bytes.len());
        self.own.extend_from_slice(bytes.get(..left).unwrap_or_default());
    }

    /// When the client is too late; none while it is the server's turn.
    fn deadline(&self) -> Option<Instant> {
        let incomplete = self.head.as_ref().and_then(|(_, since)| *since);
        let head = incomplete.map(|since| since + self.timeouts.head);
        head.into_iter().chain(self.phase.deadline(self.timeouts)).min()
    }

    fn received(&mut self, bytes: &[u8]) {
        self.phase.received();
        if let Some((frames, since)) = &mut self.head {
            if frames.follow(bytes) {
                *since = None;
            }
            *since = frames.is_incomplete().then(|| since.unwrap_or_else(Instant::now));
        }
    }

    /// No byte came: is it too late for one?
    ///
    /// hyper does not read again after an answer, so the timer runs on while a call is at work, and is set anew when
    /// it ends too early; most often it never ends at all.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if let Some(deadline) = self.deadline()
            && deadline < self.reading.deadline()
        {
            self.reading.as_mut().reset(deadline);
        }
        loop {
            ready!(self.reading.as_mut().poll(context));
            let now = Instant::now();
            match self.deadline() {
                Some(deadline) if deadline <= now => return Poll::Ready(io::ErrorKind::TimedOut.into()),
                Some(deadline) => self.reading.as_mut().reset(deadline),
                None => self.reading.as_mut().reset(now + self.timeouts.idle),
            }
        }
    }

    /// The client takes nothing: for too long?
    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let send = self.timeouts.send;
        let stalled = self.sending.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + send)));
        stalled.as_mut().poll(context).map(|()| io::ErrorKind::TimedOut.into())
    }

    fn sent<T>(&mut self, context: &mut Context<'_>, sent: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if sent.is_pending() {
            return self.poll_stalled(context).map(Err);
        }
        self.sending = None;
        self.phase.sent();
        sent
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        if !self.before.is_empty() {
            let taken = self.before.len().min(buffer.remaining());
            buffer.put_slice(&self.before.split_to(taken));
        } else if Pin::new(&mut self.inner).poll_read(context, buffer)?.is_pending() {
            return self.poll_late(context).map(Err);
        }
        self.received(buffer.filled().get(filled..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.phase.owes_nothing() {
            self.kept(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        let sent = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.sent(context, sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.phase.owes_nothing() {
            for piece in pieces {
                self.kept(piece);
            }
            return Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()));
        }
        let sent = Pin::new(&mut self.inner).poll_write_vectored(context, pieces);
        self.sent(context, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(context))?;
        self.phase.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const TIMEOUTS: Timeouts = Timeouts {
        head: Duration::from_secs(5),
        idle: Duration::from_mins(1),
        send: Duration::from_secs(20),
    };

    async fn seconds_until_late(timed: &mut Timed<tokio::io::DuplexStream>) -> u64 {
        let started = Instant::now();
        let mut buffer = [0; 16];
        let error = timed.read(&mut buffer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        started.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_head_has_five_seconds() {
        let (_client, server) = duplex(64);
        let mut timed = Timed::new(server, TIMEOUTS, Phase::new());
        assert_eq!(seconds_until_late(&mut timed).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn dripping_a_head_wins_no_time() {
        let (mut client, server) = duplex(64);
        let phase = Phase::new();
        let mut timed = Timed::new(server, TIMEOUTS, phase.clone());
        drop(phase.busy());
        let drip = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let read = async {
            let mut buffer = [0; 1];
            let started = Instant::now();
            while timed.read(&mut buffer).await.is_ok() {}
            drop(timed);
            started.elapsed().as_secs()
        };
        let ((), seconds) = tokio::join!(drip, read);
        assert_eq!(seconds, 35, "thirty idle, five for the head");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_has_a_minute_after_each_answer() {
        let (_client, server) = duplex(64);
        let phase = Phase::new();
        let mut timed = Timed::new(server, TIMEOUTS, phase.clone());
        drop(phase.busy());
        assert_eq!(seconds_until_late(&mut timed).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_at_work_is_not_timed_here() {
        let (_client, server) = duplex(64);
        let phase = Phase::new();
        let mut timed = Timed::new(server, TIMEOUTS, phase.clone());
        let busy = phase.busy();
        let mut buffer = [0; 1];
        let hour = Duration::from_hours(1);
        assert!(tokio::time::timeout(hour, timed.read(&mut buffer)).await.is_err());
        drop(busy);
        assert_eq!(seconds_until_late(&mut timed).await, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn idling_is_noticed_by_a_read_that_began_while_a_call_was_at_work() {
        let (_client, server) = duplex(64);
        let phase = Phase::new();
        let mut timed = Timed::new(server, TIMEOUTS, phase.clone());
        let busy = phase.busy();
        let started = Instant::now();
        let end_of_call = async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(busy);
        };
        let ((), _) = tokio::join!(end_of_call, seconds_until_late(&mut timed));
        assert_eq!(started.elapsed().as_secs(), 160);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_is_given_up() {
        let (_client, server) = duplex(4);
        let phase = Phase::new();
        let _busy = phase.busy();
        let mut timed = Timed::new(server, TIMEOUTS, phase);
        let started = Instant::now();
        let error = timed.write_all(b"more than fits").await.unwrap_err();
        assert_eq!((error.kind(), started.elapsed().as_secs()), (io::ErrorKind::TimedOut, 20));
    }

    #[tokio::test]
    async fn what_answers_no_call_is_kept_back_and_what_answers_one_is_sent() {
        let (mut client, server) = duplex(64);
        let phase = Phase::new();
        let mut timed = Timed::new(server, TIMEOUTS, phase.clone());
        let busy = phase.busy();
        timed.write_all(b"answer").await.unwrap();
        drop(busy);
        timed.write_all(b", its rest").await.unwrap();
        timed.flush().await.unwrap();
        timed.write_all(b"own").await.unwrap();
        assert_eq!(timed.take_own(), b"own");
        timed.write_all(b".").await.unwrap();
        drop(timed);
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "answer, its rest.");
    }

    #[tokio::test]
    async fn what_was_put_back_comes_first() {
        let (mut client, server) = duplex(64);
        client.write_all(b"def").await.unwrap();
        drop(client);
        let mut timed = Timed::new(server, TIMEOUTS, Phase::new());
        timed.put_back(Bytes::from_static(b"abc"));
        let mut received = String::new();
        timed.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "abcdef");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_in_frames_has_five_seconds_and_whole_frames_win_no_time_from_idling() {
        let (mut client, server) = duplex(64);
        let phase = Phase::new();
        let mut timed = Timed::new(server, TIMEOUTS, phase.clone());
        timed.is_http2();
        client.write_all(crate::frames::PREFACE).await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(timed.read(&mut buffer).await.unwrap(), 24);
        let hour = Duration::from_hours(1);
        assert!(
            tokio::time::timeout(hour, timed.read(&mut buffer)).await.is_err(),
            "it is told to go away elsewhere"
        );
        client.write_all(&[0, 0, 100, 1]).await.unwrap();
        assert_eq!(timed.read(&mut buffer).await.unwrap(), 4);
        let started = Instant::now();
        client.write_all(&[4, 0, 0, 0, 1, b'x']).await.unwrap();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(timed.read(&mut buffer).await.unwrap(), 6);
        assert_eq!(timed.read(&mut buffer).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), 5);
    }
}
