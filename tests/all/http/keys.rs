//! Keys are opaque bytes after exactly one decode, whatever clients and proxies like to do to paths.

use anyhow::Result;
use millpond_tests::{
    server::{Fresh, Server},
    wire::{Wire, request},
};
use tempfile::TempDir;

use super::{assert_problem, put};

const PATHS: &[(&str, &[u8])] = &[
    ("..", b".."),
    (".", b"."),
    ("../..", b"../.."),
    ("%2e%2e%2f", b"../"),
    ("a%2Fb", b"a/b"),
    ("%252e", b"%2e"),
    ("a%00b", b"a\0b"),
    ("%ff%fe", b"\xff\xfe"),
    ("/", b"/"),
    ("/kv/", b"/kv/"),
    ("a//b", b"a//b"),
    ("a/", b"a/"),
    ("a/ttl", b"a/ttl"),
    ("query", b"query"),
    ("a+b", b"a+b"),
    ("a;b=c:d@e,f", b"a;b=c:d@e,f"),
    ("%C3%A9", "\u{e9}".as_bytes()),
    ("e%CC%81", "e\u{301}".as_bytes()),
    ("%20", b" "),
    ("%3Fttl=5", b"?ttl=5"),
    ("%23", b"#"),
];

#[tokio::test]
async fn every_key_is_found_under_exactly_its_own_bytes() -> Result<()> {
    let server = Fresh::start().await?;
    let mut wire = Wire::open(server.address).await?;
    for (path, _) in PATHS {
        wire.send(request(&format!("PUT /kv/{path}"), path)).await;
        let answer = wire.receive().await?.expect("the connection stays open");
        assert_eq!(answer.status, 202, "{path}");
    }
    for (path, key) in PATHS {
        let escaped = key.iter().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        for spelled in [*path, escaped.as_str()] {
            wire.send(request(&format!("GET /kv/{spelled}"), "")).await;
            let answer = wire.receive().await?.expect("the connection stays open");
            assert_eq!((answer.status, answer.body.as_slice()), (200, path.as_bytes()), "{spelled}");
            wire.send(request(&format!("GET /meta/{spelled}"), "")).await;
            assert_eq!(wire.receive().await?.expect("the connection stays open").status, 200, "{spelled}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn every_key_lies_in_sql_as_the_bytes_that_it_is() -> Result<()> {
    let (server, dir) = Fresh::start().await?.apart();
    let mut wire = Wire::open(server.address).await?;
    for (path, _) in PATHS {
        wire.send(request(&format!("PUT /kv/{path}"), "x")).await;
        assert_eq!(wire.receive().await?.expect("the connection stays open").status, 202, "{path}");
    }
    put(&server.http, "/kv/plain", "x").await?;
    server.terminate().await?;
    let mut found = keys_in_sql(&dir)?;
    let mut expected: Vec<String> = PATHS.iter().map(|(_, key)| hex(key)).collect();
    expected.push(hex(b"plain"));
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    Ok(())
}

fn keys_in_sql(dir: &TempDir) -> Result<Vec<String>> {
    let mut keys = Vec::new();
    for shard in ["shard-0.sqlite", "shard-1.sqlite"] {
        let rows = std::process::Command::new("sqlite3")
            .arg(dir.path().join(shard))
            .arg("SELECT hex(key) FROM kv WHERE tombstone = 0")
            .output()?;
        anyhow::ensure!(rows.status.success(), "{}", String::from_utf8_lossy(&rows.stderr));
        keys.extend(String::from_utf8(rows.stdout)?.lines().map(str::to_owned));
    }
    Ok(keys)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().concat()
}

#[tokio::test]
async fn empty_long_and_broken_keys_are_refused_under_every_root() -> Result<()> {
    let server = Fresh::start().await?;
    let long = "a".repeat(1025);
    for key in ["", "%", "%zz", "a%2", "%+1", long.as_str()] {
        for root in ["kv", "meta", "ttl"] {
            let answer = server.http.get(&format!("/{root}/{key}")).send().await?;
            assert_problem(&answer, (400, "key-invalid"), "none");
        }
        let answer = server.http.put(&format!("/kv/{key}"), "x").send().await?;
        assert_problem(&answer, (400, "key-invalid"), "refused");
    }
    let longest = "%61".repeat(1024);
    assert_eq!(server.http.put(&format!("/kv/{longest}"), "x").send().await?.status, 202);
    let read = server.http.get(&format!("/kv/{}", "a".repeat(1024))).send().await?;
    assert_eq!(read.text(), "x", "what counts is the length after decoding");
    Ok(())
}

#[tokio::test]
async fn keys_are_the_same_after_a_restart() -> Result<()> {
    let (server, dir) = Fresh::start().await?.apart();
    let mut wire = Wire::open(server.address).await?;
    for (path, _) in PATHS {
        wire.send(request(&format!("PUT /kv/{path}"), path)).await;
        assert_eq!(wire.receive().await?.expect("the connection stays open").status, 202, "{path}");
    }
    server.kill().await?;
    let server = Server::small(dir.path()).await?;
    let mut wire = Wire::open(server.address).await?;
    for (path, _) in PATHS {
        wire.send(request(&format!("GET /kv/{path}?consistency=strong"), "")).await;
        let answer = wire.receive().await?.expect("the connection stays open");
        assert_eq!((answer.status, answer.body.as_slice()), (200, path.as_bytes()), "{path}");
    }
    Ok(())
}
