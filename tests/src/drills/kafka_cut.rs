//! The link between one api and Kafka is dead for longer than the delivery timeout, while its clients write more than its
//! queue takes; then it is whole again. What nobody knew is sent again and seen once.
//!
//! The other api, the writers and the sweeper have links of their own: the workload goes on beside it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use super::{
    Context, Drill, Length, Need,
    calls::{Caller, code, is_known},
    stage::{options, until_shared_out},
};
use crate::{
    deployment::{self, Deployment, Engines},
    faults::proxy::{Direction, Proxy},
    history::{Change, Intent, WriteResult},
    kafka::{Behind, Broker, Special},
    ports,
    process::until_async,
    roles::Kind,
    workload::{Options, Target, Workload},
};

/// The api behind the link.
const CUT: usize = 0;
/// How long a record may take to be acked: the cut is longer.
const DELIVERY: Duration = Duration::from_secs(4);
/// What the queue of the api takes: the least that can be set.
const QUEUE_BYTES: usize = 1 << 20;
const VALUE_BYTES: usize = 32 << 10;
/// Calls that are under way at once; more than the queue takes.
const CALLS: usize = 64;
/// Calls in all while the link is dead.
const CALLS_IN_ALL: usize = 200;
/// How long a full queue may take to say so.
const FULL_WITHIN: Duration = Duration::from_millis(50);
/// The number of the clients of this drill.
const CLIENT: u64 = 3_000_000;

pub(super) const DRILL: Drill = Drill {
    name: "kafka-cut",
    number: 9,
    about: "api and Kafka cut for longer than the delivery timeout: unknowns seen at most once, 503 in less than 50 ms when \
            the queue is full, usable after healing",
    engines: Need::Shared,
    long: Length::new(120, 1000),
    short: Length::new(60, 2),
    run: |context| Box::pin(run(context)),
};

async fn run(context: Context) -> Result<()> {
    let [behind] = ports::free()?;
    let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], behind)))?;
    let special = Special {
        behind: Some(Behind { port: behind, advertised: proxy.address().port() }),
        ..Special::default()
    };
    let broker = tokio::task::spawn_blocking(move || Broker::special(special)).await??;
    let deployment = deploy(&broker, &proxy).await?;
    let options = Options { seed: context.seed(), ..Options::default() };
    let workload = Workload::start(&Target::of(&deployment), &options, context.recorder())?;
    workload.more(50).await?;
    let mut full = Vec::new();
    for round in context.rounds() {
        full.extend(cut(&context, (&deployment, &proxy), round).await?);
        workload.more(50).await?;
    }
    // The slowest of many shows how busy the machine is.
    full.sort_unstable();
    let [p99, slowest] = [full.len() * 99 / 100, full.len() - 1].map(|rank| full[rank]);
    context.judge("503 when full, p99", p99, FULL_WITHIN);
    context
        .figure("503 when full", format!("{} of them, {:.3} s at most", full.len(), slowest.as_secs_f64()));
    context.worked(&workload.stop().await?);
    context.settle(&deployment).await
}

/// Two apis: one behind the link, with a small queue and little patience.
async fn deploy(broker: &Broker, proxy: &Proxy) -> Result<Deployment> {
    let engines = Engines::shared()?.with_broker(broker);
    let more = format!(
        "{}\n[kafka.properties]\n\"delivery.timeout.ms\" = \"{}\"\n",
        options().more,
        DELIVERY.as_millis()
    );
    let bare = deployment::Options { apis: 0, more, ..options() };
    let mut deployment = Deployment::start_on(engines, &bare).await?;
    let behind = [
        ("MILLPOND_KAFKA__BROKERS", proxy.address().to_string()),
        ("MILLPOND_LOG__QUEUE_BYTES_MAX", QUEUE_BYTES.to_string()),
    ];
    let behind = behind.map(|(name, value)| (name.to_owned(), value)).into();
    ensure!(deployment.spawn_with(Kind::Api, behind)? == CUT, "it is the first api");
    deployment.spawn_with(Kind::Api, BTreeMap::new())?;
    deployment.until_ready().await?;
    until_shared_out(&deployment).await?;
    Ok(deployment)
}

