//! Before and after a load: every key is put, and all that was written is waited for.
//!
//! Invariant: nothing of this is measured as load.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::{
    bodies::Format,
    connection::{Answer, Connection, Encoder, Protocol, Take},
    lanes::Job,
    plan,
};

/// Puts in one call.
const BATCH: u64 = 1_000;
/// Calls at once.
const CONNECTIONS: u64 = 4;
/// Keys that are put to know that all was applied: enough that every partition has some.
const MARKS: u64 = 512;
/// Longest that all is waited for.
const SETTLE_MAX: Duration = Duration::from_mins(10);

/// Puts every key once.
pub(super) async fn fill(job: &Job) -> Result<()> {
    let values: std::sync::Arc<[Bytes]> = job.shape.values().into();
    let mut running = JoinSet::new();
    for number in 0..CONNECTIONS {
        let (job, values) = (job.clone(), std::sync::Arc::clone(&values));
        running.spawn(async move {
            let mut connection = open(&job).await?;
            let starts = (0..job.shape.keys).step_by(usize::try_from(BATCH)?);
            for start in starts.skip(usize::try_from(number)?).step_by(usize::try_from(CONNECTIONS)?) {
                let numbers = start..(start + BATCH).min(job.shape.keys);
                let keys: Vec<String> = numbers.map(plan::key).collect();
                let answer = put(&job, &mut connection, (&keys, &values), &[]).await?;
                ensure!(answer.status == 202, "filling was answered {}", answer.status);
            }
            anyhow::Ok(())
        });
    }
    while let Some(filled) = running.join_next().await {
        filled.context("filling panicked")??;
    }
    settle(job).await.map(drop)
}

/// Waits until all that was written before is applied; for how long that was.
pub(super) async fn settle(job: &Job) -> Result<Duration> {
    let began = Instant::now();
    let mut connection = open(job).await?;
    let keys: Vec<String> = (0..MARKS).map(|number| format!("mark-{number}")).collect();
    let value = Bytes::from_static(b"mark");
    while began.elapsed() < SETTLE_MAX {
        let wait = [("prefer", "wait=30")];
        let answer = put(job, &mut connection, (&keys, std::slice::from_ref(&value)), &wait).await?;
        let all = String::from_utf8_lossy(&answer.body);
        match answer.status {
            200 if !all.contains("\"status\":202") => return Ok(began.elapsed()),
            200 | 202 | 207 => {}
            status => bail!("waiting for all to be applied was answered {status} {all}"),
        }
    }
    bail!("after {SETTLE_MAX:?} not all is applied")
}

async fn open(job: &Job) -> Result<Connection> {
    Connection::open(Protocol::Http1, job.address, 1).await?.pop().context("one connection was opened")
}

async fn put(
    job: &Job,
    connection: &mut Connection,
    (keys, values): (&[String], &[Bytes]),
    headers: &[(&'static str, &str)],
) -> Result<Answer> {
    let puts = keys.iter().zip(values.iter().cycle()).map(|(key, value)| (key.as_str(), value, None));
    let body = Format::Protobuf.batch(puts)?;
    let mut all = vec![("content-type", Format::Protobuf.content_type())];
    all.extend_from_slice(headers);
    let encoder = Encoder { protocol: Protocol::Http1, host: job.encoder.host.clone() };
    let request = encoder.request(("POST", "/batch"), &all, body)?;
    connection.send(&request, Take::Body).await
}
