//! Whether a decision may be made, and what it would do.
//!
//! Reads, changes nothing. Invariant: whatever is refused is refused with where the copy stands, and why.

use anyhow::Context;
use millpond_schemas::{
    Claim, Control, ControlOp, Decoder, Offset, Position, Record, SkipTime, limits::fold_version,
};
use serde_json::Value;

use super::{Decision, Serving, Standing, Undecided, described, last};

/// Records told of a range.
const RECORDS_TOLD_MAX: i64 = 20;
/// Holes that a transaction's markers may leave between the watermark and the next record.
const HOLES_MAX: i64 = 1024;
/// Halts before one record that can be passed over.
const SKIPPABLE: [&str; 3] = ["record-refused", "version-unknown", "key-missing"];
/// Halts that another copy of the same log would not come to.
const OF_THE_COPY: [&str; 2] = ["log-diverged", "row-ahead"];

const TIMES_LOSE: &str = "nothing: these records apply, as if they had been appended at the time of the one before them; a \
                          TTL of theirs counts from there";
const CARRIED: &str =
    "This copy has applied them at the times that they carry, and stays halted: rebuild it with --serve";

/// What a decision would do.
pub(super) struct Judged {
    /// The records that it is about, or the first of them.
    pub(super) records: Vec<Value>,
    pub(super) total: i64,
    /// In words.
    pub(super) loses: String,
    /// It was decided before.
    pub(super) already: bool,
}

type Judgement<T> = Result<T, Undecided>;

fn refused<T>(why: impl Into<String>) -> Judgement<T> {
    Err(Undecided::Refused(why.into()))
}

pub(super) async fn judge(
    serving: &Serving<'_>,
    decision: Decision,
    standing: Option<&Standing>,
) -> Judgement<Judged> {
    match decision {
        Decision::Skip(position) => skip(serving, position, standing).await,
        Decision::SkipTimes(range) => skip_times(serving, range, standing).await,
        Decision::Discard(_) => discard(serving, standing).await,
    }
}

async fn skip(serving: &Serving<'_>, position: Position, standing: Option<&Standing>) -> Judgement<Judged> {
    in_log(serving, position, position.offset).await?;
    let records = vec![record(serving, position.offset).await?];
    let loses =
        "what this record would have done; it becomes a dead letter (`skipped`), its id is not remembered"
            .to_owned();
    if serving.topology.skips.contains(&position) {
        return Ok(Judged { records, total: 1, loses, already: true });
    }
    not_applied(serving, position)?;
    let (name, why) = halted(serving, standing)?;
    if !SKIPPABLE.contains(&name) {
        return refused(format!(
            "{}: skipping a record helps nothing; see `millpond doctor`",
            at(serving, name, why)
        ));
    }
    let claim = serving.watermark.as_ref().and_then(|watermark| Claim::decode(watermark.claim.clone()));
    if claim.is_some_and(|claim| claim.fold_version > fold_version()) {
        return refused(format!(
            "{}: the whole log speaks it from an earlier Claim on, so skipping one record helps nothing. Start a newer \
             build",
            at(serving, name, why)
        ));
    }
    if place(why) != Some(position) {
        return refused(format!("{}: only that record can be skipped", at(serving, name, why)));
    }
    follows(serving, position).await?;
    Ok(Judged { records, total: 1, loses, already: false })
}

async fn skip_times(
    serving: &Serving<'_>,
    range: SkipTime,
    standing: Option<&Standing>,
) -> Judgement<Judged> {
    in_log(serving, range.from, range.to).await?;
    let total = range.to.0 - range.from.offset.0 + 1;
    let mut records = Vec::new();
    for offset in (range.from.offset.0..=range.to.0).take(usize::try_from(RECORDS_TOLD_MAX).unwrap_or(20)) {
        records.extend(described::record(serving, Offset(offset)).await?);
    }
    if serving.topology.skip_times.contains(&range) {
        return Ok(Judged { records, total, loses: TIMES_LOSE.to_owned(), already: true });
    }
    let (name, why) = match halted(serving, standing) {
        Ok(halt) => halt,
        Err(undecided) => return not_applied(serving, range.from).and(Err(undecided)),
    };
    let place = place(why).filter(|_| name == "time-jump");
    let Some(place) = place else {
        not_applied(serving, range.from)?;
        return refused(format!(
            "{}: that is no matter of time; see `millpond doctor`",
            at(serving, name, why)
        ));
    };
    // Where the copy itself carries the time, it is of no use any more: nothing but a rebuild gets by.
    let carried = serving.applied() >= place.offset;
    if !carried {
        not_applied(serving, range.from)?;
    }
    if !(range.from.offset..=range.to).contains(&place.offset) {
        return refused(format!(
            "{}: {}..{} leaves that record out",
            at(serving, name, why),
            range.from,
            last(&range)
        ));
    }
    let loses = if carried { format!("{TIMES_LOSE}. {CARRIED}") } else { TIMES_LOSE.to_owned() };
    Ok(Judged { records, total, loses, already: false })
}

