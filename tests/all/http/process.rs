//! The process: what it prints, how it ends, who may open its data.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    http::Http,
    server::{Fresh, Server, binary, millpond},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
};

use super::{OWN, put, value};

/// Holds a shard's write lock, so that its writer has to wait.
struct Holder(Child);

impl Holder {
    async fn take(shard: &std::path::Path) -> Result<Self> {
        let mut sqlite3 = Command::new("sqlite3")
            .arg(shard)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = sqlite3.stdin.as_mut().context("it is piped")?;
        stdin.write_all(b".timeout 30000\nBEGIN IMMEDIATE;\nSELECT 'held';\n").await?;
        let stdout = sqlite3.stdout.take().context("it is piped")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        ensure!(line.as_deref() == Some("held"), "{line:?}");
        Ok(Self(sqlite3))
    }

    async fn release(mut self) -> Result<()> {
        self.0.kill().await?;
        Ok(())
    }
}

/// Waits until so many calls wait for an outcome.
async fn waiting(ops: &Http, calls: usize) -> Result<()> {
    let line = format!("\nmillpond_api_waiters {calls}\n");
    let reached = async {
        while !ops.get("/metrics").send().await?.text().contains(&line) {}
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(30), reached).await.context("nobody waits")?
}

/// Where every key of this data directory lies.
async fn one_shard(dir: &TempDir) -> Result<Server> {
    let mut command = Command::new(binary());
    command.env("MILLPOND_LOG__SEGMENT_BYTES", "1MiB").env("MILLPOND_SHARDS__COUNT", "1");
    Server::start_with(dir.path(), command, &[]).await
}

#[tokio::test]
async fn the_printed_lines_work_in_order_with_no_pause_between() -> Result<()> {
    for _ in 0..3 {
        let server = Fresh::start().await?;
        let lines: Vec<&str> = server
            .greeting
            .lines()
            .map(str::trim)
            .filter(|l| l.starts_with("curl ") || l.starts_with("sqlite3 "))
            .collect();
        ensure!(lines.len() == 4, "three curl lines and a sqlite3 line: {lines:?}");
        let script = lines.join("; echo; echo =; ").replace("curl ", "curl -sS ");
        let ran = Command::new("sh").args(["-c", &script]).output().await?;
        ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let printed = String::from_utf8(ran.stdout)?;
        let answers: Vec<&str> = printed.split("\n=\n").map(str::trim).collect();
        let [put, get, again, row] = answers[..] else { panic!("{answers:?}") };
        let accepted: serde_json::Value = serde_json::from_str(put)?;
        assert_eq!((&accepted["status"], get), (&json!("accepted"), "world"));
        let problem: serde_json::Value = serde_json::from_str(again)?;
        assert_eq!((&problem["code"], &problem["status"]), (&json!("condition-failed"), &json!(412)));
        assert_eq!(problem["current"], accepted["position"]);
        assert!(row.starts_with("hello|world|"), "{row}");
        assert!(server.greeting.contains(&server.data_dir().display().to_string()));
    }
    Ok(())
}

