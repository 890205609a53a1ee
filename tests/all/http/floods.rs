//! Floods: many connections, resets, endless heads and bodies. Memory stays flat, and others are served meanwhile.
//!
//! Not here: how fast. Invariant: every bound is on the server's resident memory, as the system counts it.

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    frames::{END_HEADERS, END_STREAM, Frame, Frames, Kind, block, request},
    process::until_async,
    server::{Fresh, Server},
    wire::{Raw, Wire, request as http1},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Mutex,
};

use super::{http2::told, put, value};

const MIB: u64 = 1024 * 1024;
/// What a flood may cost, whatever it is.
const GROWTH_MAX: u64 = 64 * MIB;
/// What a connection may cost besides.
const CONNECTION_BYTES_MAX: u64 = 4 * 1024;
/// The same where a call was answered: its buffers are given back, but the allocator keeps their pages.
const CALLED_BYTES_MAX: u64 = 16 * 1024;
/// How many connections one api takes.
const CONNECTIONS: u64 = 10_000;
/// Those that the test itself needs besides.
const FILES_BESIDE: u64 = 500;
/// `ENHANCE_YOUR_CALM`, and `PROTOCOL_ERROR`.
const TOLD_OFF: [u32; 2] = [11, 1];

/// Resident memory of the server, bytes.
fn resident(server: &Server) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()?))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("there is a VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib * 1024)
}

/// Resident memory when it has served a little.
async fn resident_at_rest(server: &Server) -> Result<u64> {
    for number in 0..50 {
        put(&server.http, &format!("/kv/{number}"), "x").await?;
    }
    resident(server)
}

fn stays_flat(server: &Server, before: u64, allowed: u64) -> Result<()> {
    let after = resident(server)?;
    println!("resident: {} KiB before, {} KiB after", before / 1024, after / 1024);
    ensure!(after < before + allowed, "{} MiB before, {} MiB after", before / MIB, after / MIB);
    Ok(())
}

/// Lets this process open so many files.
fn allow_files(needed: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    ensure!(
        files >= needed,
        "{files} open files are allowed and {needed} needed: raise the hard limit (ulimit -Hn)"
    );
    Ok(())
}

/// One at a time: this process may not open files for more.
static FLOOD: Mutex<()> = Mutex::const_new(());

/// Opens connections that send `first` and nothing more, and holds them while the server is looked at.
async fn held_connections(first: &str, each: u64) -> Result<()> {
    let _alone = FLOOD.lock().await;
    allow_files(CONNECTIONS + FILES_BESIDE)?;
    // One is for the others.
    let held = CONNECTIONS - 2;
    let settings = [("MILLPOND_API__HEAD_TIMEOUT", "10m"), ("MILLPOND_API__IDLE_TIMEOUT", "10m")];
    let (server, _dir) = told(&settings).await?;
    let before = resident_at_rest(&server).await?;
    let mut wires = Vec::new();
    for _ in 0..held {
        let mut wire = Wire::open(server.address).await?;
        wire.send(first).await;
        wires.push(wire);
    }
    let line = format!("\nmillpond_api_connections {}\n", held + 1);
    let reached = async {
        while !server.ops.get("/metrics").send().await?.text().contains(&line) {}
        anyhow::Ok(())
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), reached).await.context("not all are open")??;
    put(&server.http, "/kv/others", "are served").await?;
    assert_eq!(value(&server.http, "/kv/others").await?.as_deref(), Some("are served"));
    // A connection gives its buffers back a moment after its last call.
    let allowed = GROWTH_MAX + held * each;
    let at_rest = async || resident(&server).is_ok_and(|now| now < before + allowed);
    let _late = until_async(std::time::Duration::from_mins(1), at_rest).await;
    stays_flat(&server, before, allowed)
}

#[tokio::test]
async fn ten_thousand_connections_that_send_nothing_cost_little() -> Result<()> {
    held_connections("", CONNECTION_BYTES_MAX).await
}

#[tokio::test]
async fn ten_thousand_heads_that_do_not_end_cost_little() -> Result<()> {
    held_connections("GET /version HTTP/1.1\r\nhost: pond\r\nx-slow: ", CONNECTION_BYTES_MAX).await
}

#[tokio::test]
async fn ten_thousand_connections_that_idle_after_a_call_are_bounded() -> Result<()> {
    held_connections(&http1("PUT /kv/a", "abc"), CALLED_BYTES_MAX).await
}

#[tokio::test]
async fn a_hundred_thousand_heads_with_resets_are_told_to_go_away() -> Result<()> {
    let server = Fresh::start().await?;
    let before = resident_at_rest(&server).await?;
    let head = request("GET", "/kv/0", &[]);
    let (mut sent, mut connections) = (0_u32, 0);
    let mut goaways = 0;
    // Each connection may send few; so it takes many, as an attacker would.
    while sent < 100_000 {
        connections += 1;
        ensure!(connections <= 1_000, "after {sent} it takes no more connections");
        let (mut receiving, mut sending) = Frames::open(server.address, &[]).await?.split();
        let flood = async {
            for number in 0..10_000_u32 {
                let stream = 2 * number + 1;
                let open = Frame::new(Kind::Headers, END_STREAM | END_HEADERS, stream, head.clone()).bytes();
                let reset = Frame::new(Kind::Reset, 0, stream, 8_u32.to_be_bytes()).bytes();
                if sending.write_all(&[open, reset].concat()).await.is_err() {
                    return number;
                }
            }
            10_000
        };
        let mut received = Vec::new();
        let (flooded, _closed) = tokio::join!(flood, receiving.read_to_end(&mut received));
        sent += flooded.max(100);
        goaways += usize::from(told_off(&received));
    }
    put(&server.http, "/kv/others", "are served").await?;
    println!("{sent} in {connections} connections, {goaways} of which heard why");
    ensure!(goaways > 0, "nobody was told");
    stays_flat(&server, before, GROWTH_MAX)
}

