//! A server of our own with one partition halted: a row of it was damaged while the server was down.
//!
//! Invariant: everything else of it works; what waits for that partition waits until it gives up.

use std::{fs, net::SocketAddr, path::Path, process::Child, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use millpond_schemas::{PartitionId, RecordKey, Tenant};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::super::{
    bodies::Format,
    connection::{Connection, Encoder, Protocol, Take},
    fill,
    lanes::Job,
    plan::Shape,
    schedule::Arrival,
    workload::Workload,
};
use crate::{
    keys::{Distribution, THETA},
    server::{self, Said, Target},
};

/// Keys that are there to be asked for.
const KEYS: u64 = 10_000;
/// Partitions of a new data directory.
const PARTITIONS: u32 = 8;
/// Keys whose calls wait.
const WAITED: usize = 1_000;
/// The key whose row is damaged, and its value as it is found in a file.
const DAMAGED: &str = "damaged";
const NEEDLE: &str = "this very value is looked for in the file, and changed";

/// The server.
pub(super) struct Halted {
    pub(super) child: Child,
    pub(super) said: Said,
    /// Keys of the halted partition.
    pub(super) keys: Vec<String>,
    _folder: TempDir,
}

/// GETs at a rate, of keys that are there.
pub(super) fn probed(address: SocketAddr, rate: f64, length: Duration) -> Job {
    Job {
        shape: Shape {
            workload: Workload::Get,
            distribution: Distribution::Uniform,
            theta: THETA,
            keys: KEYS,
            value_bytes: 100,
            batch: 1,
            format: Format::Protobuf,
            batched: false,
            applied: false,
            seed: 1,
        },
        encoder: Encoder { protocol: Protocol::Http1, host: address.to_string() },
        address,
        connections: 64,
        streams: 1,
        threads: 1,
        rate: Some(rate),
        arrival: Arrival::Poisson,
        length,
        log: None,
    }
}

impl Halted {
    /// Starts it, ready for so many connections.
    pub(super) async fn start(target: &Target, connections: u32) -> Result<Self> {
        let folder = TempDir::new().context("make a folder")?;
        let data = folder.path().join("data");
        let (mut child, said) = target.start_in(&data, &[])?;
        let filled = prepare(said.address).await;
        stop(&mut child)?;
        filled?;
        damage(&data)?;
        let connections_max = ("MILLPOND_API__CONNECTIONS_MAX", (connections + 100).to_string());
        let (child, said) = target.start_in(&data, &[connections_max])?;
        let halted = Self { child, said, keys: waited()?, _folder: folder };
        let headers = [("content-type", "application/vnd.millpond.op+json"), ("prefer", "respond-async")];
        let append = Bytes::from_static(br#"{"op":"append","value":"!"}"#);
        call(said.address, ("PATCH", DAMAGED), &headers, append, 202).await.context("halt a partition")?;
        // Not before this one has waited in vain is the partition known to be halted.
        let wait = [("prefer", "wait=1")];
        call(said.address, ("PUT", &halted.keys[0]), &wait, Bytes::new(), 202)
            .await
            .context("wait in vain")?;
        Ok(halted)
    }
}

/// Keys of the partition of the damaged one.
fn waited() -> Result<Vec<String>> {
    let tenant = Tenant::new("default")?;
    let partition = |key: &str| -> Result<PartitionId> {
        Ok(RecordKey::new(&tenant, key.as_bytes())?.partition(PARTITIONS))
    };
    let halted = partition(DAMAGED)?;
    let names = (0_u32..).map(|number| format!("waits-{number}"));
    let there = |key: &String| partition(key).is_ok_and(|at| at == halted);
    Ok(names.filter(there).take(WAITED).collect())
}

async fn prepare(address: SocketAddr) -> Result<()> {
    fill::fill(&probed(address, 1.0, Duration::from_secs(1))).await?;
    let needle = Bytes::from_static(NEEDLE.as_bytes());
    call(address, ("PUT", DAMAGED), &[("prefer", "wait=10")], needle, 200).await
}

async fn call(
    address: SocketAddr,
    (method, key): (&str, &str),
    headers: &[(&'static str, &str)],
    body: Bytes,
    wanted: u16,
) -> Result<()> {
    let encoder = Encoder { protocol: Protocol::Http1, host: address.to_string() };
    let request = encoder.request((method, &format!("/kv/{key}")), headers, body)?;
    let mut connection =
        Connection::open(Protocol::Http1, address, 1).await?.pop().context("one connection was opened")?;
    let answer = connection.send(&request, Take::Body).await?;
    let said = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == wanted, "{method} was answered {} {said}", answer.status);
    Ok(())
}

/// Ends it in order, so that all is in the files.
fn stop(child: &mut Child) -> Result<()> {
    kill_process(Pid::from_child(child), Signal::TERM).context("stop the server")?;
    child.wait().context("wait for the server's end")?;
    Ok(())
}

fn damage(data: &Path) -> Result<()> {
    let mut damaged = 0;
    for entry in fs::read_dir(data).context("look into the data directory")? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "sqlite") {
            continue;
        }
        let mut bytes = fs::read(&path)?;
        let at = bytes.windows(NEEDLE.len()).position(|part| part == NEEDLE.as_bytes());
        if let Some(byte) = at.and_then(|at| bytes.get_mut(at)) {
            *byte ^= 1;
            fs::write(&path, bytes)?;
            damaged += 1;
        }
    }
    ensure!(damaged == 1, "the row to damage was found {damaged} times");
    Ok(())
}

impl Drop for Halted {
    fn drop(&mut self) {
        server::end(&mut self.child);
    }
}
