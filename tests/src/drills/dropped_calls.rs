//! Clients that go away in the middle: before the body's end, while they wait, while they read the answer.
//!
//! What was not sent whole is on no log. What was is there once or not at all, as its client cannot know. Nothing of the
//! calls stays in the api. Invariant: a connection carries one call and ends with a reset.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use http::Method;
use rand::{RngExt, rngs::StdRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Context, Drill, Length, Need, stage};
use crate::{
    deployment::{Deployment, PATIENCE},
    history::{Change, Door, Event, Intent, Op, Recorder, WriteResult},
    roles::Kind,
    workload::{Target, Workload},
};

/// Calls under way at once.
const CALLS: usize = 64;
/// How long a client waits at most before it goes.
const WAIT_MS: std::ops::Range<u64> = 0..60;
/// What it reads of the answer at most before it goes.
const ANSWER_BYTES: std::ops::Range<usize> = 1..200;
/// Some bodies take several packets.
const VALUE_BYTES: std::ops::Range<usize> = 0..40_000;
/// The first number of these clients: one for each call.
const CLIENTS_FROM: u64 = 10_000_000;
/// Calls of the workload that show, in the end, that every connection to a shard is of use.
const AFTER: u64 = 100;

pub(super) const DRILL: Drill = Drill {
    name: "dropped-calls",
    number: 22,
    about: "clients reset --count calls before the body's end, while they wait, while they read: none half done, pools whole, \
            no waiter left",
    engines: Need::Shared,
    long: Length::new(600, 5_000),
    short: Length::new(60, 300),
    run: |context| Box::pin(run(context)),
};

/// Where a client goes away.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// So many bytes before the call's end.
    Sending(usize),
    /// So long after it was sent.
    Waiting(Duration),
    /// After so many bytes of the answer.
    Reading(usize),
}

impl Point {
    fn name(self) -> &'static str {
        match self {
            Self::Sending(_) => "reset before the body's end",
            Self::Waiting(_) => "reset while waiting",
            Self::Reading(_) => "reset while reading",
        }
    }
}

/// A call to be dropped. A read has no intent.
struct Dropped {
    intent: Option<Intent>,
    bytes: Vec<u8>,
    point: Point,
}

async fn run(context: Context) -> Result<()> {
    let mut deployment = Deployment::start(&stage::options()).await?;
    stage::until_shared_out(&deployment).await?;
    let workload = Workload::start(&Target::of(&deployment), &context.workload(), context.recorder())?;
    workload.more(50).await?;
    let before = memory(&mut deployment)?;
    let (mut random, mut calls) = (context.random(1), JoinSet::new());
    let (permits, answered) = (Arc::new(Semaphore::new(CALLS)), Arc::new(AtomicU64::new(0)));
    let ends = tokio::time::Instant::now() + context.length().time;
    for number in 0..context.length().count {
        if context.is_long() && tokio::time::Instant::now() >= ends {
            break;
        }
        let permit = Arc::clone(&permits).acquire_owned().await?;
        let api = deployment.address_of_api(random.random_range(0..deployment.count(Kind::Api)));
        let call = draw(&mut random, number);
        let (recorder, answered) = (context.recorder().clone(), Arc::clone(&answered));
        context.fault(call.point.name(), &format!("{api}"));
        calls.spawn(async move {
            let ended = call.run(api, CLIENTS_FROM + number, &recorder).await;
            answered.fetch_add(u64::from(ended.is_ok()), Ordering::Relaxed);
            drop(permit);
        });
        while let Some(ended) = calls.try_join_next() {
            ended.context("a call panicked")?;
        }
    }
    while let Some(ended) = calls.join_next().await {
        ended.context("a call panicked")?;
    }
    context.figure("gone as planned", answered.load(Ordering::Relaxed).to_string());
    // The calls that were dropped are in the history too: those that succeed must outnumber them.
    workload.more(context.faults() + AFTER).await?;
    context.worked(&workload.stop().await?);
    idle(&deployment).await?;
    let after = memory(&mut deployment)?;
    context.figure("memory of the apis", format!("{before:?} MiB before, {after:?} MiB after"));
    context.settle(&deployment).await?;
    idle(&deployment).await
}

