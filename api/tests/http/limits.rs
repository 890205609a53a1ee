//! Bad input on the wire, and clients that misbehave.

use std::time::Duration;

use millpond_api::Config;

use crate::{
    pond::{Pond, plainly},
    wire::{Wire, request},
};

#[tokio::test]
async fn slow_heads_are_closed() {
    let config = Config { head_timeout: Duration::from_millis(100), ..Config::default() };
    let pond = Pond::start_with(config, Vec::new()).await;
    let mut wire = Wire::open(pond.address).await;
    wire.send("GET /version HTT").await;
    assert_eq!(wire.rest().await, "");
    pond.metric_is("millpond_api_connections", 0.0).await;
}

#[tokio::test]
async fn idle_connections_are_closed_later_than_slow_heads() {
    let config = Config {
        head_timeout: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(400),
        ..Config::default()
    };
    let pond = Pond::start_with(config, Vec::new()).await;
    let mut wire = Wire::open(pond.address).await;
    assert_eq!(wire.call("GET /version", &[], b"").await.status, 200);
    let started = std::time::Instant::now();
    assert_eq!(wire.rest().await, "");
    assert!(started.elapsed() >= Duration::from_millis(350), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_length_with_chunks_never_makes_a_second_request() {
    let pond = Pond::start().await;
    for (first, second) in [
        ("content-length: 4", "transfer-encoding: chunked"),
        ("transfer-encoding: chunked", "content-length: 4"),
    ] {
        let mut wire = Wire::open(pond.address).await;
        let smuggled = "GET /version HTTP/1.1\r\nhost: pond\r\n\r\n";
        wire.send(format!(
            "PUT /kv/a HTTP/1.1\r\nhost: pond\r\n{first}\r\n{second}\r\n\r\n0\r\n\r\n{smuggled}"
        ))
        .await;
        let answers = wire.rest().await;
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
        assert!(!answers.contains("page_rows_max"), "{answers}");
    }
}

#[tokio::test]
async fn what_follows_a_body_is_a_bad_next_request_and_the_first_one_stands() {
    let pond = Pond::start().await;
    let mut wire = Wire::open(pond.address).await;
    wire.send("PUT /kv/a HTTP/1.1\r\nhost: pond\r\ncontent-length: 3\r\n\r\nabc\0\0\0\r\n\r\n").await;
    assert_eq!(wire.receive().await.unwrap().status, 202);
    assert_eq!(wire.receive().await.unwrap().status, 400);
    assert!(wire.receive().await.is_none());
    assert_eq!(pond.end().await, 1);
}

#[tokio::test]
async fn a_body_that_is_shorter_than_its_length_is_not_logged() {
    let pond = Pond::start().await;
    let mut wire = Wire::open(pond.address).await;
    wire.send("PUT /kv/a HTTP/1.1\r\nhost: pond\r\ncontent-length: 10\r\n\r\nabc").await;
    wire.finish().await;
    wire.rest().await;
    pond.metric_is("millpond_api_connections", 0.0).await;
    assert_eq!(pond.end().await, 0);
}

#[tokio::test]
async fn long_uris_and_many_headers_are_refused() {
    let pond = Pond::start().await;
    for (uri_bytes, told) in [(9 * 1024, true), (64 * 1024, false)] {
        let mut wire = Wire::open(pond.address).await;
        wire.send(request(&format!("GET /kv/{}", "a".repeat(uri_bytes)), &[], b"")).await;
        let answer = wire.receive().await.unwrap();
        assert_eq!(answer.status, 414);
        // Above what can be read as a URI there is no body.
        assert!(!told || answer.code() == "uri-too-long");
    }
    let mut wire = Wire::open(pond.address).await;
    let many: Vec<String> = (0..500).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "1")).collect();
    wire.send(request("GET /version", &many, b"")).await;
    assert_eq!(wire.receive().await.unwrap().status, 431);
    let long = "a".repeat(40 * 1024);
    let answer = pond.call("GET /version", &[("x-long", &long)], b"").await;
    assert_eq!((answer.status, answer.code().as_str()), (431, "headers-too-large"));
}