async fn discard(serving: &Serving<'_>, standing: Option<&Standing>) -> Judgement<Judged> {
    let (name, why) = halted(serving, standing)?;
    if !OF_THE_COPY.contains(&name) {
        return refused(format!(
            "{}: another copy of this log would come to the same; see `millpond doctor`",
            at(serving, name, why)
        ));
    }
    let bounds = serving.ground.log.bounds(serving.partition).await.context("read the log's bounds")?;
    if bounds.start > Offset(0) {
        return refused(format!(
            "the log of partition {} starts at offset {}: a new copy cannot be made from it. Restore the log, or \
             export what the copy holds and import it into a new deployment",
            serving.partition, bounds.start
        ));
    }
    let first = match bounds.end {
        Offset(0) => None,
        _ => {
            serving.ground.log.record(serving.partition, Offset(0)).await.context("read the first record")?
        }
    };
    let genesis = first.map(|first| decoder(serving).decode(&first));
    if !matches!(genesis, Some(Ok(Record::Control(Control { op: ControlOp::Genesis { .. }, .. })))) {
        return refused(format!(
            "the log of partition {} does not begin with this deployment's Genesis: `millpond init` writes it on a log \
             that is empty",
            serving.partition
        ));
    }
    let applied = serving.applied();
    let loses = match name {
        "log-diverged" if bounds.end <= applied => format!(
            "what the records {} to {} did: the log does not have them. Export first what must not be lost",
            serving.position(bounds.end),
            serving.position(applied)
        ),
        "log-diverged" => "whatever this log does not say. Export first what must not be lost".to_owned(),
        _ => "nothing that is on the log, which is whole. Rows that others wrote into the database go"
            .to_owned(),
    };
    Ok(Judged { records: Vec::new(), total: 0, loses, already: false })
}

async fn in_log(serving: &Serving<'_>, from: Position, to: Offset) -> Judgement<()> {
    if from.generation != serving.topology.generation {
        return refused(format!("{from} is not of the generation {}", serving.topology.generation.0));
    }
    let bounds = serving.ground.log.bounds(serving.partition).await.context("read the log's bounds")?;
    if from.offset < bounds.start || to >= bounds.end {
        let (start, end) = (serving.position(bounds.start), serving.position(bounds.end));
        return refused(format!("the log holds {start} up to, not including, {end}"));
    }
    Ok(())
}

async fn record(serving: &Serving<'_>, offset: Offset) -> Judgement<Value> {
    match described::record(serving, offset).await? {
        Some(record) => Ok(record),
        None => {
            refused(format!("there is no record at {}: a transaction's marker", serving.position(offset)))
        }
    }
}

fn not_applied(serving: &Serving<'_>, position: Position) -> Judgement<()> {
    if serving.applied() < position.offset {
        return Ok(());
    }
    refused(format!(
        "the copy on {} has applied {} already, it stands at {}: what is applied is not skipped. To undo a write, write \
         again",
        serving.shard_name,
        position,
        serving.position(serving.applied())
    ))
}

fn halted<'s>(serving: &Serving<'_>, standing: Option<&'s Standing>) -> Judgement<(&'s str, &'s str)> {
    let (partition, stands) = (serving.partition, serving.position(serving.applied()));
    match standing {
        Some(Standing::Halted { name, why }) => Ok((name, why)),
        Some(Standing::Running) => {
            refused(format!("partition {partition} is not halted: it stands at {stands} and goes on"))
        }
        Some(Standing::Waiting(why)) => refused(format!(
            "partition {partition} is not halted: it stands at {stands} and tries again ({why})"
        )),
        None => refused(format!(
            "nobody who was asked writes partition {partition}, which stands at {stands}: name the ops listeners of the \
             writers with --ops"
        )),
    }
}

fn at(serving: &Serving<'_>, name: &str, why: &str) -> String {
    let stands = serving.position(serving.applied());
    format!("partition {} is halted after {stands}, {name}: {why}", serving.partition)
}

/// The first position that a halt names.
fn place(why: &str) -> Option<Position> {
    why.split([' ', ':', ',']).find_map(|word| word.parse().ok())
}

/// Nothing but holes lies between the copy and the record.
async fn follows(serving: &Serving<'_>, position: Position) -> Judgement<()> {
    let next = serving.applied().next();
    let far = position.offset.0 - next.0 > HOLES_MAX;
    for offset in (next.0..position.offset.0).map(Offset) {
        if far || described::record(serving, offset).await?.is_some() {
            let next = serving.position(next);
            return refused(format!("the copy does not stand before {position}: its next record is {next}"));
        }
    }
    Ok(())
}

pub(super) fn decoder(serving: &Serving<'_>) -> Decoder {
    Decoder {
        log_id: serving.topology.log_id,
        partition: serving.partition,
        partitions: serving.topology.partitions(),
        keyring: serving.ground.keyring.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halt_names_its_record() {
        let position = |text: &str| text.parse::<Position>().ok();
        assert_eq!(place("the shard refuses the record 1-3-42: no 7-7-7"), position("1-3-42"));
        assert_eq!(place("before the record 1-0-0: version-unknown: x"), position("1-0-0"));
        assert_eq!(place("the log goes on at offset 7"), None);
    }
}
