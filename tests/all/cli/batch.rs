//! `millpond batch` and `millpond mutation`: what became of each line, and of each write.

use anyhow::{Context, Result, ensure};
use millpond_tests::server::Fresh;

use super::{feed, run};

const LINES: &str = "{\"op\":\"put\",\"key\":\"a\",\"value\":\"1\"}\n\
    {\"op\":\"put\",\"key\":\"a\",\"value\":1}\n\
    \n\
    {\"id\":7,\"op\":\"put\",\"key\":\"a\",\"value\":\"x\",\"if_absent\":true}\n\
    {\"op\":\"increment\",\"key\":\"n\",\"by\":5}";

#[tokio::test]
async fn every_failed_line_is_told_with_its_number_and_why() -> Result<()> {
    let server = Fresh::start().await?;
    let said = feed(&server, &["batch", "-", "--wait", "30s"], LINES.as_bytes()).await?.ended(3)?;
    ensure!(
        said.text().starts_with("2 accepted (2 applied), 2 failed\nread it back with --min-position 1-"),
        "{}",
        said.text()
    );
    let warnings: Vec<&str> = said.err.lines().collect();
    ensure!(warnings.len() == 2, "{warnings:?}");
    ensure!(warnings[0].starts_with("warning: line 2: 400 value-invalid"), "{warnings:?}");
    ensure!(warnings[1].starts_with("warning: line 4 (id 7): 412 condition-failed"), "{warnings:?}");

    let said = feed(&server, &["batch", "-", "--json"], LINES.as_bytes()).await?.ended(3)?;
    let lines: Vec<serde_json::Value> =
        said.text().lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!((&lines[0]["line"], &lines[0]["code"]), (&2.into(), &"value-invalid".into()));
    assert_eq!((&lines[1]["accepted"], &lines[1]["failed"]), (&3.into(), &1.into()));

    for empty in ["", "\n\n"] {
        let said = feed(&server, &["batch", "-"], empty.as_bytes()).await?.ended(2)?;
        ensure!(said.err.contains("no operation"), "{}", said.err);
    }
    Ok(())
}

#[tokio::test]
async fn lines_beyond_one_batch_keep_their_numbers() -> Result<()> {
    let server = Fresh::start().await?;
    let mut lines: String = (0..10_000).map(|_| "{\"op\":\"increment\",\"key\":\"n\"}\n").collect();
    lines.push_str("{\"op\":\"nonsense\",\"key\":\"n\"}\n{\"op\":\"increment\",\"key\":\"n\"}\n");
    let key = ["batch", "-", "--wait", "30s", "--idempotency-key", "night"];
    for _ in 0..2 {
        let said = feed(&server, &key, lines.as_bytes()).await?.ended(3)?;
        ensure!(said.err.contains("line 10001: 400"), "{}", said.err);
    }
    let sum = run(&server, &["get", "n", "--consistency", "strong"]).await?.ended(0)?;
    assert_eq!(sum.text(), "10001", "each line counts once, however often it is sent");
    Ok(())
}

#[tokio::test]
async fn a_mutation_is_told_in_words_and_by_its_exit_code() -> Result<()> {
    let server = Fresh::start().await?;
    let put = run(&server, &["put", "a", "1", "--wait", "30s", "--json"]).await?.ended(0)?.json()?;
    let position = put["position"].as_str().context("a position")?.to_owned();
    let said = run(&server, &["mutation", &position, "--wait", "30s"]).await?.ended(0)?;
    ensure!(said.text().starts_with(&format!("{position} was applied")), "{}", said.text());
    let quoted = format!("\"{position}\"");
    let said = run(&server, &["mutation", &quoted, "--json"]).await?.ended(0)?.json()?;
    assert_eq!((&said["status"], &said["version"]), (&"applied".into(), &position.as_str().into()));

    let rejected = server.http.put("/kv/a", "2").header("if-none-match", "*").send().await?;
    let rejected = rejected.header("kv-position").to_owned();
    let said = run(&server, &["mutation", &rejected]).await?.ended(1)?;
    ensure!(said.text().contains("was rejected and had no effect: condition-failed"), "{}", said.text());

    let never = run(&server, &["mutation", "1-0-99999"]).await?.ended(1)?;
    ensure!(never.err.contains("no mutation of this tenant"), "{}", never.err);
    let wrong = run(&server, &["mutation", "42"]).await?.ended(2)?;
    ensure!(wrong.err.contains("such as 1-3-42"), "{}", wrong.err);
    Ok(())
}