fn draw(random: &mut StdRng, number: u64) -> Dropped {
    let key = format!("dropped-{}", random.random_range(0..200));
    let name = format!("d{number}");
    let value = format!("{name}-{:.<1$}", "", random.random_range(VALUE_BYTES));
    let (method, path, headers, body, intent) = match random.random_range(0..5) {
        0 => (Method::GET, format!("/kv/{key}?consistency=strong"), String::new(), String::new(), None),
        1 => {
            let body = format!(r#"{{"op":"append","value":"{name};"}}"#);
            let change = Change::Append { value: format!("{name};").into() };
            let headers = "content-type: application/vnd.millpond.op+json\r\n".to_owned();
            let path = format!("/kv/list-{key}");
            (Method::PATCH, path, headers, body, Some(Intent::new(format!("list-{key}"), change)))
        }
        kind => {
            let mut intent = Intent::put(key.as_str(), value.clone());
            let mut headers = "content-type: application/octet-stream\r\n".to_owned();
            if kind == 2 {
                headers.extend(["idempotency-key: ", &name, "\r\n"]);
                intent.idempotency_key = Some(name);
            } else if kind == 3 {
                headers += "prefer: wait=5\r\n";
            }
            (Method::PUT, format!("/kv/{key}"), headers, value, Some(intent))
        }
    };
    let length = if intent.is_some() { format!("content-length: {}\r\n", body.len()) } else { String::new() };
    let bytes = format!("{method} {path} HTTP/1.1\r\nhost: millpond\r\n{headers}{length}\r\n{body}");
    let bytes = bytes.into_bytes();
    let point = match random.random_range(0..3) {
        0 => Point::Sending(random.random_range(1..=bytes.len())),
        1 => Point::Waiting(Duration::from_millis(random.random_range(WAIT_MS))),
        _ => Point::Reading(random.random_range(ANSWER_BYTES)),
    };
    Dropped { intent, bytes, point }
}

impl Dropped {
    /// Sends as much as it is meant to, and resets the connection. What its client may believe goes into the history.
    async fn run(self, api: SocketAddr, client: u64, recorder: &Recorder) -> Result<()> {
        let start_us = recorder.now_us();
        let ended = timeout(PATIENCE, self.drop_at(api)).await.context("the api takes no call")?;
        let Some(intent) = self.intent else { return ended };
        let code = self.point.name().to_owned();
        // A body that is not there whole is no value.
        let result = match self.point {
            Point::Sending(_) => WriteResult::Failed { status: 0, code },
            Point::Waiting(_) | Point::Reading(_) => WriteResult::Unknown { status: 0, code },
        };
        let end_us = recorder.now_us();
        let op = Op { client, session: None, door: Door::Http, intent, start_us, end_us, result };
        recorder.record(&Event::Op(op));
        ended
    }

    async fn drop_at(&self, api: SocketAddr) -> Result<()> {
        let mut stream = TcpStream::connect(api).await?;
        stream.set_nodelay(true)?;
        stream.set_zero_linger()?;
        match self.point {
            Point::Sending(short) => {
                stream.write_all(&self.bytes[..self.bytes.len() - short]).await?;
                // What was sent is read, now and then.
                sleep(Duration::from_millis((short % 10) as u64)).await;
            }
            Point::Waiting(time) => {
                stream.write_all(&self.bytes).await?;
                sleep(time).await;
            }
            Point::Reading(bytes) => {
                stream.write_all(&self.bytes).await?;
                let mut answer = vec![0; bytes];
                let read = stream.read(&mut answer).await?;
                ensure!(answer[..read].starts_with(b"HTTP/1.1 "[..read.min(9)].as_ref()), "it is no answer");
            }
        }
        Ok(())
    }
}

/// Waits until no api has a call that waits, or a connection that is lent.
async fn idle(deployment: &Deployment) -> Result<()> {
    const LENT: [&str; 3] =
        ["millpond_api_waiters", "millpond_shard_pool_in_use", "millpond_shard_pool_writes_waiting"];
    for api in 0..deployment.count(Kind::Api) {
        let mut last = Vec::new();
        let idle = async || {
            let metrics = deployment.ops(Kind::Api, api).get("/metrics").send().await?.text();
            let lines = metrics.lines().filter(|line| LENT.iter().any(|name| line.starts_with(name)));
            last = lines.map(str::to_owned).collect();
            Ok(!last.is_empty() && last.iter().all(|line| is_zero(line)))
        };
        let ended = deployment.until(&format!("nothing is lent or waits in api {api}"), idle).await;
        ended.with_context(|| format!("{last:?}"))?;
    }
    Ok(())
}

/// A line of metrics that says 0.
fn is_zero(line: &str) -> bool {
    line.rsplit_once(' ').is_some_and(|(_, number)| number.trim_start_matches(['0', '.']).is_empty())
}

/// What each api holds, MiB.
fn memory(deployment: &mut Deployment) -> Result<Vec<u64>> {
    (0..deployment.count(Kind::Api))
        .map(|api| {
            let pid = deployment.role(Kind::Api, api).pid();
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("it has memory")?;
            let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
            Ok(kib / 1024)
        })
        .collect()
}
