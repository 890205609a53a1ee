//! Pages and streams of queries: cursors, bounds, and that nothing is lost or told twice while others write.
//!
//! Not here: which rows (`queries.rs`). Invariant: a page whose `next_cursor` is null is the last one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use http::Method;
use millpond_tests::{
    http::{Answer, Http},
    server::{Fresh, Server},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    NDJSON, assert_problem,
    queries::{fill, keys, query, whole},
};

/// Sends lines as batches and waits until all are applied.
pub(crate) async fn batch(http: &Http, lines: &[Value]) -> Result<()> {
    for lines in lines.chunks(5_000) {
        let body = lines.iter().fold(String::new(), |body, line| body + &line.to_string() + "\n");
        let answer = http.post("/batch", NDJSON, body).header("prefer", "wait=30").send().await?;
        ensure!(answer.status == 200, "{}", answer.text());
    }
    Ok(())
}

fn put(key: impl Into<String>, value: impl Into<String>) -> Value {
    json!({"op": "put", "key": key.into(), "value": value.into()})
}

/// Every page of a query at this limit.
async fn pages(http: &Http, body: &Value, limit: usize) -> Result<Vec<Value>> {
    let mut body = body.clone();
    body["limit"] = limit.into();
    let mut pages = Vec::new();
    loop {
        let page = whole(http, &body).await?;
        let cursor = page["next_cursor"].clone();
        pages.push(page);
        if cursor.is_null() {
            return Ok(pages);
        }
        body = json!({"cursor": cursor, "limit": limit});
    }
}

fn all_keys(pages: &[Value]) -> Vec<String> {
    pages.iter().flat_map(keys).collect()
}

