//! Opening what a power cut left, and comparing it with what had been promised by then.
//!
//! Invariant: nothing here knows how the log or a shard recovers; it only compares with the recorded run and the naive
//! model of the log.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use millpond::embedded::Options;
use millpond_fold::{Entry, model::Model};
use millpond_log::{Append, local};
use millpond_schemas::{
    DeadReason, Decoder, Generation, Offset, Outcome, PartitionId, Raw, Received, Watermark,
};
use millpond_shard::Dump;
use millpond_writer::{Config, Phase, Status};
use tokio::time::{interval, timeout};

use super::{
    load,
    recording::{Floors, MUTATIONS, PARTITIONS, Recording, SEGMENT_BYTES, STREAMS, open, read_all},
};
use crate::pond::{Pond, Writer};

/// How long a writer may take until it owns everything.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The streams alone: every acked record is there, none is invented, and each goes on behind its end.
///
/// # Errors
/// One of them is not so: what is wrong.
pub async fn log(data_dir: &Path, recording: &Recording, done: usize) -> Result<()> {
    let lock = local::DirLock::acquire(data_dir)?;
    for (stream, partitions) in STREAMS {
        let log = open(&lock, stream, partitions).await.with_context(|| format!("open {stream}"))?;
        let records = read_all(&log).await.with_context(|| format!("read {stream}"))?;
        let written = &recording.records[stream];
        for (records, written) in records.iter().zip(written) {
            ensure!(written.starts_with(records), "{stream} holds what was not written there");
        }
        covers(&ends(&records), stream, recording, done)?;
        for (partition, records) in (0..).map(PartitionId).zip(&records) {
            let raw = Raw { key: None, headers: Vec::new(), value: Some("after".into()) };
            let acks = log.append(vec![Append { partition, raw: raw.clone() }]).await?;
            let ack = acks.first().context("an ack")?;
            ensure!(ack.offset.0 == i64::try_from(records.len())?, "offset {} is issued", ack.offset);
            let back = log.record(partition, ack.offset).await?.context("it is there")?;
            ensure!(back.raw == raw, "what is appended is not what is read");
        }
        log.close().await;
    }
    Ok(())
}

/// The offset behind the last record, by partition.
fn ends(records: &[Vec<Received>]) -> Vec<Offset> {
    records.iter().map(|records| records.last().map_or(Offset(0), |last| last.offset.next())).collect()
}

/// A stream reaches as far as answers have said.
fn covers(ends: &[Offset], stream: &str, recording: &Recording, done: usize) -> Result<()> {
    if stream == MUTATIONS {
        let floors = recording.floors(done);
        let all = ends.iter().zip(floors).all(|(end, floor)| *end > floor);
        ensure!(all, "{stream} ends at {ends:?}, and answers have named {floors:?}");
    } else if recording.answers(done) > 0 {
        ensure!(ends[0] > Offset(0), "{stream} is empty, and answers were given");
    }
    Ok(())
}

/// Log and shards: as they are opened, every copy is the fold of its log up to its watermark; the writer then applies the
/// rest by itself, and every copy is the fold of its whole log; every answer given still holds.
///
/// # Errors
/// One of them is not so: what is wrong.
pub async fn pond(data_dir: &Path, recording: &Recording, done: usize) -> Result<()> {
    let options = Options { partitions: PARTITIONS, segment_bytes: SEGMENT_BYTES, ..Options::new(data_dir) };
    let pond = Pond::open(&options).await.context("open the data directory")?;
    let mut opened = Vec::new();
    for partition in (0..PARTITIONS).map(PartitionId) {
        opened.push(match pond.shard(partition).watermark(partition).await? {
            Some(_) => Some(pond.dump(partition).await?),
            None => None,
        });
    }
    let writer = pond.writer(Config::default());
    let owned = timeout(PATIENCE, settled(&writer)).await.is_ok();
    let drained = if owned && !has_halted(&writer) { pond.drained().await } else { Ok(()) };
    let why = waiting(&writer);
    writer.stop().await;
    drained.with_context(|| format!("partitions: {why:?}"))?;
    ensure!(owned && why.is_empty(), "it does not go on by itself: {why:?}");
    let records = read_all(&pond.embedded.log).await?;
    covers(&ends(&records), MUTATIONS, recording, done)?;
    let floors = recording.floors(done);
    for (partition, opened) in (0..).map(PartitionId).zip(&opened) {
        let of_partition = Copy { pond: &pond, partition, records: &records[partition.0 as usize] };
        of_partition
            .check(opened.as_ref(), recording, &floors)
            .await
            .with_context(|| format!("partition {partition}"))?;
    }
    pond.close().await;
    Ok(())
}

