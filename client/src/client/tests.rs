//! The client against a server that refuses, cuts and hangs.

use super::*;
use crate::{
    Consistency, IdempotencyKey, Status,
    test_server::{React, TestServer, problem, respond},
};

const ACCEPTED: &str = r#"{"position":"1-3-42","status":"accepted"}"#;

fn accepted() -> React {
    respond(202, &[("kv-position", "1-3-42")], ACCEPTED)
}

/// Gives the answers in turn, the last one for ever.
fn in_turn(answers: Vec<fn() -> React>) -> impl FnMut(&crate::test_server::Seen) -> React + Send + 'static {
    let mut n = 0;
    move |_| {
        n += 1;
        answers[(n - 1).min(answers.len() - 1)]()
    }
}

async fn put(server: &TestServer, options: &WriteOptions) -> Result<Written, Error> {
    server.client().put(b"a/b", "v".into(), "text/plain", options).await
}

#[tokio::test]
async fn a_put_is_repeated_with_the_key_it_had_until_its_outcome_is_known() {
    let server = TestServer::start(in_turn(vec![
        || React::Cut,
        || problem(504, "outcome-unknown", "unknown"),
        || problem(503, "log-unavailable", "not-accepted"),
        || problem(429, "quota", "refused"),
        accepted,
    ]))
    .await;
    let written = put(&server, &WriteOptions::default()).await.unwrap();
    assert_eq!((written.position.as_str(), written.status), ("1-3-42", Status::Accepted));
    let seen = server.seen();
    assert_eq!(seen.len(), 5);
    let key = seen[0].header("idempotency-key").unwrap();
    assert!(seen.iter().all(|request| request.header("idempotency-key") == Some(key)));
    assert!(seen.iter().all(|request| request.path == "/kv/a/b" && request.body == "v"));
}

#[tokio::test]
async fn without_a_key_an_unknown_outcome_is_told_and_not_repeated() {
    let options = WriteOptions { idempotency_key: IdempotencyKey::None, ..WriteOptions::default() };
    for react in [|| React::Cut, || problem(504, "outcome-unknown", "unknown"), || respond(503, &[], "")] {
        let server = TestServer::start(move |_| react()).await;
        assert!(matches!(put(&server, &options).await, Err(Error::Unknown { .. })));
        assert_eq!(server.seen().len(), 1);
    }
    let server =
        TestServer::start(in_turn(vec![|| problem(503, "log-backpressure", "not-accepted"), accepted])).await;
    put(&server, &options).await.unwrap();
    assert_eq!(server.seen().len(), 2, "not-accepted is certain");
}