#[tokio::test]
async fn pages_follow_one_another_in_both_directions() -> Result<()> {
    let server = Fresh::start().await?;
    let sorted = ["a", "b", "c", "d", "e"];
    fill(&server.http, &sorted).await?;
    for (limit, count) in [(1, 5), (2, 3), (5, 1), (6, 1)] {
        let up = pages(&server.http, &json!({}), limit).await?;
        assert_eq!((all_keys(&up), up.len()), (sorted.map(str::to_owned).to_vec(), count), "{limit}");
        let down = pages(&server.http, &json!({"reverse": true}), limit).await?;
        let mut expected = sorted.to_vec();
        expected.reverse();
        assert_eq!(
            (all_keys(&down), down.len()),
            (expected.iter().map(ToString::to_string).collect(), count)
        );
        let named = pages(&server.http, &json!({"keys": ["e", "x", "a", "c"]}), limit).await?;
        assert_eq!(all_keys(&named), ["a", "c", "e"], "{limit}");
        let missing: Vec<Value> =
            named.iter().flat_map(|page| page["missing"].as_array().cloned().unwrap_or_default()).collect();
        assert_eq!(missing, ["x"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_cursor_goes_alone_or_with_its_own_query() -> Result<()> {
    let server = Fresh::start().await?;
    fill(&server.http, &["u:a", "u:b", "u:c", "v"]).await?;
    let first = whole(&server.http, &json!({"prefix": "u:", "include": [], "limit": 1})).await?;
    let cursor = first["next_cursor"].as_str().context("there is more")?;
    let ask = async |mut body: Value| -> Result<Answer> {
        body["cursor"] = cursor.into();
        query(&server.http, &body).await
    };
    for body in [
        json!({}),
        json!({"limit": 9}),
        json!({"prefix": "u:", "include": []}),
        json!({"start": "u:", "end": "u;", "include": [], "reverse": false}),
    ] {
        let page = ask(body.clone()).await?.json();
        assert_eq!(keys(&page), ["u:b", "u:c"], "{body}");
        assert_eq!(page["items"][0]["value"], Value::Null, "it carries what is told");
    }
    let get = server.http.get(&format!("/kv?cursor={cursor}&limit=1")).send().await?.json();
    assert_eq!(keys(&get), ["u:b"], "it goes through the other door");
    for body in [
        json!({"prefix": "u:"}),
        json!({"prefix": "u", "include": []}),
        json!({"keys": ["u:a"]}),
        json!({"reverse": true}),
        json!({"consistency": "strong"}),
    ] {
        assert_problem(&ask(body).await?, (400, "cursor-invalid"), "none");
    }
    let mut broken: Vec<String> = (0..cursor.len())
        .step_by(7)
        .map(|at| {
            let other = if &cursor[at..=at] == "A" { "B" } else { "A" };
            format!("{}{other}{}", &cursor[..at], &cursor[at + 1..])
        })
        .collect();
    broken.extend([String::new(), cursor[1..].to_owned(), format!("{cursor}AAAA"), "=".to_owned()]);
    for cursor in broken {
        assert_problem(
            &query(&server.http, &json!({"cursor": cursor})).await?,
            (400, "cursor-invalid"),
            "none",
        );
    }
    let path = format!("/kv?cursor={cursor}");
    let foreign = server.http.get(&path).header("kv-tenant", "other").send().await?;
    assert_problem(&foreign, (400, "cursor-invalid"), "none");
    Ok(())
}

#[tokio::test]
async fn a_cursor_outlives_the_server() -> Result<()> {
    let (server, dir) = Fresh::start().await?.apart();
    fill(&server.http, &["a", "b"]).await?;
    let first = whole(&server.http, &json!({"limit": 1})).await?;
    server.terminate().await?;
    let server = Server::small(dir.path()).await?;
    let second = whole(&server.http, &json!({"cursor": first["next_cursor"]})).await?;
    assert_eq!(keys(&second), ["b"]);
    Ok(())
}

#[tokio::test]
async fn a_page_of_large_values_ends_early_and_goes_on() -> Result<()> {
    let server = Fresh::start().await?;
    let value = "v".repeat(512 * 1024);
    for n in 0..40 {
        server.http.put(&format!("/kv/{n:02}"), value.clone()).header("prefer", "wait=30").send().await?;
    }
    // Each byte of it is six in JSON.
    let escaped = "\u{1}".repeat(512 * 1024);
    for n in 40..50 {
        server.http.put(&format!("/kv/{n:02}"), escaped.clone()).header("prefer", "wait=30").send().await?;
    }
    let named: Vec<String> = (0..50).map(|n| format!("{n:02}")).collect();
    for body in [json!({}), json!({"keys": named}), json!({"reverse": true})] {
        let mut asked = body.clone();
        let (mut told, mut count) = (Vec::new(), 0);
        loop {
            let answer = query(&server.http, &asked).await?;
            assert!(answer.body.len() < 12 * 1024 * 1024, "{} bytes", answer.body.len());
            let page = answer.json();
            assert_eq!((&page["complete"], &page["missing"]), (&json!(true), &json!([])));
            for item in page["items"].as_array().context("items")? {
                assert_eq!(item["value"].as_str().map(str::len), Some(value.len()));
            }
            told.extend(keys(&page));
            count += 1;
            if page["next_cursor"].is_null() {
                break;
            }
            asked = json!({"cursor": page["next_cursor"], "limit": 1000});
        }
        told.sort();
        assert_eq!(told, named, "{body}");
        assert!((5..=15).contains(&count), "{count} pages");
    }
    Ok(())
}

#[tokio::test]
async fn what_was_deleted_by_the_thousand_holds_no_page_up() -> Result<()> {
    let server = Fresh::start().await?;
    let key = |n: usize| format!("k{n:05}");
    batch(&server.http, &(0..20_000).map(|n| put(key(n), "v")).collect::<Vec<_>>()).await?;
    let gone = (0..20_000).filter(|n| n % 9_999 != 0).map(|n| json!({"op": "delete", "key": key(n)}));
    batch(&server.http, &gone.collect::<Vec<_>>()).await?;
    for limit in [1, 2, 100] {
        let pages = pages(&server.http, &json!({"prefix": "k"}), limit).await?;
        assert_eq!(all_keys(&pages), [key(0), key(9_999), key(19_998)], "{limit}");
    }
    Ok(())
}

#[tokio::test]
async fn lines_tell_all_of_a_range_and_in_the_end_what_is_true_of_it() -> Result<()> {
    let server = Fresh::start().await?;
    let key = |n: usize| format!("k{n:05}");
    batch(&server.http, &(0..2_500).map(|n| put(key(n), "v")).collect::<Vec<_>>()).await?;
    let lines = async |path: &str| -> Result<(Vec<Value>, Value)> {
        let answer = server.http.get(path).header("accept", NDJSON).send().await?;
        ensure!(answer.status == 200 && answer.header("content-type") == NDJSON, "{answer:?}");
        let text = answer.text();
        ensure!(text.ends_with('\n'), "the last line is whole");
        let mut lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let last = lines.pop().context("there is a last line")?;
        Ok((lines, last))
    };
    let (items, last) = lines("/kv?prefix=k").await?;
    let told: Vec<&str> = items.iter().filter_map(|item| item["key"].as_str()).collect();
    assert_eq!(told, (0..2_500).map(key).collect::<Vec<_>>());
    let members: Vec<&String> = last.as_object().context("an object")?.keys().collect();
    assert_eq!(members, ["missing", "next_cursor", "complete", "shards", "positions"]);
    assert_eq!((&last["complete"], &last["next_cursor"]), (&json!(true), &Value::Null));
    assert_eq!(last["positions"].as_array().map(Vec::len), Some(8));

    let (items, last) = lines("/kv?prefix=k&limit=7").await?;
    assert_eq!((items.len(), &last["limit"]), (7, &json!(7)));
    let cursor = last["next_cursor"].as_str().context("there is more")?;
    let (items, last) = lines(&format!("/kv?cursor={cursor}")).await?;
    assert_eq!((items.len(), &items[0]["key"]), (2_493, &json!(key(7))));
    assert_eq!(last["next_cursor"], Value::Null);

    let body = json!({"keys": ["k00001", "nil"]}).to_string();
    let answer =
        server.http.post("/kv/query", "application/json", body).header("accept", NDJSON).send().await?;
    let text = answer.text();
    assert!(text.lines().nth(1).is_some_and(|last| last.contains(r#""missing":["nil"]"#)), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_stream_ends_in_order_when_the_server_does() -> Result<()> {
    let (mut server, dir) = Fresh::start().await?.apart();
    let value = "v".repeat(512 * 1024);
    for n in 0..60 {
        server.http.put(&format!("/kv/{n:02}"), value.clone()).header("prefer", "wait=30").send().await?;
    }
    let mut stream = TcpStream::connect(server.address).await?;
    stream.write_all(format!("GET /kv HTTP/1.0\r\nAccept: {NDJSON}\r\nHost: x\r\n\r\n").as_bytes()).await?;
    let mut got = vec![0; 1000];
    stream.read_exact(&mut got).await?;
    server.signal("TERM")?;
    let draining = async || TcpStream::connect(server.address).await.is_err();
    while !draining().await {}
    let read = tokio::time::timeout(std::time::Duration::from_mins(1), stream.read_to_end(&mut got));
    read.await.context("the stream has no end")??;
    ensure!(server.ended().await?.success(), "it ended well");
    let text = String::from_utf8(got)?;
    let (_, body) = text.split_once("\r\n\r\n").context("a head")?;
    let mut told: Vec<Value> = body.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let last = told.pop().context("a last line")?;
    assert_eq!(last["complete"], true, "no shard was absent");
    let cursor = last["next_cursor"].as_str().context("30 MiB are more than what was on its way")?;

    let server = Server::small(dir.path()).await?;
    let rest = server.http.get(&format!("/kv?cursor={cursor}")).header("accept", NDJSON).send().await?.text();
    told.extend(rest.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?);
    told.pop();
    let keys: Vec<&str> = told.iter().filter_map(|item| item["key"].as_str()).collect();
    assert_eq!(keys, (0..60).map(|n| format!("{n:02}")).collect::<Vec<_>>(), "each once");
    Ok(())
}

/// Most pages of a pager that may come late.
const LATE_MAX: usize = 50;

/// Pages through all keys of a prefix and counts how often each untouched one came; they begin so and end in `k`.
async fn page_through(http: Http, prefix: String, limit: usize) -> Result<BTreeMap<String, usize>> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    // Not older than what was put a moment ago, perhaps through another api.
    let mut path = format!("/kv?prefix={prefix}&include=&limit={limit}&consistency=strong");
    let mut late = 0;
    loop {
        let answer = http.call(Method::GET, &path).send().await?;
        // On a busy machine a shard may be late; then the page says so, and comes again.
        let is_late = answer.status.is_server_error() && answer.status != 500;
        ensure!(answer.status == 200 || is_late, "{answer:?}");
        let page = answer.json();
        late += usize::from(is_late || page["complete"] == false);
        ensure!(late < LATE_MAX, "{page}");
        if is_late {
            continue;
        }
        let told = keys(&page).into_iter().filter(|key| key.ends_with('k') && page["complete"] == true);
        for key in told {
            *counts.entry(key).or_default() += 1;
        }
        let Some(cursor) = page["next_cursor"].as_str() else { return Ok(counts) };
        path = format!("/kv?cursor={cursor}&limit={limit}");
    }
}

/// Puts and deletes keys that lie between the untouched ones, until it is told to stop: how many it wrote.
async fn touch(http: Http, tens: usize, stop: Arc<AtomicBool>) -> Result<usize> {
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let line = |n: usize| {
            let key = format!("{}:{:05}{}", n % 10, n * 7 % tens, ["a", "l"][n % 2]);
            if n.is_multiple_of(3) { json!({"op": "delete", "key": key}) } else { put(key, "w") }
        };
        let lines: Vec<Value> = (written..written + 50).map(line).collect();
        let body = lines.iter().fold(String::new(), |body, line| body + &line.to_string() + "\n");
        let answer = http.post("/batch", NDJSON, body).send().await?;
        ensure!([202, 503].contains(&answer.status.as_u16()), "{answer:?}");
        written += if answer.status == 202 { 50 } else { 0 };
    }
    Ok(written)
}

/// The law: paging while others write gives each key that nobody touches exactly once. There are ten times `tens` of
/// them under ten prefixes, each with a pager of its own.
pub(crate) async fn untouched_keys_come_exactly_once(
    https: &[&Http],
    (tens, limit): (usize, usize),
) -> Result<()> {
    let untouched = (0..tens).flat_map(|n| (0..10).map(move |prefix| format!("{prefix}:{n:05}k")));
    let lines: Vec<Value> = untouched.clone().map(|key| put(key, "v")).collect();
    batch(https[0], &lines).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(touch(https[0].clone(), tens, Arc::clone(&stop)));
    let pagers = (0..10).map(|prefix| {
        let http = https[prefix % https.len()].clone();
        tokio::spawn(page_through(http, format!("{prefix}:"), limit))
    });
    let pagers: Vec<_> = pagers.collect();
    let mut counts = BTreeMap::new();
    for pager in pagers {
        counts.append(&mut pager.await??);
    }
    stop.store(true, Ordering::Relaxed);
    let written = writer.await??;
    println!("{written} writes meanwhile");
    ensure!(written > 0, "somebody wrote");
    let expected: BTreeMap<String, usize> = untouched.map(|key| (key, 1)).collect();
    ensure!(counts == expected, "{} keys of {}", counts.len(), expected.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn paging_while_others_write_gives_each_untouched_key_exactly_once() -> Result<()> {
    let server = Fresh::start().await?;
    // 100,000 take a minute.
    let keys = std::env::var("MILLPOND_TEST_PAGED_KEYS").map_or(Ok(10_000), |keys| keys.parse::<usize>())?;
    untouched_keys_come_exactly_once(&[&server.http], (keys / 10, 7)).await
}
