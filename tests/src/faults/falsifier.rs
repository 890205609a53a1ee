//! A link to a Kafka broker that lies: a record is appended, and whoever sent it is told that it was not.
//!
//! It knows as much of Kafka's protocol as it takes to find the answer to a Produce. Invariant: everything else passes as
//! it is; a lie is told once.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::oneshot,
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The key of a Produce request.
const PRODUCE: i16 = 0;
/// From this version on counts are one byte where they are small.
const COMPACT_FROM: i16 = 9;
/// Larger frames are none.
const FRAME_BYTES_MAX: u32 = 64 << 20;

/// Lies about records of topics whose names end so.
#[derive(Debug)]
pub struct Falsifier {
    address: SocketAddr,
    lies: Arc<Lies>,
    _ends: DropGuard,
}

#[derive(Debug)]
struct Lies {
    topic: String,
    waiting: Mutex<VecDeque<(i16, oneshot::Sender<()>)>>,
}

impl Falsifier {
    /// A link to a broker, on a free port of the loopback.
    pub async fn start(server: SocketAddr, topic: &str) -> Result<Self> {
        let [port] = crate::ports::free()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = TcpListener::bind(address).await.context("listen for a link")?;
        let lies = Arc::new(Lies { topic: topic.to_owned(), waiting: Mutex::default() });
        let ends = CancellationToken::new();
        tokio::spawn(serve(listener, server, Arc::clone(&lies), ends.clone()));
        Ok(Self { address, lies, _ends: ends.drop_guard() })
    }

    /// Where to connect instead of the broker.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts this error into the next good answer to a Produce, and waits until it was told.
    pub async fn lie(&self, code: i16) -> Result<()> {
        let (tell, told) = oneshot::channel();
        self.lies.waiting().push_back((code, tell));
        told.await.context("the link is gone")
    }
}

impl Lies {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<(i16, oneshot::Sender<()>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes an answer to a Produce of this version, where there is something to lie about.
    fn falsify(&self, frame: &mut [u8], version: i16) {
        let Some(error) = error_of(frame, version, self.topic.as_bytes()) else { return };
        if error != [0, 0] {
            return;
        }
        if let Some((code, tell)) = self.waiting().pop_front() {
            error.copy_from_slice(&code.to_be_bytes());
            let _nobody_waits = tell.send(());
        }
    }
}

/// The error code in an answer to a Produce: behind the topic's name, a count of one, and the partition.
fn error_of<'a>(frame: &'a mut [u8], version: i16, topic: &[u8]) -> Option<&'a mut [u8]> {
    let name = frame.windows(topic.len()).position(|bytes| bytes == topic)?;
    let count = if version < COMPACT_FROM { 4 } else { 1 };
    let at = name + topic.len() + count + 4;
    frame.get_mut(at..at + 2)
}

async fn serve(listener: TcpListener, server: SocketAddr, lies: Arc<Lies>, ends: CancellationToken) {
    let mut connections = JoinSet::new();
    while let Some(Ok((client, _))) = ends.run_until_cancelled(listener.accept()).await {
        while connections.try_join_next().is_some() {}
        // A broker that does not answer resets its client, as it would without this.
        connections.spawn(connect(client, server, Arc::clone(&lies)));
    }
    // Dropped with what still runs.
}

async fn connect(client: TcpStream, server: SocketAddr, lies: Arc<Lies>) -> Result<()> {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = TcpStream::connect(server).await?.into_split();
    let produces = Mutex::new(HashMap::new());
    // The end of one way ends the other.
    tokio::select! {
        ended = requests(from_client, to_server, &produces) => ended,
        ended = answers(from_server, to_client, (&produces, &lies)) => ended,
    }
}

/// By correlation id: the versions of Produces that were not answered yet.
type Produces = Mutex<HashMap<i32, i16>>;

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, produces: &Produces) -> Result<()> {
    loop {
        let frame = read(&mut from).await?;
        let [key, version] = [4, 6].map(|at| short(&frame, at));
        if key == Some(PRODUCE)
            && let (Some(version), Some(id)) = (version, long(&frame, 8))
        {
            produces.lock().unwrap_or_else(PoisonError::into_inner).insert(id, version);
        }
        to.write_all(&frame).await?;
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (produces, lies): (&Produces, &Lies),
) -> Result<()> {
    loop {
        let mut frame = read(&mut from).await?;
        let version = long(&frame, 4)
            .and_then(|id| produces.lock().unwrap_or_else(PoisonError::into_inner).remove(&id));
        if let Some(version) = version {
            lies.falsify(&mut frame, version);
        }
        to.write_all(&frame).await?;
    }
}

/// A frame, with its length before it.
async fn read(from: &mut OwnedReadHalf) -> Result<Vec<u8>> {
    let bytes = from.read_u32().await?;
    anyhow::ensure!(bytes <= FRAME_BYTES_MAX, "{bytes} bytes are no frame");
    let mut frame = bytes.to_be_bytes().to_vec();
    frame.resize(4 + bytes as usize, 0);
    from.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}

fn short(frame: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?))
}

fn long(frame: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(frame.get(at..at + 4)?.try_into().ok()?))
}
