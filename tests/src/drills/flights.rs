//! The flights of 2013, through both doors of a deployment that is hurt meanwhile; then verified, and made anew on the
//! other backend.
//!
//! Its data comes of examples/flights/make.py. Invariant: every line is in the history, so the checker compares each of
//! them with the log, and with it each copy.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rand::RngExt;
use serde::Deserialize;
use tokio::{sync::Semaphore, task::JoinSet, time::sleep};

use super::{Context, Drill, Length, Need, stage};
use crate::{
    deployment::Deployment,
    history::{Change, Door, Event, Id, Intent, Op, Recorder, Told, WriteResult},
    roles::Kind,
    server::binary,
    workload::native::Native,
};

pub(super) const DRILL: Drill = Drill {
    name: "flights",
    number: 24,
    about: "336,776 flights over HTTP and straight to Kafka while roles are killed and stopped: verified, and the same \
            digest in SQLite",
    engines: Need::Shared,
    long: Length::new(600, 336_776),
    short: Length::new(60, 6000),
    run: |context| Box::pin(run(context)),
};

/// Records of a native producer that wait for their acks.
const UNDER_WAY: usize = 500;
/// Tries of a record that was not acked.
const TRIES_MAX: u32 = 20;
/// Between two faults.
const PAUSE: Duration = Duration::from_secs(2);
/// The first number of the native producer's clients; the importer is before it.
const CLIENT: u64 = 3_000_000;

/// A line of the file.
#[derive(Clone, Debug, Deserialize)]
struct Flight {
    key: String,
    value: String,
    content_type: String,
}

async fn run(context: Context) -> Result<()> {
    let flights = read(context.length().count).await?;
    let mut deployment = Deployment::start(&stage::options()).await?;
    stage::until_shared_out(&deployment).await?;
    let started = Instant::now();
    let importing = tokio::spawn(import(context.clone(), flights.clone(), deployment.address_of_api(0)));
    let producing = tokio::spawn(produce(
        context.clone(),
        flights.clone(),
        Native::connect(&(deployment.kafka().to_owned(), deployment.topic(), deployment.partitions()))?,
    ));
    let mut random = context.random(1);
    let mut round = 0;
    while round < 4 || !(importing.is_finished() && producing.is_finished()) {
        ensure!(started.elapsed() < context.length().time * 5, "the load does not end");
        hurt(&context, &mut deployment, round, random.random_range(0..2)).await?;
        round += 1;
    }
    importing.await.context("the import panicked")??;
    producing.await.context("the producer panicked")??;
    context.figure("flights", format!("{} twice in {:.1} s", flights.len(), started.elapsed().as_secs_f64()));
    stage::until_shared_out(&deployment).await?;
    context.settle(&deployment).await?;
    let verified = deployment.run(&["verify", "--all-nodes"]).await?;
    let said = String::from_utf8_lossy(&verified.stdout);
    ensure!(verified.status.success(), "millpond verify ended with {}: {said}", verified.status);
    Ok(())
}

/// One role is killed or stands still for a while, each kind in its turn.
async fn hurt(context: &Context, deployment: &mut Deployment, round: u64, number: usize) -> Result<()> {
    let (kind, name) = match round % 4 {
        0 => (Kind::Writer, "kill -9"),
        1 => (Kind::Api, "kill -9"),
        2 => (Kind::Writer, "SIGSTOP"),
        _ => (Kind::Api, "SIGSTOP"),
    };
    // The importer knows only one api.
    let number = if kind == Kind::Api { 0 } else { number };
    context.fault(name, &format!("{kind}-{number}"));
    if name == "SIGSTOP" {
        deployment.role(kind, number).pause()?;
        sleep(PAUSE).await;
        deployment.role(kind, number).resume()?;
    } else {
        deployment.kill(kind, number)?;
        deployment.start_again(kind, number).await?;
    }
    sleep(PAUSE).await;
    Ok(())
}

/// The first lines of the file, which is made where it is missing.
async fn read(count: u64) -> Result<Arc<[Flight]>> {
    let made = tokio::task::spawn_blocking(move || {
        let file = make()?;
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let lines = text.lines().take(usize::try_from(count)?);
        lines.map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<Arc<[Flight]>>>()
    });
    let flights = made.await.context("reading panicked")??;
    ensure!(!flights.is_empty(), "the file of the flights is empty");
    Ok(flights)
}

