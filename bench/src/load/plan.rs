//! What every call sends, encoded before the clock starts.
//!
//! Invariant: a plan depends on its shape, its seed and its lane alone; two runs with one seed send the same bytes in the
//! same order. A plan that is shorter than the run is gone through again, and the report says so.

use std::collections::VecDeque;

use anyhow::Result;
use bytes::Bytes;

use super::{
    bodies::{self, Format},
    connection::{Encoder, Request},
    workload::{Kind, Workload},
};
use crate::keys::{Distribution, Keys};

/// Memory for requests, bytes.
pub(super) const ENCODED_BYTES_MAX: usize = 256 << 20;
/// How many different values there are.
const VALUES: u64 = 256;
/// Longest scan, keys: as in YCSB.
const SCAN_MAX: u64 = 100;
/// See [`Lane::places`].
const SETTLED: usize = 8;
/// What a request takes besides its body, about.
const REQUEST_BYTES: usize = 512;

/// What calls are like.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) workload: Workload,
    pub(super) distribution: Distribution,
    pub(super) theta: f64,
    /// Keys that are there before.
    pub(super) keys: u64,
    pub(super) value_bytes: usize,
    /// Operations in a batch.
    pub(super) batch: usize,
    pub(super) format: Format,
    /// Whether the reads and writes of a mix come in batches.
    pub(super) batched: bool,
    /// Whether the writes of a mix, or of a batch, wait until they are applied.
    pub(super) applied: bool,
    pub(super) seed: u64,
}

/// One thread's share of the calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    pub(super) number: u64,
    pub(super) of: u64,
    /// Calls that may be under way at once: an insert is taken to be done after [`SETTLED`] times as many others.
    pub(super) places: usize,
}

/// What one call sends.
pub(super) enum Step {
    /// One request.
    Once { kind: Kind, operations: u64, request: Request },
    /// A read, then a write on the version that was read.
    Modify { read: Request, write: Request },
    /// The same with many keys.
    ModifyMany { read: Request, operations: u64 },
}

/// Steps in order.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) values: Vec<Bytes>,
    pub(super) encoder: Encoder,
    pub(super) shape: Shape,
}

impl Shape {
    /// Operations of a call of this kind.
    fn operations(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Batch | Kind::Query | Kind::Native => self.batch as u64,
            Kind::Insert | Kind::ReadModifyWrite if self.batched => self.batch as u64,
            Kind::Put | Kind::Wait | Kind::Get | Kind::Insert | Kind::Scan | Kind::ReadModifyWrite => 1,
        }
    }

    /// What a call of the mix is here.
    fn kind(&self, drawn: u64) -> Kind {
        match self.workload.kind(drawn) {
            Kind::Get if self.batched => Kind::Query,
            Kind::Put if self.batched => Kind::Batch,
            Kind::Put if self.applied && self.workload.is_ycsb() => Kind::Wait,
            kind => kind,
        }
    }

    /// How many calls fit the memory for requests.
    pub(super) fn calls_max(&self) -> usize {
        let of = |kind: Kind| match kind {
            Kind::Batch | Kind::Native => self.batch * (self.value_bytes + 48),
            Kind::Insert if self.batched => self.batch * (self.value_bytes + 48),
            Kind::Query | Kind::ReadModifyWrite => self.batch * 20,
            Kind::Put | Kind::Wait | Kind::Get | Kind::Insert | Kind::Scan => 0,
        };
        let each: usize = (0..100).map(|drawn| REQUEST_BYTES + of(self.kind(drawn))).sum::<usize>() / 100;
        (ENCODED_BYTES_MAX / each).max(1)
    }

    /// Values to put: printable, and no two alike.
    pub(super) fn values(&self) -> Vec<Bytes> {
        const LETTERS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
        let mut random = Keys::new(Distribution::Uniform, 1, self.seed);
        let mut value = || {
            let mut bytes = vec![0; self.value_bytes];
            random.fill(&mut bytes);
            for byte in &mut bytes {
                *byte = LETTERS[usize::from(*byte % 64)];
            }
            Bytes::from(bytes)
        };
        (0..VALUES).map(|_| value()).collect()
    }
}

/// The text of a key.
pub(crate) fn key(number: u64) -> String {
    format!("key-{number:09}")
}

impl Plan {
    /// So many steps at most; fewer where they would take too much memory.
    pub(super) fn make(shape: &Shape, encoder: &Encoder, lane: Lane, calls: usize) -> Result<Self> {
        let mut planner = Planner {
            keys: Keys::skewed(shape.distribution, shape.keys, shape.theta, shape.seed + lane.number),
            values: shape.values(),
            shape,
            encoder,
            lane,
            inserted: shape.keys,
            under_way: VecDeque::new(),
        };
        let calls = calls.clamp(1, (shape.calls_max() / usize::try_from(lane.of)?).max(1));
        let steps = (0..calls).map(|_| planner.step()).collect::<Result<_>>()?;
        Ok(Self { steps, values: planner.values, encoder: encoder.clone(), shape: shape.clone() })
    }

