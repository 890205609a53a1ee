//! What reading a batch costs beside the plainest reading of the same bytes: for `bench/table`'s row `decode`.
//!
//! Baselines: each NDJSON line as three `serde_json` `RawValue`s, each record as a prost message with slices of the body.
//! Prints a JSON object per stretch, `{"form","side","ns","allocations"}` an operation, until its input ends. A line of
//! input asks for a stretch: `FORM SIDE SECONDS`.
//! Invariant: both sides read every operation of the same body, and allocations are counted outside the timed stretch's
//! clock, by a program that measures nothing else.
#![expect(clippy::print_stdout, reason = "it is what this is for")]

use std::{
    alloc::System,
    hint::black_box,
    io::BufRead,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes};
use millpond_api::read_batch;
use millpond_schemas::{Conditions, Mutation, Op, RecordKey, Tenant};
use prost::Message;
use serde::Deserialize;
use serde_json::value::RawValue;
use stats_alloc::{Region, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &stats_alloc::INSTRUMENTED_SYSTEM;

const OPERATIONS: u32 = 10_000;
const VALUE_BYTES: usize = 256;
const NDJSON: &str = "application/x-ndjson";
const PROTOBUF: &str = "application/x-protobuf";

fn main() -> Result<()> {
    let (lines, records) = (lines(), records()?);
    for asked in std::io::stdin().lock().lines() {
        let asked = asked?;
        let words: Vec<&str> = asked.split_whitespace().collect();
        let [form, side, seconds] = words.as_slice() else { bail!("ask for FORM SIDE SECONDS") };
        let length = Duration::from_secs_f64(seconds.parse().context("read the seconds")?);
        let (ns, allocations) = match (*form, *side) {
            ("ndjson", "ours") => stretch(length, || ours(NDJSON, &lines))?,
            ("ndjson", "baseline") => stretch(length, || raw_values(&lines))?,
            ("protobuf", "ours") => stretch(length, || ours(PROTOBUF, &records))?,
            ("protobuf", "baseline") => stretch(length, || messages(records.clone()))?,
            _ => bail!("there is no {form} {side}"),
        };
        println!(
            "{{\"form\":\"{form}\",\"side\":\"{side}\",\"ns\":{ns:.2},\"allocations\":{allocations:.4}}}"
        );
    }
    Ok(())
}

/// Nanoseconds of the fastest round, and allocations, each per operation.
fn stretch(length: Duration, mut round: impl FnMut() -> Result<usize>) -> Result<(f64, f64)> {
    let counted = Region::new(COUNTING);
    ensure!(round()? == OPERATIONS as usize, "every operation is read");
    let changed = counted.change();
    #[expect(clippy::cast_precision_loss, reason = "a batch makes few of them")]
    let allocations = (changed.allocations + changed.reallocations) as f64 / f64::from(OPERATIONS);
    let (began, mut fastest) = (Instant::now(), Duration::MAX);
    while began.elapsed() < length {
        let started = Instant::now();
        round()?;
        fastest = fastest.min(started.elapsed());
    }
    Ok((fastest.as_secs_f64() * 1e9 / f64::from(OPERATIONS), allocations))
}

fn ours(content_type: &str, body: &Bytes) -> Result<usize> {
    let read = black_box(read_batch(content_type, black_box(body))).context("it is a batch")?;
    ensure!(read.1 == 0, "nothing is refused");
    Ok(read.0)
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    op: &'a RawValue,
    #[serde(borrow)]
    key: &'a RawValue,
    #[serde(borrow)]
    value: &'a RawValue,
}

fn raw_values(body: &Bytes) -> Result<usize> {
    let mut read = Vec::with_capacity(OPERATIONS as usize);
    for line in body.split(|byte| *byte == b'\n') {
        let Line { op, key, value } = serde_json::from_slice(line)?;
        read.push((op, key, value));
    }
    Ok(black_box(read).len())
}

/// What `millpond.v1.Record` holds of a put.
#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(bytes = "bytes", tag = "2")]
    id: Bytes,
    #[prost(bytes = "bytes", optional, tag = "5")]
    key: Option<Bytes>,
    #[prost(message, optional, tag = "16")]
    put: Option<Put>,
}

#[derive(Clone, PartialEq, Message)]
struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    value: Bytes,
    #[prost(string, tag = "2")]
    content_type: String,
}

fn messages(mut body: Bytes) -> Result<usize> {
    let mut read = Vec::with_capacity(OPERATIONS as usize);
    while body.has_remaining() {
        read.push(Record::decode_length_delimited(&mut body)?);
    }
    Ok(black_box(read).len())
}

fn lines() -> Bytes {
    let value = "v".repeat(VALUE_BYTES);
    let line = |n: u32| format!("{{\"op\":\"put\",\"key\":\"key-{n:08}\",\"value\":\"{value}\"}}");
    (0..OPERATIONS).map(line).collect::<Vec<_>>().join("\n").into()
}

fn records() -> Result<Bytes> {
    let tenant = Tenant::new("default")?;
    let value = Bytes::from("v".repeat(VALUE_BYTES));
    let mut body = Vec::new();
    for n in 0..OPERATIONS {
        let key = RecordKey::new(&tenant, format!("key-{n:08}").as_bytes())?;
        let op = Op::Put { value: value.clone(), content_type: "".into(), expiry: None };
        let record = Mutation { key, id: None, conditions: Conditions::default(), op }.encode_with_key();
        prost::encode_length_delimiter(record.len(), &mut body)?;
        body.extend_from_slice(&record);
    }
    Ok(body.into())
}
