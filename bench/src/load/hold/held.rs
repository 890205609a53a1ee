//! Calls that wait: many on each connection, from as many source addresses as their ports need.
//!
//! Invariant: a call that is answered is made again, until the end.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{net::TcpSocket, task::JoinSet, time::Instant};

use super::super::connection::{Connection, Encoder, Protocol, Request, Take};

/// Connections from one address: fewer than it has ports to give.
const CONNECTIONS_OF_ADDRESS: u32 = 20_000;
/// Connections that are opened at once.
const OPENING: usize = 128;
/// Longest that calls are waited for until they wait.
const PARKING_MAX: Duration = Duration::from_mins(5);
/// Between two looks at how many wait.
const LOOK: Duration = Duration::from_millis(50);
/// Open files that a million calls need and no machine refuses to root.
const FILES: u64 = 1 << 20;

/// Calls that wait.
pub(super) struct Held(JoinSet<Result<()>>);

/// Lets this process, and those that it starts, open as many files as it may; how many that is, if there is a limit.
pub(crate) fn raise_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let hard = Rlimit { current: Some(FILES), maximum: Some(FILES) };
    let soft = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Only root gets the first; who gets neither is told by what cannot be opened.
    let _as_it_was = setrlimit(Resource::Nofile, hard).or_else(|_refused| setrlimit(Resource::Nofile, soft));
    getrlimit(Resource::Nofile).current
}

/// What a process has in memory.
pub(super) fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read the server's memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("there is its size")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("it is a number")?;
    Ok(kib << 10)
}

/// Opens so many connections, each with so many places for a call.
pub(super) async fn connect(to: SocketAddr, connections: u32, streams: usize) -> Result<Vec<Connection>> {
    let (mut opening, mut opened) = (JoinSet::new(), Vec::new());
    for number in 0..connections {
        if opening.len() == OPENING {
            opened.extend(opening.join_next().await.context("some are opening")???);
        }
        opening.spawn(open(to, number, streams));
    }
    while let Some(next) = opening.join_next().await {
        opened.extend(next??);
    }
    Ok(opened)
}

async fn open(to: SocketAddr, number: u32, streams: usize) -> Result<Vec<Connection>> {
    let socket = TcpSocket::new_v4()?;
    let last = u8::try_from(2 + number / CONNECTIONS_OF_ADDRESS).context("so many source addresses")?;
    socket.bind((Ipv4Addr::new(127, 0, 0, last), 0).into()).context("take a source address")?;
    let stream = socket.connect(to).await.with_context(|| format!("open connection {number}"))?;
    Connection::over(stream, Protocol::H2, streams).await
}

impl Held {
    /// Makes the first `calls`, each in a place of its own.
    pub(super) fn park(
        places: Vec<Connection>,
        (encoder, keys): (&Encoder, &[String]),
        calls: usize,
    ) -> Result<Self> {
        ensure!(places.len() >= calls, "there is a place for each call");
        let put = |key: &String| {
            encoder.request(("PUT", &format!("/kv/{key}")), &[("prefer", "wait=30")], Bytes::new())
        };
        let requests: Arc<[Request]> = keys.iter().map(put).collect::<Result<Vec<_>>>()?.into();
        let mut waiting = JoinSet::new();
        for (number, place) in places.into_iter().take(calls).enumerate() {
            waiting.spawn(wait(place, Arc::clone(&requests), number));
        }
        Ok(Self(waiting))
    }

    /// Returns once the server says that so many wait, nearly; how many it says.
    pub(super) async fn settled(&self, ops: SocketAddr, calls: u64) -> Result<u64> {
        let began = Instant::now();
        loop {
            let waiting = self.waiting(ops).await?;
            // Some are always on their way, answered after their longest time and made again.
            if waiting * 100 >= calls * 99 {
                return Ok(waiting);
            }
            ensure!(
                began.elapsed() < PARKING_MAX,
                "only {waiting} of {calls} calls wait after {PARKING_MAX:?}"
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How many wait, as the server says.
    pub(super) async fn waiting(&self, ops: SocketAddr) -> Result<u64> {
        let encoder = Encoder { protocol: Protocol::Http1, host: ops.to_string() };
        let ask = encoder.request(("GET", "/metrics"), &[], Bytes::new())?;
        let mut connection =
            Connection::open(Protocol::Http1, ops, 1).await?.pop().context("one connection was opened")?;
        let answer = connection.send(&ask, Take::Body).await.context("ask how many wait")?;
        number(&String::from_utf8_lossy(&answer.body))
    }

    /// Gives them up.
    pub(super) async fn end(mut self) -> Result<()> {
        // One that has ended has failed.
        while let Some(ended) = self.0.try_join_next() {
            ended.context("a call panicked")??;
        }
        self.0.shutdown().await;
        Ok(())
    }
}

async fn wait(mut place: Connection, requests: Arc<[Request]>, number: usize) -> Result<()> {
    let request = &requests[number % requests.len()];
    loop {
        let answer = place.send(request, Take::Nothing).await?;
        ensure!(answer.status == 202, "a call that waits was answered {}", answer.status);
    }
}

/// How many wait, out of a server's metrics.
fn number(metrics: &str) -> Result<u64> {
    let names = ["millpond_api_waiters ", "held "];
    let found = metrics.lines().find_map(|line| names.iter().find_map(|name| line.strip_prefix(name)));
    found.context("the server says how many wait")?.trim().parse().context("it is a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_those_that_wait_is_found() -> Result<()> {
        let metrics =
            "# TYPE millpond_api_waiters gauge\nmillpond_api_waiters 12\nmillpond_api_waiters_more 3\n";
        assert_eq!(number(metrics)?, 12);
        assert_eq!(number("held 7\n")?, 7);
        assert!(number("nothing").is_err());
        Ok(())
    }

    #[test]
    fn the_memory_of_a_process_is_read() -> Result<()> {
        assert!(resident_bytes(std::process::id())? > 1 << 20);
        Ok(())
    }
}
