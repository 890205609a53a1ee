//! PUT and DELETE: answers, waits, conditions, headers.

use anyhow::Result;
use millpond_tests::server::Fresh;
use serde_json::json;

use super::{assert_problem, offset, partition, put, value};

#[tokio::test]
async fn a_blind_put_is_202_with_its_position_and_is_then_there() -> Result<()> {
    let server = Fresh::start().await?;
    let answer = server.http.put("/kv/a", "hello").header("content-type", "text/plain").send().await?;
    let position = answer.header("kv-position").to_owned();
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json(), json!({"position": position, "status": "accepted"}));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("location"), format!("/mutations/{position}"));
    for absent in ["etag", "kv-expires-at", "preference-applied", "kv-duplicate"] {
        assert!(!answer.headers.contains_key(absent), "{absent}");
    }
    let became = server.http.get(&format!("{}?wait=30s", answer.header("location"))).send().await?;
    assert_eq!((became.status.as_u16(), &became.json()["status"]), (200, &json!("applied")));
    let read = server.http.get("/kv/a").send().await?;
    assert_eq!((read.text().as_str(), read.header("content-type")), ("hello", "text/plain"));
    assert_eq!(read.header("etag"), format!("\"{position}\""));
    Ok(())
}

#[tokio::test]
async fn a_waited_put_is_200_applied_with_its_etag() -> Result<()> {
    let server = Fresh::start().await?;
    let answer = server.http.put("/kv/a", "1").header("prefer", "wait=5").send().await?;
    let position = answer.header("kv-position").to_owned();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), json!({"position": position, "status": "applied"}));
    assert_eq!(answer.header("etag"), format!("\"{position}\""));
    assert_eq!(answer.header("preference-applied"), "wait=5");
    assert!(!answer.headers.contains_key("location"));
    Ok(())
}

#[tokio::test]
async fn only_a_put_of_what_must_be_absent_is_201() -> Result<()> {
    let server = Fresh::start().await?;
    let created = server.http.put("/kv/a", "1").header("if-none-match", "*").send().await?;
    assert_eq!(created.status, 201);
    assert_eq!(created.json()["status"], "applied");
    assert_eq!(created.header("etag"), format!("\"{}\"", created.header("kv-position")));
    let plain = server.http.put("/kv/b", "1").header("prefer", "wait=5").send().await?;
    assert_eq!(plain.status, 200, "nobody else knows that it is new");
    Ok(())
}

#[tokio::test]
async fn a_waited_delete_is_204_with_its_own_position_whether_or_not_the_key_was_there() -> Result<()> {
    let server = Fresh::start().await?;
    let first = put(&server.http, "/kv/a", "1").await?;
    for expected in [offset(&first) + 1, offset(&first) + 2] {
        let answer = server.http.delete("/kv/a").header("prefer", "wait=5").send().await?;
        assert_eq!((answer.status.as_u16(), answer.text()), (204, String::new()));
        assert_eq!(offset(answer.header("kv-position")), expected);
    }
    let answer = server.http.delete("/kv/a").send().await?;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (202, &json!("accepted")));
    assert_eq!(value(&server.http, "/kv/a").await?, None);
    Ok(())
}

#[tokio::test]
async fn a_preference_is_applied_clamped_and_said() -> Result<()> {
    let server = Fresh::start().await?;
    for (prefer, status, applied) in [
        ("respond-async", 202, "respond-async"),
        ("wait=0", 202, "respond-async"),
        ("wait=3", 201, "wait=3"),
        ("wait=100", 201, "wait=30"),
        ("handling=lenient, wait=7", 201, "wait=7"),
    ] {
        let path = format!("/kv/{}", prefer.replace([' ', ','], ""));
        let call = server.http.put(&path, "x").header("if-none-match", "*").header("prefer", prefer);
        let answer = call.send().await?;
        assert_eq!(
            (answer.status.as_u16(), answer.header("preference-applied")),
            (status, applied),
            "{prefer}"
        );
    }
    let answer = server.http.put("/kv/p", "x").header("prefer", "return=minimal").send().await?;
    assert_eq!(answer.status, 202);
    assert!(!answer.headers.contains_key("preference-applied"), "what is not understood is not applied");
    Ok(())
}

#[tokio::test]
async fn conditional_writes_wait_and_compare_strings() -> Result<()> {
    let server = Fresh::start().await?;
    let version = put(&server.http, "/kv/a", "1").await?;
    let write = |etag: &str| server.http.put("/kv/a", "2").header("if-match", etag).send();
    let foreign = format!("\"2-{}-{}\"", partition(&version), offset(&version));
    for wrong in ["\"1-0-999999\"", foreign.as_str(), "\"anything\""] {
        let answer = server.http.put("/kv/a", "2").header("if-match", wrong).send().await?;
        assert_problem(&answer, (412, "condition-failed"), "rejected");
        assert_eq!(answer.json()["current"], version);
    }
    let answer = write(&format!("\"{version}\"")).await?;
    assert_eq!(answer.status, 200);
    let second = answer.header("etag").to_owned();
    assert_problem(&write(&format!("\"{version}\"")).await?, (412, "condition-failed"), "rejected");
    assert_eq!(server.http.delete("/kv/a").header("if-match", &second).send().await?.status, 204);
    for method in ["put", "delete"] {
        let call = if method == "put" { server.http.put("/kv/a", "3") } else { server.http.delete("/kv/a") };
        let answer = call.header("if-match", "*").send().await?;
        assert_problem(&answer, (412, "condition-failed"), "rejected");
        assert_eq!(answer.json()["current"], json!(null), "the key is absent");
    }
    Ok(())
}

