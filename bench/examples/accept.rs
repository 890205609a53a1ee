//! An api over a local log and nothing behind it: what it accepts is never applied. For `bench/table`.
//!
//! Not the embedded default, which applies as well. Prints `listening ADDRESS` and serves until its input ends.
//! Invariant: an answer means what it means there: the log has it, fsynced.
#![expect(clippy::print_stdout, reason = "it says where it listens")]

use std::{env, io::Read};

use anyhow::{Context, Result};
use millpond::embedded::{Embedded, Options};
use millpond_api::{Api, Config};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let dir = arguments.next().context("name a data directory")?;
    let (embedded, follower) = Embedded::open(&Options::new(dir)).await?;
    tokio::spawn(follower.run());
    let api = Api::start(Config::default(), embedded.api().await?, &mut Registry::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.context("listen")?;
    println!("listening {}", listener.local_addr()?);
    let stop = CancellationToken::new();
    let ending = stop.clone();
    std::thread::spawn(move || {
        // Whatever ends the input ends the program.
        let _ended = std::io::stdin().read_to_end(&mut Vec::new());
        ending.cancel();
    });
    api.serve(listener, stop).await?;
    api.stop().await;
    embedded.close().await;
    Ok(())
}