    /// What call `number` does.
    pub(super) fn step(&self, number: u64) -> &Step {
        let index = number % self.steps.len() as u64;
        &self.steps[usize::try_from(index).expect("it is below the number of steps")]
    }

    /// Puts of what was found, each on the version that was found.
    pub(super) fn rewrite(&self, found: &[(String, String)]) -> Result<Request> {
        let puts = found.iter().zip(self.values.iter().cycle());
        let puts = puts.map(|((key, version), value)| (key.as_str(), value, Some(version.as_str())));
        let body = self.shape.format.batch(puts)?;
        let headers = [("content-type", self.shape.format.content_type()), ("prefer", "wait=10")];
        self.encoder.request(("POST", "/batch"), &headers, body)
    }
}

struct Planner<'a> {
    shape: &'a Shape,
    encoder: &'a Encoder,
    lane: Lane,
    keys: Keys,
    values: Vec<Bytes>,
    /// The next key to insert.
    inserted: u64,
    /// For each of the last calls how many keys it inserts.
    under_way: VecDeque<u64>,
}

impl Planner<'_> {
    fn step(&mut self) -> Result<Step> {
        let before = self.inserted;
        let step = self.draw()?;
        self.under_way.push_back(self.inserted - before);
        if self.under_way.len() > SETTLED * self.lane.places {
            let done = self.under_way.pop_front().unwrap_or_default();
            (0..done).for_each(|_| self.keys.grow());
        }
        Ok(step)
    }

    fn draw(&mut self) -> Result<Step> {
        let kind = self.shape.kind(self.keys.number(0..100));
        let operations = self.shape.operations(kind);
        let request = match kind {
            Kind::Put => self.put(&[])?,
            Kind::Wait => self.put(&[("prefer", "wait=10")])?,
            Kind::Get => self.get()?,
            Kind::Insert if operations == 1 => {
                let key = self.insert();
                self.put_of(&key, &[])?
            }
            Kind::Batch | Kind::Native | Kind::Insert => self.batch(kind)?,
            Kind::Query => self.query()?,
            Kind::Scan => self.scan()?,
            Kind::ReadModifyWrite if operations == 1 => return self.modify(),
            Kind::ReadModifyWrite => return Ok(Step::ModifyMany { read: self.query()?, operations }),
        };
        Ok(Step::Once { kind, operations, request })
    }

    fn key(&mut self) -> String {
        let number = self.keys.next();
        key(self.shared(number))
    }

    fn insert(&mut self) -> String {
        self.inserted += 1;
        key(self.shared(self.inserted - 1))
    }

    /// Inserted keys are shared out among the lanes.
    fn shared(&self, number: u64) -> u64 {
        let base = self.shape.keys;
        number.checked_sub(base).map_or(number, |inserted| base + inserted * self.lane.of + self.lane.number)
    }

    fn value(&mut self) -> Bytes {
        let at = self.keys.number(0..VALUES);
        self.values[usize::try_from(at).expect("there are few")].clone()
    }

    fn put(&mut self, headers: &[(&'static str, &str)]) -> Result<Request> {
        let key = self.key();
        self.put_of(&key, headers)
    }

    fn put_of(&mut self, key: &str, headers: &[(&'static str, &str)]) -> Result<Request> {
        let value = self.value();
        self.encoder.request(("PUT", &format!("/kv/{key}")), headers, value)
    }

    fn get(&mut self) -> Result<Request> {
        let key = self.key();
        self.encoder.request(("GET", &format!("/kv/{key}")), &[], Bytes::new())
    }

    fn modify(&mut self) -> Result<Step> {
        let key = self.key();
        let read = self.encoder.request(("GET", &format!("/kv/{key}")), &[], Bytes::new())?;
        Ok(Step::Modify { read, write: self.put_of(&key, &[("prefer", "wait=10")])? })
    }

    fn batch(&mut self, kind: Kind) -> Result<Request> {
        let shape = self.shape;
        let mut put = |_number| {
            let key = if kind == Kind::Insert { self.insert() } else { self.key() };
            (key, self.value())
        };
        let puts: Vec<(String, Bytes)> = (0..shape.batch).map(&mut put).collect();
        let body = shape.format.batch(puts.iter().map(|(key, value)| (key.as_str(), value, None)))?;
        let mut headers = vec![("content-type", shape.format.content_type())];
        if shape.applied {
            headers.push(("prefer", "wait=10"));
        }
        self.encoder.request(("POST", "/batch"), &headers, body)
    }

    fn query(&mut self) -> Result<Request> {
        let keys: Vec<String> = (0..self.shape.batch).map(|_| self.key()).collect();
        self.ask(bodies::keys(keys.iter().map(String::as_str)))
    }

    fn scan(&mut self) -> Result<Request> {
        let limit = self.keys.number(1..SCAN_MAX + 1);
        let start = self.key();
        self.ask(bodies::scan(&start, limit))
    }

    fn ask(&self, body: Bytes) -> Result<Request> {
        self.encoder.request(("POST", "/kv/query"), &[("content-type", "application/json")], body)
    }
}
