//! Many clients on one key: every one gets its own result, and few transactions do it.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Context, Result, ensure};
use millpond_tests::{http::Http, server::Fresh};
use tokio::{sync::Barrier, task::JoinSet};

use super::{OWN, offset, put, value};

const CLIENTS: usize = 64;

/// A counter of the ops listener.
async fn metric(ops: &Http, name: &str) -> Result<u64> {
    let text = ops.get("/metrics").send().await?.text();
    let line = text.lines().find(|line| line.starts_with(name)).context("the metric is there")?;
    Ok(line.rsplit(' ').next().context("it has a value")?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_increment_one_key_to_1600_with_1600_results_in_at_most_400_transactions()
-> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/n", "0").await?;
    let before = metric(&server.ops, "millpond_writer_flushes_total").await?;
    let (address, start) = (server.address, Arc::new(Barrier::new(CLIENTS)));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let start = Arc::clone(&start);
        clients.spawn(async move {
            let http = Http::new(address);
            ensure!(http.get("/version").send().await?.status == 200);
            start.wait().await;
            let mut results = Vec::new();
            for _ in 0..25 {
                let answer = http.patch("/kv/n", OWN, r#"{"op":"increment"}"#).send().await?;
                ensure!(answer.status == 200, "{answer:?}");
                results
                    .push((answer.text().parse::<u64>()?, offset(answer.header("etag").trim_matches('"'))));
            }
            Ok(results)
        });
    }
    let mut results = BTreeSet::new();
    while let Some(done) = clients.join_next().await {
        results.extend(done??);
    }
    let counted: Vec<u64> = results.iter().map(|(count, _)| *count).collect();
    assert_eq!(counted, (1..=1600).collect::<Vec<u64>>());
    let offsets: Vec<i64> = results.iter().map(|(_, offset)| *offset).collect();
    assert!(offsets.is_sorted_by(|one, next| one < next), "versions rise with the counts");
    assert_eq!(value(&server.http, "/kv/n").await?.as_deref(), Some("1600"));
    let flushes = metric(&server.ops, "millpond_writer_flushes_total").await? - before;
    println!("{flushes} transactions");
    assert!(flushes <= 400, "{flushes} transactions");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_racing_with_if_match_have_one_winner_per_version() -> Result<()> {
    let server = Fresh::start().await?;
    let mut version = put(&server.http, "/kv/a", "start").await?;
    let clients: Vec<Http> = (0..CLIENTS).map(|_| Http::new(server.address)).collect();
    for round in 0..10 {
        let start = Arc::new(Barrier::new(CLIENTS));
        let mut calls = JoinSet::new();
        for (client, http) in clients.iter().cloned().enumerate() {
            let (etag, start) = (format!("\"{version}\""), Arc::clone(&start));
            calls.spawn(async move {
                start.wait().await;
                http.put("/kv/a", format!("{round}-{client}"))
                    .header("if-match", &etag)
                    .send()
                    .await
                    .map(|a| (client, a))
            });
        }
        let mut winners = Vec::new();
        while let Some(done) = calls.join_next().await {
            let (client, answer) = done??;
            match answer.status.as_u16() {
                200 => winners.push((client, answer.header("kv-position").to_owned())),
                412 => assert_eq!(answer.code(), "condition-failed"),
                _ => panic!("{answer:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let (client, position) = winners.remove(0);
        assert_eq!(value(&server.http, "/kv/a").await?, Some(format!("{round}-{client}")));
        version = position;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_that_create_one_key_have_one_creator() -> Result<()> {
    let server = Fresh::start().await?;
    let (address, start) = (server.address, Arc::new(Barrier::new(CLIENTS)));
    let mut calls = JoinSet::new();
    for client in 0..CLIENTS {
        let start = Arc::clone(&start);
        calls.spawn(async move {
            start.wait().await;
            Http::new(address).put("/kv/a", client.to_string()).header("if-none-match", "*").send().await
        });
    }
    let mut created = 0;
    while let Some(done) = calls.join_next().await {
        let answer = done??;
        ensure!([201, 412].contains(&answer.status.as_u16()), "{answer:?}");
        created += usize::from(answer.status == 201);
    }
    assert_eq!(created, 1);
    Ok(())
}
