//! A socket that is given back when whoever it was lent to drops it.
//!
//! Invariant: adds nothing to the socket, and costs one check a call.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::timed::Timed;

type Slot = Arc<Mutex<Option<TcpStream>>>;

/// The socket while it is lent.
#[derive(Debug)]
pub(super) struct Lent {
    socket: Option<Timed<TcpStream>>,
    slot: Slot,
}

/// Where it comes back to.
#[derive(Debug)]
pub(super) struct Lender(Slot);

/// Lends a socket.
pub(super) fn lend(socket: Timed<TcpStream>) -> (Lent, Lender) {
    let slot = Slot::default();
    (Lent { socket: Some(socket), slot: Arc::clone(&slot) }, Lender(slot))
}

impl Lender {
    /// The socket; none while it is lent.
    pub(super) fn back(self) -> Option<TcpStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Lent {
    fn socket(self: Pin<&mut Self>) -> Pin<&mut Timed<TcpStream>> {
        Pin::new(self.get_mut().socket.as_mut().expect("it is there until the drop"))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let socket = self.socket.take().map(Timed::into_inner);
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = socket;
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.socket().poll_read(context, buffer)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.socket().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket().poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_shutdown(context)
    }
}
