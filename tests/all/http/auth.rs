//! A server that asks for tokens, as its operators and clients meet it.

mod cli;
mod start;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    http::{Answer, Call},
    server::{Server, binary, millpond},
};
use tempfile::TempDir;
use tokio::process::Command;

use super::assert_problem;

/// How long a change of the file may take to count before a test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// Files of a test: the server's tokens and log, a client's token.
struct Place {
    dir: TempDir,
}

/// A server that asks for the tokens of its file.
struct Guarded {
    server: Server,
    place: Place,
}

impl Place {
    fn new() -> Result<Self> {
        Ok(Self { dir: TempDir::new()? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn tokens(&self) -> PathBuf {
        self.path("tokens.toml")
    }

    /// Makes a token by the command, into the server's file.
    async fn token(&self, arguments: &[&str]) -> Result<String> {
        let made = millpond()
            .args(["token", "new"])
            .args(arguments)
            .arg("--file")
            .arg(self.tokens())
            .output()
            .await?;
        ensure!(made.status.success() && made.stderr.is_empty(), "{made:?}");
        Ok(String::from_utf8(made.stdout)?.trim_end().to_owned())
    }

    /// Writes a file that only its owner reads.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text)?;
        mode(&path, 0o600)?;
        Ok(path)
    }

    /// Starts a server with the file, its log lines in another one.
    async fn start(self) -> Result<Guarded> {
        let mut command = Command::new("sh");
        command.args(["-c", r#"RUST_LOG=trace exec "$0" "$@" 2> "$LOG""#]).arg(binary());
        command.env("LOG", self.path("log")).env("MILLPOND_LOG__SEGMENT_BYTES", "1MiB");
        let tokens = self.tokens();
        let arguments = ["--tokens-file", tokens.to_str().context("a path of text")?];
        let server = Server::start_with(&self.path("data"), command, &arguments).await?;
        Ok(Guarded { server, place: self })
    }

    fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(self.path("log"))?)
    }
}

impl Guarded {
    fn get(&self, path: &str) -> Call<'_> {
        self.server.http.get(path)
    }

    /// Calls until the answer has a status.
    async fn until(&self, token: &str, status: u16) -> Result<Answer> {
        let calls = async {
            loop {
                let answer = bearing(self.get("/kv/none"), token).send().await?;
                if answer.status == status {
                    return Ok(answer);
                }
            }
        };
        tokio::time::timeout(PATIENCE, calls).await.with_context(|| format!("it is never {status}"))?
    }

    /// Waits until readiness says something.
    async fn until_ready_says(&self, wanted: &str) -> Result<()> {
        let probes = async {
            while !self.server.ops.get("/readyz?verbose").send().await?.text().contains(wanted) {}
            Ok(())
        };
        tokio::time::timeout(PATIENCE, probes).await.with_context(|| format!("it never says {wanted}"))?
    }
}

fn mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

fn bearing<'a>(call: Call<'a>, token: &str) -> Call<'a> {
    call.header("authorization", &format!("Bearer {token}"))
}

const READ_WRITE: [&str; 4] = ["--scope", "read", "--scope", "write"];

