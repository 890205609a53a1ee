//! The command line with tokens: made, hashed, sent, and never in an argument.

use std::{fs, process::Stdio};

use anyhow::{Context, Result};
use millpond_tests::server::{Server, millpond};
use tokio::{io::AsyncWriteExt, process::Command};

use super::{Place, READ_WRITE, mode};

fn at(server: &Server, arguments: &[&str]) -> Command {
    let mut command = millpond();
    let server = format!("http://{}", server.address);
    // What a test adds may be the end of an option.
    command.arg(arguments[0]).args(["--retry-for", "30s", "--server", &server]).args(&arguments[1..]);
    command
}

#[tokio::test]
async fn a_token_is_printed_once_and_the_file_holds_its_hash_alone() -> Result<()> {
    let place = Place::new()?;
    let token =
        place.token(&["--tenant", "acme", "--scope", "read", "--name", "app", "--expires", "90d"]).await?;
    assert!(token.len() == 47 && token.starts_with("mlp_"), "{token}");
    let again = place.token(&["--tenant", "acme", "--scope", "read"]).await?;
    assert_ne!(token, again);
    let text = fs::read_to_string(place.tokens())?;
    assert!(
        !text.contains(&token[4..]) && text.contains("name = \"app\"") && text.contains("expires_at"),
        "{text}"
    );

    let mut hash = millpond();
    hash.args(["token", "hash"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut hash = hash.spawn()?;
    hash.stdin.take().context("its input is piped")?.write_all(format!("{token}\n").as_bytes()).await?;
    let hash = String::from_utf8(hash.wait_with_output().await?.stdout)?;
    assert!(text.contains(&format!("hash = \"{}\"", hash.trim_end())), "{hash} is not in {text}");

    let bare = millpond().args(["token", "new", "--tenant", "a", "--scope", "write"]).output().await?;
    let (out, told) = (String::from_utf8(bare.stdout)?, String::from_utf8(bare.stderr)?);
    assert!(out.starts_with("mlp_") && out.lines().count() == 1, "{out}");
    assert!(told.starts_with("[[token]]\nhash = \"sha256:") && !told.contains(&out[4..40]), "{told}");
    let pasted = place.write("pasted.toml", &told)?;
    let list = millpond().args(["token", "list", "--file"]).arg(pasted).output().await?;
    assert_eq!(String::from_utf8(list.stdout)?, told);
    Ok(())
}

#[tokio::test]
async fn wrong_usage_of_token_new_makes_nothing() -> Result<()> {
    let place = Place::new()?;
    for arguments in [
        &["--scope", "read"][..],
        &["--tenant", "a"],
        &["--tenant", "A b", "--scope", "read"],
        &["--tenant", "a", "--scope", "everything"],
        &["--tenant", "a", "--scope", "read", "--name", "a\nb"],
        &["--tenant", "a", "--scope", "read", "--expires", "soon"],
    ] {
        let made =
            millpond().args(["token", "new", "--file"]).arg(place.tokens()).args(arguments).output().await?;
        assert_eq!(made.status.code(), Some(2), "{arguments:?}: {made:?}");
        assert!(made.stdout.is_empty() && !place.tokens().exists(), "{arguments:?}");
    }
    Ok(())
}

#[tokio::test]
async fn commands_send_the_token_of_a_file_or_of_the_environment() -> Result<()> {
    let place = Place::new()?;
    let token = place.token(&[&["--tenant", "acme"][..], &READ_WRITE].concat()).await?;
    let file = place.write("acme.token", &format!("{token}\n"))?;
    let wrong = place.write("wrong.token", "mlp_wrong\n")?;
    let guarded = place.start().await?;
    let server = &guarded.server;
    let put = at(server, &["put", "k", "v", "--wait", "30s", "--token-file"]).arg(&file).output().await?;
    assert!(put.status.success(), "{put:?}");
    let get = at(server, &["get", "k"]).env("MILLPOND_TOKEN", &token).output().await?;
    assert_eq!(get.stdout, b"v", "{get:?}");
    let mut both = at(server, &["get", "k"]);
    both.env("MILLPOND_TOKEN_FILE", &file).env("MILLPOND_TOKEN", "mlp_wrong");
    assert_eq!(both.output().await?.stdout, b"v", "the file goes over the variable");
    let mut lines = place_lines(&guarded.place)?;
    let state = guarded.place.path("state");
    lines.push(state.to_str().context("a path of text")?.to_owned());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let import = at(server, &lines).env("MILLPOND_TOKEN_FILE", &file).output().await?;
    assert!(import.status.success(), "{import:?}");

    for refused in [at(server, &["get", "k"]), {
        let mut command = at(server, &["get", "k", "--token-file"]);
        command.arg(&wrong);
        command
    }] {
        let mut refused = refused;
        let refused = refused.output().await?;
        let said = String::from_utf8(refused.stderr)?;
        assert_eq!(refused.status.code(), Some(4), "{said}");
        assert!(said.contains("token") && !said.contains("mlp_"), "{said}");
    }
    Ok(())
}

/// An import of one line.
fn place_lines(place: &Place) -> Result<Vec<String>> {
    let lines = place.write("lines.ndjson", "{\"op\":\"put\",\"key\":\"i\",\"value\":\"x\"}\n")?;
    let lines = lines.to_str().context("a path of text")?.to_owned();
    Ok(vec!["import".to_owned(), lines, "--state-dir".to_owned()])
}

#[tokio::test]
async fn a_token_in_an_argument_is_refused_and_not_repeated() -> Result<()> {
    for command in [&["get", "k"][..], &["put", "k", "v"], &["del", "k"], &["ttl", "k"], &["import", "-"]] {
        for secret in [&["--token", "SECRET"][..], &["--token=SECRET"], &["--token"]] {
            let refused = millpond().args(command).args(secret).stdin(Stdio::null()).output().await?;
            let said = String::from_utf8([refused.stdout, refused.stderr].concat())?;
            assert_eq!(refused.status.code(), Some(2), "{command:?}: {said}");
            assert!(said.contains("--token-file") && said.contains("MILLPOND_TOKEN"), "{said}");
            assert!(!said.contains("SECRET"), "{said}");
        }
    }
    let help = millpond().args(["get", "--help"]).env("MILLPOND_TOKEN", "SECRET").output().await?;
    let help = String::from_utf8(help.stdout)?;
    assert!(
        help.contains("--token-file") && !help.contains("SECRET") && !help.contains("--token "),
        "{help}"
    );
    Ok(())
}

#[tokio::test]
async fn a_token_file_that_others_may_read_is_refused_with_what_to_type() -> Result<()> {
    let place = Place::new()?;
    let file = place.write("token", "mlp_SECRET")?;
    mode(&file, 0o644)?;
    let refused = millpond().args(["get", "k", "--token-file"]).arg(&file).output().await?;
    let said = String::from_utf8(refused.stderr)?;
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("chmod 600 {}", file.display())) && !said.contains("SECRET"), "{said}");
    let broken = millpond().args(["get", "k"]).env("MILLPOND_TOKEN", "mlp SECRET").output().await?;
    let said = String::from_utf8(broken.stderr)?;
    assert!(broken.status.code() == Some(2) && said.contains("MILLPOND_TOKEN"), "{said}");
    assert!(!said.contains("SECRET"), "{said}");
    Ok(())
}
