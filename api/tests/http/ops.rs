//! Probes, metrics and lag.

use std::sync::Arc;

use millpond_api::{Check, Checks, Config, Health, Shown};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    pond::{Pond, plainly},
    wire::Wire,
};

async fn get(pond: &Pond, path: &str) -> (u16, String) {
    let answer = Wire::open(pond.ops).await.call(&format!("GET {path}"), &[], b"").await;
    (answer.status, String::from_utf8(answer.body).unwrap())
}

#[tokio::test]
async fn readiness_lists_its_checks_and_a_halted_partition_leaves_it_ready() {
    let halted: Checks = Arc::new(|| {
        vec![Check { name: "partition-0".into(), health: Health::Degraded, detail: "log-gap".into() }]
    });
    let pond = Pond::start_with(Config::default(), vec![halted]).await;
    assert_eq!(get(&pond, "/livez").await, (200, "ok\n".into()));
    assert_eq!(get(&pond, "/readyz").await, (200, "ok\n".into()));
    let verbose = "[+]serving ok\n[+]log ok\n[+]clock ok\n[+]outcomes ok\n[+]backlog ok\n[~]partition-0 degraded: log-gap\nok\n";
    assert_eq!(get(&pond, "/readyz?verbose").await, (200, verbose.into()));
    assert_eq!(get(&pond, "/readyz?loud").await.0, 400);
    assert_eq!(get(&pond, "/nothing").await.0, 404);
}

#[tokio::test]
async fn readiness_does_not_depend_on_a_shard() {
    let pond = Pond::start().await;
    pond.shard.close().await;
    assert_eq!(get(&pond, "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_server_that_shuts_down_is_alive_and_not_ready() {
    let mut pond = Pond::start().await;
    pond.shutdown.cancel();
    pond.served().await.unwrap();
    assert_eq!(get(&pond, "/livez").await.0, 200);
    let (status, text) = get(&pond, "/readyz").await;
    assert_eq!(status, 503);
    assert!(text.contains("[-]serving failed"), "{text}");
}

#[tokio::test]
async fn lag_counts_records_and_seconds() {
    let pond = Pond::start().await;
    pond.call("PUT /kv/a", &[], b"x").await;
    pond.apply(&mut plainly).await;
    pond.call("PUT /kv/a", &[], b"x").await;
    pond.call("PUT /kv/a", &[], b"x").await;
    let mut lag: serde_json::Value = serde_json::from_str(&get(&pond, "/admin/lag").await.1).unwrap();
    let seconds = lag["partitions"][0]["lag_seconds"].take();
    assert!((0.0..20.0).contains(&seconds.as_f64().unwrap()), "{seconds}");
    let expected = json!({
        "partition": 0, "shard": "s0", "log_start": 0, "log_end": 3, "applied": 0, "lag_records": 2,
        "lag_seconds": null,
    });
    assert_eq!(lag, json!({"partitions": [expected]}));
}

#[tokio::test]
async fn admin_is_not_served_beyond_this_machine() {
    let pond = Pond::start().await;
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = pond.api.serve_ops(
        listener,
        Shown::new("api", Vec::new(), Registry::default()),
        CancellationToken::new(),
    );
    let calls = async {
        let mut wire = Wire::open(([127, 0, 0, 1], port).into()).await;
        let answer = wire.call("GET /admin/lag", &[], b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"));
        assert_eq!(wire.call("GET /readyz", &[], b"").await.status, 200);
        assert_eq!(wire.call("GET /metrics", &[], b"").await.status, 200);
    };
    tokio::select! {
        served = serving => panic!("it serves on: {served:?}"),
        () = calls => {}
    }
}

#[tokio::test]
async fn calls_and_records_are_counted() {
    let pond = Pond::start().await;
    pond.call("PUT /kv/a", &[], b"x").await;
    pond.call("PUT /kv/%", &[], b"x").await;
    let requests = |method, route, status| {
        format!(r#"millpond_api_requests_total{{method="{method}",route="{route}",status="{status}"}}"#)
    };
    assert!((pond.metric(&requests("PUT", "/kv/{key}", 202)).await - 1.0).abs() < f64::EPSILON);
    assert!((pond.metric(&requests("PUT", "/kv/{key}", 400)).await - 1.0).abs() < f64::EPSILON);
    assert!((pond.metric(r#"millpond_api_mutations_total{op="put"}"#).await - 1.0).abs() < f64::EPSILON);
    assert!(pond.metric(r#"millpond_api_mutations_bytes_total{op="put"}"#).await > 1.0);
}
