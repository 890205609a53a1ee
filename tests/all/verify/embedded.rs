//! On the embedded default: beside a running server, after its death, and with a file changed by hand.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use millpond::embedded::Options;
use millpond_schemas::{
    Conditions, Control, ControlOp, Expiry, MutationId, Offset, Op, PartitionId, Raw, UnixMillis,
};
use millpond_tests::{
    pond::{Pond, mutation, put_bytes},
    server::{Server, millpond},
};
use millpond_writer::{ClaimConfig, Config};
use tempfile::TempDir;

use super::{
    Told,
    tampering::{CASES, Sql, ensure_found},
};

/// Runs `millpond verify --json` on a data directory.
async fn verify(dir: &Path, arguments: &[&str]) -> Result<Told> {
    let mut command = millpond();
    let scratch = TempDir::new()?;
    command.args(["verify", "--json", "--data-dir"]).arg(dir).arg("--scratch").arg(scratch.path());
    let output = command.args(arguments).kill_on_drop(true).output().await.context("run it")?;
    ensure!(std::fs::read_dir(scratch.path())?.count() == 0, "scratch files are left");
    Told::of(&output)
}

/// Names and bytes of everything but SQLite's shared memory, which is no part of the data.
fn contents(dir: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut all = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.to_string_lossy().ends_with("-shm") {
                all.push((path.clone(), std::fs::read(path)?));
            }
        }
    }
    all.sort();
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_busy_server_and_after_its_death_all_is_equal_and_nothing_changes() -> Result<()> {
    let dir = TempDir::new()?;
    let server = Server::small(dir.path()).await?;
    let done = Arc::new(AtomicBool::new(false));
    let load = {
        let (http, done) = (server.http.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let mut sent = 0u32;
            while !done.load(Ordering::Relaxed) {
                let key = sent % 97;
                let sent_now = match sent % 5 {
                    0 => http.put(&format!("/kv/k{key}?ttl=1s"), format!("v{sent}")).send().await,
                    1 => http.delete(&format!("/kv/k{key}")).send().await,
                    2 => {
                        let put = http.put(&format!("/kv/k{key}"), "x").header("If-None-Match", "*");
                        put.header("Prefer", "respond-async").send().await
                    }
                    3 => {
                        let put = http.put(&format!("/kv/d{key}"), "x").header("Prefer", "respond-async");
                        put.header("Idempotency-Key", &sent.to_string()).send().await
                    }
                    _ => http.put(&format!("/kv/k{key}"), vec![b'x'; 3000]).send().await,
                };
                sent_now?;
                sent += 1;
            }
            anyhow::Ok(sent)
        })
    };
    for _ in 0..3 {
        verify(dir.path(), &[]).await?.ensure_equal(8)?;
    }
    done.store(true, Ordering::Relaxed);
    ensure!(load.await?? > 0, "nothing was written meanwhile");
    server.kill().await?;
    let before = contents(dir.path())?;
    verify(dir.path(), &[]).await?.ensure_equal(8)?;
    ensure!(contents(dir.path())? == before, "the data directory has changed");
    let one = verify(dir.path(), &["--partition", "3", "--shard", "shard-0"]).await?;
    one.ensure_equal(5)
}

/// A data directory of one partition with everything in it that a copy can hold.
async fn filled(dir: &Path, flush_records_max: usize) -> Result<()> {
    let pond = Pond::open(&Options { partitions: 1, shards: 1, ..Options::new(dir) }).await?;
    let claim = ClaimConfig { purge_grace: Duration::ZERO, ..Config::default().claim };
    let writer = pond.writer(Config { flush_records_max, claim, ..Config::default() });
    let p0 = PartitionId(0);
    let over = Op::Put {
        value: Bytes::from_static(b"over"),
        content_type: "text/plain".into(),
        expiry: Some(Expiry::At(UnixMillis(1))),
    };
    pond.send(&mutation("over", over)).await?;
    for (id, op) in [(201, ControlOp::Sweep { rows_max: 100 }), (202, ControlOp::Purge { rows_max: 100 })] {
        let control = Control {
            id: [id; 16],
            log_id: pond.embedded.topology.borrow().log_id,
            partition: p0,
            end_seen: pond.embedded.log.bounds(p0).await?.end,
            mac_key_id: pond.embedded.keyring.current(),
            op,
        };
        pond.append(p0, control.encode(&pond.embedded.keyring).expect("the ring holds its key")).await?;
    }
    for n in 0..40u8 {
        let mut one = put_bytes(&format!("k{}", n % 7), format!("value {n}"));
        one.id = Some(MutationId { bytes: [n + 1; 16], durable: n % 3 == 0 });
        one.conditions = Conditions { absent: n % 4 == 0, ..Conditions::default() };
        pond.send(&one).await?;
    }
    pond.send(&mutation("k1", Op::Delete)).await?;
    let foreign = Raw {
        key: Some(Bytes::from_static(b"no tenant")),
        headers: vec![("name".into(), Bytes::from_static(b"header"))],
        value: Some(Bytes::from_static(b"no record")),
    };
    let last = pond.append(p0, foreign).await?.offset;
    pond.applied(p0, last).await?;
    writer.stop().await;
    pond.close().await;
    Ok(())
}

