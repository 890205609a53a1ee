//! Whether a record may be applied: what operators said about it, whose the partition is, what time it has.
//!
//! Invariant: what is skipped is known from the topology alone, so that every replay skips the same.

use millpond_fold::Entry;
use millpond_log::Error::Trimmed;
use millpond_schemas::{
    Control, ControlOp, Offset, PartitionId, Position, Record, Topology, UnixMillis, limits::TIME_JUMP_MS_MAX,
};

use crate::{Halt, Parts, stop::Stop};

/// A log that starts above what a copy needs has a gap.
pub(crate) fn trimmed(error: millpond_log::Error, wanted: Offset) -> Stop {
    match error {
        Trimmed { start } => Halt::LogGap { wanted, found: start }.into(),
        other => other.into(),
    }
}

/// Whether this writer may go on to apply an entry.
pub(crate) fn takes(entry: &Entry, position: Position, claim: Offset, parts: &Parts) -> Result<(), Stop> {
    let is_claim = matches!(&entry.decoded, Ok(Record::Control(Control { op: ControlOp::Claim(_), .. })));
    if is_claim && entry.offset > claim {
        return Err(Stop::Deposed("another writer has claimed the partition"));
    }
    if !entry.time_skipped {
        not_ahead(position, entry.time, parts)?;
    }
    Ok(())
}

/// A time further on than any clock may be.
pub(crate) fn not_ahead(position: Position, time: UnixMillis, parts: &Parts) -> Result<(), Halt> {
    if time.ms_since(parts.clock.now()) > TIME_JUMP_MS_MAX {
        return Err(Halt::TimeJump { position, time });
    }
    Ok(())
}

/// Marks an entry with what operators said about it on the control topic.
pub(crate) fn mark(entry: &mut Entry, partition: PartitionId, topology: &Topology) {
    let position = Position { generation: topology.generation, partition, offset: entry.offset };
    entry.skipped = topology.skips.contains(&position);
    entry.time_skipped = topology.skip_times.iter().any(|skip| {
        skip.from.generation == position.generation
            && skip.from.partition == partition
            && (skip.from.offset..=skip.to).contains(&position.offset)
    });
}
