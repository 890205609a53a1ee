//! Single puts for other measurements: closed loop or at a rate, judged as every load is.
//!
//! Not a command. Invariant: what is void has a reason and no figures.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use tokio::time::Instant;

use super::{
    LEAD,
    bodies::Format,
    connection::{Encoder, Protocol},
    fill,
    lanes::{Job, Lanes},
    plan::Shape,
    report::Measured,
    schedule::Arrival,
    workload::Workload,
};
use crate::{
    keys::{Distribution, THETA},
    latency::Latencies,
};

/// Puts of 256 B with uniform keys over HTTP/1.1, answered once the log has them.
#[derive(Clone, Copy)]
pub(crate) struct Offered {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    /// Calls a second, as of many independent clients; none: a closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) length: Duration,
    pub(crate) seed: u64,
}

/// What became of them.
pub(crate) enum Answered {
    /// Figures.
    Good {
        operations: u64,
        /// From the first call to the last answer.
        wall: Duration,
        /// From the intended start.
        latencies: Latencies,
    },
    /// Why there are none.
    Void(String),
}

impl Offered {
    /// Makes the calls.
    pub(crate) async fn run(&self) -> Result<Answered> {
        let job = self.job();
        tokio::task::spawn_blocking(move || run(job)).await?
    }

    /// Waits until all that was written is applied.
    pub(crate) async fn settle(&self) -> Result<()> {
        fill::settle(&self.job()).await.map(drop)
    }

    fn job(&self) -> Job {
        let shape = Shape {
            workload: Workload::Put,
            distribution: Distribution::Uniform,
            theta: THETA,
            keys: 100_000,
            value_bytes: 256,
            batch: 1,
            format: Format::Protobuf,
            batched: false,
            applied: false,
            seed: self.seed,
        };
        Job {
            shape,
            encoder: Encoder { protocol: Protocol::Http1, host: self.address.to_string() },
            address: self.address,
            connections: self.connections,
            streams: 1,
            threads: 1,
            rate: self.rate,
            arrival: Arrival::Poisson,
            length: self.length,
            log: None,
        }
    }
}

fn run(job: Job) -> Result<Answered> {
    let lanes = Lanes::prepare(&job)?;
    let encoded = lanes.encoded;
    let began = Instant::now() + LEAD;
    let seen = lanes.run(began)?;
    let measured = Measured { job, seen, encoded, wall: began.elapsed(), cpu: Vec::new(), settled: None };
    Ok(match measured.void() {
        Some(reason) => Answered::Void(reason),
        None => Answered::Good {
            operations: measured.seen.operations,
            wall: measured.wall,
            latencies: measured.seen.all(),
        },
    })
}
