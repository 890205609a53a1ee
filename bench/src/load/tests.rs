//! The loops of a load against a server that stalls, on a clock that only moves when everybody waits.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{Instant, sleep_until},
};

use super::{
    alarm::Alarm,
    bodies::Format,
    connection::{Connection, Encoder, Protocol},
    drive::{Pace, Seen, drive},
    http1::Http1,
    plan::{Lane, Plan, Shape},
    schedule::{Arrival, Schedule},
    slot::Slot,
    workload::{Kind, Workload},
};
use crate::keys::Distribution;

const LENGTH: Duration = Duration::from_secs(10);
/// The server answers nothing from the fourth second to the fifth.
const STALLS: Duration = Duration::from_secs(4);
const STALLED: Duration = Duration::from_secs(1);
/// What a call takes otherwise.
const SERVICE: Duration = Duration::from_millis(1);

fn shape() -> Shape {
    Shape {
        workload: Workload::Get,
        distribution: Distribution::Uniform,
        theta: 0.99,
        keys: 1_000,
        value_bytes: 10,
        batch: 10,
        format: Format::Ndjson,
        batched: false,
        applied: false,
        seed: 1,
    }
}

/// Answers each GET after its time, but nothing while it is stalled.
async fn serve(mut stream: DuplexStream, began: Instant, service: Duration) {
    let stall = began + STALLS..began + STALLS + STALLED;
    let mut asked = Vec::new();
    while stream.read_buf(&mut asked).await.is_ok_and(|read| read > 0) {
        if asked.ends_with(b"\r\n\r\n") {
            asked.clear();
            sleep_until(Instant::now() + service).await;
            if stall.contains(&Instant::now()) {
                sleep_until(stall.end).await;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer).await.expect("the client reads");
        }
    }
}

/// Loads over so many connections.
async fn load(connections: usize, pace: Pace, service: Duration) -> Result<Seen> {
    let encoder = Encoder { protocol: Protocol::Http1, host: "server".to_owned() };
    let plan = Arc::new(Plan::make(&shape(), &encoder, Lane { number: 0, of: 1, places: connections }, 100)?);
    let began = Instant::now();
    let slot = || {
        let (ours, theirs) = tokio::io::duplex(4096);
        tokio::spawn(serve(theirs, began, service));
        Slot::Http { connection: Connection::Http1(Http1::new(ours)), plan: Arc::clone(&plan) }
    };
    let slots = (0..connections).map(|_| slot()).collect();
    drive(slots, pace, (began, LENGTH), &Arc::new(AtomicU64::new(0))).await
}

fn open(arrival: Arrival, rate: f64) -> Pace {
    Pace::Open(Box::new(Schedule::new(arrival, rate, LENGTH, 1)), Alarm::Tokio)
}

#[tokio::test(start_paused = true)]
async fn an_open_loop_reports_a_stall_for_every_call_that_was_due_in_it() -> Result<()> {
    let seen = load(2_000, open(Arrival::Constant, 1_000.0), SERVICE).await?;
    assert_eq!((seen.offered, seen.calls, seen.failed), (10_000, 10_000, 0));
    let latencies = &seen.latencies[&Kind::Get];
    // A thousand calls were due while it stalled, the first of which waited for all of it.
    for (least, expected) in [(900, 100), (500, 500), (100, 900)] {
        let slow = latencies.at_least(Duration::from_millis(least));
        assert!(slow.abs_diff(expected) <= 3, "{slow} calls took {least} ms, of {expected}");
    }
    assert!(latencies.quantile(0.5) <= SERVICE * 3);
    assert!(latencies.quantile(0.95) >= STALLED / 2 && latencies.quantile(0.999) >= STALLED * 9 / 10);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_open_loop_reports_the_stall_also_over_few_connections() -> Result<()> {
    // What no connection can take waits in the queue, and its latency counts all the same.
    let seen = load(4, open(Arrival::Constant, 1_000.0), SERVICE).await?;
    assert_eq!(seen.calls, 10_000);
    assert!(seen.latencies[&Kind::Get].at_least(STALLED / 2) >= 500);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn poisson_arrivals_report_the_stall_as_well() -> Result<()> {
    let due = Schedule::new(Arrival::Poisson, 1_000.0, LENGTH, 1)
        .filter(|start| (STALLS..STALLS + STALLED / 2).contains(start))
        .count();
    let seen = load(2_000, open(Arrival::Poisson, 1_000.0), SERVICE).await?;
    let slow = seen.latencies[&Kind::Get].at_least(STALLED / 2);
    assert!(slow.abs_diff(due as u64) <= 5, "{slow} calls were slow, of {due}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_closed_loop_would_show_one_slow_call() -> Result<()> {
    let seen = load(1, Pace::Closed, SERVICE).await?;
    let latencies = &seen.latencies[&Kind::Get];
    assert!(seen.calls > 4_000, "{} calls", seen.calls);
    assert_eq!(latencies.at_least(SERVICE * 10), 1);
    assert!(latencies.max() >= STALLED * 9 / 10 && latencies.quantile(0.999) <= SERVICE * 3);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_server_that_falls_behind_is_seen_to_miss_the_rate() -> Result<()> {
    // One connection of 10 ms a call does 100 a second, and 90 with the stall.
    let seen = load(1, open(Arrival::Constant, 120.0), SERVICE * 10).await?;
    assert_eq!((seen.offered, seen.calls), (1_200, 1_200));
    assert!(seen.in_time * 100 < seen.offered * 99, "{} of {} in time", seen.in_time, seen.offered);
    let seen = load(100, open(Arrival::Constant, 120.0), SERVICE * 10).await?;
    assert!(seen.in_time * 100 >= seen.offered * 99, "{} of {} in time", seen.in_time, seen.offered);
    Ok(())
}