#[tokio::test]
async fn a_value_over_the_limit_is_refused_with_it() {
    let pond = Pond::start().await;
    let limit = 512 * 1024;
    assert_eq!(pond.call("PUT /kv/a", &[], &vec![0; limit]).await.status, 202);
    let mut wire = Wire::open(pond.address).await;
    // Nothing of the body is sent: its length is enough.
    wire.send(format!("PUT /kv/a HTTP/1.1\r\nhost: pond\r\ncontent-length: {}\r\n\r\n", limit + 1)).await;
    let answer = wire.receive().await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (413, "value-too-large"));
    assert_eq!(answer.json()["limit"], limit);
    assert_eq!(answer.json()["outcome"], "refused");
    let mut wire = Wire::open(pond.address).await;
    wire.send("PUT /kv/a HTTP/1.1\r\nhost: pond\r\ntransfer-encoding: chunked\r\n\r\n").await;
    wire.send(format!("{:x}\r\n", limit + 1)).await;
    wire.send(vec![b'x'; limit + 1]).await;
    wire.send("\r\n0\r\n\r\n").await;
    let answer = wire.receive().await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (413, "value-too-large"));
    assert_eq!(pond.end().await, 1);
}

#[tokio::test]
async fn a_client_that_asks_first_sends_no_body_in_vain() {
    let pond = Pond::start().await;
    let head = |length: usize| {
        format!(
            "PUT /kv/a HTTP/1.1\r\nhost: pond\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut wire = Wire::open(pond.address).await;
    wire.send(head(512 * 1024 + 1)).await;
    assert_eq!(wire.receive().await.unwrap().status, 413);
    let mut wire = Wire::open(pond.address).await;
    wire.send(head(1)).await;
    assert_eq!(wire.receive().await.unwrap().status, 100);
    wire.send("x").await;
    assert_eq!(wire.receive().await.unwrap().status, 202);
}

#[tokio::test]
async fn a_client_that_was_refused_in_the_middle_can_read_why() {
    let pond = Pond::start().await;
    for _ in 0..20 {
        let mut wire = Wire::open(pond.address).await;
        wire.send(request("PUT /kv/a", &[], &vec![0; 900 * 1024])).await;
        assert_eq!(wire.receive().await.unwrap().status, 413);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let pond = Pond::start().await;
    let mut wire = Wire::open(pond.address).await;
    let mut all = Vec::new();
    for number in 0..50 {
        all.extend(request("PUT /kv/a", &[("x-request-id", &number.to_string())], b"x"));
    }
    wire.send(all).await;
    for number in 0..50 {
        let answer = wire.receive().await.unwrap();
        assert_eq!((answer.status, answer.header("x-request-id")), (202, number.to_string().as_str()));
        assert_eq!(answer.header("kv-position"), format!("1-0-{number}"));
    }
}

#[tokio::test]
async fn bodies_in_an_unknown_encoding_are_refused() {
    let pond = Pond::start().await;
    let answer = pond.call("PUT /kv/a", &[("content-encoding", "br")], b"x").await;
    assert_eq!((answer.status, answer.code().as_str()), (415, "encoding-unsupported"));
    assert_eq!(pond.call("PUT /kv/a", &[("content-encoding", "identity")], b"x").await.status, 202);
}

#[tokio::test]
async fn keys_reach_the_log_as_the_bytes_that_the_path_spells() {
    let pond = Pond::start().await;
    let spelled: &[(&str, &[u8])] = &[
        ("a%2Fb", b"a/b"),
        ("..", b".."),
        ("%2e%2e%2f", b"../"),
        ("%252e", b"%2e"),
        ("%00", b"\0"),
        ("%ff%fe", b"\xff\xfe"),
        ("/", b"/"),
        ("a//b/", b"a//b/"),
        ("./a/../b", b"./a/../b"),
        ("a+b", b"a+b"),
        ("query", b"query"),
        ("%C3%A9", "\u{e9}".as_bytes()),
        ("e%CC%81", "e\u{301}".as_bytes()),
        ("a;b=c:d@e", b"a;b=c:d@e"),
    ];
    for (path, _) in spelled {
        assert_eq!(pond.call(&format!("PUT /kv/{path}"), &[], b"x").await.status, 202, "{path}");
    }
    let expected: Vec<&[u8]> = spelled.iter().map(|(_, key)| *key).collect();
    assert_eq!(pond.keys().await, expected);
    pond.apply(&mut plainly).await;
    for (path, _) in spelled {
        let answer = pond.call(&format!("GET /kv/{path}"), &[], b"").await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"x"[..]), "{path}");
    }
}

#[tokio::test]
async fn broken_empty_and_long_keys_are_refused() {
    let pond = Pond::start().await;
    let long = format!("/kv/{}", "a".repeat(1025));
    for root in ["/kv/", "/meta/", "/ttl/"] {
        let answer = pond.call(&format!("GET {root}"), &[], b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "key-invalid"), "{root}");
    }
    for path in ["/kv/%", "/kv/%zz", "/kv/a%2", &long] {
        let answer = pond.call(&format!("PUT {path}"), &[], b"x").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "key-invalid"), "{path}");
        assert_eq!(answer.json()["outcome"], "refused");
    }
    assert_eq!(pond.end().await, 0);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let pond = Pond::start().await;
    let answer = pond.call("PUT /nothing/here", &[], b"").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "route-unknown"));
    assert_eq!(answer.json()["outcome"], "none");
    assert_eq!(answer.json()["request_id"], answer.header("x-request-id"));
    for method in ["TRACE", "POST", "BREW"] {
        let answer = pond.call(&format!("{method} /kv/a"), &[], b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "method-not-allowed"), "{method}");
        assert_eq!(answer.header("allow"), "GET,HEAD,PUT,DELETE,PATCH");
    }
    let answer = pond.call("PUT /version", &[], b"").await;
    assert_eq!((answer.status, answer.header("allow")), (405, "GET,HEAD"));
    let mut wire = Wire::open(pond.address).await;
    let answer = wire.call("HEAD /nothing", &[], b"").await;
    assert_eq!(answer.status, 404);
    assert_eq!(wire.call("GET /version", &[], b"").await.status, 200, "a HEAD has no body");
}

