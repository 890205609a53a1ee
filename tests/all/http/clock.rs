//! What only time brings: expiry and tombstones, purging, the end of 24 hours' memory. The clock is the test's own.

use std::time::Duration;

use anyhow::{Result, ensure};
use millpond_schemas::{PartitionId, UnixMillis};
use millpond_shard::{Due, Shard};
use millpond_tests::{http::Answer, timed::Timed};
use serde_json::json;
use tempfile::TempDir;

use super::{OWN, assert_problem, offset, put, value};

const P0: PartitionId = PartitionId(0);
const FOR_EVER: UnixMillis = UnixMillis(i64::MAX);

async fn live(shard: &Shard) -> Result<usize> {
    Ok(shard.due(P0, Due::Rows, FOR_EVER, 100).await?.len())
}

async fn tombstones(shard: &Shard) -> Result<usize> {
    Ok(shard.due(P0, Due::Tombstones, FOR_EVER, 100).await?.len())
}

#[tokio::test]
async fn what_has_expired_becomes_a_tombstone_and_goes_after_the_grace() -> Result<()> {
    let dir = TempDir::new()?;
    let pond = Timed::start(dir.path()).await?;
    for (key, ttl) in [("a", "1h"), ("b", "1h"), ("c", "3h")] {
        put(&pond.http, &format!("/kv/{key}?ttl={ttl}"), key).await?;
    }
    put(&pond.http, "/kv/kept", "kept").await?;
    pond.clock.advance(Duration::from_secs(3599));
    put(&pond.http, "/kv/now", "x").await?;
    assert_eq!((live(&pond.shard()).await?, tombstones(&pond.shard()).await?), (3, 0), "nothing is early");
    pond.clock.advance(Duration::from_secs(1));
    pond.until(async |shard| Ok(tombstones(shard).await? == 2)).await?;
    assert_eq!(live(&pond.shard()).await?, 1);
    for key in ["a", "b"] {
        assert_eq!(pond.http.get(&format!("/kv/{key}")).send().await?.status, 404);
    }
    for key in ["c", "kept"] {
        assert_eq!(value(&pond.http, &format!("/kv/{key}")).await?.as_deref(), Some(key));
    }
    assert_eq!(pond.http.put("/kv/a", "new").header("if-none-match", "*").send().await?.status, 201);
    pond.clock.advance(Duration::from_hours(7 * 24 + 4));
    pond.until(async |shard| Ok(live(shard).await? == 0 && tombstones(shard).await? == 1)).await?;
    assert_eq!(value(&pond.http, "/kv/a").await?.as_deref(), Some("new"));
    assert_eq!(value(&pond.http, "/kv/c").await?, None);
    pond.close().await;
    Ok(())
}

fn told(answer: &Answer) -> (u16, String, String) {
    (answer.status.as_u16(), answer.header("kv-position").to_owned(), answer.text())
}

#[tokio::test]
async fn an_idempotency_key_holds_for_24_hours_of_log_time_and_then_counts_again() -> Result<()> {
    let dir = TempDir::new()?;
    let pond = Timed::start(dir.path()).await?;
    let add = || pond.http.patch("/kv/n", OWN, r#"{"op":"increment"}"#).header("idempotency-key", "k").send();
    let first = add().await?;
    pond.clock.advance(Duration::from_secs(24 * 3600 - 1));
    let again = add().await?;
    assert_eq!((told(&first), again.header("kv-duplicate")), (told(&again), "true"));
    pond.clock.advance(Duration::from_secs(1));
    let anew = add().await?;
    assert_eq!((anew.text().as_str(), anew.headers.contains_key("kv-duplicate")), ("2", false));
    pond.close().await;
    Ok(())
}

#[tokio::test]
async fn what_became_of_a_mutation_is_410_after_24_hours() -> Result<()> {
    let dir = TempDir::new()?;
    let pond = Timed::start(dir.path()).await?;
    put(&pond.http, "/kv/a", "1").await?;
    let rejected = pond.http.put("/kv/a", "2").header("if-none-match", "*").send().await?;
    let path = format!("/mutations/{}", rejected.header("kv-position"));
    pond.clock.advance(Duration::from_hours(24));
    put(&pond.http, "/kv/b", "1").await?;
    assert_eq!(pond.http.get(&path).send().await?.json()["status"], json!("rejected"));
    pond.clock.advance(Duration::from_secs(1));
    put(&pond.http, "/kv/b", "2").await?;
    let answer = pond.http.get(&path).send().await?;
    assert_problem(&answer, (410, "position-gone"), "none");
    pond.close().await;
    Ok(())
}

#[tokio::test]
async fn conditions_judge_expiry_by_the_time_of_their_record() -> Result<()> {
    let dir = TempDir::new()?;
    let pond = Timed::start(dir.path()).await?;
    let position = put(&pond.http, "/kv/a?ttl=1h", "1").await?;
    pond.clock.advance(Duration::from_secs(3599));
    let early = pond.http.put("/kv/a", "2").header("if-none-match", "*").send().await?;
    assert_problem(&early, (412, "condition-failed"), "rejected");
    let extended = pond.http.put("/ttl/a", r#"{"ttl":"1h","mode":"extend"}"#).send().await?;
    ensure!(extended.json()["changed"] == true, "{extended:?}");
    pond.clock.advance(Duration::from_secs(3601));
    let late = pond.http.put("/kv/a", "2").header("if-none-match", "*").send().await?;
    assert_eq!(late.status, 201, "{late:?}");
    assert!(offset(late.header("kv-position")) > offset(&position));
    pond.close().await;
    Ok(())
}
