//! What is collected at a run's end.
//!
//! Invariant: the log, and three copies of every partition, one of which lags.

use millpond_fold::model::Model;
use millpond_schemas::{ByteString, Received};

use super::{LOG_ID, PARTITIONS, World};
use crate::history::{Copy, Event, Lag, LogBounds, LogRecord, Published, Sums, Text, Topology, copies::At};

impl World {
    pub(super) fn end(&mut self) {
        let (log_id, generation) = (LOG_ID.to_string(), 1);
        let mac_keys = vec![(1, "01".repeat(32))];
        let (skips, skip_times) = (Vec::new(), Vec::new());
        let partitions = PARTITIONS;
        self.events.push(Event::Topology(Topology {
            log_id,
            generation,
            partitions,
            mac_keys,
            skips,
            skip_times,
        }));
        for (partition, part) in (0..).zip(&self.parts) {
            let end = i64::try_from(part.records.len()).unwrap();
            self.events.extend(part.records.iter().map(|record| logged(partition, record)));
            self.events.push(Event::Bounds(LogBounds { partition, start: 0, end, holes: Vec::new() }));
            let last = part.models.len() - 1;
            for (name, at) in [("primary", last), ("replica", last - 5), ("rebuild", last)] {
                self.events.push(Event::Copy(copy(name, &part.models[at])));
            }
            for letter in &part.models[last].dead_letters {
                let (offset, reason) = (letter.offset.0, letter.refusal.reason.code().into());
                self.events.push(Event::Published(Published { partition, offset, reason }));
            }
        }
        let records = vec![0; PARTITIONS as usize];
        self.events.push(Event::Lag(Lag { at_us: self.now_us, records, acked: 4 }));
    }
}

fn logged(partition: u32, record: &Received) -> Event {
    let text = |bytes: &Option<bytes::Bytes>| bytes.clone().map(Text);
    let header = |(name, value): &(ByteString, bytes::Bytes)| (name.to_string(), Text(value.clone()));
    Event::Log(LogRecord {
        partition,
        offset: record.offset.0,
        time_ms: record.time.0,
        key: text(&record.raw.key),
        headers: record.raw.headers.iter().map(header).collect(),
        value: text(&record.raw.value),
    })
}

fn copy(name: &str, model: &Model) -> Copy {
    let at = At { partition: model.partition, applied: model.applied, time: model.time };
    let outcomes = model.outcomes.iter().map(|(offset, outcome)| (*offset, outcome));
    let sums = Sums {
        rows: at.rows(model.rows.values()),
        outcomes: Some(at.outcomes(outcomes, |_| model.time)),
        seen: Some(at.seen(model.seen.iter())),
        operations: Some(at.operations(model.operations.values())),
        dead_letters: Some(At::dead_letters(model.dead_letters.iter())),
    };
    Copy::new(name, &model.watermark(), sums).with_letters(&model.dead_letters)
}
