//! The stack for people: it comes up, says what has died, starts that again, and goes without a trace.

use std::{
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    folder::Folder,
    http::Http,
    process::{exists, until},
    server,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::PATIENCE;

fn stack(arguments: &[&str], dir: &Path) -> Result<Output> {
    // The processes of a stack run the released binary.
    server::binary();
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond-stack"));
    Ok(command.args(arguments).arg("--dir").arg(dir).output()?)
}

/// `up --json`: its only line.
fn up(dir: &Path) -> Result<Value> {
    let output = stack(&["up", "--json"], dir)?;
    ensure!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    ensure!(text.lines().count() == 1, "more than one line: {text}");
    Ok(serde_json::from_str(&text)?)
}

/// Ends the stack when the test has failed before it could.
struct Ended<'a>(&'a Path);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let _ = stack(&["down"], self.0);
    }
}

fn pids(up: &Value, kind: &str) -> Vec<u32> {
    let list = up["pids"][kind].as_array().into_iter().flatten();
    list.filter_map(|pid| pid.as_u64()?.try_into().ok()).collect()
}

fn kill(pid: u32) -> Result<()> {
    kill_process(Pid::from_raw(pid.try_into()?).context("a number")?, Signal::KILL)?;
    ensure!(until(PATIENCE, || Ok(!exists(pid)))?, "{pid} is killed");
    Ok(())
}

async fn put_and_get(up: &Value, value: &'static str) -> Result<()> {
    let api = |number: usize| -> Result<Http> {
        let address = up["apis"][number].as_str().and_then(|address| address.strip_prefix("http://"));
        Ok(Http::new(address.context("there is an api")?.parse()?))
    };
    let put = api(0)?.put("/kv/key", value).header("Prefer", "wait=30").send().await?;
    ensure!(put.status == 200, "{put:?}");
    let got = api(1)?.get("/kv/key").header("KV-Min-Position", put.header("kv-position")).send().await?;
    ensure!(got.status == 200 && got.body == value, "{got:?}");
    Ok(())
}

#[tokio::test]
async fn stack_comes_up_starts_what_died_and_goes_without_a_trace() -> Result<()> {
    let folder = Folder::create()?;
    let dir = folder.path().join("stack");
    let ended = Ended(&dir);
    let first = up(&dir)?;
    let counts = ["api", "writer", "sweeper", "kafka", "postgres"].map(|kind| pids(&first, kind).len());
    ensure!(counts == [2, 2, 1, 1, 4], "{first}");
    ensure!(first["topic"] == "millpond.mutations.1" && first["partitions"] == 8, "{first}");
    ensure!(first["ops"].as_array().is_some_and(|ops| ops.len() == 5), "{first}");
    put_and_get(&first, "one").await?;
    ensure!(up(&dir)? == first, "a second time it says the same");

    let (writer, replica) = (pids(&first, "writer")[0], pids(&first, "postgres")[1]);
    kill(writer)?;
    kill(replica)?;
    let partly = stack(&["up", "--json"], &dir)?;
    let error = String::from_utf8_lossy(&partly.stderr).into_owned();
    ensure!(!partly.status.success() && partly.stdout.is_empty(), "{partly:?}");
    for part in ["writer-0", "shard-0's replica 1", "tests/stack start"] {
        ensure!(error.contains(part), "{part} is not named: {error}");
    }

    let started = stack(&["start"], &dir)?;
    ensure!(started.status.success(), "{started:?}");
    let second = up(&dir)?;
    ensure!(second["ops"] == first["ops"] && second["shards"] == first["shards"], "ports stay: {second}");
    ensure!(pids(&second, "writer")[0] != writer && pids(&second, "api") == pids(&first, "api"), "{second}");
    put_and_get(&second, "two").await?;

    drop(ended);
    ensure!(!dir.exists(), "the folder is left");
    let left = |kind| pids(&second, kind).into_iter().filter(|pid| exists(*pid)).count();
    ensure!(
        ["api", "writer", "sweeper", "kafka", "postgres"].into_iter().all(|kind| left(kind) == 0),
        "{second}"
    );
    Ok(())
}