#[tokio::test]
async fn unknown_parameters_are_refused() {
    let pond = Pond::start().await;
    for head in [
        "PUT /kv/a?tll=5",
        "GET /kv/a?ttl=5",
        "DELETE /kv/a?x",
        "GET /mutations/1-0-0?waits=1",
        "GET /version?a",
    ] {
        let answer = pond.call(head, &[], b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "unknown-field"), "{head}");
    }
}

#[tokio::test]
async fn no_byte_of_a_user_comes_back_in_a_problem() {
    let pond = Pond::start().await;
    let mark = "LEAKED";
    let tenant = [("kv-tenant", "LEAKED!")];
    for (head, headers, body) in [
        ("PUT /kv/LEAKED%", &[][..], ""),
        ("PUT /kv/a?LEAKED=1", &[], ""),
        ("PUT /kv/a?ttl=LEAKED", &[], ""),
        ("GET /kv/a?consistency=LEAKED", &[], ""),
        ("GET /kv/LEAKED", &[], ""),
        ("GET /LEAKED", &[], ""),
        ("GET /mutations/LEAKED", &[], ""),
        ("GET /kv/a", &tenant, ""),
        ("PUT /kv/a", &[("if-match", "LEAKED")], ""),
        ("PUT /kv/a", &[("kv-expires-at", "LEAKED")], ""),
        ("PUT /kv/a", &[("idempotency-key", "LEAKED\u{e9}")], ""),
        ("PATCH /kv/a", &[("content-type", "LEAKED")], ""),
        ("PATCH /kv/a", &[("content-type", "application/merge-patch+json")], "LEAKED"),
        ("PUT /ttl/a", &[], r#"{"ttl":"LEAKED"}"#),
    ] {
        let answer = pond.call(head, headers, body.as_bytes()).await;
        assert!(answer.status >= 400, "{head}");
        let text = String::from_utf8(answer.body.clone()).unwrap();
        assert!(!text.contains(mark), "{head}: {text}");
        assert!(!answer.headers.values().any(|value| value.contains(mark)), "{head}");
    }
}

#[tokio::test]
async fn connections_over_the_cap_wait_for_their_turn() {
    let config = Config { connections_max: 1, ..Config::default() };
    let pond = Pond::start_with(config, Vec::new()).await;
    let mut first = Wire::open(pond.address).await;
    assert_eq!(first.call("GET /version", &[], b"").await.status, 200);
    let mut second = Wire::open(pond.address).await;
    second.send(request("GET /version", &[], b"")).await;
    assert_eq!(first.call("GET /version", &[], b"").await.status, 200);
    drop(first);
    assert_eq!(second.receive().await.unwrap().status, 200);
}

#[tokio::test]
async fn the_last_answer_on_a_connection_says_that_it_is() {
    let pond = Pond::start().await;
    let head = "PUT /kv/a HTTP/1.1\r\nhost: pond\r\nif-match: no\r\ncontent-length: 3\r\n";
    for held_back in ["", "expect: 100-continue\r\n"] {
        let mut wire = Wire::open(pond.address).await;
        wire.send(format!("{head}{held_back}\r\n")).await;
        let answer = wire.receive().await.expect("it is refused before its body");
        assert_eq!((answer.status, answer.header("connection")), (400, "close"));
        assert_eq!(wire.rest().await, "");
    }
    // All of it came: the next call follows.
    let mut wire = Wire::open(pond.address).await;
    wire.send(format!("{head}\r\nabc")).await;
    let answer = wire.receive().await.expect("it is refused");
    assert_eq!((answer.status, answer.headers.get("connection")), (400, None));
    assert_eq!(wire.call("GET /version", &[], b"").await.status, 200);
    assert_eq!(pond.end().await, 0);
}
