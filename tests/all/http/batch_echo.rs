//! What a batch echoes of a line, and what it reads of it: its id and its TTL cost no more than their text.

use anyhow::{Context, Result};
use millpond_tests::{
    http::Http,
    server::{Fresh, Server},
};

use super::NDJSON;

async fn answered(http: &Http, line: &str) -> Result<String> {
    let answer = http.post("/batch", NDJSON, line.to_owned()).header("prefer", "wait=30").send().await?;
    Ok(String::from_utf8(answer.body.to_vec())?)
}

/// The most memory that the server ever had, bytes.
fn peak(server: &Server) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()?))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("there is a VmHWM")?;
    let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib * 1024)
}

#[tokio::test]
async fn an_id_comes_back_as_it_was_written_whatever_becomes_of_its_line() -> Result<()> {
    let server = Fresh::start().await?;
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    for id in ["12345678901234567890123", "1.0", "1e400", r#""\u00e9""#, r#"{ "b":1, "a":1, "a":2 }"#, &deep]
    {
        let echo = format!("\"id\":{id},");
        let good =
            answered(&server.http, &format!(r#"{{"id":{id},"op":"put","key":"a","value":""}}"#)).await?;
        assert_eq!(good.matches(&echo).count(), 1, "{good}");
        let bad = answered(&server.http, &format!(r#"{{"id":{id},"op":"put","key":"","value":""}}"#)).await?;
        assert_eq!(bad.matches(&echo).count(), 2, "in the errors and in the results: {bad}");
    }
    Ok(())
}

#[tokio::test]
async fn an_id_or_a_ttl_of_fifteen_mebibytes_takes_no_more_memory_than_its_text() -> Result<()> {
    let server = Fresh::start().await?;
    let many = format!("[{}0]", "0,".repeat(7_500_000));
    let before = peak(&server)?;
    for (line, status) in [
        (format!(r#"{{"id":{many},"op":"put","key":"a","value":""}}"#), "\"status\":200"),
        (format!(r#"{{"op":"put","key":"a","value":"","ttl":{many}}}"#), "\"code\":\"ttl-invalid\""),
        (format!(r#"{{"op":"put","key":"a","value":"","expires_at":{many}}}"#), "\"code\":\"ttl-invalid\""),
    ] {
        let answer = answered(&server.http, &line).await?;
        assert!(answer.contains(status), "{}", &answer[answer.len() - 400..]);
    }
    // The body while it is read, and once more while it is answered; read into values it would be sixteen times as much.
    let took = peak(&server)? - before;
    assert!(took < 160 * 1024 * 1024, "{} MiB", took / 1024 / 1024);
    Ok(())
}
