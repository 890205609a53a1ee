//! How fresh a read is: own writes, tokens, the log's end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use anyhow::{Result, ensure};
use millpond_tests::{
    http::{Answer, Http},
    server::Fresh,
};
use tokio::task::JoinSet;

use super::{assert_problem, offset, partition, put};

/// Whether a read names a state from before a write: all that it can do when nothing is applied for 100 ms.
fn says_it_is_older(read: &Answer, write: &Answer) -> bool {
    offset(read.header("kv-position")) < offset(write.header("kv-position"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_on_any_connection_shows_what_was_put_a_moment_ago() -> Result<()> {
    let server = Fresh::start().await?;
    let address = server.address;
    let mut clients = JoinSet::new();
    for client in 0..16 {
        clients.spawn(async move {
            let (writer, reader) = (Http::new(address), Http::new(address));
            let mut older = 0;
            for round in 0..25 {
                let path = format!("/kv/{client}/{}", round % 5);
                let value = format!("{client}-{round}");
                let put = writer.put(&path, value.clone()).send().await?;
                ensure!(put.status == 202, "{put:?}");
                let read = reader.get(&path).send().await?;
                let is_shown = read.status == 200 && read.text() == value;
                ensure!(is_shown || says_it_is_older(&read, &put), "{value}: {read:?}");
                let gone = writer.delete(&path).send().await?;
                ensure!(gone.status == 202, "{gone:?}");
                let read = reader.get(&path).send().await?;
                let is_gone = read.status == 404;
                ensure!(is_gone || says_it_is_older(&read, &gone), "deleted, but: {read:?}");
                older += usize::from(!is_shown) + usize::from(!is_gone);
            }
            anyhow::Ok(older)
        });
    }
    let mut older = 0;
    while let Some(done) = clients.join_next().await {
        older += done??;
    }
    ensure!(older < 16 * 25, "of {} reads {older} were older than what was written", 2 * 16 * 25);
    Ok(())
}

#[tokio::test]
async fn a_read_with_a_token_is_never_older_than_it() -> Result<()> {
    let server = Fresh::start().await?;
    for round in 0..50 {
        let put = server.http.put("/kv/a", round.to_string()).send().await?;
        let token = put.header("kv-position").to_owned();
        for path in ["/kv/a", "/kv/a?consistency=session", "/kv/a?consistency=eventual"] {
            let read = server.http.get(path).header("kv-min-position", &token).send().await?;
            assert_eq!(read.text(), round.to_string());
            assert!(offset(read.header("kv-position")) >= offset(&token));
        }
        let seen = server.http.get("/kv/a").send().await?;
        let again =
            server.http.get("/meta/a").header("kv-min-position", seen.header("kv-position")).send().await?;
        assert_eq!(again.status, 200, "a read's own KV-Position is a token too");
    }
    Ok(())
}

#[tokio::test]
async fn a_token_is_a_list_of_which_only_the_keys_own_partition_is_waited_for() -> Result<()> {
    let server = Fresh::start().await?;
    let mut token = Vec::new();
    for key in 0..32 {
        token.push(put(&server.http, &format!("/kv/{key}"), "x").await?);
    }
    let list = token.join(", ");
    let read = server.http.get("/kv/7").header("kv-min-position", &list).send().await?;
    assert_eq!(read.status, 200);
    assert_eq!(partition(read.header("kv-position")), partition(&token[7]));
    let miss = server.http.get("/kv/absent").header("kv-min-position", &list).send().await?;
    assert_problem(&miss, (404, "not-found"), "none");
    Ok(())
}

#[tokio::test]
async fn a_token_that_no_log_issued_is_refused_at_once() -> Result<()> {
    let server = Fresh::start().await?;
    let position = put(&server.http, "/kv/a", "x").await?;
    let beyond = format!("1-{}-{}", partition(&position), offset(&position) + 1);
    let elsewhere = format!("1-{}-1000000", (partition(&position).parse::<u32>()? + 1) % 8);
    let list = format!("{position},{elsewhere}");
    for bad in [&beyond, &list, "2-0-1", "1-99-0", "1-0", "x", "", "\"1-0-1\"", "0-0-0"] {
        for path in ["/kv/a", "/kv/absent", "/meta/a", "/ttl/a", "/kv/a?consistency=strong"] {
            let answer = server.http.get(path).header("kv-min-position", bad).send().await?;
            assert_problem(&answer, (400, "position-invalid"), "none");
        }
    }
    Ok(())
}

#[tokio::test]
async fn consistency_has_three_words_and_session_needs_a_token() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server.http, "/kv/a", "x").await?;
    for word in ["eventual", "strong"] {
        assert_eq!(server.http.get(&format!("/kv/a?consistency={word}")).send().await?.status, 200);
    }
    let answer = server.http.get("/kv/a?consistency=session").send().await?;
    assert_problem(&answer, (400, "position-invalid"), "none");
    for word in ["Strong", "linearizable", ""] {
        let answer = server.http.get(&format!("/kv/a?consistency={word}")).send().await?;
        assert_problem(&answer, (400, "consistency-invalid"), "none");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strong_read_shows_every_write_that_was_acked_before_it_even_under_load() -> Result<()> {
    let server = Fresh::start().await?;
    let address = server.address;
    let (acked, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut load = JoinSet::new();
    for client in 0..8 {
        let stop = Arc::clone(&stop);
        load.spawn(async move {
            let http = Http::new(address);
            while !stop.load(Ordering::Relaxed) {
                ensure!(http.put(&format!("/kv/load/{client}"), vec![0; 2000]).send().await?.status == 202);
            }
            Ok(())
        });
    }
    let count = Arc::clone(&acked);
    let writer = tokio::spawn(async move {
        let http = Http::new(address);
        for number in 1..=200 {
            ensure!(http.put("/kv/counter", number.to_string()).send().await?.status == 202);
            count.store(number, Ordering::SeqCst);
        }
        anyhow::Ok(())
    });
    // Another process would be as fresh: this client's reads do not depend on what this api has seen written.
    let reader = Http::new(address);
    while !writer.is_finished() {
        let before = acked.load(Ordering::SeqCst);
        let read = reader.get("/kv/counter").header("cache-control", "no-cache").send().await?;
        let seen = if read.status == 404 { 0 } else { read.text().parse()? };
        assert!(seen >= before, "{before} was acked, {seen} was read: {read:?}");
    }
    writer.await??;
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = load.join_next().await {
        done??;
    }
    Ok(())
}
