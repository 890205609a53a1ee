//! The work whose instructions `bench/instructions` counts: the codec, the fold and the batch parser, part by part.
//!
//! It counts nothing itself: callgrind does, inside [`instructions_counted`] alone. Each part prints its name and how
//! many operations it did. Not a benchmark of time.
//! Invariant: the input is the same in every run. Setup and the first run of a part, which fills the allocator's caches,
//! are not counted. A part that does not do its work panics, so that no count is of a failure.

mod input;
mod mutations;

use std::hint::black_box;

use bytes::Bytes;
use millpond_api::read_batch;
use millpond_fold::{fold, needs};
use millpond_schemas::Mutation;

use input::{Input, Log, OPERATIONS, PARTITION};

/// Of each part: the seeds of hash maps are random, and count for the less the more of them there are.
const ROUNDS: usize = 4;

/// A part's work: how many operations it did.
type Work = fn(&Input) -> usize;

/// In the order in which callgrind dumps their counts.
const PARTS: [(&str, Work); 8] = [
    ("encode", encode),
    ("decode", decode),
    ("digest", digest),
    ("checksum", checksum),
    ("fold-puts", |input| folded(&input.puts)),
    ("fold-mixed", |input| folded(&input.mixed)),
    ("batch-ndjson", |input| batch("application/x-ndjson", &input.lines)),
    ("batch-protobuf", |input| batch("application/x-protobuf", &input.records)),
];

fn main() {
    let input = Input::new();
    for (name, work) in PARTS {
        assert_eq!(work(&input), OPERATIONS, "{name} does all of its operations");
        instructions_counted(work, &input);
        println!("{name} {}", ROUNDS * OPERATIONS);
    }
}

/// Callgrind collects from its entry to its return, and finds it by its name.
#[inline(never)]
fn instructions_counted(work: Work, input: &Input) {
    for _ in 0..ROUNDS {
        black_box(black_box(work)(input));
    }
}

/// Does the same with each.
fn each<T, R>(items: &[T], work: impl Fn(&T) -> R) -> usize {
    for item in items {
        black_box(work(item));
    }
    items.len()
}

/// A mutation to the bytes on the log, as an api does.
fn encode(input: &Input) -> usize {
    each(&input.mixed.mutations, Mutation::encode)
}

/// Bytes on the log to a record.
fn decode(input: &Input) -> usize {
    let Log { decoder, received, .. } = &input.mixed;
    each(received, |one| decoder.decode(one).expect("the input decodes"))
}

/// Of a record's bytes.
fn digest(input: &Input) -> usize {
    each(&input.mixed.received, |one| one.raw.digest())
}

/// Of a row.
fn checksum(input: &Input) -> usize {
    each(&input.rows, |row| row.checksum(PARTITION))
}

/// Flush after flush, as a writer does between reading and applying.
fn folded(log: &Log) -> usize {
    let mut state = Log::state();
    for (entries, given) in &log.flushes {
        black_box(needs(&state, entries));
        let flush = fold(&state, entries, given).expect("no record of the input halts");
        state.advance(&flush);
        black_box(flush);
    }
    log.flushes.iter().map(|(entries, _)| entries.len()).sum()
}

/// A body to mutations.
fn batch(content_type: &str, body: &Bytes) -> usize {
    let (sent, refused) = read_batch(content_type, body).expect("it is a batch");
    assert_eq!(refused, 0, "the input is without fault");
    sent
}
