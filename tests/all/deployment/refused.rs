//! A shard that refuses one partition: that one waits, the others go on, and nothing is lost.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Options},
    roles::Kind,
};
use tokio::{io::AsyncWriteExt, process::Command};

use super::load::Load;

/// What a writer says of its partitions that do not work.
async fn ailing(deployment: &Deployment) -> Result<Vec<String>> {
    let ready = deployment.ops(Kind::Writer, 0).get("/readyz?verbose").send().await?;
    ensure!(ready.status == 200, "a halted partition keeps a writer from nothing: {ready:?}");
    let text = ready.text();
    let lines = text.lines().filter(|line| line.contains("]partition ") && !line.ends_with(" ok"));
    Ok(lines.map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_that_refuses_inserts_holds_up_itself_alone_and_loses_nothing() -> Result<()> {
    let deployment = Deployment::start(&Options::default()).await?;
    let load = Load::start(&deployment, 1);
    load.more(&deployment, &[0], 100).await?;
    deployment.psql(0, 0, "REVOKE INSERT ON kv_p00000 FROM CURRENT_USER")?;
    let refused = async || Ok(ailing(&deployment).await?.iter().any(|line| line.contains("shard-refused")));
    deployment.until("the partition is shard-refused", refused).await?;

    let stuck = deployment.applied(0)?;
    for key in &deployment.keys("other")[1..] {
        let put = deployment.api(0).put(&format!("/kv/{key}"), "x").header("Prefer", "wait=30");
        let put = put.send().await?;
        ensure!(put.status == 200, "{put:?}");
    }
    load.more(&deployment, &[0], 100).await?;
    let ailing_now = ailing(&deployment).await?;
    ensure!(ailing_now.len() == 1 && ailing_now[0].contains("partition 0"), "{ailing_now:?}");
    ensure!(ailing_now[0].contains("shard-refused"), "{ailing_now:?}");
    ensure!(deployment.applied(0)? == stuck, "it is not applied meanwhile");

    deployment.psql(0, 0, "GRANT INSERT ON kv_p00000 TO CURRENT_USER")?;
    deployment.until("all partitions work", async || Ok(ailing(&deployment).await?.is_empty())).await?;
    load.stop().await?.is_there_once(&deployment).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_that_is_locked_holds_up_itself_alone_and_loses_nothing() -> Result<()> {
    const HELD: &str = "SELECT count(*) FROM pg_locks WHERE relation = 'kv_p00000'::regclass \
        AND mode = 'AccessExclusiveLock' AND granted";
    let deployment = Deployment::start(&Options::default()).await?;
    let load = Load::start(&deployment, 1);
    load.more(&deployment, &[0], 100).await?;
    // The lock is held for as long as psql is.
    let mut holder = Command::new("psql");
    let mut holder =
        holder.args([&deployment.url(0, 0), "-q"]).stdin(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut stdin = holder.stdin.take().context("psql has an input")?;
    stdin.write_all(b"BEGIN; LOCK TABLE kv_p00000;\n").await?;
    deployment.until("the leaf is locked", async || Ok(deployment.psql(0, 0, HELD)? == "1")).await?;

    let stuck = deployment.applied(0)?;
    let waits = async || Ok(ailing(&deployment).await?.iter().any(|line| line.contains("partition 0")));
    deployment.until("the partition waits", waits).await?;
    for _ in 0..3 {
        for key in &deployment.keys("other")[1..] {
            let put = deployment.api(0).put(&format!("/kv/{key}"), "x").header("Prefer", "wait=30");
            let put = put.send().await?;
            ensure!(put.status == 200, "{put:?}");
        }
    }
    ensure!(deployment.applied(0)? == stuck, "it is not applied meanwhile");

    ensure!(holder.try_wait()?.is_none(), "it held the lock to the end");
    drop(stdin);
    holder.wait().await?;
    deployment.until("all partitions work", async || Ok(ailing(&deployment).await?.is_empty())).await?;
    load.stop().await?.is_there_once(&deployment).await
}
