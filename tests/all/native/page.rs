//! The page for producers' authors does what it says: its blocks are run, in order, against a deployment.
//!
//! Invariant: a line `# prints TEXT` in a block holds when the block's output contains TEXT.

use std::{path::Path, process::Stdio};

use anyhow::{Context, Result, ensure};
use millpond_schemas::DeadReason;
use millpond_tests::deployment::{Deployment, PATIENCE};
use tokio::{process::Command, time::timeout};

use super::{
    count, deployment,
    foreign::{java, python, root},
    get,
};

const PAGE: &str = include_str!("../../../schemas/README.md");

/// Language and text of each block.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let fenced = PAGE.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').expect("a block names its language")).collect()
}

/// A block with this deployment's addresses and names.
fn here(deployment: &Deployment, block: &str) -> String {
    let mut text = block.replace("localhost:9092", deployment.kafka());
    text = text.replace("localhost:7420", &deployment.address_of_api(0).to_string());
    for topic in ["mutations.1", "outcomes", "deadletters"] {
        text = text.replace(&format!("millpond.{topic}"), &format!("{}.{topic}", deployment.prefix()));
    }
    text
}

/// Runs one block in a folder, and checks what it prints.
async fn run(folder: &Path, language: &str, text: &str) -> Result<()> {
    let mut command = match language {
        "sh" => Command::new("bash"),
        "python" => Command::new(python()),
        "java" => java(folder.join("Example.java")),
        other => anyhow::bail!("nobody runs {other}"),
    };
    match language {
        "sh" => command.args(["-euo", "pipefail", "-c", text]),
        "python" => command.args(["-c", text]),
        _ => {
            std::fs::write(folder.join("Example.java"), text)?;
            &mut command
        }
    };
    let path = std::env::var("PATH")?;
    let bin = python().parent().context("it lies in a folder")?.display().to_string();
    command.current_dir(folder).env("PATH", format!("{bin}:{path}")).env("PYTHONPATH", ".");
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output =
        timeout(PATIENCE, command.output()).await.with_context(|| format!("it does not end: {text}"))??;
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {text}\n{said}\n{error}", output.status);
    for wanted in text.lines().filter_map(|line| line.strip_prefix("# prints ")) {
        ensure!(said.contains(wanted), "{text}\nprints {said}\n{error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_block_of_the_page_does_what_it_says() -> Result<()> {
    let deployment = deployment(4).await?;
    let folder = tempfile::tempdir()?;
    std::os::unix::fs::symlink(root().join("schemas"), folder.path().join("schemas"))?;
    let blocks = blocks();
    assert!(blocks.len() > 8, "the blocks are found");
    for (language, text) in blocks {
        run(folder.path(), language, &here(&deployment, text)).await?;
    }
    for (key, value, content_type) in [
        ("confluent", "bytes", "text/plain"),
        ("kafka-python", "bytes", "text/plain"),
        ("record", "{}", "application/json"),
        ("java", "from Java", "text/plain"),
    ] {
        let answer = get(deployment.api(0), format!("default/{key}").as_bytes()).await?;
        assert_eq!((answer.text().as_str(), answer.header("content-type")), (value, content_type), "{key}");
    }
    assert_eq!(get(deployment.api(0), b"default/hello").await?.status, 404, "deleted on the way");
    let mut dead = 0;
    for shard in 0..2 {
        dead += count(&deployment, shard, "SELECT count(*) FROM dead_letter")?;
    }
    assert_eq!(dead, 1, "only the one that is meant to be");
    Ok(())
}

#[test]
fn the_page_names_every_reason_and_every_header() {
    for reason in DeadReason::ALL {
        assert!(PAGE.contains(&format!("`{reason}`")), "{reason}");
    }
    for header in [
        "content-type",
        "kv-ttl-ms",
        "kv-expires-at-ms",
        "kv-if-match",
        "kv-if-none-match",
        "kv-id",
        "kv-durable",
        "kv-error-code",
    ] {
        assert!(PAGE.contains(&format!("`{header}`")), "{header}");
    }
}
