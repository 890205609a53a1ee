//! A TCP link of our own between two parties: slow, held, cut, or caught at a byte pattern, in either direction.
//!
//! Not aware of any protocol: patterns are bytes. Invariant: what it forwards is what came, in order; what it does not
//! forward is lost only with its connection, as on a real link.

mod pump;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::pump::pump;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From who connected.
    ToServer,
    /// To who connected.
    ToClient,
}

/// A link. It ends with the value, and its connections with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    link: Arc<Link>,
    _ends: DropGuard,
}

/// What its connections share.
#[derive(Debug)]
struct Link {
    server: SocketAddr,
    state: watch::Sender<State>,
    armed: Mutex<Vec<Armed>>,
    /// The connections of now; cancelled by a cut, which puts another one in its place.
    cut: Mutex<CancellationToken>,
}

/// How it is set.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    delay: Duration,
    /// By direction: nothing moves.
    held: [bool; 2],
    /// By direction: what comes is thrown away.
    swallowed: [bool; 2],
    /// Nobody listens.
    refused: bool,
}

#[derive(Debug)]
struct Armed {
    direction: Direction,
    pattern: Vec<u8>,
    tell: oneshot::Sender<Caught>,
}

/// A connection that stands still just before a pattern; what came before it was forwarded. Dropped, it is cut.
#[derive(Debug)]
pub struct Caught {
    /// The client's end.
    pub client: SocketAddr,
    pass: oneshot::Sender<()>,
}

impl Caught {
    /// Cuts the connection: the pattern is never forwarded.
    pub fn cut(self) {
        drop(self.pass);
    }

    /// Goes on, with the pattern.
    pub fn pass(self) {
        // It may have been cut meanwhile.
        let _ = self.pass.send(());
    }
}

impl Proxy {
    /// A link to a server, on a free port of the loopback.
    pub fn start(server: SocketAddr) -> Result<Self> {
        let [port] = crate::ports::free()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let link = Arc::new(Link {
            server,
            state: watch::Sender::new(State::default()),
            armed: Mutex::default(),
            cut: Mutex::default(),
        });
        let ends = CancellationToken::new();
        let listener = listen(address).context("listen for a link")?;
        tokio::spawn(serve(address, listener, Arc::clone(&link), ends.clone()));
        Ok(Self { address, link, _ends: ends.drop_guard() })
    }

    /// Where to connect instead of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on everything comes so much later.
    pub fn delay(&self, by: Duration) {
        self.link.state.send_modify(|state| state.delay = by);
    }

    /// Nothing moves this way, as behind a filter that drops packets, until it is let go again. Then all of it comes.
    pub fn hold(&self, direction: Direction, is_held: bool) {
        self.link.state.send_modify(|state| state.held[direction as usize] = is_held);
    }

    /// What comes this way is thrown away. Cut the link before it forwards again.
    pub fn swallow(&self, direction: Direction, is_swallowed: bool) {
        self.link.state.send_modify(|state| state.swallowed[direction as usize] = is_swallowed);
    }

    /// Nobody listens any more, or again. Connections that are there stay.
    pub fn refuse(&self, is_refused: bool) {
        self.link.state.send_modify(|state| state.refused = is_refused);
    }

    /// Resets every connection.
    pub fn cut(&self) {
        let mut cut = lock(&self.link.cut);
        cut.cancel();
        *cut = CancellationToken::new();
    }

    /// Nothing is held, swallowed, slow, refused or waited for any more.
    pub fn heal(&self) {
        lock(&self.link.armed).clear();
        self.link.state.send_modify(|state| *state = State::default());
    }

    /// Waits until some connection is about to forward these bytes this way, and holds it there. Dropped, it waits for
    /// nothing; several wait for one connection each.
    pub async fn catch(&self, direction: Direction, pattern: &[u8]) -> Result<Caught> {
        let (tell, told) = oneshot::channel();
        lock(&self.link.armed).push(Armed { direction, pattern: pattern.to_vec(), tell });
        told.await.context("the link was healed before it saw the pattern")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Connections of an earlier listener may still be around.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn serve(address: SocketAddr, listener: TcpListener, link: Arc<Link>, ends: CancellationToken) {
    let (mut listener, mut state, mut connections) = (Some(listener), link.state.subscribe(), JoinSet::new());
    loop {
        let refused = state.borrow_and_update().refused;
        listener = if refused { None } else { listener.or_else(|| listen(address).ok()) };
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ends.cancelled() => break,
            _ = state.changed() => {}
            Some(_) = connections.join_next() => {}
            accepted = accept => {
                let Ok((client, peer)) = accepted else { continue };
                connections.spawn(connection(client, peer, Arc::clone(&link)));
            }
        }
    }
    // What it holds is reset with it.
    connections.shutdown().await;
}

/// Both ways, until both have ended, one has failed, or it is cut. Then it is reset, as far as it is still open.
async fn connection(client: TcpStream, peer: SocketAddr, link: Arc<Link>) {
    let cut = lock(&link.cut).clone();
    let forwarding = async move {
        let server = match TcpStream::connect(link.server).await {
            Ok(server) => server,
            Err(error) => {
                let _ = client.set_zero_linger();
                return Err(error);
            }
        };
        let mut ends = Ends { client, server, reset: true };
        let _ = (ends.client.set_nodelay(true), ends.server.set_nodelay(true));
        let (from_client, to_client) = ends.client.split();
        let (from_server, to_server) = ends.server.split();
        let done = tokio::try_join!(
            pump(from_client, to_server, (Direction::ToServer, peer), &link),
            pump(from_server, to_client, (Direction::ToClient, peer), &link),
        );
        ends.reset = done.is_err();
        io::Result::Ok(())
    };
    // How a connection ends is for its parties to notice.
    let _ = cut.run_until_cancelled(forwarding).await;
}

/// Both ends of a connection, which are reset unless both ways have ended in order.
struct Ends {
    client: TcpStream,
    server: TcpStream,
    reset: bool,
}

impl Drop for Ends {
    fn drop(&mut self) {
        if self.reset {
            let _ = (self.client.set_zero_linger(), self.server.set_zero_linger());
        }
    }
}
