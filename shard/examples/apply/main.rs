//! How fast flushes are applied: rows per second and CPU-µs a row, beside the plainest upsert of the same rows.
//!
//! `cargo run --release -p millpond-shard --example apply -- sqlite [DIRECTORY]`, beside one prepared upsert per row;
//! `… -- postgres ADDRESS`, an empty database, beside the same upsert in a loop within the server. Keys are uniform
//! over a million, values 256 B. Last what small flushes and single reads cost: what they wait for is not the database
//! but the way to it.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a measurement: it ends at the first error"
)]

mod flushes;
mod meter;
mod postgres;
mod sqlite;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["sqlite", parent @ ..] => sqlite::measure(parent.first().copied()).await,
        ["postgres", address] => postgres::measure(address).await,
        _ => panic!("say `sqlite [DIRECTORY]` or `postgres ADDRESS`"),
    }
}