/// One cut, from the first call that nobody answers to the last repeat. How long each refusal by a full queue took.
async fn cut(
    context: &Context,
    (deployment, proxy): (&Deployment, &Proxy),
    round: u64,
) -> Result<Vec<Duration>> {
    let caller = Caller {
        recorder: context.recorder().clone(),
        address: deployment.address_of_api(CUT),
        client: CLIENT,
    };
    let writes = Arc::new(Writes { caller, round });
    proxy.hold(Direction::ToServer, true);
    proxy.hold(Direction::ToClient, true);
    context.fault(
        if round.is_multiple_of(2) { "link dead, then reset" } else { "link dead, then all of it comes" },
        "api-0",
    );
    let began = Instant::now();
    // As many as the queue takes, and more.
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let writes = Arc::clone(&writes);
        calls.spawn(async move { writes.call(number).await });
    }
    let mut answered: Vec<Answered> = calls.join_next().await.into_iter().collect::<Result<_, _>>()?;
    // Whoever comes then, one after the other.
    let mut full = Vec::new();
    for number in CALLS..CALLS_IN_ALL {
        let answer = writes.call(number).await;
        full.extend((answer.code() == "log-backpressure").then_some(answer.took));
        answered.push(answer);
    }
    answered.extend(calls.join_all().await);
    let unknown: Vec<_> = answered.iter().filter(|answer| answer.code() == "outcome-unknown").collect();
    ensure!(!full.is_empty(), "the queue was never full: {:?}", codes(&answered));
    ensure!(!unknown.is_empty(), "nothing is unknown: {:?}", codes(&answered));
    if round.is_multiple_of(2) {
        proxy.cut();
    }
    proxy.heal();
    let healed = Instant::now();
    let usable = until_async(deployment::PATIENCE, async || {
        is_known(&writes.caller.send(&writes.intent(CALLS_IN_ALL)).await)
    });
    ensure!(usable.await, "the api takes no write after the link was healed{}", deployment.tails());
    context.figure(
        &format!("round {round}"),
        format!(
            "dead {:.1} s, {} full, {} unknown, usable after {:.2} s",
            (healed - began).as_secs_f64(),
            full.len(),
            unknown.len(),
            healed.elapsed().as_secs_f64()
        ),
    );
    for answer in unknown {
        writes.repeat(&answer.intent).await?;
    }
    Ok(full)
}

fn codes(answered: &[Answered]) -> BTreeMap<&str, usize> {
    let mut codes = BTreeMap::new();
    for answer in answered {
        *codes.entry(answer.code()).or_default() += 1;
    }
    codes
}

/// What came of a call.
struct Answered {
    intent: Intent,
    result: WriteResult,
    took: Duration,
}

impl Answered {
    fn code(&self) -> &str {
        code(&self.result)
    }
}

/// Writes through the api behind the link.
struct Writes {
    caller: Caller,
    round: u64,
}

impl Writes {
    /// Appends, which show when they are seen twice; all with an Idempotency-Key.
    fn intent(&self, number: usize) -> Intent {
        let key = format!("cut-{}-{}", self.round, number % CALLS);
        let value = format!("{number};{}", "x".repeat(VALUE_BYTES));
        Intent {
            idempotency_key: Some(format!("cut-{}-{number}", self.round)),
            ..Intent::new(key, Change::Append { value: value.into() })
        }
    }

    async fn call(&self, number: usize) -> Answered {
        let intent = self.intent(number);
        let began = Instant::now();
        let result = self.caller.send(&intent).await;
        Answered { intent, result, took: began.elapsed() }
    }

    /// Until it is known.
    async fn repeat(&self, intent: &Intent) -> Result<()> {
        let mut last = String::new();
        let known = until_async(deployment::PATIENCE, async || {
            let result = self.caller.send(intent).await;
            last = format!("{result:?}");
            is_known(&result)
        });
        ensure!(known.await, "a repeat is not answered: {last}");
        Ok(())
    }
}
