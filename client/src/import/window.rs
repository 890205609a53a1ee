//! A window: consecutive lines of the input, sorted into one batch per lane.
//!
//! Invariant: a key's lines are all in one lane's batch, in the input's order.

use std::ops::Range;

use bytes::Bytes;

use super::{line::Place, mapping::Mapping, report::Failure};

/// Operations of one lane, to be sent together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) window: u64,
    pub(super) lines: Vec<BatchLine>,
    /// NDJSON.
    pub(super) body: Bytes,
    /// The input's own lines, one after another; empty when nobody asks for them.
    pub(super) inputs: Bytes,
}

#[derive(Debug)]
pub(super) struct BatchLine {
    /// In the input.
    pub(super) number: u64,
    /// In [`Batch::body`], the newline included.
    pub(super) body: Range<usize>,
    /// In [`Batch::inputs`].
    pub(super) input: Range<usize>,
}

/// What the coordinator learns of a window before its batches are on their way.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) window: u64,
    /// How many batches it has.
    pub(super) batches: usize,
    /// Where it ends.
    pub(super) end: Place,
    /// Lines that could not be sent.
    pub(super) unsent: Vec<Failure>,
}

/// When a window is full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) lanes: usize,
    /// Of one batch.
    pub(super) operations_max: usize,
    /// Of one batch; its last line may go beyond.
    pub(super) bytes_max: usize,
}

#[derive(Default)]
struct Lane {
    lines: Vec<BatchLine>,
    body: Vec<u8>,
    inputs: Vec<u8>,
}

/// The window that is being filled.
pub(super) struct Window {
    number: u64,
    bounds: Bounds,
    lanes: Vec<Lane>,
    unsent: Vec<Failure>,
    full: bool,
    keep_inputs: bool,
}

impl Window {
    pub(super) fn new(bounds: Bounds, keep_inputs: bool) -> Self {
        let lanes = (0..bounds.lanes).map(|_| Lane::default()).collect();
        Self { number: 0, bounds, lanes, unsent: Vec::new(), full: false, keep_inputs }
    }

    /// Adds a line, mapped by `mapping` under the Idempotency-Key `id`. Fails without effect.
    pub(super) fn push(
        &mut self,
        mapping: &Mapping,
        number: u64,
        line: &[u8],
        id: &str,
    ) -> Result<(), Failure> {
        let mut operation = Vec::with_capacity(line.len() + 80);
        let hash = mapping.write(line, id, &mut operation).map_err(|unsendable| {
            let input = self.keep_inputs.then(|| Bytes::copy_from_slice(line));
            Failure::unsent(number, unsendable.code, unsendable.detail, input)
        })?;
        let lanes = u64::try_from(self.lanes.len()).expect("a length fits 64 bits");
        let lane = &mut self.lanes[usize::try_from(hash % lanes).expect("below a length")];
        let (body, input) = (lane.body.len(), lane.inputs.len());
        lane.body.extend_from_slice(&operation);
        if self.keep_inputs {
            lane.inputs.extend_from_slice(line);
        }
        let (body, input) = (body..lane.body.len(), input..lane.inputs.len());
        lane.lines.push(BatchLine { number, body, input });
        self.full |=
            lane.lines.len() >= self.bounds.operations_max || lane.body.len() >= self.bounds.bytes_max;
        Ok(())
    }

    /// Adds a line that cannot be sent.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.unsent.push(failure);
        self.full |= self.unsent.len() >= self.bounds.operations_max;
    }

    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Ends this window at `end` and begins the next: what it was, and its batches by lane.
    pub(super) fn close(&mut self, end: Place) -> (Opened, Vec<(usize, Batch)>) {
        let window = self.number;
        let batches = self.lanes.iter_mut().enumerate().filter(|(_, lane)| !lane.lines.is_empty());
        let batches: Vec<_> = batches
            .map(|(n, lane)| {
                let Lane { lines, body, inputs } = std::mem::take(lane);
                (n, Batch { window, lines, body: body.into(), inputs: inputs.into() })
            })
            .collect();
        let unsent = std::mem::take(&mut self.unsent);
        self.number += 1;
        self.full = false;
        (Opened { window, batches: batches.len(), end, unsent }, batches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keys_lines_stay_together_and_in_order() {
        let mut window = Window::new(Bounds { lanes: 4, operations_max: 100, bytes_max: 1 << 20 }, false);
        for n in 1..=60_u64 {
            let line = format!("{{\"op\":\"put\",\"key\":\"k{}\",\"value\":\"\"}}", n % 6);
            window.push(&Mapping::Operations, n, line.as_bytes(), "id").unwrap();
        }
        let (opened, batches) = window.close(Place::default());
        assert_eq!(opened.batches, batches.len());
        let mut seen = 0;
        for (_, batch) in &batches {
            assert!(batch.lines.is_sorted_by_key(|line| line.number));
            seen += batch.lines.len();
        }
        assert_eq!(seen, 60);
        for key in 0..6 {
            let holds = |batch: &Batch| batch.lines.iter().any(|line| line.number % 6 == key);
            assert_eq!(batches.iter().filter(|(_, batch)| holds(batch)).count(), 1, "k{key}");
        }
    }

    #[test]
    fn one_full_batch_makes_a_full_window() {
        let mut window = Window::new(Bounds { lanes: 4, operations_max: 2, bytes_max: 1 << 20 }, true);
        let line = br#"{"op":"delete","key":"a"}"#;
        window.push(&Mapping::Operations, 1, line, "id").unwrap();
        assert!(!window.is_full());
        window.push(&Mapping::Operations, 2, line, "id").unwrap();
        assert!(window.is_full());
        let (_, batches) = window.close(Place::default());
        let (_, batch) = &batches[0];
        assert_eq!(&batch.inputs[batch.lines[1].input.clone()], line);
        assert!(!window.is_full());
    }
}
