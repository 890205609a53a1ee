//! A log that does not answer: every call is told by code, and by what it means for its write, and none waits for ever.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Engines, Options},
    faults::proxy::{Direction, Proxy},
    http::{Answer, Http},
    kafka::{Behind, Broker, Special},
    ports,
    roles::Kind,
};
use tokio::task::JoinSet;

/// Half of them are more than the queue takes.
const CALLS: usize = 64;
const VALUE_BYTES: usize = 32 << 10;
const MORE: &str = "[kafka.properties]\n\"delivery.timeout.ms\" = \"3000\"\n";

/// What a problem says of a write.
fn told(answer: &Answer, status: u16, outcome: &str) -> Result<()> {
    let problem = answer.json();
    ensure!(
        answer.status == status
            && answer.header("content-type") == "application/problem+json"
            && problem["outcome"] == outcome
            && problem["retryable"] == true,
        "{answer:?}"
    );
    // Nothing says when an outcome is known.
    ensure!((status == 503) != answer.header("retry-after").is_empty(), "{answer:?}");
    Ok(())
}

async fn put(api: SocketAddr, key: usize) -> Result<Answer> {
    Http::new(api).put(&format!("/kv/unanswered-{key}"), "x".repeat(VALUE_BYTES)).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_link_to_the_log_ends_in_full_then_unknown_then_unavailable_and_heals() -> Result<()> {
    let [behind] = ports::free()?;
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], behind)))?;
    let special = Special {
        behind: Some(Behind { port: behind, advertised: proxy.address().port() }),
        ..Special::default()
    };
    let broker = tokio::task::spawn_blocking(move || Broker::special(special)).await??;
    let none = Options { apis: 0, more: MORE.to_owned(), ..Options::default() };
    let mut deployment = Deployment::start_on(Engines::shared()?.with_broker(&broker), &none).await?;
    let variables = [
        ("MILLPOND_KAFKA__BROKERS", proxy.address().to_string()),
        ("MILLPOND_LOG__QUEUE_BYTES_MAX", "1MiB".to_owned()),
    ];
    deployment.spawn_with(Kind::Api, variables.map(|(name, value)| (name.to_owned(), value)).into())?;
    deployment.until_ready().await?;
    let api = deployment.address_of_api(0);

    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.hold(direction, true);
    }
    let mut calls = JoinSet::new();
    for key in 0..CALLS {
        calls.spawn(put(api, key));
    }
    let (mut full, mut unknown) = (0, 0);
    while let Some(answer) = calls.join_next().await {
        let answer = answer??;
        match answer.code().as_str() {
            "log-backpressure" => {
                told(&answer, 503, "not-accepted")?;
                full += 1;
            }
            "outcome-unknown" => {
                told(&answer, 504, "unknown")?;
                unknown += 1;
            }
            code => ensure!(code == "log-unavailable", "{answer:?}"),
        }
    }
    ensure!(full > 0 && unknown > 0, "{full} full, {unknown} unknown");

    let unavailable = async || {
        let answer = put(api, 0).await?;
        ensure!(answer.code() == "log-unavailable", "{answer:?}");
        told(&answer, 503, "not-accepted")?;
        let ready = deployment.ops(Kind::Api, 0).get("/readyz?verbose").send().await?;
        ensure!(ready.status == 200 && ready.text().contains("[~]log degraded"), "{ready:?}");
        Ok(true)
    };
    deployment.until("the api takes nothing, says so, and is ready for reads", unavailable).await?;

    proxy.cut();
    proxy.heal();
    deployment.until("a write is taken", async || Ok(put(api, 0).await?.status == 202)).await?;
    let ready = deployment.ops(Kind::Api, 0).get("/readyz?verbose").send().await?.text();
    ensure!(ready.contains("[+]log ok"), "{ready}");
    deployment.drained().await
}
