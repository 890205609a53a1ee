//! What reading a batch costs in each of its forms: 10,000 puts of 256 B, in ns an operation and as ratios to NDJSON.
//!
//! Not a test: nothing here asserts a time. `cargo run --release -p millpond-api --example batch_cost`
#![expect(clippy::print_stdout, reason = "it is what this is for")]

use std::{hint::black_box, time::Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use millpond_api::read_batch;
use millpond_schemas::{Conditions, Mutation, Op, RecordKey, Tenant};

const OPERATIONS: u32 = 10_000;
const VALUE_BYTES: usize = 256;
const ROUNDS: usize = 50;

fn main() {
    let value = "v".repeat(VALUE_BYTES);
    let objects = |member: &str, value: &str| -> Vec<String> {
        (0..OPERATIONS)
            .map(|n| format!("{{\"op\":\"put\",\"key\":\"key-{n:08}\",\"{member}\":\"{value}\"}}"))
            .collect()
    };
    let (plain, base64) = (objects("value", &value), objects("value_b64", &STANDARD.encode(&value)));
    let forms = [
        ("NDJSON", "application/x-ndjson", Bytes::from(plain.join("\n"))),
        ("JSON array", "application/json", format!("[{}]", plain.join(",")).into()),
        ("protobuf", "application/x-protobuf", records(&value)),
        ("NDJSON, value_b64", "application/x-ndjson", base64.join("\n").into()),
    ];
    let times = forms.each_ref().map(|(_, content_type, body)| fastest(content_type, body));
    println!("{OPERATIONS} puts of {VALUE_BYTES} B, the fastest of {ROUNDS} rounds\n");
    println!("| form | ns an operation | of NDJSON | bytes an operation |\n|---|---|---|---|");
    for ((name, _, body), ns) in forms.iter().zip(times) {
        let each = |total: f64| total / f64::from(OPERATIONS);
        #[expect(clippy::cast_precision_loss, reason = "a batch has at most 16 MiB")]
        let bytes = each(body.len() as f64);
        println!("| {name} | {:.0} | {:.2} | {bytes:.0} |", each(ns), ns / times[0]);
    }
}

fn records(value: &str) -> Bytes {
    let tenant = Tenant::new("default").expect("it is a tenant's name");
    let mut body = Vec::new();
    for n in 0..OPERATIONS {
        let key = RecordKey::new(&tenant, format!("key-{n:08}").as_bytes()).expect("it is short");
        let op = Op::Put { value: value.to_owned().into(), content_type: "".into(), expiry: None };
        let record = Mutation { key, id: None, conditions: Conditions::default(), op }.encode_with_key();
        let mut length = record.len();
        while length >= 0x80 {
            body.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
            length >>= 7;
        }
        body.push(u8::try_from(length).expect("seven bits"));
        body.extend_from_slice(&record);
    }
    body.into()
}

/// Nanoseconds of the fastest round.
fn fastest(content_type: &str, body: &Bytes) -> f64 {
    let round = || {
        let started = Instant::now();
        let read = black_box(read_batch(content_type, black_box(body)));
        let elapsed = started.elapsed();
        assert_eq!(read, Some((OPERATIONS as usize, 0)), "every operation is taken");
        elapsed.as_secs_f64() * 1e9
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}
