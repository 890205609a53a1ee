//! A server that asks for tokens: the page asks the operator for one where loopback is not enough, and keeps it to itself.

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    browser::Browser,
    http::Http,
    server::{Server, binary, millpond},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use super::{WIDE, picture, text};

struct Guarded {
    server: Server,
    dir: TempDir,
}

async fn token(dir: &TempDir, arguments: &[&str]) -> Result<String> {
    let mut command = millpond();
    command.args(["token", "new", "--file"]).arg(dir.path().join("tokens.toml")).args(arguments);
    let made = command.output().await?;
    ensure!(made.status.success(), "{made:?}");
    Ok(String::from_utf8(made.stdout)?.trim_end().to_owned())
}

async fn guarded(dir: TempDir) -> Result<Guarded> {
    let mut command = Command::new(binary());
    command.env("MILLPOND_LOG__SEGMENT_BYTES", "1MiB");
    let tokens = dir.path().join("tokens.toml");
    let arguments = ["--tokens-file", tokens.to_str().context("a path of text")?];
    let server = Server::start_with(&dir.path().join("data"), command, &arguments).await?;
    Ok(Guarded { server, dir })
}

async fn put(http: &Http, token: &str) -> Result<()> {
    let put = http.put("/kv/secret", "only for acme").header("authorization", &format!("Bearer {token}"));
    let put = put.header("prefer", "wait=30").send().await?;
    ensure!(put.status == 200, "{put:?}");
    Ok(())
}

const KEY: &str = "/admin/key?key_b64=c2VjcmV0&tenant=acme";

#[tokio::test]
async fn a_value_is_told_only_to_a_token_that_may_read_the_key() -> Result<()> {
    let dir = TempDir::new()?;
    let owner = token(&dir, &["--tenant", "acme", "--scope", "read", "--scope", "write"]).await?;
    let reader = token(&dir, &["--tenant", "acme", "--scope", "admin", "--scope", "read"]).await?;
    let admin = token(&dir, &["--tenant", "acme", "--scope", "admin"]).await?;
    let other = token(&dir, &["--tenant", "other", "--scope", "admin", "--scope", "read"]).await?;
    let guarded = guarded(dir).await?;
    put(&guarded.server.http, &owner).await?;
    let ops = &guarded.server.ops;
    let bare = ops.get(KEY).send().await?;
    assert_eq!(
        (bare.status.as_u16(), bare.code().as_str()),
        (401, "unauthenticated"),
        "loopback alone is not enough"
    );
    for (token, status) in [(&reader, 200), (&owner, 403), (&admin, 403), (&other, 404)] {
        let answer = ops.get(KEY).header("authorization", &format!("Bearer {token}")).send().await?;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
        assert_eq!(answer.text().contains("b25seSBmb3IgYWNtZQ=="), status == 200);
    }
    // The host counts where loopback is what lets a call in, not where a token does.
    let foreign = |token: &str| {
        let call = ops.get("/admin/lag").header("host", "ops.example");
        if token.is_empty() { call } else { call.header("authorization", &format!("Bearer {token}")) }
    };
    assert_eq!(foreign("").send().await?.status, 403);
    assert_eq!(foreign("wrong").send().await?.status, 401);
    assert_eq!(foreign(&admin).send().await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn the_page_asks_for_a_token_when_a_lookup_needs_one() -> Result<()> {
    let dir = TempDir::new()?;
    let owner = token(&dir, &["--tenant", "acme", "--scope", "read", "--scope", "write"]).await?;
    let admin = token(&dir, &["--tenant", "acme", "--scope", "admin", "--scope", "read"]).await?;
    let guarded = guarded(dir).await?;
    put(&guarded.server.http, &owner).await?;
    let (mut browser, url) = (Browser::open().await?, super::url(&guarded.server));
    browser.look(WIDE).await?;
    browser.go(&url).await?;
    browser.until("document.getElementById('health').dataset.status === 'ok'").await?;
    browser.until("document.getElementById('access').hidden").await?;
    let set = |id: &str, value: &str| format!("document.getElementById('{id}').value = {}", json!(value));
    let send = |form: &str| format!("document.getElementById('{form}').requestSubmit()");
    browser.value(&set("key", "secret")).await?;
    browser.value(&send("key-form")).await?;
    browser.until("!document.getElementById('access').hidden").await?;
    browser.until("document.activeElement.id === 'token'").await?;
    browser.picture(&picture("token")).await?;

    browser.value(&set("token", "not-a-token")).await?;
    browser.value(&send("access-form")).await?;
    browser.until(&format!("{}.includes('not known here')", text("access-why"))).await?;
    browser.until(&format!("{}.includes('serving')", text("checks-list"))).await?;
    browser.value(&set("token", &admin)).await?;
    browser.value(&send("access-form")).await?;
    browser.until("document.getElementById('access').hidden").await?;
    browser.until("!document.getElementById('lookups').hidden").await?;
    browser.value(&send("key-form")).await?;
    browser.until(&format!("{}.includes('only for acme')", text("key-found"))).await?;

    let held = browser.value("JSON.stringify([document.cookie, localStorage.length, location.href])").await?;
    assert_eq!(held, json!(json!(["", 0, url]).to_string()), "it is in this tab's memory alone");
    browser.value("document.getElementById('forget').click()").await?;
    browser.until("document.getElementById('token-held').hidden && sessionStorage.length === 0").await?;
    // The browser itself notes every refusal; nothing else is noted.
    let troubles = browser.troubles();
    let refusals = troubles.iter().filter(|trouble| trouble.contains("status of 401"));
    assert_eq!(refusals.count(), troubles.len(), "{troubles:#?}");
    drop(guarded.dir);
    Ok(())
}
