//! The first pass: the log's records in order, its bounds, and where copies stand.
//!
//! Invariant: a record that is read twice is the same twice, or that is told.

use std::collections::{BTreeMap, BTreeSet};

use millpond_schemas::{Offset, Raw, Received, UnixMillis};

use super::verdict::{Found, Invariant};
use crate::history::{Event, LogBounds, LogRecord, Run, Topology};

/// What the first pass brings.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) run: Run,
    pub(super) topology: Topology,
    pub(super) records: BTreeMap<u32, BTreeMap<i64, Received>>,
    pub(super) bounds: BTreeMap<u32, LogBounds>,
    /// By partition, the offsets at which copies are to be compared.
    pub(super) stands: BTreeMap<u32, BTreeSet<i64>>,
}

impl Gathered {
    pub(super) fn take(&mut self, event: Event, found: &mut Found) {
        match event {
            Event::Run(run) => self.run = run,
            Event::Topology(topology) => self.topology = topology,
            Event::Bounds(bounds) => drop(self.bounds.insert(bounds.partition, bounds)),
            Event::Copy(copy) => {
                self.stands.entry(copy.partition).or_default().insert(copy.applied);
            }
            Event::Log(record) => self.record(record, found),
            Event::Op(_)
            | Event::Read(_)
            | Event::Look(_)
            | Event::Fault(_)
            | Event::Published(_)
            | Event::Lag(_) => {}
        }
    }

    fn record(&mut self, record: LogRecord, found: &mut Found) {
        let (partition, offset) = (record.partition, record.offset);
        let received = Received {
            offset: Offset(offset),
            time: UnixMillis(record.time_ms),
            raw: Raw {
                key: record.key.map(|text| text.0),
                headers: record.headers.into_iter().map(|(name, value)| (name.into(), value.0)).collect(),
                value: record.value.map(|text| text.0),
            },
        };
        let records = self.records.entry(partition).or_default();
        if let Some(before) = records.get(&offset) {
            if *before != received {
                found.add(Invariant::I8, None, || {
                    format!("the record {partition}/{offset} was another one when the log was read before")
                });
            }
            return;
        }
        records.insert(offset, received);
        found.counts.records += 1;
    }
}