/// Whether there is a GOAWAY for a flood among the frames.
fn told_off(bytes: &[u8]) -> bool {
    let off = |frame: &Frame| {
        frame.kind == Kind::GoAway && frame.code().is_some_and(|code| TOLD_OFF.contains(&code))
    };
    Frame::all(bytes).iter().any(off)
}

#[tokio::test]
async fn a_client_that_gives_up_every_call_is_told_to_go_away() -> Result<()> {
    let server = Fresh::start().await?;
    let mut frames = Frames::open(server.address, &[]).await?;
    // It waits for a call to be at work before it resets it: no reset comes too early to be one.
    let (mut stream, mut closed) = (1, false);
    while stream < 20_000 && !closed {
        let put = request("PUT", "/kv/a", &[]);
        frames.send(Kind::Headers, END_HEADERS, stream, put).await;
        frames.send(Kind::Ping, 0, 0, [0; 8]).await;
        closed = loop {
            match frames.receive().await? {
                None => break true,
                Some(frame) if frame.kind == Kind::Ping => break false,
                Some(_) => {}
            }
        };
        frames.send(Kind::Reset, 0, stream, 8_u32.to_be_bytes()).await;
        stream += 2;
    }
    ensure!(closed, "after {stream} it still goes on");
    put(&server.http, "/kv/others", "are served").await?;
    Ok(())
}

#[tokio::test]
async fn an_endless_head_in_frames_is_cut_off() -> Result<()> {
    let server = Fresh::start().await?;
    let before = resident_at_rest(&server).await?;
    let part = block(&[("x-more", &"x".repeat(16_000))]);
    for more in [part, Vec::new()] {
        let (mut receiving, mut sending) = Frames::open(server.address, &[]).await?.split();
        let first = Frame::new(Kind::Headers, END_STREAM, 1, request("GET", "/version", &[])).bytes();
        let next = Frame::new(Kind::Continuation, 0, 1, more).bytes();
        let flood = async {
            sending.write_all(&first).await.ok();
            for _ in 0..100_000 {
                if sending.write_all(&next).await.is_err() {
                    return;
                }
            }
        };
        let mut received = Vec::new();
        let ((), _closed) = tokio::join!(flood, receiving.read_to_end(&mut received));
        let frames = Frame::all(&received);
        let told = frames.iter().any(|frame| frame.kind == Kind::GoAway && frame.code() != Some(0));
        ensure!(told, "it is told to go away: {frames:?}");
        put(&server.http, "/kv/others", "are served").await?;
    }
    stays_flat(&server, before, GROWTH_MAX)
}

/// Sends a gibibyte in chunks of a MiB, or until nobody takes it.
async fn endless(server: &Server, line: &str, headers: &str) -> Result<Option<Raw>> {
    let mut wire = Wire::open(server.address).await?;
    wire.send(format!("{line} HTTP/1.1\r\nhost: pond\r\ntransfer-encoding: chunked\r\n{headers}\r\n")).await;
    let chunk = [b"100000\r\n".as_slice(), &vec![b'x'; 1024 * 1024], b"\r\n"].concat();
    for _ in 0..1024 {
        if !wire.take(&chunk).await {
            break;
        }
    }
    wire.receive().await
}

#[tokio::test]
async fn a_body_of_a_gibibyte_is_refused_at_its_limit() -> Result<()> {
    let server = Fresh::start().await?;
    let before = resident_at_rest(&server).await?;
    for (line, headers, code) in [
        ("PUT /kv/endless", "", "value-too-large"),
        ("POST /batch", "content-type: application/x-ndjson\r\n", "batch-too-large"),
        ("PATCH /kv/endless", "content-type: application/merge-patch+json\r\n", ""),
    ] {
        let (endless, others) =
            tokio::join!(endless(&server, line, headers), put(&server.http, "/kv/a", "x"));
        others?;
        // The answer may be lost when the client never stops to read.
        if let Some(answer) = endless.unwrap_or_default() {
            ensure!(answer.status == 413 && (code.is_empty() || answer.code() == code), "{line}: {answer:?}");
        }
        stays_flat(&server, before, GROWTH_MAX)?;
    }
    assert_eq!(value(&server.http, "/kv/endless").await?, None);
    Ok(())
}

#[tokio::test]
async fn an_endless_body_in_frames_is_refused_at_its_limit() -> Result<()> {
    let server = Fresh::start().await?;
    let before = resident_at_rest(&server).await?;
    let (mut receiving, mut sending) = Frames::open(server.address, &[]).await?.split();
    let head = Frame::new(Kind::Headers, END_HEADERS, 1, request("PUT", "/kv/endless", &[])).bytes();
    let data = Frame::new(Kind::Data, 0, 1, vec![b'x'; 16 * 1024]).bytes();
    // It minds no window.
    let flood = async {
        sending.write_all(&head).await.ok();
        for number in 0..65_536_u32 {
            if sending.write_all(&data).await.is_err() {
                return number;
            }
        }
        65_536
    };
    let mut received = Vec::new();
    let ((flooded, _closed), others) = tokio::join!(
        async { tokio::join!(flood, receiving.read_to_end(&mut received)) },
        put(&server.http, "/kv/a", "x")
    );
    others?;
    ensure!(flooded < 65_536, "it was taken whole");
    stays_flat(&server, before, GROWTH_MAX)?;
    assert_eq!(value(&server.http, "/kv/endless").await?, None);
    Ok(())
}
