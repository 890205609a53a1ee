//! A way to the server that loses what a test wants lost.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use millpond_shard::{PostgresConfig, Shard};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::database::Database;

/// What is lost on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The settings of a session, as with a pooler that ignores them.
    Options,
    /// A COMMIT, and then the connection.
    Commit,
    /// A COMMIT's answer, and then the connection.
    CommitAnswer,
}

/// Forwards connections to the tests' server. Ends with this value.
pub(super) struct Proxy {
    config: PostgresConfig,
    /// Whether a COMMIT may be lost; it is cleared by the first.
    pub(super) armed: Arc<AtomicBool>,
    _connections: JoinSet<()>,
}

impl Proxy {
    pub(super) async fn start(database: &Database, lost: Lost) -> Self {
        let mut config = database.config();
        let place = config.address.rsplit_once('@').unwrap().1;
        let server = place.split_once('/').unwrap().0.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        config.address = config.address.replace(&server, &listener.local_addr().unwrap().to_string());
        let armed = Arc::new(AtomicBool::new(false));
        let mut connections = JoinSet::new();
        connections.spawn(listen(listener, server, lost, Arc::clone(&armed)));
        Self { config, armed, _connections: connections }
    }

    pub(super) fn shard(&self) -> Shard {
        Shard::open_postgres(&self.config).unwrap()
    }
}

async fn listen(listener: TcpListener, server: String, lost: Lost, armed: Arc<AtomicBool>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(&server).await.unwrap();
        connections.spawn(forward(client, server, lost, Arc::clone(&armed)));
    }
}

async fn forward(mut client: TcpStream, mut server: TcpStream, lost: Lost, armed: Arc<AtomicBool>) {
    let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
    let mut first = true;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return };
                let mut sent = from_client[..length].to_vec();
                if std::mem::take(&mut first) && lost == Lost::Options {
                    sent = without_options(&sent);
                }
                let commit = sent.starts_with(b"Q") && sent.ends_with(b"COMMIT\0");
                let loses = commit && lost != Lost::Options && armed.swap(false, Ordering::SeqCst);
                if loses && lost == Lost::Commit {
                    return;
                }
                server.write_all(&sent).await.unwrap();
                if loses {
                    // It has answered, so it has committed.
                    server.read_exact(&mut [0]).await.unwrap();
                    return;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&from_server[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A startup message: length, protocol, names and values each ended by a zero, a zero.
fn without_options(message: &[u8]) -> Vec<u8> {
    let texts: Vec<&[u8]> = message[8..message.len() - 2].split(|byte| *byte == 0).collect();
    let mut rest = message[4..8].to_vec();
    for pair in texts.chunks(2).filter(|pair| pair[0] != b"options") {
        for text in pair {
            rest.extend_from_slice(text);
            rest.push(0);
        }
    }
    rest.push(0);
    let length = u32::try_from(rest.len() + 4).unwrap();
    [length.to_be_bytes().as_slice(), &rest].concat()
}
