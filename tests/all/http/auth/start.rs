//! How a server with tokens starts, and when it does not.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use millpond_tests::server::{Server, binary, millpond};
use tokio::process::Command;

use super::{Place, READ_WRITE, bearing, mode};

/// Starts a server that must not start: its exit code and what it said.
async fn refused(place: &Place, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let tokens = place.tokens();
    let all = ["--ops-listen", "127.0.0.1:0", "--tokens-file", tokens.to_str().context("a path of text")?];
    let output =
        millpond().args(all).arg("--data-dir").arg(place.path("data")).args(arguments).output().await?;
    Ok((output.status.code(), String::from_utf8(output.stderr)?))
}

#[tokio::test]
async fn a_file_that_is_unsafe_empty_or_wrong_is_refused() -> Result<()> {
    let place = Place::new()?;
    let loopback = ["--listen", "127.0.0.1:0"];
    let (code, said) = refused(&place, &loopback).await?;
    assert!(code == Some(2) && said.contains("cannot be read"), "{code:?} {said}");
    let path = place.write("tokens.toml", "# nothing\n")?;
    let (code, said) = refused(&place, &loopback).await?;
    assert!(code == Some(2) && said.contains("millpond token new"), "{code:?} {said}");
    place.write("tokens.toml", "[[token]]\nsecrets = 'SECRET'\n")?;
    let (code, said) = refused(&place, &loopback).await?;
    assert!(code == Some(2) && said.contains("unknown key token.secrets"), "{code:?} {said}");
    assert!(!said.contains("SECRET"), "{said}");
    place.write("tokens.toml", "")?;
    place.token(&["--tenant", "acme", "--scope", "read"]).await?;
    mode(&path, 0o644)?;
    let (code, said) = refused(&place, &loopback).await?;
    assert!(code == Some(4) && said.contains(&format!("chmod 600 {}", path.display())), "{code:?} {said}");
    let check = millpond().args(["config", "check", "--tokens-file"]).arg(&path).output().await?;
    assert_eq!(check.status.code(), Some(4), "and the check says the same: {check:?}");
    mode(&path, 0o600)?;
    let check = millpond().args(["config", "check", "--tokens-file"]).arg(&path).output().await?;
    assert!(check.status.success(), "{check:?}");
    Ok(())
}

#[tokio::test]
async fn beyond_loopback_it_listens_with_tokens_behind_a_proxy_and_says_what_is_missing() -> Result<()> {
    let place = Place::new()?;
    let token = place.token(&[&["--tenant", "acme"][..], &READ_WRITE].concat()).await?;
    let (code, said) = refused(&place, &["--listen", "0.0.0.0:0"]).await?;
    assert!(code == Some(4) && said.contains("--behind-proxy") && said.contains("--insecure"), "{said}");
    assert!(!said.contains("--tokens-file"), "it has them: {said}");
    let mut bare = millpond();
    bare.args(["--listen", "0.0.0.0:0", "--behind-proxy", "--data-dir"]).arg(place.path("data"));
    let bare = bare.output().await?;
    let said = String::from_utf8(bare.stderr)?;
    assert!(bare.status.code() == Some(4) && said.contains("--tokens-file"), "{said}");

    let tokens = place.tokens();
    let arguments = ["--behind-proxy", "--tokens-file", tokens.to_str().context("a path of text")?];
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let mut command = Command::new(binary());
    command.env("MILLPOND_LOG__SEGMENT_BYTES", "1MiB");
    let server = Server::start_on(everywhere, &place.path("data"), command, &arguments).await?;
    assert_eq!(server.http.get("/kv/a").send().await?.status, 401);
    let put = server.http.put("/kv/a", "x").header("x-forwarded-for", "127.0.0.1");
    assert_eq!(put.send().await?.status, 401, "nobody is believed to be near");
    let put = bearing(server.http.put("/kv/a", "x").header("prefer", "wait=30"), &token).send().await?;
    assert_eq!(put.status, 200, "{put:?}");
    Ok(())
}

#[tokio::test]
async fn the_greetings_lines_work_as_they_stand_with_a_token() -> Result<()> {
    let place = Place::new()?;
    let token = place.token(&[&["--tenant", "acme"][..], &READ_WRITE].concat()).await?;
    let guarded = place.start().await?;
    let lines: Vec<&str> = guarded.server.greeting.lines().filter(|line| line.contains("curl")).collect();
    let mut answers = Vec::new();
    for line in &lines {
        let run = Command::new("sh").args(["-c", line]).env("MILLPOND_TOKEN", &token).output().await?;
        answers.push(String::from_utf8(run.stdout)?);
    }
    let [put, get, again] = &answers[..] else { panic!("three lines: {lines:?}") };
    assert!(put.contains("accepted") && again.contains("condition-failed"), "{answers:?}");
    assert_eq!(get, "world");
    assert!(guarded.server.greeting.contains("tenant = 'acme'"), "{}", guarded.server.greeting);
    Ok(())
}

#[tokio::test]
async fn writes_wait_by_default_where_the_server_is_told_so() -> Result<()> {
    let place = Place::new()?;
    let mut command = Command::new(binary());
    command.env("MILLPOND_LOG__SEGMENT_BYTES", "1MiB").env("MILLPOND_API__DEFAULT_WAIT", "30s");
    let server = Server::start_with(&place.path("data"), command, &[]).await?;
    let http = &server.http;
    let put = http.put("/kv/a", "x").send().await?;
    assert_eq!((put.status.as_u16(), &put.json()["status"]), (200, &"applied".into()), "{put:?}");
    assert!(!put.header("etag").is_empty());
    assert!(!put.headers.contains_key("preference-applied"), "nobody has asked");
    assert_eq!(http.put("/kv/a", "x").header("prefer", "respond-async").send().await?.status, 202);
    assert_eq!(http.delete("/kv/a").send().await?.status, 204);
    let line = "{\"op\":\"put\",\"key\":\"b\",\"value\":\"x\"}\n";
    assert_eq!(http.post("/batch", super::super::NDJSON, line).send().await?.status, 202, "a batch does not");
    Ok(())
}
