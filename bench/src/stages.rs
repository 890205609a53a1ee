//! The write path stage by stage, in one process: append, decode and fold, apply.

use std::collections::HashMap;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use millpond::embedded::{Embedded, Options};
use millpond_fold::{Entry, Given, State, fold};
use millpond_log::Append;
use millpond_schemas::{
    Conditions, Decoder, Mutation, MutationId, Op, PartitionId, RecordKey, Tenant, Watermark,
};
use millpond_writer::{Config, Statuses};
use tokio_util::sync::CancellationToken;

use crate::{
    cpu::{Watch, line},
    keys::{Distribution, Keys},
};

/// What to run.
#[derive(Args)]
pub(crate) struct Stages {
    /// How many records.
    #[arg(long, default_value_t = 200_000)]
    records: u64,
    /// How many different keys.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// How keys are drawn.
    #[arg(long, value_enum, default_value = "uniform")]
    distribution: Distribution,
    /// Bytes of a value.
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// Records per append call.
    #[arg(long, default_value_t = 500)]
    batch: usize,
    /// Seed of keys and values.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Stages {
    pub(crate) async fn run(&self) -> Result<()> {
        let dir = tempfile::TempDir::new().context("make a folder")?;
        let (embedded, follower) = Embedded::open(&Options::new(dir.path())).await?;
        let follower = tokio::spawn(follower.run());
        println!(
            "seed {}, {:?} over {} keys, {} B",
            self.seed, self.distribution, self.keys, self.value_bytes
        );
        let watch = Watch::here()?;
        let batches = self.batches(embedded.log.partitions())?;
        println!("{}", line("encode", self.records, watch.took()?));
        let watch = Watch::here()?;
        append(&embedded, batches).await?;
        println!("{}", line("append to the local log, acked", self.records, watch.took()?));
        self.fold(&embedded).await?;
        self.apply(&embedded).await?;
        follower.abort();
        embedded.close().await;
        Ok(())
    }

    fn batches(&self, partitions: u32) -> Result<Vec<Vec<Append>>> {
        let tenant = Tenant::new("bench")?;
        let mut keys = Keys::new(self.distribution, self.keys, self.seed);
        let mut all = Vec::new();
        for number in 0..self.records {
            let key = RecordKey::new(&tenant, format!("key-{:012}", keys.next()).as_bytes())?;
            let mut value = vec![0; self.value_bytes];
            keys.fill(&mut value);
            let id = MutationId { bytes: u128::from(number + 1).to_be_bytes(), durable: false };
            let op = Op::Put { value: Bytes::from(value), content_type: "text/plain".into(), expiry: None };
            let partition = key.partition(partitions);
            let mutation = Mutation { key, id: Some(id), conditions: Conditions::default(), op };
            all.push(Append { partition, raw: mutation.encode() });
        }
        let mut batches = Vec::new();
        while !all.is_empty() {
            let rest = all.split_off(all.len().saturating_sub(self.batch));
            batches.push(rest);
        }
        batches.reverse();
        Ok(batches)
    }

    async fn fold(&self, embedded: &Embedded) -> Result<()> {
        let topology = embedded.topology.borrow().clone();
        let (mut records, mut rows) = (0, 0);
        let watch = Watch::here()?;
        for partition in (0..topology.partitions()).map(PartitionId) {
            let decoder = Decoder {
                log_id: topology.log_id,
                partition,
                partitions: topology.partitions(),
                keyring: embedded.keyring.clone(),
            };
            let mut state =
                State::new(Watermark::empty(partition, topology.generation, topology.log_id), Vec::new())?;
            loop {
                let read = embedded.log.read(partition, state.watermark().applied.next(), 1 << 20).await?;
                if read.records.is_empty() {
                    break;
                }
                let entries: Vec<Entry> =
                    read.records.into_iter().map(|one| Entry::new(&decoder, one)).collect();
                records += entries.len() as u64;
                let flush = fold(&state, &entries, &Given { rows: HashMap::new(), ..Given::default() })?;
                rows += flush.rows.len();
                state.advance(&flush);
            }
        }
        println!("{} ({rows} rows)", line("read, decode, fold", records, watch.took()?));
        Ok(())
    }

    async fn apply(&self, embedded: &Embedded) -> Result<()> {
        let statuses = Statuses::default();
        let parts = embedded.writer(Config::default(), statuses.clone());
        let mut outcomes = embedded.outcomes.subscribe().await?;
        let stop = CancellationToken::new();
        let watch = Watch::here()?;
        let writer = tokio::spawn(millpond_writer::run(parts, stop.clone()));
        while statuses.totals().records < self.records {
            outcomes.next().await.context("the writer goes on")?;
        }
        let took = watch.took()?;
        let totals = statuses.totals();
        println!(
            "{} ({} rows, {} flushes)",
            line("read, fold, apply to SQLite", totals.records, took),
            totals.rows,
            totals.flushes
        );
        stop.cancel();
        writer.await.context("stop the writer")
    }
}

/// Appends with a few calls under way, as a busy api does.
async fn append(embedded: &Embedded, batches: Vec<Vec<Append>>) -> Result<()> {
    const UNDER_WAY: usize = 16;
    let mut acks = std::collections::VecDeque::new();
    for batch in batches {
        if acks.len() == UNDER_WAY {
            acks.pop_front().map(tokio::spawn).context("some are under way")?.await??;
        }
        acks.push_back(embedded.log.enqueue(&batch)?);
    }
    for rest in acks {
        rest.await?;
    }
    Ok(())
}
