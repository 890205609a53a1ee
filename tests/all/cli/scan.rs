//! `millpond scan`, for a person and for a pipe.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use millpond_tests::server::Fresh;
use tokio::io::AsyncReadExt;

use super::{command, feed, on_terminal, put, puts, run};

#[tokio::test]
async fn a_key_is_a_line_in_order_and_control_characters_are_spelled_out() -> Result<()> {
    let server = Fresh::start().await?;
    for (key, value) in
        [("user:b", "2"), ("user:a", "\u{1b}]0;owned\u{7}\n\t\\"), ("other", "x"), ("user:c", "3")]
    {
        put(&server, key, value).await?;
    }
    let said = run(&server, &["scan", "--prefix", "user:"]).await?.ended(0)?;
    assert_eq!(said.text(), "user:a\t\\u{1b}]0;owned\\u{7}\\n\\t\\\\\nuser:b\t2\nuser:c\t3\n");
    let said = run(&server, &["scan", "--keys-only", "--reverse", "--limit", "2"]).await?.ended(0)?;
    assert_eq!(said.text(), "user:c\nuser:b\n");
    let said =
        run(&server, &["scan", "--start", "user:a", "--end", "user:c", "--keys-only"]).await?.ended(0)?;
    assert_eq!(said.text(), "user:a\nuser:b\n");
    let said = run(&server, &["scan", "--prefix", "user:a", "--raw"]).await?.ended(0)?;
    assert_eq!(said.text(), "user:a\t\u{1b}]0;owned\u{7}\n\t\\\n", "as it is, when somebody says so");
    let said = run(&server, &["scan", "--prefix", "none"]).await?.ended(0)?;
    assert_eq!((said.text().as_str(), said.err.as_str()), ("", ""));
    Ok(())
}

#[tokio::test]
async fn json_is_one_object_a_line_with_exact_bytes() -> Result<()> {
    let server = Fresh::start().await?;
    let line = "{\"op\":\"put\",\"key_b64\":\"/wA=\",\"value_b64\":\"gA==\",\"content_type\":\"x/y\"}\n";
    feed(&server, &["batch", "-", "--wait", "30s"], line.as_bytes()).await?.ended(0)?;
    let found = run(&server, &["scan", "--json"]).await?.ended(0)?.json()?;
    assert_eq!((&found["key_b64"], &found["value_b64"]), (&"/wA=".into(), &"gA==".into()));
    assert_eq!((&found["content_type"], &found["size"]), (&"x/y".into(), &1.into()));
    assert_eq!(found["version"].as_str().map(|version| version.split('-').count()), Some(3));
    Ok(())
}

#[tokio::test]
async fn a_terminal_gets_short_columns_and_nothing_that_it_obeys() -> Result<()> {
    let server = Fresh::start().await?;
    put(&server, "evil", "\u{1b}[2J\u{1b}[31mred\u{202e}").await?;
    put(&server, "long", &"x".repeat(1000)).await?;
    let shown = on_terminal(&server, &["scan"], &[]).await?;
    ensure!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown:?}");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "evil  \\u{1b}[2J\\u{1b}[31mred\\u{202e}");
    ensure!(lines[1].starts_with("long  xxx") && lines[1].ends_with('…'), "{shown:?}");
    ensure!(lines[1].chars().count() <= 80, "{shown:?}");
    // An error is coloured on a terminal only, and what it quotes is not obeyed there either.
    let missing = on_terminal(&server, &["get", "none"], &[]).await?;
    ensure!(missing.starts_with("\u{1b}[") && missing.contains("no such key"), "{missing:?}");
    for quiet in [("NO_COLOR", "1"), ("CLICOLOR", "0")] {
        let plain = on_terminal(&server, &["get", "none"], &[quiet]).await?;
        assert_eq!(plain, "error: no such key\n", "{quiet:?}");
    }
    let piped = run(&server, &["get", "none"]).await?.ended(1)?;
    assert_eq!(piped.err, "error: no such key\n");
    Ok(())
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() -> Result<()> {
    let server = Fresh::start().await?;
    let lines = puts(3000, &"v".repeat(100));
    feed(&server, &["batch", "-", "--wait", "30s"], lines.as_bytes()).await?.ended(0)?;
    for arguments in [&["scan"][..], &["scan", "--json"], &["export"]] {
        let mut child = command(&server, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdout = child.stdout.take().context("its output is piped")?;
        stdout.read_exact(&mut [0; 10]).await?;
        drop(stdout);
        let ended = child.wait_with_output().await?;
        let err = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.code() == Some(0) && err.is_empty(), "{arguments:?}: {}: {err}", ended.status);
    }
    Ok(())
}