#[tokio::test]
async fn sigterm_answers_what_waits_is_not_ready_meanwhile_and_ends_well() -> Result<()> {
    let dir = TempDir::new()?;
    let server = one_shard(&dir).await?;
    put(&server.http, "/kv/n", "1").await?;
    let holder = Holder::take(&dir.path().join("shard-0.sqlite")).await?;
    let (http, ops) = (server.http.clone(), server.ops.clone());
    let call = tokio::spawn(async move { http.patch("/kv/n", OWN, r#"{"op":"increment"}"#).send().await });
    waiting(&ops, 1).await?;
    let acked = Http::new(server.address).put("/kv/last", "acked").send().await?;
    assert_eq!(acked.status, 202);
    server.signal("TERM")?;
    let draining = async {
        while ops.get("/readyz").send().await?.status != 503 {}
        anyhow::Ok(ops.get("/readyz?verbose").send().await?.text())
    };
    let verbose =
        tokio::time::timeout(Duration::from_secs(30), draining).await.context("it stays ready")??;
    assert!(verbose.contains("[-]serving failed"), "{verbose}");
    assert_eq!(ops.get("/livez").send().await?.status, 200);
    let refused = Http::new(server.address).get("/version").send().await;
    assert!(refused.is_err(), "no new connection is taken: {refused:?}");
    holder.release().await?;
    let answer = call.await??;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "2"));
    server.terminate().await?;
    let server = one_shard(&dir).await?;
    assert_eq!(value(&server.http, "/kv/n").await?.as_deref(), Some("2"));
    assert_eq!(value(&server.http, "/kv/last").await?.as_deref(), Some("acked"));
    Ok(())
}

#[tokio::test]
async fn a_call_whose_writer_does_not_come_back_is_202_and_applied_at_the_next_start() -> Result<()> {
    let dir = TempDir::new()?;
    let server = one_shard(&dir).await?;
    put(&server.http, "/kv/n", "1").await?;
    let holder = Holder::take(&dir.path().join("shard-0.sqlite")).await?;
    let call = server.http.patch("/kv/n", OWN, r#"{"op":"increment"}"#).header("prefer", "wait=1");
    let answer = call.send().await?;
    assert_eq!((answer.status.as_u16(), answer.header("preference-applied")), (202, "wait=1"));
    let read = server.http.get("/kv/n").send().await?;
    assert_eq!(read.text(), "1", "an eventual read is older");
    assert!(read.number("kv-staleness-ms")? > 0, "and says so: {read:?}");
    let strong = server.http.get("/kv/n").header("cache-control", "no-cache").send().await?;
    super::assert_problem(&strong, (504, "position-not-reached"), "none");
    assert_eq!(strong.json()["lag_records"], 1);
    let put = server.http.put("/kv/blind", "x").send().await?;
    assert_eq!(put.status, 202, "writes go on while a shard stands still");
    let ready = server.ops.get("/readyz").send().await?;
    assert_eq!(ready.status, 200);
    server.kill().await?;
    holder.release().await?;
    let server = one_shard(&dir).await?;
    let told = server.http.get(&format!("{}?wait=30s", answer.header("location"))).send().await?;
    assert_eq!(told.json()["status"], "applied");
    assert_eq!(value(&server.http, "/kv/n").await?.as_deref(), Some("2"));
    Ok(())
}

#[tokio::test]
async fn sigterm_and_sigint_right_after_the_greeting_end_well() -> Result<()> {
    for signal in ["TERM", "INT", "TERM", "INT"] {
        let dir = TempDir::new()?;
        let mut server = Server::small(dir.path()).await?;
        server.signal(signal)?;
        let status = server.ended().await?;
        assert!(status.success(), "SIG{signal}: {status}");
    }
    Ok(())
}

#[tokio::test]
async fn a_second_start_serves_the_same_positions_go_on_and_tokens_hold() -> Result<()> {
    let (mut server, dir) = Fresh::start().await?.apart();
    let token = put(&server.http, "/kv/a?ttl=1h", "1").await?;
    let before = server.http.get("/meta/a").send().await?;
    for kill in [false, true] {
        if kill {
            server.kill().await?;
        } else {
            server.terminate().await?;
        }
        server = Server::small(dir.path()).await?;
        let read = server.http.get("/kv/a").header("kv-min-position", &token).send().await?;
        assert_eq!((read.text().as_str(), read.header("etag")), ("1", before.header("etag")));
        assert_eq!(server.http.get("/meta/a").send().await?.json(), before.json());
        let told = server.http.get(&format!("/mutations/{token}")).send().await?;
        assert_eq!((told.status.as_u16(), &told.json()["status"]), (200, &json!("applied")));
    }
    let next = put(&server.http, "/kv/a", "2").await?;
    assert!(super::offset(&next) > super::offset(&token));
    Ok(())
}

#[tokio::test]
async fn a_second_process_is_told_who_holds_the_data() -> Result<()> {
    let server = Fresh::start().await?;
    let second = millpond()
        .args(["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--data-dir"])
        .arg(server.data_dir())
        .output()
        .await?;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    assert!(said.contains(&server.pid()?.to_string()), "{said}");
    assert!(!put(&server.http, "/kv/a", "x").await?.is_empty(), "the first one goes on");
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_is_told() -> Result<()> {
    let server = Fresh::start().await?;
    let dir = TempDir::new()?;
    let address = server.address.to_string();
    let second = millpond()
        .args(["--listen", &address, "--ops-listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir.path())
        .output()
        .await?;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains(&address), "{said}");
    Ok(())
}
