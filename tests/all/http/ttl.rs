//! TTLs: every source, every mode, expiry for readers and writers, tombstones.

use anyhow::{Result, ensure};
use millpond_tests::{
    http::{Answer, Http},
    server::Fresh,
};
use serde_json::json;

use super::{assert_problem, offset, put};

async fn change(http: &Http, body: &str) -> Result<Answer> {
    http.put("/ttl/a", body.to_owned()).send().await
}

/// Milliseconds left.
async fn left(http: &Http) -> Result<Option<u64>> {
    let answer = http.get("/ttl/a").send().await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(answer.json()["ttl_ms"].as_u64())
}

fn about(ms: Option<u64>, minutes: u64) -> bool {
    ms.is_some_and(|ms| (minutes * 60_000 - 30_000..=minutes * 60_000).contains(&ms))
}

#[tokio::test]
async fn every_spelling_of_a_ttl_is_the_same_duration() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    for (header, parameter) in [
        (Some("900"), ""),
        (Some("900s"), ""),
        (Some("15m"), ""),
        (Some("900000ms"), ""),
        (None, "?ttl=15m"),
        (None, "?ttl=900"),
        (Some("15m"), "?ttl=900s"),
    ] {
        let mut call = http.put(&format!("/kv/a{parameter}"), "x");
        if let Some(text) = header {
            call = call.header("kv-ttl", text);
        }
        let accepted = call.send().await?;
        assert_eq!(accepted.status, 202, "{header:?} {parameter}");
        let read = http.get("/kv/a").send().await?;
        assert_eq!(
            accepted.header("kv-expires-at"),
            read.header("kv-expires-at"),
            "the ack has the append time"
        );
        assert_eq!(accepted.json()["expires_at"], read.header("kv-expires-at"));
        assert!(about(left(http).await?, 15), "{header:?} {parameter}");
    }
    Ok(())
}

#[tokio::test]
async fn an_exact_moment_is_held_exactly() -> Result<()> {
    let server = Fresh::start().await?;
    for (sent, held) in [
        ("2030-01-02T03:04:05.678Z", "2030-01-02T03:04:05.678Z"),
        ("2030-01-02T03:04:05Z", "2030-01-02T03:04:05.000Z"),
        ("2030-01-02T04:04:05+01:00", "2030-01-02T03:04:05.000Z"),
    ] {
        let answer = server.http.put("/kv/a", "x").header("kv-expires-at", sent).send().await?;
        assert_eq!((answer.status.as_u16(), answer.header("kv-expires-at")), (202, held));
        let ttl = server.http.get("/ttl/a").send().await?;
        assert_eq!((&ttl.json()["expires_at"], ttl.header("kv-expires-at")), (&json!(held), held));
    }
    Ok(())
}

#[tokio::test]
async fn a_ttl_that_is_none_or_contradicts_itself_is_refused() -> Result<()> {
    let server = Fresh::start().await?;
    let before = put(&server.http, "/kv/a", "x").await?;
    for text in ["-1", "0", "999ms", "1e30", "5 fortnights", "", "1.5", "5S", "3653d", "99999999999999999999"]
    {
        let header = server.http.put("/kv/a", "x").header("kv-ttl", text).send().await?;
        assert_problem(&header, (400, "ttl-invalid"), "refused");
        let path = format!("/kv/a?ttl={}", text.replace(' ', "%20"));
        assert_problem(&server.http.put(&path, "x").send().await?, (400, "ttl-invalid"), "refused");
        let json = change(&server.http, &json!({"ttl": text}).to_string()).await?;
        assert_problem(&json, (400, "ttl-invalid"), "refused");
    }
    for at in ["2001-01-01T00:00:00Z", "292278994-08-17T07:12:55.807Z", "2500-01-01T00:00:00Z", "soon", ""] {
        let answer = server.http.put("/kv/a", "x").header("kv-expires-at", at).send().await?;
        assert_problem(&answer, (400, "ttl-invalid"), "refused");
    }
    let two = server.http.put("/kv/a?ttl=6", "x").header("kv-ttl", "5").send().await?;
    assert_problem(&two, (400, "ttl-invalid"), "refused");
    let at =
        server.http.put("/kv/a?ttl=6", "x").header("kv-expires-at", "2030-01-01T00:00:00Z").send().await?;
    assert_problem(&at, (400, "ttl-invalid"), "refused");
    let after = put(&server.http, "/kv/a", "x").await?;
    assert_eq!(offset(&after), offset(&before) + 1, "nothing was logged between");
    Ok(())
}

