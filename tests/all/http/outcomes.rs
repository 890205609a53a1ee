//! `/mutations/{position}`: what became of a mutation.

use anyhow::Result;
use millpond_tests::server::Fresh;
use serde_json::json;

use super::{OWN, assert_problem, offset, partition, put};

#[tokio::test]
async fn every_way_that_a_mutation_ends_is_told() -> Result<()> {
    let server = Fresh::start().await?;
    let http = &server.http;
    let applied = put(http, "/kv/a", "1").await?;
    let told = http.get(&format!("/mutations/{applied}")).send().await?;
    assert_eq!(told.status, 200);
    assert_eq!(told.header("cache-control"), "no-cache");
    let mut json = told.json();
    assert!(json["time"].take().as_str().is_some_and(|time| time.ends_with('Z')));
    assert_eq!(json, json!({"position": applied, "status": "applied", "version": applied, "time": null}));
    let rejected = http.put("/kv/a", "2").header("if-none-match", "*").send().await?;
    let told = http.get(&format!("/mutations/{}", rejected.header("kv-position"))).send().await?.json();
    assert_eq!((&told["status"], &told["problem"]["outcome"]), (&json!("rejected"), &json!("rejected")));
    assert_eq!((&told["problem"]["status"], &told["problem"]["current"]), (&json!(412), &json!(applied)));
    let first = http.put("/kv/a", "3").header("idempotency-key", "k").send().await?;
    let repeat = http.put("/kv/a", "3").header("idempotency-key", "k").send().await?;
    assert_eq!(first.header("kv-position"), repeat.header("kv-position"));
    let duplicate = format!("1-{}-{}", partition(&applied), offset(first.header("kv-position")) + 1);
    let told = http.get(&format!("/mutations/{duplicate}")).send().await?.json();
    assert_eq!((&told["status"], &told["of"]), (&json!("duplicate"), &json!(first.header("kv-position"))));
    let no_op = http.delete("/ttl/a").send().await?;
    let told = http.get(&format!("/mutations/{}", no_op.header("kv-position"))).send().await?.json();
    assert_eq!((&told["changed"], &told["version"]), (&json!(false), &json!(first.header("kv-position"))));
    Ok(())
}

#[tokio::test]
async fn a_position_that_names_no_mutation_is_404_and_one_that_is_none_400() -> Result<()> {
    let server = Fresh::start().await?;
    let position = put(&server.http, "/kv/a", "1").await?;
    let next = format!("1-{}-{}", partition(&position), offset(&position) + 1);
    let genesis = format!("1-{}-0", partition(&position));
    for unknown in [next.as_str(), genesis.as_str(), "1-99-0", "2-0-1", "1-0-281474976710655"] {
        let answer = server.http.get(&format!("/mutations/{unknown}?wait=10s")).send().await?;
        assert_problem(&answer, (404, "position-unknown"), "none");
    }
    for bad in ["1-0", "x", "1-0-01", "1-0-281474976710656", "1-0-1-1", "0-0-0", "%00"] {
        let answer = server.http.get(&format!("/mutations/{bad}")).send().await?;
        assert_problem(&answer, (400, "position-invalid"), "none");
    }
    for wait in ["soon", "-1", "", "1.5s"] {
        let answer = server.http.get(&format!("/mutations/{position}?wait={wait}")).send().await?;
        assert_problem(&answer, (400, "wait-invalid"), "none");
    }
    let unknown = server.http.get(&format!("/mutations/{position}?waits=1")).send().await?;
    assert_problem(&unknown, (400, "unknown-field"), "none");
    Ok(())
}

#[tokio::test]
async fn a_wait_ends_as_soon_as_the_outcome_is_there() -> Result<()> {
    let server = Fresh::start().await?;
    for _ in 0..20 {
        let call = server.http.patch("/kv/n", OWN, r#"{"op":"increment"}"#).header("prefer", "respond-async");
        let accepted = call.send().await?;
        let told = server.http.get(&format!("{}?wait=1d", accepted.header("location"))).send().await?;
        assert_eq!((told.status.as_u16(), &told.json()["status"]), (200, &json!("applied")));
    }
    assert_eq!(super::value(&server.http, "/kv/n").await?.as_deref(), Some("20"));
    Ok(())
}
