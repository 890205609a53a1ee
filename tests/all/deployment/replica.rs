//! A replica that stands still: whoever shows a token gets what is fresh, or is told that it cannot be had.

use anyhow::{Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Engines, Options},
    http::Answer,
    postgres::Cluster,
};

fn fresh_or_late(read: &Answer, fresh: impl Fn(&Answer) -> bool) -> Result<()> {
    ensure!(fresh(read) || (read.status == 504 && read.code() == "position-not-reached"), "old: {read:?}");
    Ok(())
}

/// What an eventual read says of itself is true: an old value comes with an old position and its age.
fn owns_up(read: &Answer, token: &str) -> Result<bool> {
    ensure!(read.status == 200, "{read:?}");
    let offset = |position: &str| position.rsplit('-').next().and_then(|offset| offset.parse::<i64>().ok());
    let (staleness, old) = (read.number("kv-staleness-ms")?, read.text() == "old");
    if old {
        ensure!(offset(read.header("kv-position")) < offset(token), "{read:?} knows {token}");
        ensure!(staleness > 0, "{read:?} is old");
    }
    Ok(old)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_replay_paused_a_token_never_reads_what_is_old() -> Result<()> {
    let cluster = Cluster::fresh(1)?;
    let options = Options { apis: 2, ..Options::default() };
    let deployment = Deployment::start_on(Engines::shared()?.with_cluster(&cluster), &options).await?;
    let (kept, gone) = (deployment.keys("kept"), deployment.keys("gone"));
    for key in kept.iter().chain(&gone) {
        let put =
            deployment.api(0).put(&format!("/kv/{key}"), "old").header("Prefer", "wait=30").send().await?;
        ensure!(put.status == 200, "{put:?}");
    }
    for shard in 0..2 {
        let count = |node| deployment.psql(shard, node, "SELECT count(*) FROM kv");
        deployment.until("the replica has them", async || Ok(count(0)? == count(1)?)).await?;
    }
    deployment.psql(0, 1, "SELECT pg_wal_replay_pause()")?;
    let paused = async || Ok(deployment.psql(0, 1, "SELECT pg_get_wal_replay_pause_state()")? == "paused");
    deployment.until("replay is paused", paused).await?;

    let mut stale = 0;
    for (kept, gone) in kept.iter().zip(&gone) {
        let put = deployment.api(0).put(&format!("/kv/{kept}"), "new").send().await?;
        let deleted = deployment.api(0).delete(&format!("/kv/{gone}")).send().await?;
        ensure!(put.status == 202 && deleted.status == 202, "{put:?} {deleted:?}");
        for api in 0..2 {
            let get = |key: &str| deployment.api(api).get(&format!("/kv/{key}")).header("X-Request-Id", "t");
            let read = get(kept).header("KV-Min-Position", put.header("kv-position")).send().await?;
            fresh_or_late(&read, |read| read.status == 200 && read.text() == "new")?;
            let read = get(gone).header("KV-Min-Position", deleted.header("kv-position")).send().await?;
            fresh_or_late(&read, |read| read.status == 404)?;
            let strong = get(kept).header("Cache-Control", "no-cache").send().await?;
            fresh_or_late(&strong, |read| read.status == 200 && read.text() == "new")?;
            stale += usize::from(owns_up(&get(kept).send().await?, put.header("kv-position"))?);
        }
    }
    println!("{stale} eventual reads were old, and said so");
    deployment.psql(0, 1, "SELECT pg_wal_replay_resume()")?;
    Ok(())
}
