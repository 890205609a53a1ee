//! A bit of a row's value is another, behind the back of the database: the row's checksum does not fit any more.
//!
//! The key itself is found by an index, so that of a row whose key has changed a read knows nothing: `verify` does.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt;
use tempfile::TempDir;

use super::Context;
use crate::{
    deployment::{Deployment, Options, PATIENCE},
    http::Http,
    process::until_async,
    server::Server,
};

/// Keys that lie beside one another.
const KEYS: usize = 20;

fn value(at: usize) -> String {
    format!("value {at} {}", "x".repeat(100))
}

/// Changes what it finds.
const APPEND: (&str, &str) = ("application/vnd.millpond.op+json", "{\"op\":\"append\",\"value\":\"!\"}");

async fn put_all(http: &Http) -> Result<()> {
    for at in 0..KEYS {
        let answer = http.put(&format!("/kv/row-{at}"), value(at)).header("prefer", "wait=30").send().await?;
        ensure!(answer.status == 200, "{answer:?}");
    }
    Ok(())
}

/// The damaged row is an error, not a value, and every other one is as it was.
async fn only_it_fails(http: &Http, damaged: usize) -> Result<()> {
    for at in 0..KEYS {
        let answer = http.get(&format!("/kv/row-{at}")).send().await?;
        if at == damaged {
            ensure!(answer.status == 500 && answer.code() == "internal", "row {at}: {answer:?}");
        } else {
            ensure!(answer.status == 200 && answer.text() == value(at), "row {at}: {answer:?}");
        }
    }
    Ok(())
}

/// Once it is written anew it is well.
async fn is_mended(http: &Http, damaged: usize) -> Result<()> {
    let path = format!("/kv/row-{damaged}");
    let answer = http.put(&path, value(damaged)).header("prefer", "wait=30").send().await?;
    ensure!(answer.status == 200, "{answer:?}");
    let answer = http.get(&path).send().await?;
    ensure!(answer.text() == value(damaged), "{answer:?}");
    Ok(())
}

/// In the file, while nobody has it open.
pub(super) async fn sqlite(context: &Context) -> Result<()> {
    let (dir, mut random) = (TempDir::new()?, context.random(2));
    let server = Server::small(dir.path()).await?;
    put_all(&server.http).await?;
    server.terminate().await?;
    for _ in 0..context.length().count.div_ceil(10) {
        let damaged = random.random_range(0..KEYS);
        for shard in 0..2 {
            let path = dir.path().join(format!("shard-{shard}.sqlite"));
            let (mut bytes, text) = (fs::read(&path)?, value(damaged));
            let found: Vec<usize> = places(&bytes, text.as_bytes());
            for at in &found {
                bytes[at + random.random_range(0..text.len())] ^= 1 << random.random_range(0..8);
            }
            fs::write(&path, bytes)?;
        }
        context.fault("bit flipped in a row", "SQLite");
        let server = Server::small(dir.path()).await?;
        only_it_fails(&server.http, damaged).await?;
        is_mended(&server.http, damaged).await?;
        context.operations(KEYS as u64, 0, 0);
        server.terminate().await?;
    }
    Ok(())
}

/// Where a text lies.
fn places(bytes: &[u8], text: &[u8]) -> Vec<usize> {
    bytes.windows(text.len()).enumerate().filter(|(_, window)| *window == text).map(|(at, _)| at).collect()
}

/// Changes a row on the primaries, and waits until it has come to their replicas: a read may be of either.
async fn everywhere(deployment: &Deployment, change: &str, row: usize) -> Result<()> {
    let look = format!("SELECT md5(value) FROM kv WHERE key = convert_to('row-{row}', 'UTF8')");
    for shard in 0..2 {
        deployment.psql_primary(shard, change)?;
        let has_come =
            async || Ok(deployment.psql(shard, 1, &look)? == deployment.psql_primary(shard, &look)?);
        deployment.until("the replica has the change", has_come).await?;
    }
    Ok(())
}

/// By an UPDATE that leaves the checksum alone. A write that has to read the row finds it too, and its partition stands
/// still rather than make something of it; it goes on by itself when the row is whole.
pub(super) async fn postgres(context: &Context) -> Result<()> {
    let (deployment, mut random) = (Deployment::start(&Options::default()).await?, context.random(3));
    let http = deployment.api(0);
    put_all(http).await?;
    for _ in 0..context.length().count.div_ceil(10) {
        let damaged = random.random_range(0..KEYS);
        let bit = random.random_range(0..value(damaged).len() * 8);
        let flip = format!(
            "UPDATE kv SET value = set_bit(value, {bit}, 1 - get_bit(value, {bit})) \
             WHERE key = convert_to('row-{damaged}', 'UTF8')"
        );
        everywhere(&deployment, &flip, damaged).await?;
        context.fault("bit flipped in a row", "Postgres");
        only_it_fails(http, damaged).await?;
        let path = format!("/kv/row-{damaged}");
        let appended = http.patch(&path, APPEND.0, APPEND.1).header("prefer", "wait=1").send().await?;
        ensure!(appended.status == 202, "nothing is made of a damaged row: {appended:?}");
        everywhere(&deployment, &flip, damaged).await?;
        let wanted = format!("{}!", value(damaged));
        let applied = async || matches!(http.get(&path).send().await, Ok(answer) if answer.text() == wanted);
        let came = until_async(PATIENCE, applied).await;
        ensure!(came, "the partition does not go on when the row is whole");
        is_mended(http, damaged).await.context("written anew")?;
        context.operations(KEYS as u64, 0, 0);
    }
    Ok(())
}
