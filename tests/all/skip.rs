//! `millpond skip` and `millpond deadletters retry`: what is refused, what is asked, what is told, and that it holds in
//! every replay.

use anyhow::{Context, Result, ensure};
use millpond::embedded::Options;
use millpond_log::Topologies;
use millpond_schemas::Position;
use millpond_tests::pond::Pond;
use tempfile::TempDir;

use crate::halts::{
    Shell,
    embedded::{put, refused, sql, start, value},
};

fn offset(position: &str, more: i64) -> Result<String> {
    let (place, offset) = position.rsplit_once('-').context("a position")?;
    Ok(format!("{place}-{}", offset.parse::<i64>()? + more))
}

#[tokio::test]
async fn only_the_record_at_which_the_copy_is_halted_can_be_skipped_and_the_refusal_says_where_that_is()
-> Result<()> {
    let dir = TempDir::new()?;
    let (server, shell, position) = refused(&dir).await?;
    for (other, why) in [
        (offset(&position, -1)?, "has applied"),
        (offset(&position, 1)?, "only that record"),
        (offset(&position, 9)?, "the log holds"),
        ("1-7-0".to_owned(), "there is no partition 7"),
        ("2-0-1".to_owned(), "not of the generation"),
    ] {
        let said = shell.run(&format!("skip {other} --yes --reason no"), &[]).await?.ended(4)?;
        ensure!(said.err.contains(why), "{other}: {}", said.err);
    }
    let said = shell.run(&format!("skip --time {position}..{position} --dry-run"), &[]).await?.ended(4)?;
    ensure!(said.err.contains("no matter of time") && said.err.contains("record-refused"), "{}", said.err);
    let said = shell.run("discard-copy 0 --dry-run", &[]).await?.ended(4)?;
    ensure!(said.err.contains("would come to the same"), "{}", said.err);
    for typed in ["skip", "skip 1-0", "skip --time 1-0-1", "skip --time 1-0-5..1-0-4 --dry-run", "skip 1-0-1"]
    {
        shell.run(typed, &[]).await?.ended(2)?;
    }
    // Off a terminal without --yes.
    let said = shell.run(&format!("skip {position} --reason no"), &[]).await?.ended(4)?;
    ensure!(said.err.contains("--yes"), "{}", said.err);
    let told = shell.run(&format!("skip {position} --dry-run --json"), &[]).await?.ended(0)?.json()?;
    let record = &told["records"][0];
    assert_eq!(
        (record["op"].as_str(), record["key"].as_str(), record["tenant"].as_str()),
        (Some("put"), Some("poison"), Some("default"))
    );
    assert_eq!(
        (&told["epoch"], record["position"].as_str()),
        (&serde_json::Value::Null, Some(position.as_str()))
    );
    ensure!(
        record["time"].as_str().is_some_and(|time| time.ends_with('Z')) && record["bytes"].as_u64() > Some(0),
        "{record}"
    );
    shell.sees(0, "record-refused").await?;
    sql(dir.path(), "DROP TRIGGER no")?;
    server.terminate().await?;

    // The database was mended: it applies, and what is applied is not skipped.
    let server = start(dir.path()).await?;
    let shell = Shell::of(&server);
    assert_eq!(value(&server, "poison").await?, "x");
    let said = shell.run(&format!("skip {position} --yes --reason late"), &[]).await?.ended(4)?;
    ensure!(said.err.contains("has applied"), "{}", said.err);
    server.terminate().await?;
    Ok(())
}

#[tokio::test]
async fn a_skipped_record_is_a_dead_letter_in_every_replay_and_its_id_is_not_remembered() -> Result<()> {
    let dir = TempDir::new()?;
    let (server, shell, position) = refused(&dir).await?;
    let told = shell
        .run(&format!("skip {position} --yes --json"), &["--reason", "a test's"])
        .await?
        .ended(0)?
        .json()?;
    assert_eq!((&told["goes_on"], &told["already"]), (&true.into(), &false.into()), "{told}");
    let again =
        shell.run(&format!("skip {position} --yes --json --reason again"), &[]).await?.ended(0)?.json()?;
    assert_eq!((&again["already"], &again["epoch"]), (&true.into(), &serde_json::Value::Null), "{again}");
    assert_eq!(value(&server, "behind").await?, "2");
    assert_eq!(server.http.get("/kv/poison?consistency=strong").send().await?.status, 404);
    let outcome = server.http.get(&format!("/mutations/{position}")).send().await?.json();
    assert_eq!(
        (&outcome["status"], &outcome["problem"]["reason"]),
        (&"dead_lettered".into(), &"skipped".into()),
        "{outcome}"
    );
    server.terminate().await?;

    // A replay from nothing, into a database that would take it.
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(dir.path().join(format!("shard-0.sqlite{suffix}")));
    }
    let server = start(dir.path()).await?;
    assert_eq!(value(&server, "behind").await?, "2");
    assert_eq!(server.http.get("/kv/poison?consistency=strong").send().await?.status, 404);
    assert_eq!(
        sql(dir.path(), "SELECT group_concat(log_offset || reason) FROM dead_letter")?,
        format!("{}skipped", position.rsplit('-').next().context("an offset")?)
    );
    server.terminate().await?;
    Ok(())
}

