//! A socket that gives up on slow clients: slow heads, long idling, answers that nobody takes.
//!
//! hyper's own head timeout also ends idle connections, so idling and heads are told apart here, by when the first
//! byte after an answer comes. Not here: slow bodies. Invariant: no client holds a connection for nothing.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// For a request's head, from its first byte; for the first one, from the start.
    pub(crate) head: Duration,
    /// Between requests.
    pub(crate) idle: Duration,
    /// For taking any byte of an answer.
    pub(crate) send: Duration,
}

/// Between requests, or inside one, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Phase(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    phase: AtomicU8,
    /// Milliseconds from `start` to the phase's beginning, or to the last byte that was sent in it.
    since_ms: AtomicU64,
    start: Instant,
}

const HEAD: u8 = 0;
const IDLE: u8 = 1;
const BUSY: u8 = 2;

impl Phase {
    /// A new connection: a head is awaited.
    pub(crate) fn new() -> Self {
        let (phase, since_ms) = (AtomicU8::new(HEAD), AtomicU64::new(0));
        Self(Arc::new(Inside { phase, since_ms, start: Instant::now() }))
    }

    /// A call begins; it ends when the guard is dropped.
    pub(crate) fn busy(&self) -> Busy {
        self.enter(BUSY);
        Busy(self.clone())
    }

    fn is(&self, phase: u8) -> bool {
        self.0.phase.load(Ordering::Relaxed) == phase
    }

    fn enter(&self, phase: u8) {
        self.touch();
        self.0.phase.store(phase, Ordering::Relaxed);
    }

    /// Counts from now on.
    fn touch(&self) {
        let ms = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.since_ms.store(ms, Ordering::Relaxed);
    }

    /// When the client is too late; none while it is the server's turn.
    fn deadline(&self, timeouts: Timeouts) -> Option<Instant> {
        let time = match self.0.phase.load(Ordering::Relaxed) {
            HEAD => timeouts.head,
            IDLE => timeouts.idle,
            _ => return None,
        };
        Some(self.0.start + Duration::from_millis(self.0.since_ms.load(Ordering::Relaxed)) + time)
    }
}

/// A call at work.
#[derive(Debug)]
pub(crate) struct Busy(Phase);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.enter(IDLE);
    }
}

/// The socket.
#[derive(Debug)]
pub(crate) struct Timed<S> {
    inner: S,
    timeouts: Timeouts,
    phase: Phase,
    reading: Pin<Box<Sleep>>,
    sending: Option<Pin<Box<Sleep>>>,
}

impl<S> Timed<S> {
    pub(crate) fn new(inner: S, timeouts: Timeouts, phase: Phase) -> Self {
        let reading = Box::pin(sleep_until(Instant::now() + timeouts.head));
        Self { inner, timeouts, phase, reading, sending: None }
    }

    /// The socket itself.
    pub(crate) fn into_inner(self) -> S {
        self.inner
    }

    /// No byte came: is it too late for one?
    ///
    /// hyper does not read again after an answer, so the timer runs on while a call is at work, and is set anew when
    /// it ends too early; most often it never ends at all.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if let Some(deadline) = self.phase.deadline(self.timeouts)
            && deadline < self.reading.deadline()
        {
            self.reading.as_mut().reset(deadline);
        }
        loop {
            ready!(self.reading.as_mut().poll(context));
            let now = Instant::now();
            match self.phase.deadline(self.timeouts) {
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
        if self.phase.is(IDLE) {
            // A long answer that is being taken is not idling.
            self.phase.touch();
        }
        sent
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(context, buffer);
        if read.is_pending() {
            return self.poll_late(context).map(Err);
        }
        if self.phase.is(IDLE) {
            self.phase.enter(HEAD);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.sent(context, sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.inner).poll_write_vectored(context, pieces);
        self.sent(context, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
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
        let mut timed = Timed::new(server, TIMEOUTS, Phase::new());
        let started = Instant::now();
        let error = timed.write_all(b"more than fits").await.unwrap_err();
        assert_eq!((error.kind(), started.elapsed().as_secs()), (io::ErrorKind::TimedOut, 20));
    }
}
