//! Mistakes that people make, and what they are told; help; and what a terminal and a signal do.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use millpond_tests::server::{Fresh, millpond};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

use super::{Said, command, feed, puts, run};

#[tokio::test]
async fn a_mistake_is_answered_with_what_to_type_instead() -> Result<()> {
    let server = Fresh::start().await?;
    let ops = format!("http://{}", server.ops_address);
    let gone = "http://127.0.0.1:9";
    for (arguments, code, told) in [
        (&["set", "a", "b"][..], 2, "did you mean `millpond put a b`?"),
        (&["pub", "a", "b"], 2, "similar subcommand"),
        (&["serve"], 2, "type `millpond` alone"),
        (&["--server", "http://h", "get", "a"], 2, "--server stands behind the command"),
        (&["get", "/kv/a"], 1, "`millpond get a`"),
        (&["get", "a", "--server", &ops], 4, "is that its ops listener?"),
        (&["get", "a", "--server", gone, "--retry-for", "0"], 5, "is a server running there?"),
        (&["get", "a", "--server", "https://h"], 2, "https is not in this build"),
        (&["get", "a", "--tenant", "Not A Tenant"], 4, "a tenant is 1 to 63"),
        (&["scan", "--prefix", "a", "--start", "b"], 2, "cannot be used with"),
        (&["scan", "--data-dir", "x"], 2, "unexpected argument"),
        (&["put", "a", "1", "--wait", "soon"], 2, "a duration is such as"),
        (&["mutation", "1-2"], 2, "such as 1-3-42"),
        (&["doctor", "--ops", &format!("http://{}", server.address)], 1, "is no ops listener"),
        (&["deadletters", "list", "--ops", gone], 5, "cannot reach the server"),
    ] {
        let said = run(&server, arguments).await?.ended(code).with_context(|| format!("{arguments:?}"))?;
        let all = format!("{}{}", said.text(), said.err);
        ensure!(all.contains(told), "{arguments:?} is not told {told}: {all}");
        ensure!(!all.contains("panicked"), "{all}");
    }
    Ok(())
}

#[tokio::test]
async fn a_files_name_is_put_as_it_stands_and_said_to_be() -> Result<()> {
    let dir = TempDir::new()?;
    let file = dir.path().join("photo");
    std::fs::write(&file, "content")?;
    let server = Fresh::start().await?;
    let name = file.to_str().context("a path")?;
    let said = run(&server, &["put", "a", name, "--wait", "30s"]).await?.ended(0)?;
    ensure!(said.err.contains(&format!("--file {name}")), "{}", said.err);
    assert_eq!(run(&server, &["get", "a"]).await?.ended(0)?.text(), name);
    Ok(())
}

#[tokio::test]
async fn every_help_has_examples_and_completions_know_every_command() -> Result<()> {
    let help = |words: Vec<&'static str>| async move {
        let output = millpond().args(words).arg("--help").output().await?;
        let said = Said::of(output).ended(0)?;
        ensure!(said.text().contains("Examples:"), "{}", said.text());
        anyhow::Ok(said.text())
    };
    let top = help(vec![]).await?;
    ensure!(top.contains("Exit codes:") && top.contains("130"), "{top}");
    let commands = [
        "scan",
        "export",
        "import",
        "batch",
        "mutation",
        "doctor",
        "deadletters",
        "put",
        "get",
        "del",
        "ttl",
    ];
    let script = Said::of(millpond().args(["completions", "bash"]).output().await?).ended(0)?.text();
    for name in commands {
        help(vec![name]).await?;
        ensure!(top.contains(&format!("\n  {name} ")), "{name} is not in {top}");
        ensure!(script.contains(&format!("millpond,{name})")), "{name} is not completed");
    }
    help(vec!["deadletters", "list"]).await?;
    let (batch, import) = (help(vec!["batch"]).await?, help(vec!["import"]).await?);
    ensure!(
        batch.contains("millpond import") && import.contains("millpond batch"),
        "each tells of the other"
    );
    Ok(())
}

#[tokio::test]
async fn ctrl_c_ends_a_command_as_the_shell_expects() -> Result<()> {
    let server = Fresh::start().await?;
    let lines = puts(3000, &"v".repeat(1000));
    feed(&server, &["batch", "-", "--wait", "30s"], lines.as_bytes()).await?.ended(0)?;
    for arguments in [&["scan"][..], &["export"]] {
        let mut child = command(&server, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdout = child.stdout.take().context("its output is piped")?;
        // More than a pipe holds is left: it waits for a reader, and nobody reads.
        stdout.read_exact(&mut [0; 10]).await?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).context("it has a number")?;
        kill_process(pid, Signal::INT)?;
        let ended = child.wait_with_output().await?;
        let signal = std::os::unix::process::ExitStatusExt::signal(&ended.status);
        assert_eq!(signal, Some(2), "{arguments:?}: the shell tells it as 130");
        ensure!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    Ok(())
}

#[tokio::test]
async fn an_import_that_is_cut_inside_a_line_or_stopped_goes_on_from_there() -> Result<()> {
    let dir = TempDir::new()?;
    let server = Fresh::start().await?;
    let whole: String = (0..100).map(|_| "{\"op\":\"increment\",\"key\":\"n\",\"by\":1}\n").collect();
    let (file, state) = (dir.path().join("lines"), dir.path().join("state"));
    let arguments = [
        "import",
        file.to_str().context("a path")?,
        "--state-dir",
        state.to_str().context("a path")?,
        "--wait",
        "30s",
    ];
    let cut = whole.len() / 2 + 7;
    std::fs::write(&file, &whole[..cut])?;
    let said = run(&server, &arguments).await?.ended(3)?;
    ensure!(said.err.contains("the input ends inside line 51"), "{}", said.err);
    std::fs::write(&file, &whole)?;
    let said = run(&server, &arguments).await?.ended(0)?;
    ensure!(said.err.contains("going on after line 50"), "{}", said.err);
    let sum = run(&server, &["get", "n", "--consistency", "strong"]).await?.ended(0)?;
    assert_eq!(sum.text(), "100", "each line counts once");
    Ok(())
}
