//! `millpond export`: what comes back from it, and what it survives.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use millpond_tests::{
    deployment::PATIENCE,
    process::until_async,
    server::{Fresh, Server, binary},
};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{command, feed, puts, run};

/// Keys and values of all kinds, some of them with a TTL or a content type.
fn motley() -> String {
    let mut lines = Vec::new();
    for byte in 0..=255u8 {
        let key = STANDARD.encode([byte, b'/', byte]);
        let value = STANDARD.encode(vec![byte; usize::from(byte) * 7]);
        let more = match byte % 3 {
            0 => ",\"content_type\":\"application/x-odd; a=\\\"b\\\"\"",
            1 => ",\"expires_at\":\"2030-05-06T07:08:09.123Z\"",
            _ => "",
        };
        lines.push(format!("{{\"op\":\"put\",\"key_b64\":\"{key}\",\"value_b64\":\"{value}\"{more}}}\n"));
    }
    for (key, value) in [("..", "dots"), ("a//b", ""), ("é", "→\\u0000\\u001b"), ("q\\\"", "{\\\"a\\\":1}")]
    {
        lines.push(format!("{{\"op\":\"put\",\"key\":\"{key}\",\"value\":\"{value}\"}}\n"));
    }
    lines.concat()
}

async fn fill(server: &Server, lines: &str) -> Result<()> {
    feed(server, &["batch", "-", "--wait", "30s"], lines.as_bytes()).await?.ended(0)?;
    Ok(())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is UTF-8")
}

#[tokio::test]
async fn an_export_comes_back_byte_for_byte_through_import_and_batch() -> Result<()> {
    let dir = TempDir::new()?;
    let (server, by_import, by_batch) = (Fresh::start().await?, Fresh::start().await?, Fresh::start().await?);
    fill(&server, &motley()).await?;
    let out = dir.path().join("all.ndjson");
    let said = run(&server, &["export", "--out", text(&out)]).await?.ended(0)?;
    ensure!(said.text().starts_with("260 keys, "), "{}", said.text());
    let exported = std::fs::read_to_string(&out)?;
    assert_eq!(exported.lines().count(), 260);
    let piped = run(&server, &["export"]).await?.ended(0)?;
    ensure!(piped.text() == exported, "standard output gets the same");

    let state = dir.path().join("state");
    let import = ["import", text(&out), "--state-dir", text(&state), "--wait", "30s"];
    run(&by_import, &import).await?.ended(0)?;
    run(&by_batch, &["batch", text(&out), "--wait", "30s"]).await?.ended(0)?;
    for copy in [&by_import, &by_batch] {
        let again = run(copy, &["export"]).await?.ended(0)?;
        ensure!(again.text() == exported, "an export of the copy is the same, byte for byte");
    }
    let value = by_import.http.get("/kv/%ff%2f%ff").send().await?;
    assert_eq!(&value.body[..], vec![255; 255 * 7]);
    let odd = by_import.http.get("/kv/%00%2f%00").send().await?;
    assert_eq!(odd.header("content-type"), "application/x-odd; a=\"b\"");
    let timed = by_import.http.get("/kv/%01%2f%01").send().await?;
    assert_eq!(timed.header("kv-expires-at"), "2030-05-06T07:08:09.123Z");
    Ok(())
}

#[tokio::test]
async fn an_export_is_of_one_tenant_and_of_the_keys_that_were_asked_for() -> Result<()> {
    let server = Fresh::start().await?;
    for (tenant, key) in [("acme", "user:1"), ("acme", "x"), ("default", "user:2")] {
        run(&server, &["put", key, "v", "--tenant", tenant, "--wait", "30s"]).await?.ended(0)?;
    }
    let said = run(&server, &["export", "--tenant", "acme", "--prefix", "user:"]).await?.ended(0)?;
    let content = "\"content_type\":\"text/plain; charset=utf-8\"";
    assert_eq!(said.text(), format!("{{\"op\":\"put\",\"key\":\"user:1\",\"value\":\"v\",{content}}}\n"));
    Ok(())
}

