//! Halts of the one process with everything: damage done to its files and its SQLite shards.
//!
//! One partition and one shard, so that a key's place is known.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use millpond_tests::server::{Server, binary};
use tempfile::TempDir;
use tokio::process::Command;

use super::Shell;

/// Bytes that fill a segment of 1 MiB in a few records.
const LARGE: usize = 200 * 1024;

pub(crate) async fn start(dir: &Path) -> Result<Server> {
    let mut command = Command::new(binary());
    command.env("MILLPOND_LOG__SEGMENT_BYTES", "1MiB");
    command.env("MILLPOND_LOG__PARTITIONS", "1").env("MILLPOND_SHARDS__COUNT", "1");
    Server::start_with(dir, command, &[]).await
}

pub(crate) async fn put(server: &Server, key: &str, value: impl Into<Vec<u8>>) -> Result<String> {
    let put = server.http.put(&format!("/kv/{key}"), value.into()).header("Prefer", "wait=30").send().await?;
    ensure!(put.status == 200, "{put:?}");
    Ok(put.header("kv-position").to_owned())
}

pub(crate) async fn value(server: &Server, key: &str) -> Result<String> {
    let got = server.http.get(&format!("/kv/{key}?consistency=strong")).send().await?;
    ensure!(got.status == 200, "{key}: {got:?}");
    Ok(got.text())
}

pub(crate) fn sql(dir: &Path, statement: &str) -> Result<String> {
    let mut sqlite3 = std::process::Command::new("sqlite3");
    let output =
        sqlite3.arg("-cmd").arg(".timeout 30000").arg(dir.join("shard-0.sqlite")).arg(statement).output()?;
    ensure!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A database that can write all but the key `poison`.
const REFUSE: &str = "CREATE TRIGGER no BEFORE INSERT ON kv WHEN NEW.key = CAST('poison' AS BLOB) \
    BEGIN SELECT RAISE(ABORT, 'no poison here'); END";

/// A server whose shard refuses the record at the position that is answered, and a shell beside it.
pub(crate) async fn refused(dir: &TempDir) -> Result<(Server, Shell, String)> {
    let server = start(dir.path()).await?;
    put(&server, "before", "1").await?;
    sql(dir.path(), REFUSE)?;
    let sent = server.http.put("/kv/poison", "x").send().await?;
    ensure!(sent.status == 202, "{sent:?}");
    let behind = server.http.put("/kv/behind", "2").send().await?;
    ensure!(behind.status == 202, "{behind:?}");
    let shell = Shell::of(&server);
    shell.sees(0, "record-refused").await?;
    Ok((server, shell, sent.header("kv-position").to_owned()))
}

fn copied(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            copied(&entry.path(), &to.join(entry.file_name()))?;
        } else {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn segments(dir: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(dir.join("log/mutations.1"))?.map(|entry| Ok(entry?.path()));
    let mut files: Vec<PathBuf> = files.collect::<Result<_>>()?;
    files.retain(|path| path.metadata().is_ok_and(|file| file.len() > 0) && path.extension().is_some());
    files.sort();
    Ok(files)
}

fn shard_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let is_shard =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("shard-0"));
    Ok(files.into_iter().filter(is_shard).collect())
}

#[tokio::test]
async fn a_record_that_the_shard_refuses_is_skipped_as_printed() -> Result<()> {
    let dir = TempDir::new()?;
    let (server, shell, position) = refused(&dir).await?;
    let printed = shell.sees(0, "record-refused").await?;
    assert_eq!(printed, format!("millpond skip {position} --dry-run"));
    shell.follows(&printed).await?;
    shell.goes_on(0).await?;
    assert_eq!(value(&server, "behind").await?, "2");
    shell.run("doctor", &[]).await?.ended(0)?;
    server.terminate().await?;
    Ok(())
}

#[tokio::test]
async fn a_row_ahead_of_the_log_goes_with_its_copy_and_nothing_else_does() -> Result<()> {
    let dir = TempDir::new()?;
    let server = start(dir.path()).await?;
    for key in ["a", "b", "c"] {
        put(&server, key, format!("{key}1")).await?;
    }
    sql(dir.path(), "UPDATE kv SET version = version + 1000 WHERE key = CAST('b' AS BLOB)")?;
    let sent = server.http.put("/kv/b", "b2").send().await?;
    ensure!(sent.status == 202, "{sent:?}");
    let shell = Shell::of(&server);
    let printed = shell.sees(0, "row-ahead").await?;
    shell.follows(&printed).await?;
    shell.goes_on(0).await?;
    for (key, expected) in [("a", "a1"), ("b", "b2"), ("c", "c1")] {
        assert_eq!(value(&server, key).await?, expected);
    }
    shell.run("doctor", &[]).await?.ended(0)?;
    server.terminate().await?;
    Ok(())
}

