//! Tokens in front of the api and of `/admin`, on loopback and beyond.

use std::{net::SocketAddr, sync::Arc};

use millpond_api::{Api, Scope, Shown, Tenants, Token, TokenHash, Tokens};
use millpond_schemas::Tenant;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    pond::{Pond, plainly, until_ready},
    wire::{Answer, Wire, request},
};

/// An api that asks for tokens.
struct Guarded {
    pond: Pond,
    api: Api,
    address: SocketAddr,
    /// Its ops listener on loopback.
    ops: SocketAddr,
    /// And one beyond.
    beyond: SocketAddr,
    tokens: watch::Sender<Arc<Tokens>>,
}

fn token(secret: &str, tenant: &'static str, scopes: &[Scope]) -> Token {
    Token {
        hash: TokenHash::of(secret.as_bytes()),
        tenants: Tenants::These(vec![Tenant::new(tenant).unwrap()]),
        scopes: scopes.to_vec(),
        name: None,
        expires_at: None,
    }
}

async fn listener(address: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, ([127, 0, 0, 1], port).into())
}

async fn guarded() -> Guarded {
    use Scope::{Admin, Read, Write};
    let known = [
        token("a", "a", &[Read, Write]),
        token("b", "b", &[Read, Write]),
        token("reader", "a", &[Read]),
        token("operator", "a", &[Admin]),
    ];
    let (tokens, receiver) = watch::channel(Arc::new(Tokens::new(known).ok().unwrap()));
    let pond = Pond::start().await;
    let mut registry = Registry::default();
    let api = pond.guarded(receiver, &mut registry).await;
    let shown = Shown::new("api", Vec::new(), registry);
    let (front, address) = listener("127.0.0.1").await;
    let (loopback, ops) = listener("127.0.0.1").await;
    let (everywhere, beyond) = listener("0.0.0.0").await;
    let serving = api.clone();
    tokio::spawn(async move { serving.serve(front, CancellationToken::new()).await });
    for ops in [loopback, everywhere] {
        let (serving, shown) = (api.clone(), shown.clone());
        tokio::spawn(async move { serving.serve_ops(ops, shown, CancellationToken::new()).await });
    }
    until_ready(ops).await;
    Guarded { pond, api, address, ops, beyond, tokens }
}

impl Guarded {
    async fn call(&self, head: &str, token: &str, headers: &[(&str, &str)]) -> Answer {
        self.call_at(self.address, head, token, headers).await
    }

    async fn call_at(&self, at: SocketAddr, head: &str, token: &str, headers: &[(&str, &str)]) -> Answer {
        let bearer = format!("Bearer {token}");
        let mut all = headers.to_vec();
        if !token.is_empty() {
            all.push(("authorization", &bearer));
        }
        Wire::open(at).await.call(head, &all, b"x").await
    }
}

#[tokio::test]
async fn every_route_asks_for_a_token_but_those_of_no_tenant() {
    let guarded = guarded().await;
    for head in [
        "GET /kv/a",
        "HEAD /kv/a",
        "PUT /kv/a",
        "DELETE /kv/a",
        "PATCH /kv/a",
        "GET /meta/a",
        "GET /ttl/a",
        "PUT /ttl/a",
        "POST /batch",
        "POST /kv/query",
        "GET /kv?prefix=a",
        "QUERY /kv",
        "GET /mutations/1-0-0",
        "GET /kv/",
        "GET /nothing",
        "GET /",
        "POST /version",
        "BREW /kv/a",
    ] {
        let answer = guarded.call(head, "", &[]).await;
        assert_eq!(answer.status, 401, "{head}: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"millpond\"", "{head}");
        let outcome = ["GET", "HEAD"].iter().any(|read| head.starts_with(read));
        if !head.starts_with("HEAD") && (outcome || head.starts_with("PUT")) {
            assert_eq!(answer.json()["outcome"], if outcome { "none" } else { "refused" }, "{head}");
        }
    }
    assert_eq!(guarded.call("GET /version", "", &[]).await.status, 200);
    assert_eq!(guarded.call("GET /version", "wrong", &[]).await.status, 200);
    assert_eq!(guarded.pond.log.bounds(crate::pond::P0).await.unwrap().end.0, 0, "nothing is on the log");
}

#[tokio::test]
async fn a_body_is_not_asked_for_before_the_token_is_known() {
    let guarded = guarded().await;
    let mut wire = Wire::open(guarded.address).await;
    wire.send("PUT /kv/a HTTP/1.1\r\nhost: pond\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n").await;
    let answer = wire.receive().await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (401, "unauthenticated"));
    assert_eq!(wire.rest().await, "", "and the connection is closed");
    let mut wire = Wire::open(guarded.address).await;
    let head = "PUT /kv/a HTTP/1.1\r\nhost: pond\r\nauthorization: Bearer a\r\nexpect: 100-continue\r\n";
    wire.send(format!("{head}content-length: 1\r\n\r\n")).await;
    assert_eq!(wire.receive().await.unwrap().status, 100, "with one it is");
}