#[tokio::test]
async fn a_rejected_write_is_on_the_log_and_says_so_for_ever() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/a", "1").await?;
    let answer = server.http.put("/kv/a", "2").header("if-none-match", "*").send().await?;
    assert_problem(&answer, (412, "condition-failed"), "rejected");
    let known = server.http.get(&format!("/mutations/{}", answer.header("kv-position"))).send().await?;
    assert_eq!((known.status.as_u16(), &known.json()["status"]), (200, &json!("rejected")));
    assert_eq!(known.json()["problem"]["code"], "condition-failed");
    assert_eq!(value(&server.http, "/kv/a").await?.as_deref(), Some("1"));
    Ok(())
}

#[tokio::test]
async fn conditions_that_a_write_cannot_have_are_refused_before_the_log() -> Result<()> {
    let server = Fresh::start().await?;
    let before = put(&server.http, "/kv/a", "1").await?;
    for (name, text) in [
        ("if-match", "W/\"1-0-1\""),
        ("if-match", "\"1-0-1\", \"1-0-2\""),
        ("if-match", "1-0-1"),
        ("if-match", "\"\""),
        ("if-match", ""),
        ("if-none-match", "\"1-0-1\""),
        ("if-none-match", "*, *"),
        ("if-unmodified-since", "Tue, 24 Nov 2026 07:00:18 GMT"),
    ] {
        let answer = server.http.put("/kv/a", "2").header(name, text).send().await?;
        assert_problem(&answer, (400, "condition-invalid"), "refused");
        assert!(!answer.headers.contains_key("kv-position"));
    }
    let after = put(&server.http, "/kv/a", "3").await?;
    assert_eq!(offset(&after), offset(&before) + 1, "nothing was logged between");
    Ok(())
}

#[tokio::test]
async fn a_put_replaces_everything_and_the_same_bytes_are_a_new_version() -> Result<()> {
    let server = Fresh::start().await?;
    let call = server.http.put("/kv/a?ttl=1h", "x").header("content-type", "text/plain");
    assert_eq!(call.send().await?.status, 202);
    let before = server.http.get("/kv/a").send().await?;
    assert!(before.headers.contains_key("kv-expires-at"));
    put(&server.http, "/kv/a", "x").await?;
    let after = server.http.get("/kv/a").send().await?;
    assert_ne!(before.header("etag"), after.header("etag"));
    assert_eq!(after.header("content-type"), "application/octet-stream");
    assert!(!after.headers.contains_key("kv-expires-at"), "its TTL is replaced too");
    Ok(())
}

#[tokio::test]
async fn created_at_is_kept_by_puts_and_renewed_after_a_delete() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/a", "1").await?;
    let first = server.http.get("/meta/a").send().await?.json();
    put(&server.http, "/kv/a", "2").await?;
    let second = server.http.get("/meta/a").send().await?.json();
    assert_eq!(first["created_at"], second["created_at"]);
    assert!(second["updated_at"].as_str() >= first["updated_at"].as_str());
    server.http.delete("/kv/a").header("prefer", "wait=5").send().await?;
    put(&server.http, "/kv/a", "3").await?;
    let third = server.http.get("/meta/a").send().await?.json();
    assert_eq!(third["created_at"], third["updated_at"]);
    Ok(())
}

#[tokio::test]
async fn any_bytes_come_back_byte_for_byte() -> Result<()> {
    let server = Fresh::start().await?;
    let every: Vec<u8> = (0..=255).collect();
    let largest = every.repeat(512 * 1024 / 256);
    for (number, bytes) in [vec![], vec![0], b"{\"a\":1,\"a\":NaN".to_vec(), vec![0xff, 0xfe], every, largest]
        .into_iter()
        .enumerate()
    {
        let path = format!("/kv/{number}");
        let call = server.http.put(&path, bytes.clone()).header("content-type", "application/json");
        assert_eq!(call.send().await?.status, 202);
        let read = server.http.get(&path).send().await?;
        assert_eq!((read.status.as_u16(), read.header("content-type")), (200, "application/json"));
        assert_eq!(read.number("content-length")?, bytes.len() as u64);
        assert!(read.body == bytes, "value {number}");
    }
    Ok(())
}

#[tokio::test]
async fn tenants_keep_their_keys_and_mutations_apart() -> Result<()> {
    let server = Fresh::start().await?;
    let one =
        server.http.put("/kv/a", "1").header("kv-tenant", "one").header("prefer", "wait=5").send().await?;
    let absent = server.http.get("/kv/a").send().await?;
    assert_problem(&absent, (404, "not-found"), "none");
    let two =
        server.http.put("/kv/a", "2").header("kv-tenant", "two").header("if-none-match", "*").send().await?;
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (200, 201));
    for (tenant, expected) in [("one", "1"), ("two", "2")] {
        assert_eq!(server.http.get("/kv/a").header("kv-tenant", tenant).send().await?.text(), expected);
    }
    let named = format!("/mutations/{}", one.header("kv-position"));
    assert_eq!(server.http.get(&named).header("kv-tenant", "one").send().await?.status, 200);
    assert_problem(&server.http.get(&named).send().await?, (404, "position-unknown"), "none");
    put(&server.http, "/kv/d", "d").await?;
    assert_eq!(server.http.get("/kv/d").header("kv-tenant", "default").send().await?.text(), "d");
    Ok(())
}
