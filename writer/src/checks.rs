//! Is the log still the one that this copy has applied? Bounds, and the digest of the last applied record.
//!
//! Invariant: a copy goes on only where the log holds the very record that the watermark names.

use millpond_log::{Bounds, Error, Log};
use millpond_schemas::{LogId, Mutant, Offset, Watermark};

use crate::{Halt, stop::Stop};

/// The copy was made from the log that the topology names.
pub(crate) fn log_id(watermark: &Watermark, log_id: LogId) -> Result<(), Stop> {
    if watermark.log_id == log_id {
        return Ok(());
    }
    Err(Halt::diverged(format!("the copy is of log {}, this is log {log_id}", watermark.log_id)).into())
}

/// The log reaches from the watermark on, and the record there is the one that was applied. Answers its bounds.
pub(crate) async fn against_log(log: &Log, watermark: &Watermark) -> Result<Bounds, Stop> {
    let bounds = log.bounds(watermark.partition).await?;
    let wanted = watermark.applied.next();
    if bounds.start > wanted && !Mutant::ResetToStart.is_picked() {
        return Err(Halt::LogGap { wanted, found: bounds.start }.into());
    }
    if bounds.end < wanted {
        let detail = format!("it ends at offset {}, the copy has applied {}", bounds.end, watermark.applied);
        return Err(Halt::diverged(detail).into());
    }
    if watermark.digest_offset == Offset::NONE || watermark.digest_offset < bounds.start {
        return Ok(bounds);
    }
    let record = match log.record(watermark.partition, watermark.digest_offset).await {
        Ok(record) => record,
        Err(Error::BeyondEnd { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let record = record.ok_or_else(|| Halt::diverged("the last applied record is gone"))?;
    let found = record.raw.digest();
    if found != watermark.digest && !Mutant::DigestUnchecked.is_picked() {
        return Err(Halt::digest(watermark.digest_offset, watermark.digest, found).into());
    }
    Ok(bounds)
}