#[tokio::test]
async fn a_tenant_sees_its_own_keys_and_nothing_tells_it_of_others() {
    let guarded = guarded().await;
    let put = guarded.call("PUT /kv/k", "a", &[]).await;
    assert_eq!(put.status, 202);
    guarded.pond.apply(&mut plainly).await;
    assert_eq!(guarded.call("GET /kv/k", "a", &[]).await.body, b"x");
    assert_eq!(guarded.call("GET /kv/k", "a", &[("kv-tenant", "a")]).await.status, 200);
    assert_eq!(guarded.call("GET /kv/k", "b", &[]).await.code(), "not-found");
    let named = [("kv-tenant", "a"), ("x-request-id", "same")];
    let existing = guarded.call("GET /kv/k", "b", &named).await;
    let missing = guarded.call("GET /kv/none", "b", &named).await;
    assert_eq!((existing.status, existing.code().as_str()), (404, "tenant-unknown"));
    assert_eq!(existing.body, missing.body);
    let names = |answer: &Answer| answer.headers.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&existing), names(&missing));
    for head in ["PUT /kv/k", "DELETE /kv/k", "GET /meta/k", "GET /ttl/k", "POST /batch"] {
        assert_eq!(guarded.call(head, "b", &named).await.status, 404, "{head}");
    }
    let place = format!("GET {}", put.header("location"));
    assert_eq!(guarded.call(&place, "reader", &[]).await.status, 200);
    assert_eq!(guarded.call(&place, "b", &[]).await.code(), "position-unknown");
    assert_eq!(guarded.pond.log.bounds(crate::pond::P0).await.unwrap().end.0, 1, "one put is on the log");
}

#[tokio::test]
async fn a_token_that_may_only_read_changes_nothing() {
    let guarded = guarded().await;
    for head in ["PUT /kv/a", "DELETE /kv/a", "PATCH /kv/a", "PUT /ttl/a", "DELETE /ttl/a", "POST /batch"] {
        let answer = guarded.call(head, "reader", &[]).await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"), "{head}");
        assert_eq!(answer.json()["outcome"], "refused");
        assert!(answer.header("www-authenticate").contains("scope=\"write\""));
    }
    assert_eq!(guarded.call("GET /kv/a", "reader", &[]).await.status, 404);
    let query = guarded.call("POST /kv/query", "reader", &[]).await;
    assert!(![401, 403].contains(&query.status), "a query is a read: {query:?}");
    assert_eq!(guarded.call("GET /kv/a", "operator", &[]).await.status, 403, "nor does admin read");
}

#[tokio::test]
async fn a_token_that_is_taken_away_ends_on_a_connection_that_is_open() {
    let guarded = guarded().await;
    let mut wire = Wire::open(guarded.address).await;
    let get = request("GET /kv/a", &[("authorization", "Bearer a")], b"");
    wire.send(&get).await;
    assert_eq!(wire.receive().await.unwrap().status, 404);
    guarded.tokens.send_replace(Arc::default());
    wire.send(&get).await;
    assert_eq!(wire.receive().await.unwrap().status, 401);
}

#[tokio::test]
async fn admin_is_for_this_machine_and_for_tokens_that_say_so() {
    let guarded = guarded().await;
    let lag = "GET /admin/lag";
    for (at, token, status) in [
        (guarded.ops, "", 200),
        (guarded.ops, "operator", 200),
        (guarded.ops, "a", 403),
        (guarded.ops, "wrong", 401),
        (guarded.beyond, "", 401),
        (guarded.beyond, "operator", 200),
        (guarded.beyond, "a", 403),
        (guarded.beyond, "wrong", 401),
    ] {
        let answer = guarded.call_at(at, lag, token, &[]).await;
        assert_eq!(answer.status, status, "{token} at {at}: {answer:?}");
    }
    for probe in ["GET /livez", "GET /readyz", "GET /metrics"] {
        assert_eq!(guarded.call_at(guarded.beyond, probe, "", &[]).await.status, 200, "{probe}");
    }
    let metrics = guarded.call_at(guarded.beyond, "GET /metrics", "", &[]).await;
    let metrics = String::from_utf8(metrics.body).unwrap();
    for line in [
        "millpond_api_unauthenticated_total{reason=\"missing\"} 1\n",
        "millpond_api_unauthenticated_total{reason=\"unknown\"} 2\n",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    guarded.api.stop().await;
}