fn make() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the folder lies in the tree")?;
    let folder = root.join("target/flights");
    let file = folder.join("flights.ndjson");
    if file.exists() {
        return Ok(file);
    }
    fs::create_dir_all(&folder)?;
    let new = folder.join(format!("new.{}", std::process::id()));
    let output = Command::new("bash")
        .args(["-euc", r#"
            python3 -m venv "$1/python" >&2
            "$1/python/bin/pip" install -q --disable-pip-version-check --no-deps -r tests/flights/requirements.txt >&2
            "$1/python/bin/python" examples/flights/make.py > "$1.ndjson"
            rm -rf "$1"
        "#, "make"])
        .arg(&new)
        .current_dir(root)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "the flights cannot be made: {said}\nput them at {}: see examples/flights/README.md",
        file.display()
    );
    fs::rename(new.with_extension(format!("{}.ndjson", std::process::id())), &file)?;
    Ok(file)
}

fn intent(tenant: &str, flight: &Flight) -> Intent {
    let value = flight.value.as_str().into();
    let change = Change::Put { value, content_type: flight.content_type.clone(), expiry: None };
    Intent { tenant: tenant.to_owned(), ..Intent::new(flight.key.as_str(), change) }
}

/// `millpond import` to its end; every line is acked then.
async fn import(context: Context, flights: Arc<[Flight]>, api: std::net::SocketAddr) -> Result<()> {
    let folder = context.folder().join("import");
    fs::create_dir_all(&folder)?;
    let line = |flight: &Flight| {
        serde_json::json!({
            "op": "put", "key": flight.key, "value": flight.value, "content_type": flight.content_type,
            "idempotency_key": flight.key,
        })
    };
    let lines: Vec<String> = flights.iter().map(|flight| line(flight).to_string()).collect();
    fs::write(folder.join("flights.ndjson"), lines.join("\n") + "\n")?;
    let start_us = context.recorder().now_us();
    let output = tokio::process::Command::new(binary())
        .args(["import", "--json", "--batch-operations", "500", "--server", &format!("http://{api}")])
        .arg("--state-dir")
        .arg(folder.join("state"))
        .arg(folder.join("flights.ndjson"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the import ended with {}: {said}", output.status);
    for flight in &*flights {
        let intent = Intent { idempotency_key: Some(flight.key.clone()), ..intent("default", flight) };
        let told = WriteResult::Ok(Told { position: None, ..Told::accepted("") });
        tell(context.recorder(), (CLIENT, Door::Import), intent, start_us, told);
    }
    context.operations(u64::try_from(flights.len())?, 0, 0);
    Ok(())
}

fn tell(
    recorder: &Recorder,
    (client, door): (u64, Door),
    intent: Intent,
    start_us: i64,
    result: WriteResult,
) {
    let end_us = recorder.now_us();
    recorder.record(&Event::Op(Op { client, session: None, door, intent, start_us, end_us, result }));
}

/// Every flight straight to the topic, again until it is acked, with an id that makes it count once.
async fn produce(context: Context, flights: Arc<[Flight]>, native: Native) -> Result<()> {
    let (native, permits, mut sending) =
        (Arc::new(native), Arc::new(Semaphore::new(UNDER_WAY)), JoinSet::new());
    for (number, flight) in (1u128..).zip(&*flights) {
        let permit = Arc::clone(&permits).acquire_owned().await?;
        let (context, native) = (context.clone(), Arc::clone(&native));
        let id = Some(Id { hex: format!("{number:032x}"), durable: false });
        let intent = Intent { id, ..intent("native", flight) };
        sending.spawn(async move {
            let acked = deliver(&context, &native, &intent).await;
            drop(permit);
            acked
        });
        while let Some(sent) = sending.try_join_next() {
            sent.context("a task panicked")??;
        }
    }
    while let Some(sent) = sending.join_next().await {
        sent.context("a task panicked")??;
    }
    Ok(())
}

async fn deliver(context: &Context, native: &Native, intent: &Intent) -> Result<()> {
    for _ in 0..TRIES_MAX {
        let start_us = context.recorder().now_us();
        let result = native.send(intent, true).await;
        let is_acked = matches!(result, WriteResult::Ok(_));
        tell(context.recorder(), (CLIENT + 1, Door::Kafka), intent.clone(), start_us, result);
        if is_acked {
            context.operations(1, 0, 0);
            return Ok(());
        }
        context.operations(0, 0, 1);
    }
    anyhow::bail!("a record is not acked after {TRIES_MAX} tries")
}
