//! Two copies at one offset, read side by side in one order.
//!
//! Invariant: no more of either is in memory than what is being compared.

use futures_util::{TryStreamExt, stream::BoxStream};
use millpond_schemas::{Position, Watermark};
use millpond_shard::{CopyReader, Error, Stored, Table, watermark_columns};
use tokio_util::sync::CancellationToken;

use super::verdict::{Difference, How, Verdict};
use crate::{CopyDigest, Edge};

/// Things that are compared between two looks at whether to go on.
const ROUND: u64 = 1000;

type Things<'r> = BoxStream<'r, Result<Stored, Error>>;

/// A comparison under way.
pub(super) struct Comparison<'c> {
    edge: Edge,
    verdict: Verdict,
    differences_max: usize,
    stop: &'c CancellationToken,
    /// Hears how many things have been compared.
    told: &'c (dyn Fn(u64) + Sync),
    compared: u64,
}

/// It was told to stop, or could not be read.
pub(super) enum Ended {
    Stopped,
    Failed(Error),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<'c> Comparison<'c> {
    /// Of a copy with the first watermark and what the log makes of it.
    pub(super) fn new(
        [copy, log]: [&Watermark; 2],
        edge: Edge,
        differences_max: usize,
        stop: &'c CancellationToken,
        told: &'c (dyn Fn(u64) + Sync),
    ) -> Self {
        let verdict = Verdict::new(copy.position(), CopyDigest::new(copy), CopyDigest::new(log));
        let mut comparison = Self { edge, verdict, differences_max, stop, told, compared: 0 };
        comparison.watermarks(copy, log);
        comparison
    }

    /// The owner is compared by whoever knows the Claims.
    fn watermarks(&mut self, copy: &Watermark, log: &Watermark) {
        let log = Watermark { owner: copy.owner, ..log.clone() };
        let columns = differing(&watermark_columns(copy), &watermark_columns(&log));
        if !columns.is_empty() {
            self.differs(Difference::watermark(How::Columns(columns)));
        }
    }

    /// Notes one difference.
    pub(super) fn differs(&mut self, difference: Difference) {
        self.verdict.add(difference, self.differences_max);
    }

    /// Compares every table.
    pub(super) async fn run(mut self, copy: &mut CopyReader, log: &mut CopyReader) -> Result<Verdict, Ended> {
        for table in Table::ALL {
            self.table(table, copy.stream(table), log.stream(table)).await?;
        }
        (self.told)(self.compared);
        Ok(self.verdict)
    }

    async fn table(&mut self, table: Table, mut copy: Things<'_>, mut log: Things<'_>) -> Result<(), Ended> {
        let mut here = self.next_here(table, &mut copy).await?;
        let mut there = self.next_there(table, &mut log).await?;
        loop {
            self.compared += 1;
            if self.compared.is_multiple_of(ROUND) {
                if self.stop.is_cancelled() {
                    return Err(Ended::Stopped);
                }
                (self.told)(self.compared);
            }
            let order = match (&here, &there) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(here), Some(there)) => here.name.cmp(&there.name),
            };
            if order.is_le() && order.is_ge() {
                if let Some((here, there)) = here.as_ref().zip(there.as_ref()) {
                    self.both(table, here, there);
                }
            } else {
                let (one, how) = if order.is_lt() { (&here, How::Extra) } else { (&there, How::Missing) };
                if let Some(one) = one.as_ref().filter(|one| !self.edge.forgets(table, one)) {
                    self.differs(Difference::of(table, one.name.clone(), how));
                }
            }
            if order.is_le() {
                here = self.next_here(table, &mut copy).await?;
            }
            if order.is_ge() {
                there = self.next_there(table, &mut log).await?;
            }
        }
    }

    fn both(&mut self, table: Table, here: &Stored, there: &Stored) {
        if here.part.is_ok() && here.part == there.part {
            return;
        }
        let columns = differing(&here.columns, &there.columns);
        let how = match &here.part {
            Err(what) if columns.is_empty() => How::Broken(what.clone()),
            _ => How::Columns(columns),
        };
        self.differs(Difference::of(table, here.name.clone(), how));
    }

    /// The copy's next thing; what is broken is told on the way.
    async fn next_here(&mut self, table: Table, things: &mut Things<'_>) -> Result<Option<Stored>, Error> {
        while let Some(stored) = things.try_next().await? {
            self.verdict.copy.add(&self.edge, table, &stored);
            if !stored.is_broken_pack() {
                return Ok(Some(stored));
            }
            let what = stored.part.err().unwrap_or_default();
            self.differs(Difference::of(table, stored.name, How::Broken(what)));
        }
        Ok(None)
    }

    /// The replay's next thing.
    async fn next_there(&mut self, table: Table, things: &mut Things<'_>) -> Result<Option<Stored>, Error> {
        let stored = things.try_next().await?;
        if let Some(stored) = &stored {
            self.verdict.log.add(&self.edge, table, stored);
        }
        Ok(stored)
    }
}

impl Verdict {
    pub(super) fn new(position: Position, copy: CopyDigest, log: CopyDigest) -> Self {
        Self { position, copy, log, differing: 0, differences: Vec::new() }
    }

    pub(super) fn add(&mut self, difference: Difference, differences_max: usize) {
        self.differing += 1;
        if self.differences.len() < differences_max {
            self.differences.push(difference);
        }
    }
}

type Columns = [(&'static str, millpond_shard::Value)];

/// The columns that are not equal.
fn differing(here: &Columns, there: &Columns) -> Vec<&'static str> {
    here.iter().zip(there).filter(|(here, there)| here != there).map(|(here, _)| here.0).collect()
}