#[tokio::test]
async fn a_log_that_lost_its_tail_is_gone_on_with_and_the_export_holds_what_was_lost() -> Result<()> {
    let dir = TempDir::new()?;
    let server = start(dir.path()).await?;
    put(&server, "kept", "1").await?;
    server.terminate().await?;
    let (log, backup) = (dir.path().join("log/mutations.1"), dir.path().join("backup"));
    copied(&log, &backup)?;
    let server = start(dir.path()).await?;
    put(&server, "lost", "2").await?;
    server.terminate().await?;
    fs::remove_dir_all(&log)?;
    fs::rename(&backup, &log)?;

    let server = start(dir.path()).await?;
    let shell = Shell::of(&server);
    let printed = shell.sees(0, "log-diverged").await?;
    let out = dir.path().join("before.ndjson");
    let out = out.to_str().context("a path")?;
    shell.run("export --out", &[out]).await?.ended(0)?;
    let told = shell.run(&printed, &["--json"]).await?.ended(0)?.json()?;
    ensure!(
        told["loses"].as_str().is_some_and(|loses| loses.contains("the log does not have them")),
        "{told}"
    );
    shell.follows(&printed).await?;
    server.terminate().await?;

    let server = start(dir.path()).await?;
    let shell = Shell::of(&server);
    shell.goes_on(0).await?;
    assert_eq!(value(&server, "kept").await?, "1");
    assert_eq!(server.http.get("/kv/lost?consistency=strong").send().await?.status, 404, "it was on no log");
    shell.run("import", &[out]).await?.ended(0)?;
    assert_eq!(value(&server, "lost").await?, "2");
    shell.run("doctor", &[]).await?.ended(0)?;
    server.terminate().await?;
    Ok(())
}

/// A server with several segments, stopped; its shard was put back to a state before the first record.
async fn put_back(dir: &Path) -> Result<PathBuf> {
    let server = start(dir).await?;
    for number in 0..12 {
        put(&server, &format!("k{number}"), vec![b'v'; LARGE]).await?;
    }
    server.terminate().await?;
    ensure!(segments(dir)?.len() >= 2, "{:?}", segments(dir)?);
    let aside = dir.join("aside");
    fs::create_dir(&aside)?;
    for file in shard_files(dir)? {
        fs::rename(&file, aside.join(file.file_name().context("a name")?))?;
    }
    Ok(aside)
}

#[tokio::test]
async fn a_gap_in_the_log_is_left_by_the_database_that_is_further_on_or_by_export_and_import() -> Result<()> {
    let dir = TempDir::new()?;
    let aside = put_back(dir.path()).await?;
    let first = segments(dir.path())?.remove(0);
    fs::remove_file(first)?;
    let server = start(dir.path()).await?;
    let printed = Shell::of(&server).sees(0, "log-gap").await?;
    assert_eq!(printed, "millpond export --out FILE");
    server.terminate().await?;

    // A database that is further on.
    for file in shard_files(dir.path())? {
        fs::remove_file(file)?;
    }
    for file in shard_files(&aside)? {
        fs::rename(&file, dir.path().join(file.file_name().context("a name")?))?;
    }
    let server = start(dir.path()).await?;
    let shell = Shell::of(&server);
    shell.goes_on(0).await?;
    assert_eq!(value(&server, "k0").await?.len(), LARGE);

    // Where there is none: what was applied, in a new deployment.
    let (out, other) = (dir.path().join("all.ndjson"), TempDir::new()?);
    let out = out.to_str().context("a path")?;
    shell.run(&printed.replace("FILE", out), &[]).await?.ended(0)?;
    server.terminate().await?;
    let server = start(other.path()).await?;
    Shell::of(&server).run("import", &[out]).await?.ended(0)?;
    assert_eq!(value(&server, "k11").await?.len(), LARGE);
    server.terminate().await?;
    Ok(())
}

#[tokio::test]
async fn damage_in_the_log_halts_and_goes_with_the_file_from_a_backup() -> Result<()> {
    let dir = TempDir::new()?;
    put_back(dir.path()).await?;
    let first = segments(dir.path())?.remove(0);
    let good = fs::read(&first)?;
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&first, &bad)?;
    let server = start(dir.path()).await?;
    let printed = Shell::of(&server).sees(0, "log-corrupt").await?;
    assert_eq!(printed, "millpond export --out FILE");
    let out = dir.path().join("all.ndjson");
    let out = out.to_str().context("a path")?;
    Shell::of(&server).run(&printed.replace("FILE", out), &[]).await?.ended(0)?;
    server.terminate().await?;
    ensure!(fs::read(&first)? == bad, "the files stay as they are");

    fs::write(&first, &good)?;
    let server = start(dir.path()).await?;
    let shell = Shell::of(&server);
    shell.goes_on(0).await?;
    assert_eq!(value(&server, "k0").await?.len(), LARGE);
    shell.run("doctor", &[]).await?.ended(0)?;
    server.terminate().await?;
    Ok(())
}

#[tokio::test]
async fn a_shard_without_its_table_is_tried_again_until_it_is_back() -> Result<()> {
    let dir = TempDir::new()?;
    let server = start(dir.path()).await?;
    put(&server, "a", "1").await?;
    sql(dir.path(), "ALTER TABLE seen RENAME TO gone")?;
    let sent = server.http.put("/kv/a", "2").send().await?;
    ensure!(sent.status == 202, "{sent:?}");
    let shell = Shell::of(&server);
    shell.sees(0, "shard-refused").await?;
    sql(dir.path(), "ALTER TABLE gone RENAME TO seen")?;
    shell.goes_on(0).await?;
    assert_eq!(value(&server, "a").await?, "2");
    server.terminate().await?;
    Ok(())
}