#[tokio::test]
async fn where_the_server_is_stopped_the_directory_is_opened_and_where_it_runs_nobody_else_opens_it()
-> Result<()> {
    let dir = TempDir::new()?;
    let (server, shell, position) = refused(&dir).await?;
    let data_dir = dir.path().to_str().context("a path")?.to_owned();
    let typed = format!("skip {position} --reason stopped --yes --json --data-dir");
    // A port on which nobody listens: it thinks that the server is stopped.
    let mut alone = shell;
    alone.stopped();
    let said = alone.run(&typed, &[&data_dir, "--ops-listen", "127.0.0.1:9"]).await?;
    ensure!(said.code != Some(0) && said.err.contains("lock"), "{}", said.err);
    server.terminate().await?;
    let told = alone.run(&typed, &[&data_dir, "--ops-listen", "127.0.0.1:9"]).await?.ended(0)?.json()?;
    assert_eq!(told["goes_on"], true, "{told}");
    let server = start(dir.path()).await?;
    assert_eq!(value(&server, "behind").await?, "2");
    server.terminate().await?;
    Ok(())
}

#[tokio::test]
async fn a_dead_letter_is_retried_once_however_often_and_one_that_cannot_apply_is_refused() -> Result<()> {
    let dir = TempDir::new()?;
    let (server, shell, position) = refused(&dir).await?;
    shell.run(&format!("skip {position} --yes --reason x"), &[]).await?.ended(0)?;
    sql(dir.path(), "DROP TRIGGER no")?;
    let retry = format!("deadletters retry {position}");
    shell.run(&retry, &[]).await?.ended(2)?;
    let said = shell.run(&format!("{retry} --reason x"), &[]).await?.ended(4)?;
    ensure!(said.err.contains("--yes"), "{}", said.err);
    let told = shell.run(&format!("{retry} --dry-run --json"), &[]).await?.ended(0)?.json()?;
    assert_eq!(
        (&told["letters"][0]["retried"], &told["letters"][0]["overwrites"]),
        (&serde_json::Value::Null, &serde_json::Value::Null),
        "{told}"
    );
    let first = shell.run(&format!("{retry} --yes --json --reason x"), &[]).await?.ended(0)?.json()?;
    let first = &first["letters"][0]["retried"];
    assert_eq!(first["status"], "applied", "{first}");
    assert_eq!(value(&server, "poison").await?, "x");
    put(&server, "poison", "newer").await?;
    let second = shell.run(&format!("{retry} --yes --json --reason x"), &[]).await?.ended(0)?.json()?;
    assert_eq!(
        (&second["letters"][0]["retried"]["status"], &second["letters"][0]["retried"]["of"]),
        (&"duplicate".into(), &first["position"]),
        "{second}"
    );
    assert_eq!(value(&server, "poison").await?, "newer", "the second had no effect");
    for unknown in [offset(&position, 1)?, "1-9-1".to_owned(), "2-0-1".to_owned()] {
        shell.run(&format!("deadletters retry {unknown} --dry-run"), &[]).await?.ended(4)?;
    }
    // A letter whose bytes nobody can read.
    sql(dir.path(), "UPDATE dead_letter SET value = x'00'")?;
    let said = shell.run(&format!("{retry} --yes --reason x"), &[]).await?.ended(4)?;
    ensure!(
        said.err.contains("undecodable") && said.err.contains("produce it as it should have been"),
        "{}",
        said.err
    );
    server.terminate().await?;
    Ok(())
}

#[tokio::test]
async fn other_sites_and_calls_without_a_reason_decide_nothing() -> Result<()> {
    let dir = TempDir::new()?;
    let (server, shell, position) = refused(&dir).await?;
    let body = |why: &str| {
        serde_json::json!({"decision": format!("skip {position}"), "who": "t", "why": why}).to_string()
    };
    let post = |body: String| server.ops.post("/admin/decisions", "application/json", body);
    for (call, status) in [
        (post(body("x")).header("Origin", "http://evil.example"), 403),
        (post(body("x")).header("Sec-Fetch-Site", "cross-site"), 403),
        (post(body("x")).header("Host", "evil.example"), 403),
        (server.ops.post("/admin/decisions", "text/plain", body("x")), 415),
        (post(body(" ")), 400),
        (post("{".to_owned()), 400),
        (server.ops.get("/admin/decisions"), 405),
        (server.http.post("/admin/decisions", "application/json", body("x")), 404),
    ] {
        let answer = call.send().await?;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    shell.sees(0, "record-refused").await?;
    server.terminate().await?;
    Ok(())
}

#[tokio::test]
async fn verify_finds_a_copy_that_had_applied_a_record_before_it_was_skipped() -> Result<()> {
    let dir = TempDir::new()?;
    let server = start(dir.path()).await?;
    let position: Position = put(&server, "passed", "1").await?.parse()?;
    put(&server, "other", "2").await?;
    let mut shell = Shell::of(&server);
    server.terminate().await?;
    shell.stopped();
    let data_dir = dir.path().to_str().context("a path")?;
    shell.run("verify --data-dir", &[data_dir]).await?.ended(0)?;

    // What the command refuses, another process may have written a moment before the copy got there.
    let pond = Pond::open(&Options { partitions: 1, shards: 1, ..Options::new(dir.path()) }).await?;
    let mut topologies = Topologies::open(pond.embedded.control.clone()).await?;
    let mut topology = topologies.current().context("a topology")?.as_ref().clone();
    topology.epoch += 1;
    topology.skips.push(position);
    ensure!(topologies.propose(&topology).await?, "nobody else changes it");
    pond.close().await;
    let said = shell.run("verify --data-dir", &[data_dir]).await?.ended(1)?;
    ensure!(said.out.contains("passed") && !said.out.contains("other"), "{}", said.out);
    Ok(())
}