#[tokio::test]
async fn no_malformed_unknown_and_expired_tokens_get_the_same_bytes() -> Result<()> {
    let place = Place::new()?;
    let good = place.token(&["--tenant", "acme", "--scope", "read"]).await?;
    let expired = place.token(&["--tenant", "acme", "--scope", "read"]).await?;
    let text = fs::read_to_string(place.tokens())?;
    place.write("tokens.toml", &format!("{text}expires_at = 2020-01-01T00:00:00Z\n"))?;
    let guarded = place.start().await?;
    let call = || guarded.get("/kv/a").header("x-request-id", "same");
    assert_eq!(bearing(call(), &good).send().await?.status, 404);
    let none = call().send().await?;
    assert_problem(&none, (401, "unauthenticated"), "none");
    assert_eq!(none.header("www-authenticate"), "Bearer realm=\"millpond\"");
    for other in [
        bearing(call(), &expired),
        bearing(call(), &good.to_lowercase()),
        bearing(call(), &format!("{good}x")),
        bearing(call(), "a b"),
        bearing(bearing(call(), &good), &good),
        call().header("authorization", &good),
        call().header("authorization", &format!("Basic {good}")),
        call().header("authorization", ""),
    ] {
        let other = other.send().await?;
        assert_eq!((other.status, &other.body), (none.status, &none.body));
        let names = |answer: &Answer| {
            let names = answer.headers.iter().filter(|(name, _)| *name != "date");
            names.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>()
        };
        assert_eq!(names(&other), names(&none));
    }
    let put = guarded.server.http.put("/kv/a", "x").send().await?;
    assert_problem(&put, (401, "unauthenticated"), "refused");
    let metrics = guarded.server.ops.get("/metrics").send().await?.text();
    for (reason, calls) in [("missing", 2), ("expired", 1), ("unknown", 2), ("malformed", 5)] {
        let line = format!("millpond_api_unauthenticated_total{{reason=\"{reason}\"}} {calls}\n");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    Ok(())
}

#[tokio::test]
async fn another_tenants_keys_are_404_existing_or_not_and_audited_without_a_secret() -> Result<()> {
    let place = Place::new()?;
    let owner = place.token(&[&["--tenant", "acme"][..], &READ_WRITE].concat()).await?;
    let other = place.token(&[&["--tenant", "other", "--name", "curious"][..], &READ_WRITE].concat()).await?;
    let guarded = place.start().await?;
    let http = &guarded.server.http;
    let put = bearing(http.put("/kv/private-key", "private-value").header("prefer", "wait=30"), &owner)
        .send()
        .await?;
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(bearing(http.get("/kv/private-key"), &owner).send().await?.text(), "private-value");
    let foreign = async |path: &str| {
        let call = http.get(path).header("kv-tenant", "acme").header("x-request-id", "same");
        bearing(call, &other).send().await
    };
    let (existing, missing) = (foreign("/kv/private-key").await?, foreign("/kv/none").await?);
    assert_problem(&existing, (404, "tenant-unknown"), "none");
    assert_eq!(existing.body, missing.body);
    assert_eq!(existing.headers.len(), missing.headers.len());
    assert_problem(&bearing(http.get("/kv/private-key"), &other).send().await?, (404, "not-found"), "none");
    let place_of = format!("/mutations/{}", put.header("kv-position"));
    assert_problem(&bearing(http.get(&place_of), &other).send().await?, (404, "position-unknown"), "none");
    let write = bearing(http.delete("/kv/private-key").header("kv-tenant", "acme"), &other).send().await?;
    assert_problem(&write, (404, "tenant-unknown"), "refused");

    let Guarded { server, place } = guarded;
    server.terminate().await?;
    let log = place.log()?;
    let event = log.lines().find(|line| line.contains("audit") && line.contains("not its own"));
    let event = event.context("the attempt is audited")?;
    assert!(event.contains("curious") && event.contains("acme"), "{event}");
    for secret in [&owner[4..], &other[4..], "private-key", "private-value"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    Ok(())
}

#[tokio::test]
async fn a_read_only_token_changes_nothing_and_a_tenants_token_is_no_admin() -> Result<()> {
    let place = Place::new()?;
    let reader = place.token(&["--tenant", "acme", "--scope", "read"]).await?;
    let admin = place.token(&["--scope", "admin"]).await?;
    let guarded = place.start().await?;
    let (http, ops) = (&guarded.server.http, &guarded.server.ops);
    let put = bearing(http.put("/kv/a", "x"), &reader).send().await?;
    assert_problem(&put, (403, "forbidden"), "refused");
    assert_problem(&bearing(http.get("/kv/a"), &reader).send().await?, (404, "not-found"), "none");
    assert_problem(&bearing(http.get("/kv/a"), &admin).send().await?, (403, "forbidden"), "none");
    assert_problem(&bearing(ops.get("/admin/lag"), &reader).send().await?, (403, "forbidden"), "none");
    assert_problem(&bearing(ops.get("/admin/lag"), "wrong").send().await?, (401, "unauthenticated"), "none");
    assert_eq!(bearing(ops.get("/admin/lag"), &admin).send().await?.status, 200);
    assert_eq!(ops.get("/admin/lag").send().await?.status, 200, "this machine needs none");
    Ok(())
}

#[tokio::test]
async fn a_token_for_several_tenants_means_the_first_and_selects_by_name() -> Result<()> {
    let place = Place::new()?;
    let several = place.token(&[&["--tenant", "b", "--tenant", "a"][..], &READ_WRITE].concat()).await?;
    let any = place.token(&[&["--tenant", "*"][..], &READ_WRITE].concat()).await?;
    let guarded = place.start().await?;
    let http = &guarded.server.http;
    let put = async |token: &str, tenant: Option<&str>| {
        let call = http.put("/kv/k", tenant.unwrap_or("nobody").to_owned()).header("prefer", "wait=30");
        let call = tenant.into_iter().fold(call, |call, tenant| call.header("kv-tenant", tenant));
        bearing(call, token).send().await
    };
    assert_eq!(put(&several, None).await?.status, 200);
    assert_eq!(put(&several, Some("a")).await?.status, 200);
    assert_eq!(put(&several, Some("c")).await?.status, 404);
    assert_eq!(put(&any, Some("c")).await?.status, 200);
    assert_eq!(put(&several, Some("A B")).await?.code(), "tenant-invalid");
    for (tenant, value) in [("a", "a"), ("b", "nobody"), ("c", "c")] {
        let read = bearing(http.get("/kv/k").header("kv-tenant", tenant), &any).send().await?;
        assert_eq!(read.text(), value, "{tenant}");
    }
    Ok(())
}

#[tokio::test]
async fn the_file_is_followed_and_a_broken_one_changes_nothing() -> Result<()> {
    let place = Place::new()?;
    let first = place.token(&["--tenant", "acme", "--scope", "read"]).await?;
    let guarded = place.start().await?;
    guarded.until(&first, 404).await?;
    let second = guarded.place.token(&["--tenant", "acme", "--scope", "read"]).await?;
    guarded.until(&second, 404).await?;

    let whole = fs::read_to_string(guarded.place.tokens())?;
    guarded.place.write("tokens.toml", &whole.replacen("tenant", "tennant", 1))?;
    guarded.until_ready_says("[~]tokens degraded: those from before stay in force").await?;
    guarded.until_ready_says("did you mean tenant?").await?;
    assert_eq!(guarded.server.ops.get("/readyz").send().await?.status, 200);
    for token in [&first, &second] {
        assert_eq!(guarded.until(token, 404).await?.code(), "not-found");
    }

    let (_, only) = whole.split_once("\n\n").context("two tokens are apart")?;
    guarded.place.write("tokens.toml", only)?;
    guarded.until(&first, 401).await?;
    guarded.until(&second, 404).await?;
    guarded.until_ready_says("[+]tokens ok").await?;
    guarded.server.terminate().await?;
    Ok(())
}