#[tokio::test]
async fn a_finished_or_foreign_file_is_never_overwritten_unasked() -> Result<()> {
    let dir = TempDir::new()?;
    let server = Fresh::start().await?;
    fill(&server, "{\"op\":\"put\",\"key\":\"a\",\"value\":\"1\"}\n").await?;
    let out = dir.path().join("precious");
    std::fs::write(&out, "precious")?;
    let said = run(&server, &["export", "--out", text(&out)]).await?.ended(4)?;
    ensure!(said.err.contains("--restart"), "{}", said.err);
    assert_eq!(std::fs::read_to_string(&out)?, "precious");
    run(&server, &["export", "--out", text(&out), "--restart"]).await?.ended(0)?;
    ensure!(std::fs::read_to_string(&out)?.starts_with("{\"op\":\"put\",\"key\":\"a\""));
    let left: Vec<_> =
        std::fs::read_dir(dir.path())?.map(|entry| entry.map(|entry| entry.file_name())).collect();
    ensure!(left.len() == 1, "nothing is left beside it: {left:?}");
    run(&server, &["export", "--out", text(&out)]).await?.ended(4)?;
    Ok(())
}

/// How an export is interrupted.
#[derive(Clone, Copy, Debug)]
enum How {
    Kill,
    CtrlC,
    ServerGone,
}

/// Whether the export has saved where it is, somewhere behind the beginning.
fn is_under_way(out: &Path) -> bool {
    let state = std::fs::read_to_string(PathBuf::from(format!("{}.export-state", out.display())));
    state.is_ok_and(|state| state.contains("\"cursor\":\""))
}

async fn until_under_way(export: &mut Child, out: &Path) -> Result<bool> {
    let looked = until_async(PATIENCE, async || is_under_way(out) || !matches!(export.try_wait(), Ok(None)));
    ensure!(looked.await, "the export neither goes on nor ends");
    Ok(export.try_wait()?.is_none())
}

/// Starts it anew until it was caught half way; the server is another one afterwards when it went away.
async fn interrupted(mut server: Server, data: &Path, out: &Path, how: How) -> Result<Server> {
    const TRIES: usize = 50;
    let address: SocketAddr = server.address;
    for _ in 0..TRIES {
        let arguments = ["export", "--out", text(out), "--restart", "--retry-for", "200ms"];
        let mut export = command(&server, &arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        if !until_under_way(&mut export, out).await? {
            continue;
        }
        match how {
            How::Kill => export.start_kill()?,
            How::CtrlC => {
                let pid = export.id().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
                rustix::process::kill_process(pid.context("it has a number")?, rustix::process::Signal::INT)?;
            }
            How::ServerGone => {
                server.kill().await?;
                let ended = export.wait_with_output().await?;
                server = Server::start_on(address, data, Command::new(binary()), &[]).await?;
                if is_interrupted(how, &ended)? {
                    return Ok(server);
                }
                continue;
            }
        }
        if is_interrupted(how, &export.wait_with_output().await?)? {
            return Ok(server);
        }
    }
    bail!("it was never caught half way in {TRIES} tries")
}

/// Whether it was caught half way, and then ended as it should.
fn is_interrupted(how: How, ended: &Output) -> Result<bool> {
    if ended.status.success() {
        return Ok(false);
    }
    let (code, err) = (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned());
    match how {
        How::Kill => ensure!(code.is_none(), "{code:?}: {err}"),
        How::CtrlC | How::ServerGone => {
            ensure!(code == Some(3) && err.contains("run the same command again"), "{how:?} {code:?}: {err}");
        }
    }
    Ok(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_was_stopped_in_any_way_goes_on_without_a_gap() -> Result<()> {
    let dir = TempDir::new()?;
    let data = dir.path().join("data");
    let mut server = Server::small(&data).await?;
    // Enough that an export saves where it is a few times.
    fill(&server, &puts(40_000, "v")).await?;
    let expected = run(&server, &["export", "--consistency", "strong"]).await?.ended(0)?.out;
    assert_eq!(expected.split(|byte| *byte == b'\n').count(), 40_001);
    for how in [How::Kill, How::CtrlC, How::ServerGone] {
        let out = dir.path().join(format!("{how:?}.ndjson"));
        server = interrupted(server, &data, &out, how).await?;
        let said = run(&server, &["export", "--out", text(&out)]).await?.ended(0)?;
        ensure!(said.err.contains("going on after"), "{how:?}: {}", said.err);
        ensure!(std::fs::read(&out)? == expected, "{how:?}: each key once, as it is");
    }
    server.terminate().await?;
    Ok(())
}