#[tokio::test]
async fn the_wait_that_the_server_asks_for_is_kept_or_the_call_given_up() {
    let server = TestServer::start(|_| {
        let body = r#"{"code":"quota","outcome":"refused"}"#;
        respond(429, &[("retry-after", "3600")], body)
    })
    .await;
    let error = put(&server, &WriteOptions::default()).await.unwrap_err();
    let Error::Unavailable { retry_after, .. } = error else { panic!("{error}") };
    assert_eq!(retry_after, Some(Duration::from_hours(1)));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_an_unknown_outcome() {
    let server = TestServer::start(|_| React::Hang).await;
    let options =
        Options { answer_timeout: Duration::from_millis(20), retry: RetryPolicy::NEVER, ..server.options() };
    let client = Client::new(&options).unwrap();
    let write = WriteOptions::default();
    let error = client.put(b"k", "v".into(), "text/plain", &write).await.unwrap_err();
    assert_eq!(error.to_string(), "outcome unknown: no answer within the timeout");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = Options { retry: RetryPolicy::NEVER, ..Options::at(format!("http://{gone}")) };
    let client = Client::new(&options).unwrap();
    let error = client.get(b"k", &ReadOptions::default()).await.unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    assert!(error.to_string().contains("refused"), "the cause is told: {error}");
}

#[tokio::test]
async fn a_failed_condition_is_rejected_and_not_repeated() {
    let server = TestServer::start(|_| problem(412, "version-mismatch", "rejected")).await;
    let options = WriteOptions { if_match: Some("\"1-0-1\"".into()), ..WriteOptions::default() };
    let error = put(&server, &options).await.unwrap_err();
    assert_eq!(error.problem().unwrap().code, "version-mismatch");
    assert!(matches!(error, Error::Rejected(_)));
    let seen = server.seen();
    assert_eq!(
        (seen.len(), seen[0].header("if-match"), seen[0].header("prefer")),
        (1, Some("\"1-0-1\""), None)
    );
}

#[tokio::test]
async fn a_waited_put_tells_version_and_repetition() {
    let server = TestServer::start(|_| {
        let headers = [("etag", "\"1-3-42\""), ("kv-position", "1-3-42"), ("kv-duplicate", "true")];
        respond(201, &headers, r#"{"position":"1-3-42","status":"applied"}"#)
    })
    .await;
    let options = WriteOptions {
        if_absent: true,
        ttl: Some("15m".into()),
        wait: Wait::Applied(Duration::from_secs(2)),
        ..WriteOptions::default()
    };
    let written = put(&server, &options).await.unwrap();
    assert_eq!(written.etag.as_deref(), Some("\"1-3-42\""));
    assert!(written.created && written.duplicate && written.status == Status::Applied);
    let seen = server.seen();
    assert_eq!(seen[0].header("if-none-match"), Some("*"));
    assert_eq!((seen[0].header("kv-ttl"), seen[0].header("prefer")), (Some("15m"), Some("wait=2")));
}

#[tokio::test]
async fn reads_tell_value_absence_and_no_change_apart() {
    let server = TestServer::start(|seen| match seen.path.as_str() {
        "/kv/a?consistency=strong" => {
            let headers = [
                ("etag", "\"1-0-5\""),
                ("kv-position", "1-0-9"),
                ("content-type", "text/x"),
                ("kv-staleness-ms", "7"),
            ];
            respond(200, &headers, &b"\xff\0"[..])
        }
        "/kv/same" => respond(304, &[("etag", "\"1-0-5\"")], ""),
        "/kv/gone" => respond(404, &[("kv-position", "1-0-9")], r#"{"code":"not-found"}"#),
        _ => respond(404, &[], "<html>"),
    })
    .await;
    let client = server.client();
    let strong = ReadOptions { consistency: Some(Consistency::Strong), ..ReadOptions::default() };
    let Fetched::Value(value) = client.get(b"a", &strong).await.unwrap() else { panic!("no value") };
    assert_eq!((&value.bytes[..], value.content_type.as_str()), (&b"\xff\0"[..], "text/x"));
    assert_eq!((value.etag.as_str(), value.staleness_ms), ("\"1-0-5\"", Some(7)));
    let known = ReadOptions { if_none_match: Some("\"1-0-5\"".into()), ..ReadOptions::default() };
    assert_eq!(client.get(b"same", &known).await.unwrap(), Fetched::NotModified);
    let token = ReadOptions {
        min_position: vec![Position::new("1-0-1").unwrap(), Position::new("1-1-2").unwrap()],
        ..ReadOptions::default()
    };
    assert!(matches!(client.get(b"gone", &token).await.unwrap(), Fetched::Absent { position: Some(_) }));
    assert_eq!(server.seen()[2].header("kv-min-position"), Some("1-0-1,1-1-2"));
    assert!(matches!(client.get(b"other", &token).await, Err(Error::Protocol(_))), "some other server's 404");
}

#[tokio::test]
async fn a_ttl_is_read_set_and_taken_away() {
    let server = TestServer::start(|seen| match seen.method {
        Method::GET => respond(200, &[], r#"{"ttl_ms":1500,"expires_at":"2030-01-01T00:00:00.000Z"}"#),
        Method::PUT => respond(
            200,
            &[],
            r#"{"position":"1-0-7","status":"applied","changed":true,"expires_at":"2030-01-01T00:00:00.000Z"}"#,
        ),
        _ => problem(404, "not-found", "rejected"),
    })
    .await;
    let client = server.client();
    let ttl = client.ttl(b"a", &ReadOptions::default()).await.unwrap().unwrap();
    assert_eq!(ttl.ttl_ms, Some(1500));
    let write = WriteOptions::default();
    let after = Expires::After("15m".into());
    let change = client.set_ttl(b"a", &after, TtlMode::OnlyLonger, &write).await.unwrap().unwrap();
    assert_eq!((change.position.as_str(), change.changed), ("1-0-7", Some(true)));
    assert_eq!(server.seen()[1].body, r#"{"ttl":"15m","mode":"only_longer"}"#);
    assert_eq!(server.seen()[1].header("prefer"), None, "it waits by default");
    assert_eq!(client.set_ttl(b"a", &Expires::Never, TtlMode::Set, &write).await.unwrap(), None);
}

#[tokio::test]
async fn a_batch_is_repeated_only_when_its_lines_have_keys() {
    let answers = vec![(|| React::Cut) as fn() -> React, || {
        let body = r#"{"accepted":1,"failed":1,"positions":["1-0-3"],
            "errors":[{"line":2,"status":400,"code":"value-invalid"}]}"#;
        respond(207, &[], body)
    }];
    let lines = Bytes::from_static(b"{}\n{}\n");
    let server = TestServer::start(in_turn(answers.clone())).await;
    let keyed = BatchOptions { idempotency_key: Some("b1".into()), ..BatchOptions::default() };
    let answer = server.client().batch(lines.clone(), &keyed).await.unwrap();
    assert_eq!((answer.accepted, answer.errors[0].code.as_str()), (1, "value-invalid"));
    let seen = server.seen();
    assert_eq!((seen.len(), seen[1].header("idempotency-key")), (2, Some("b1")));
    assert_eq!(seen[1].header("content-type"), Some("application/x-ndjson"));

    let server = TestServer::start(in_turn(answers)).await;
    let answer = server.client().batch(lines, &BatchOptions::default()).await;
    assert!(matches!(answer, Err(Error::Unknown { .. })));
}

#[tokio::test]
async fn a_tenant_is_named_in_every_call() {
    let server = TestServer::start(|_| accepted()).await;
    let options = Options { tenant: Some("acme".into()), ..server.options() };
    Client::new(&options).unwrap().delete(b"k", &WriteOptions::default()).await.unwrap();
    assert_eq!(server.seen()[0].header("kv-tenant"), Some("acme"));
}

#[tokio::test]
async fn a_batch_says_in_which_form_it_is_and_reads_a_result_per_line() {
    let server = TestServer::start(|_| {
        let body = r#"{"accepted":1,"failed":1,"positions":["1-0-7"],
            "results":[{"line":1,"id":"x","status":200,"position":"1-0-7"},{"line":2,"status":412,"code":"condition-failed"}],
            "errors":[{"line":2,"status":412,"code":"condition-failed","position":"1-1-3"}]}"#;
        respond(207, &[], body)
    })
    .await;
    let mut body = Vec::new();
    crate::Operation::put("a", "1", "text/plain").write(crate::Encoding::Protobuf, &mut body);
    let options = BatchOptions {
        encoding: crate::Encoding::Protobuf,
        wait: Wait::Applied(Duration::from_secs(3)),
        ..BatchOptions::default()
    };
    let answer = server.client().batch(body.clone().into(), &options).await.unwrap();
    assert_eq!(answer.results.len(), 2);
    assert_eq!(answer.results[0].position, Some(Position::new("1-0-7").unwrap()));
    assert_eq!((answer.results[1].status, answer.results[1].code.as_str()), (412, "condition-failed"));
    assert_eq!(answer.errors[0].position, Some(Position::new("1-1-3").unwrap()));
    let seen = &server.seen()[0];
    assert_eq!(seen.header("content-type"), Some("application/x-protobuf"));
    assert_eq!((seen.header("prefer"), &seen.body[..]), (Some("wait=3"), &body[..]));
}

#[tokio::test]
async fn a_mutation_is_waited_for_and_tells_what_became_of_it() {
    let server = TestServer::start(|seen| match seen.path.as_str() {
        "/mutations/1-0-7?wait=1500ms" => {
            respond(200, &[], r#"{"position":"1-0-7","status":"duplicate","of":"1-0-3","time":"t"}"#)
        }
        _ => problem(404, "position-unknown", "none"),
    })
    .await;
    let client = server.client();
    let at = |text: &str| Position::new(text).unwrap();
    let found = client.mutation(&at("1-0-7"), Duration::from_millis(1500)).await.unwrap().unwrap();
    assert_eq!((found.status, found.of), (Status::Duplicate, Some(at("1-0-3"))));
    assert!(client.mutation(&at("1-0-8"), Duration::ZERO).await.unwrap().is_none());
}

#[tokio::test]
async fn meta_is_what_is_known_of_a_key() {
    let server = TestServer::start(|seen| match seen.path.as_str() {
        "/meta/a" => respond(
            200,
            &[],
            r#"{"size":3,"content_type":"x/y","version":"1-2-3","created_at":"c","updated_at":"u",
                "expires_at":null,"partition":2,"shard":"shard-0"}"#,
        ),
        _ => problem(404, "not-found", "none"),
    })
    .await;
    let client = server.client();
    let meta = client.meta(b"a", &ReadOptions::default()).await.unwrap().unwrap();
    assert_eq!((meta.size, meta.partition, meta.shard.as_deref()), (3, Some(2), Some("shard-0")));
    assert_eq!(client.meta(b"b", &ReadOptions::default()).await.unwrap(), None);
}