/// Every copy has a Claim of this writer.
fn owns_all(writer: &Writer) -> bool {
    let partitions = writer.statuses.partitions();
    let is_owned = |status: &Status| status.owner != Offset::NONE && matches!(status.phase, Phase::Running);
    partitions.len() == PARTITIONS as usize && partitions.values().all(is_owned)
}

/// Looks until every copy is owned, or one has halted.
async fn settled(writer: &Writer) {
    let mut looks = interval(LOOK_EVERY);
    while !owns_all(writer) && !has_halted(writer) {
        looks.tick().await;
    }
}

fn has_halted(writer: &Writer) -> bool {
    writer.statuses.partitions().values().any(|status| matches!(status.phase, Phase::Halted(_)))
}

/// Whatever does not run, with why.
fn waiting(writer: &Writer) -> Vec<(PartitionId, String)> {
    let partitions = writer.statuses.partitions().into_iter();
    let named = |(partition, status): (PartitionId, Status)| match status.phase {
        Phase::Running => None,
        Phase::Waiting(why) => Some((partition, why)),
        Phase::Halted(halt) => Some((partition, halt.to_string())),
    };
    partitions.filter_map(named).collect()
}

/// One partition after everything was applied.
struct Copy<'a> {
    pond: &'a Pond,
    partition: PartitionId,
    records: &'a [Received],
}

impl Copy<'_> {
    async fn check(&self, opened: Option<&Dump>, recording: &Recording, floors: &Floors) -> Result<()> {
        let floor = floors[self.partition.0 as usize];
        let promised = usize::try_from(floor.next().0)?;
        let written = &recording.records[MUTATIONS][self.partition.0 as usize];
        ensure!(self.records[..promised] == written[..promised], "an acked record is not what was acked");
        let decoder = self.pond.decoder(self.partition);
        let model = self.model(&decoder, opened)?;
        let served = self.pond.dump(self.partition).await?;
        agrees(&served, &model).context("after all was applied")?;
        for sent in recording.sent.iter().filter(|sent| sent.position.partition == self.partition) {
            if sent.position.offset <= floor {
                let at = usize::try_from(sent.position.offset.0)?;
                let record = decoder.decode(&self.records[at]).map_err(|error| anyhow!("{error:?}"))?;
                load::agrees(sent, &record, &model)?;
            }
        }
        Ok(())
    }

    /// The model of the whole log; on its way it is compared with the copy as it was opened.
    fn model(&self, decoder: &Decoder, opened: Option<&Dump>) -> Result<Model> {
        let mut model = Model::new(self.partition, Generation::FIRST, decoder.log_id);
        let applied = opened.map(|dump| dump.watermark.applied);
        let mut was_passed = opened.is_none();
        for record in self.records {
            if let Some(dump) = opened.filter(|_| applied == Some(model.applied)) {
                agrees(dump, &model).context("as it was opened")?;
                was_passed = true;
            }
            model.apply(&Entry::new(decoder, record.clone())).context("the model goes on")?;
        }
        // The writer has added its Claim since, so the copy was passed on the way.
        ensure!(was_passed, "a copy had applied {applied:?}, the log ends before");
        Ok(model)
    }
}

/// A copy is what the model says, whoever owns it.
fn agrees(dump: &Dump, model: &Model) -> Result<()> {
    let watermark = Watermark { owner: Offset::NONE, ..dump.watermark.clone() };
    let of_model = Watermark { owner: Offset::NONE, ..model.watermark() };
    ensure!(watermark == of_model, "the watermark is {watermark:?}, and {of_model:?} in the model");
    ensure!(dump.rows.iter().eq(model.rows.values()), "the rows differ from the model's");
    let kept: Vec<_> = dump.outcomes.iter().map(|kept| (kept.offset, is_dead(&kept.outcome))).collect();
    let theirs = model.outcomes.iter().filter(|(_, outcome)| !outcome.is_plain());
    let theirs: Vec<_> = theirs.map(|(offset, outcome)| (*offset, is_dead(outcome))).collect();
    ensure!(kept == theirs, "the outcomes differ from the model's");
    ensure!(dump.seen == model.seen, "the ids differ from the model's");
    ensure!(dump.operations.iter().eq(model.operations.values()), "the operations differ from the model's");
    let letters = dump.dead_letters.iter().map(|letter| letter.offset);
    ensure!(letters.eq(model.dead_letters.iter().map(|letter| letter.offset)), "the dead letters differ");
    Ok(())
}

/// An outcome without a refusal's words, which are the fold's own.
fn is_dead(outcome: &Outcome) -> std::result::Result<&Outcome, DeadReason> {
    match outcome {
        Outcome::DeadLettered(refusal) => Err(refusal.reason),
        other => Ok(other),
    }
}