#[tokio::test]
async fn every_mode_does_what_it_says_and_a_no_op_keeps_the_etag() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    put(http, "/kv/a", "x").await?;
    for (body, changed, minutes) in [
        (r#"{"ttl":"10m","mode":"only_longer"}"#, false, None),
        (r#"{"ttl":"10m","mode":"only_shorter"}"#, true, Some(10)),
        (r#"{"ttl":"20m","mode":"only_shorter"}"#, false, Some(10)),
        (r#"{"ttl":"20m","mode":"only_longer"}"#, true, Some(20)),
        (r#"{"ttl":"30m","mode":"if_none"}"#, false, Some(20)),
        (r#"{"ttl":"10m","mode":"extend"}"#, true, Some(30)),
        (r#"{"ttl":900}"#, true, Some(15)),
        (r#"{"ttl":"5m","mode":"set"}"#, true, Some(5)),
    ] {
        let before = http.get("/kv/a").send().await?.header("etag").to_owned();
        let answer = change(http, body).await?;
        assert_eq!((answer.status.as_u16(), &answer.json()["changed"]), (200, &json!(changed)), "{body}");
        assert_eq!(answer.json()["status"], "applied");
        assert_eq!(answer.json()["position"], answer.header("kv-position"));
        let read = http.get("/ttl/a").send().await?;
        assert_eq!(answer.header("etag"), read.header("etag"), "{body}");
        assert_eq!(answer.header("etag") == before, !changed, "{body}");
        assert_eq!(answer.json()["expires_at"], read.json()["expires_at"], "{body}");
        match minutes {
            None => assert_eq!(left(http).await?, None, "{body}"),
            Some(minutes) => assert!(about(left(http).await?, minutes), "{body}: {read:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn deleting_a_ttl_keeps_the_key_for_ever() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/a?ttl=1h", "x").await?;
    for changed in [true, false] {
        let answer = server.http.delete("/ttl/a").send().await?;
        assert_eq!(answer.status, 200);
        assert_eq!(
            (&answer.json()["changed"], &answer.json()["expires_at"]),
            (&json!(changed), &json!(null))
        );
    }
    let ttl = server.http.get("/ttl/a").send().await?;
    assert_eq!(ttl.json(), json!({"ttl_ms": null, "expires_at": null}));
    assert!(!ttl.headers.contains_key("kv-expires-at"));
    Ok(())
}

#[tokio::test]
async fn a_ttl_of_an_absent_key_is_404_in_log_order() -> Result<()> {
    let server = Fresh::start().await?;
    assert_problem(&change(&server.http, r#"{"ttl":"1h"}"#).await?, (404, "not-found"), "rejected");
    assert_problem(&server.http.delete("/ttl/a").send().await?, (404, "not-found"), "rejected");
    assert_problem(&server.http.get("/ttl/a").send().await?, (404, "not-found"), "none");
    Ok(())
}

#[tokio::test]
async fn a_ttl_change_takes_conditions_and_preferences() -> Result<()> {
    let server = Fresh::start().await?;
    let version = put(&server.http, "/kv/a", "x").await?;
    let call = |etag: &str| server.http.put("/ttl/a", r#"{"ttl":"1h"}"#).header("if-match", etag);
    assert_problem(&call("\"1-0-0\"").send().await?, (412, "condition-failed"), "rejected");
    let answer = call(&format!("\"{version}\"")).header("prefer", "wait=0").send().await?;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (202, &json!("accepted")));
    assert!(!answer.header("kv-expires-at").is_empty(), "an ack says when");
    assert_eq!(
        answer.header("kv-expires-at"),
        server.http.get("/ttl/a").send().await?.header("kv-expires-at")
    );
    Ok(())
}

#[tokio::test]
async fn bodies_that_say_nothing_both_or_more_are_refused() -> Result<()> {
    let server = Fresh::start().await?;
    let at = "2030-01-01T00:00:00Z";
    for (body, status, code) in [
        ("{}".to_owned(), 400, "ttl-invalid"),
        (r#"{"mode":"set"}"#.to_owned(), 400, "ttl-invalid"),
        (r#"{"ttl":null}"#.to_owned(), 400, "ttl-invalid"),
        (r#"{"ttl":"1h","mode":"longer"}"#.to_owned(), 400, "ttl-invalid"),
        (format!(r#"{{"expires_at":"{at}","mode":"extend"}}"#), 400, "ttl-invalid"),
        (format!(r#"{{"ttl":"1h","expires_at":"{at}"}}"#), 400, "ttl-invalid"),
        (r#"{"ttl":"1h","tll":"1h"}"#.to_owned(), 400, "unknown-field"),
        ("[]".to_owned(), 422, "value-invalid"),
        ("{".to_owned(), 422, "value-invalid"),
        (format!("{{\"ttl\":\"{}\"}}", "1".repeat(5000)), 413, "body-too-large"),
    ] {
        assert_problem(&change(&server.http, &body).await?, (status, code), "refused");
    }
    Ok(())
}

#[tokio::test]
async fn an_expired_key_is_absent_for_every_read_and_write_before_anything_sweeps_it() -> Result<()> {
    let dir = tempfile::TempDir::new()?;
    let mut command = tokio::process::Command::new(millpond_tests::server::binary());
    command.env("MILLPOND_LOG__SEGMENT_BYTES", "1MiB").env("MILLPOND_SWEEPER__INTERVAL", "1h");
    let server = millpond_tests::server::Server::start_with(dir.path(), command, &[]).await?;
    let http = &server.http;
    let names = ["read", "create", "count", "match"];
    let mut version = String::new();
    for name in names {
        version = put(http, &format!("/kv/{name}?ttl=1s"), "7").await?;
    }
    let mut created = http.get("/meta/create").send().await?.json();
    while http.get("/kv/match").send().await?.status == 200 {}
    for path in ["/kv/read", "/meta/read", "/ttl/read", "/kv/read?consistency=strong"] {
        assert_problem(&http.get(path).send().await?, (404, "not-found"), "none");
    }
    let answer = http.put("/kv/match", "8").header("if-match", &format!("\"{version}\"")).send().await?;
    assert_problem(&answer, (412, "condition-failed"), "rejected");
    assert_eq!(answer.json()["current"], json!(null));
    assert_eq!(http.put("/kv/create", "8").header("if-none-match", "*").send().await?.status, 201);
    let renewed = http.get("/meta/create").send().await?.json();
    assert!(renewed["created_at"].as_str() > created["created_at"].take().as_str(), "it exists anew");
    assert_eq!(renewed["expires_at"], json!(null));
    let count = http.patch("/kv/count", super::OWN, r#"{"op":"increment","by":5}"#).send().await?;
    assert_eq!((count.status.as_u16(), count.text().as_str()), (200, "5"), "it does not count on from 7");
    let ttl = http.put("/ttl/read", r#"{"ttl":"1h"}"#).send().await?;
    assert_problem(&ttl, (404, "not-found"), "rejected");
    Ok(())
}

#[tokio::test]
async fn the_sweeper_leaves_a_tombstone_without_the_value() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/gone?ttl=1s", "secret").await?;
    put(&server.http, "/kv/kept?ttl=1h", "x").await?;
    let swept = async {
        while !server.ops.get("/metrics").send().await?.text().contains("\nmillpond_writer_expired_total 1\n")
        {
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), swept).await??;
    let mut rows = String::new();
    for shard in ["shard-0.sqlite", "shard-1.sqlite"] {
        let select = "SELECT CAST(key AS TEXT), tombstone, value IS NULL FROM kv";
        let mut sqlite3 = std::process::Command::new("sqlite3");
        rows += &String::from_utf8(sqlite3.arg(server.data_dir().join(shard)).arg(select).output()?.stdout)?;
    }
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.sort_unstable();
    assert_eq!(rows, ["gone|1|1", "kept|0|0"]);
    assert_problem(&server.http.get("/kv/gone").send().await?, (404, "not-found"), "none");
    Ok(())
}