fn sqlite(file: &Path, sql: &str) -> Result<String> {
    let output = std::process::Command::new("sqlite3").arg(file).arg(sql).output().context("run sqlite3")?;
    ensure!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

const SQLITE: Sql = Sql {
    yes: "1",
    blob: ["x'", "'"],
    hex: |column| format!("hex({column})"),
    columns: |table| format!("SELECT name FROM pragma_table_info('{table}')"),
};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_changed_by_hand_is_found_and_named() -> Result<()> {
    let dir = TempDir::new()?;
    filled(dir.path(), 5).await?;
    let file = dir.path().join("shard-0.sqlite");
    sqlite(&file, "PRAGMA wal_checkpoint(TRUNCATE)")?;
    let whole = std::fs::read(&file)?;
    let told = verify(dir.path(), &[]).await?;
    told.ensure_equal(1)?;
    let copy = &told.json["copies"][0]["copy"];
    for kind in ["rows", "tombstones", "outcomes", "ids", "durable_ids", "dead_letters"] {
        ensure!(
            copy[kind].as_u64() > Some(0),
            "the copy has no {kind}, so changing them proves nothing: {copy}"
        );
    }
    for case in CASES {
        let sql = SQLITE.of(case, "k2", |sql| sqlite(&file, sql))?;
        sqlite(&file, &sql)?;
        ensure_found(case, &sql, &verify(dir.path(), &[]).await?)?;
        for suffix in ["-wal", "-shm"] {
            let _not_there = std::fs::remove_file(format!("{}{suffix}", file.display()));
        }
        std::fs::write(&file, &whole)?;
    }
    verify(dir.path(), &[]).await?.ensure_equal(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_has_a_name_and_its_own_code() -> Result<()> {
    let dir = TempDir::new()?;
    filled(dir.path(), 5).await?;
    let file = dir.path().join("shard-0.sqlite");
    let why = async |wanted: &str| -> Result<()> {
        let told = verify(dir.path(), &[]).await?;
        let code = &told.json["copies"][0]["error"]["code"];
        ensure!(told.code == Some(2) && code == wanted && told.json["equal"] == false, "{wanted}: {told:?}");
        Ok(())
    };
    sqlite(&file, "UPDATE watermark SET log_id = x'000102030405060708090a0b0c0d0e0f'")?;
    why("log-diverged").await?;
    for table in ["kv", "outcome", "seen", "operation", "dead_letter", "watermark"] {
        sqlite(&file, &format!("DELETE FROM {table}"))?;
    }
    why("copy-missing").await?;
    std::fs::remove_file(&file)?;
    why("unavailable").await?;
    let nothing = TempDir::new()?;
    let told = verify(nothing.path(), &[]).await?;
    ensure!(told.code == Some(2) && told.errors.contains("there is no log"), "{told:?}");
    ensure!(std::fs::read_dir(nothing.path())?.count() == 0, "something was made");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trimmed_log_is_told_as_trimmed() -> Result<()> {
    let dir = TempDir::new()?;
    let options = Options { partitions: 1, shards: 1, segment_bytes: 8192, ..Options::new(dir.path()) };
    let pond = Pond::open(&options).await?;
    let writer = pond.writer(Config::default());
    for n in 0..20 {
        let (partition, ack) = pond.send(&put_bytes("k", format!("{n}{}", "x".repeat(1000)))).await?;
        pond.applied(partition, ack.offset).await?;
    }
    verify(dir.path(), &[]).await?.ensure_equal(1)?;
    pond.embedded.log.trim(&[Offset(15)]).await?;
    let told = verify(dir.path(), &[]).await?;
    ensure!(told.code == Some(2), "{told:?}");
    ensure!(told.json["copies"][0]["error"]["code"] == "log-trimmed", "{told:?}");
    writer.stop().await;
    pond.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_for_people_name_the_key() -> Result<()> {
    let dir = TempDir::new()?;
    filled(dir.path(), 5).await?;
    sqlite(
        &dir.path().join("shard-0.sqlite"),
        "UPDATE kv SET content_type = 'a/b' WHERE key = CAST('k2' AS BLOB)",
    )?;
    let output = millpond().arg("verify").arg("--data-dir").arg(dir.path()).output().await?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.code() == Some(1), "{text}");
    ensure!(text.contains("DIFFERENT at 1-0-") && text.contains("1 thing differs"), "{text}");
    ensure!(text.contains("kv, key test/k2: differs in content_type"), "{text}");
    Ok(())
}
