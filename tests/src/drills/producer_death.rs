//! A broker takes records and says that it did not, or does not say where they lie: the producer of one api dies, or tries
//! again, or looks for them.
//!
//! Every record that is lied about is on the log. Its client must be told that it is, or that nobody knows.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::time::timeout;

use super::{
    Context, Drill, Length, Need,
    calls::{Caller, is_known},
    stage::{options, until_shared_out},
};
use crate::{
    deployment::{self, Deployment, Engines, PATIENCE},
    faults::falsifier::Falsifier,
    history::Intent,
    kafka::{Behind, Broker, Special},
    ports,
    roles::Kind,
    workload::{Options, Target, Workload},
};

/// What is said of a record that is on the log, by Kafka's number, and whether the producer dies of it.
const LIES: [(i16, &str, bool); 7] = [
    (45, "OUT_OF_ORDER_SEQUENCE_NUMBER", true),
    (46, "DUPLICATE_SEQUENCE_NUMBER, without an offset", false),
    (7, "REQUEST_TIMED_OUT", false),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", false),
    (47, "INVALID_PRODUCER_EPOCH", false),
    (59, "UNKNOWN_PRODUCER_ID", false),
    (6, "NOT_LEADER_FOR_PARTITION", false),
];
/// From the lie to the next write that is taken.
const REBUILT_WITHIN: Duration = Duration::from_secs(5);
/// The number of this drill's own client.
const CLIENT: u64 = 3_000_000;
/// Such as `millpond_log_producers_failed_total 3`.
const FAILED: &str = "millpond_log_producers_failed_total";

pub(super) const DRILL: Drill = Drill {
    name: "producer-death",
    number: 11,
    about: "fatal producer errors, acks without an offset, timeouts: the producer is made anew within 5 s",
    engines: Need::Shared,
    long: Length::new(120, 1000),
    short: Length::new(60, 7),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let [behind] = ports::free()?;
    let link = Falsifier::start(SocketAddr::from(([127, 0, 0, 1], behind)), ".mutations.1").await?;
    let advertised = link.address().port();
    let special = Special { behind: Some(Behind { port: behind, advertised }), ..Special::default() };
    let broker = tokio::task::spawn_blocking(move || Broker::special(special)).await??;
    let deployment = deploy(&broker, &link).await?;
    let options = Options { seed: context.seed(), ..Options::default() };
    let workload = Workload::start(&Target::of(&deployment), &options, context.recorder())?;
    workload.more(50).await?;
    let caller = Caller {
        recorder: context.recorder().clone(),
        address: deployment.address_of_api(0),
        client: CLIENT,
    };
    let (mut deaths, mut slowest) = (0, Duration::ZERO);
    let ends = Instant::now() + context.length().time;
    for (round, (code, name, kills)) in (0..context.length().count).zip(LIES.iter().copied().cycle()) {
        if Instant::now() >= ends {
            break;
        }
        // The workload brings a record to lie about.
        timeout(PATIENCE, link.lie(code)).await.with_context(|| format!("nobody produces for {name}"))??;
        context.fault(name, "api-0");
        let told = Instant::now();
        deaths += u64::from(kills);
        if kills {
            let counted = async || Ok(failed(&deployment).await? >= deaths);
            deployment.until("the death of a producer is counted", counted).await?;
        }
        let taken = async || {
            let intent = Intent::put("after-a-lie", format!("{round}"));
            Ok(is_known(&caller.send(&intent).await))
        };
        deployment.until(&format!("a write is taken after {name}"), taken).await?;
        slowest = slowest.max(told.elapsed());
        workload.more(20).await?;
    }
    context.judge("taken again", slowest, REBUILT_WITHIN);
    context.figure("producers that died", failed(&deployment).await?.to_string());
    context.worked(&workload.stop().await?);
    context.settle(&deployment).await
}

/// Two apis: the first behind the link.
async fn deploy(broker: &Broker, link: &Falsifier) -> Result<Deployment> {
    let none = deployment::Options { apis: 0, ..options() };
    let mut deployment = Deployment::start_on(Engines::shared()?.with_broker(broker), &none).await?;
    let behind = [("MILLPOND_KAFKA__BROKERS".to_owned(), link.address().to_string())];
    deployment.spawn_with(Kind::Api, behind.into())?;
    deployment.spawn_with(Kind::Api, BTreeMap::new())?;
    deployment.until_ready().await?;
    until_shared_out(&deployment).await?;
    Ok(deployment)
}

/// How many producers of the first api have died.
async fn failed(deployment: &Deployment) -> Result<u64> {
    let answer = deployment.ops(Kind::Api, 0).get("/metrics").send().await?;
    ensure!(answer.status == 200, "{answer:?}");
    let text = answer.text();
    let lines = text.lines().filter(|line| line.starts_with(FAILED));
    let numbers = lines.filter_map(|line| line.split_whitespace().next_back()?.parse::<u64>().ok());
    Ok(numbers.sum())
}
