//! No ack leaves before the fdatasync that covers it, as the kernel sees it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use millpond_tests::server::{Server, binary};
use tempfile::TempDir;
use tokio::process::Command;

const PUTS: usize = 20;

/// What matters of a trace, in the order in which the kernel saw it end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A PUT was received.
    Put,
    /// The mutations log was written to.
    Write,
    /// The mutations log was synced.
    Sync,
    /// A 202 was sent.
    Accepted,
}

/// Reads strace's lines. A call that another thread's line interrupts ends where it is `resumed`.
fn events(trace: &str) -> Vec<Event> {
    let mut open: std::collections::HashMap<&str, &str> = std::collections::HashMap::new();
    let mut events = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if call.ends_with("<unfinished ...>") {
            // An answer has left as soon as the call began; a sync counts only when it ends.
            events.extend(event(call).filter(|event| *event == Event::Accepted));
            open.insert(thread, call);
        } else if call.starts_with("<... ") {
            let began = open.remove(thread).unwrap_or_default();
            let ended = format!("{began}{call}");
            events.extend(event(&ended).filter(|event| *event != Event::Accepted));
        } else {
            events.extend(event(call));
        }
    }
    events
}

fn event(call: &str) -> Option<Event> {
    let on_log = call.contains("/log/mutations.1/");
    match call.split_once('(')?.0 {
        "recvfrom" | "read" if call.contains("\"PUT /kv/") => Some(Event::Put),
        "pwrite64" | "pwritev" | "pwritev2" if on_log => Some(Event::Write),
        "fdatasync" if on_log && call.ends_with("= 0") => Some(Event::Sync),
        "writev" | "sendto" | "write" if call.contains("HTTP/1.1 202") => Some(Event::Accepted),
        _ => None,
    }
}

async fn trace_of(dir: &Path) -> Result<String> {
    let file = dir.join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-qq", "-s", "32", "-e"]);
    strace.arg("trace=recvfrom,read,pwrite64,pwritev,pwritev2,fdatasync,writev,sendto,write");
    strace.arg("-o").arg(&file).arg(binary());
    let server = Server::start_with(&dir.join("data"), strace, &[]).await?;
    for n in 0..PUTS {
        let answer = server.http.put(&format!("/kv/k{n}"), "value").send().await?;
        ensure!(answer.status == 202, "{answer:?}");
    }
    server.kill_traced().await?;
    std::fs::read_to_string(file).context("read the trace")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ack_leaves_before_the_sync_that_covers_it() -> Result<()> {
    let dir = TempDir::new()?;
    let trace = trace_of(dir.path()).await?;
    let events = events(&trace);
    let mut answered = 0;
    let mut since_put: Vec<Event> = Vec::new();
    for event in events {
        match event {
            Event::Put => since_put.clear(),
            Event::Write | Event::Sync => since_put.push(event),
            Event::Accepted => {
                let write = since_put.iter().position(|event| *event == Event::Write);
                let synced = write.is_some_and(|at| since_put[at..].contains(&Event::Sync));
                ensure!(synced, "answer {answered} left after {since_put:?}");
                answered += 1;
            }
        }
    }
    ensure!(answered == PUTS, "the trace shows {answered} of {PUTS} answers");
    Ok(())
}
