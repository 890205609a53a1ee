//! Every halt: brought about on the real thing, seen wherever an operator looks, and left by exactly what is printed.
//!
//! Not here: those that only records signed with the deployment's key bring about (`native/control.rs`). Invariant: the
//! commands typed here are those that `millpond doctor` prints.

pub(crate) mod embedded;
mod kafka;

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    deployment::Deployment,
    http::Http,
    process::until_async,
    roles::Kind,
    server::{Server, millpond},
};
use serde_json::Value;

/// How long a state may take to come. Far above what it takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// How a command ended, and what it said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// That it ended so.
    pub(crate) fn ended(self, code: i32) -> Result<Self> {
        ensure!(self.code == Some(code), "it ended with {:?}: {}{}", self.code, self.out, self.err);
        Ok(self)
    }

    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("{}{}", self.out, self.err))
    }
}

/// An operator's shell: what it runs knows where everything is.
pub(crate) struct Shell {
    config: Option<PathBuf>,
    ops: String,
    server: String,
    checks: Http,
}

impl Shell {
    /// Beside the one process with everything.
    pub(crate) fn of(server: &Server) -> Self {
        Self {
            config: None,
            ops: format!("http://{}", server.ops_address),
            server: format!("http://{}", server.address),
            checks: Http::new(server.ops_address),
        }
    }

    /// With a deployment's configuration, and the address of its first writer.
    pub(crate) fn of_deployment(deployment: &Deployment) -> Self {
        let writer = deployment.ops_address(Kind::Writer, 0);
        Self {
            config: Some(deployment.dir().join("millpond.toml")),
            ops: format!("http://{writer}"),
            server: format!("http://{}", deployment.address_of_api(0)),
            checks: Http::new(writer),
        }
    }

    /// Knows of no process any more.
    pub(crate) fn stopped(&mut self) {
        self.ops.clear();
    }

    /// Runs a command as it would be typed; `more` is what cannot be split at spaces.
    pub(crate) async fn run(&self, typed: &str, more: &[&str]) -> Result<Said> {
        let words: Vec<&str> = typed.split(' ').filter(|word| !word.is_empty()).collect();
        let words = words.strip_prefix(&["millpond"]).unwrap_or(&words);
        let mut command = millpond();
        if self.ops.is_empty() {
            command.env_remove("MILLPOND_OPS");
        } else {
            command.env("MILLPOND_OPS", &self.ops);
        }
        command.args(words).args(more).stdin(Stdio::null()).kill_on_drop(true);
        command.env("MILLPOND_SERVER", &self.server);
        if let Some(config) = &self.config {
            command.env("MILLPOND_CONFIG", config);
        }
        let output = command.output().await.with_context(|| format!("run {typed}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
    }

    /// Waits until a partition has halted, and finds it wherever an operator looks: readiness, metrics, the page and the
    /// doctor. Answers the command that the doctor prints first.
    pub(crate) async fn sees(&self, partition: u32, halt: &str) -> Result<String> {
        let line = format!("[~]partition {partition} degraded: halted, {halt}: ");
        until(&format!("{halt} is in /readyz"), async || {
            Ok(self.checks.get("/readyz?verbose").send().await?.text().contains(&line))
        })
        .await?;
        let metrics = self.checks.get("/metrics").send().await?.text();
        for series in [
            format!("millpond_writer_halted{{partition=\"{partition}\",reason=\"{halt}\"}} 1\n"),
            format!("millpond_writer_halted_partitions{{reason=\"{halt}\"}} "),
        ] {
            ensure!(metrics.contains(&series), "no {series} in {metrics}");
        }
        ensure!(!metrics.contains(&format!("halted_partitions{{reason=\"{halt}\"}} 0\n")), "{metrics}");
        let overview = self.checks.get("/admin/overview").send().await?.json();
        let on_page = of(&overview["health"]["findings"], "sentence", &format!("halted, {halt}"))?.clone();
        assert_eq!(on_page["status"], "failed");
        let doctor = self.run("millpond doctor --json", &[]).await?.ended(1)?.json()?;
        let found = of(&doctor["findings"], "what", &format!("partition {partition} is halted: {halt}"))?;
        let next = found["next"].as_str().context("what comes next")?;
        ensure!(next.contains(on_page["remedy"].as_str().context("a remedy")?), "{next} {on_page}");
        ensure!(next.contains(&format!("docs/recovery.md#{halt}")), "{next}");
        let command = next.split('`').nth(1).with_context(|| format!("no command in {next}"))?;
        assert_eq!(on_page["command"], command, "the page and the doctor say the same");
        Ok(command.to_owned())
    }

    /// Types what the doctor printed, which only looks; then the same in earnest.
    pub(crate) async fn follows(&self, printed: &str) -> Result<Said> {
        ensure!(printed.contains("--dry-run"), "{printed} looks first");
        self.run(printed, &[]).await?.ended(0)?;
        self.run(&printed.replace("--dry-run", "--yes"), &["--reason", "a test's"]).await?.ended(0)
    }

    /// Waits until a partition works.
    pub(crate) async fn goes_on(&self, partition: u32) -> Result<()> {
        let line = format!("[+]partition {partition} ok");
        until(&format!("partition {partition} goes on"), async || {
            Ok(self.checks.get("/readyz?verbose").send().await?.text().contains(&line))
        })
        .await
    }
}

/// The element of a list whose text contains this.
fn of<'v>(list: &'v Value, member: &str, text: &str) -> Result<&'v Value> {
    let found = list.as_array().context("a list")?.iter();
    let mut found = found.filter(|one| one[member].as_str().is_some_and(|said| said.contains(text)));
    found.next().with_context(|| format!("none says {text}: {list}"))
}

/// Looks until it holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let mut last = Ok(false);
    let held = until_async(PATIENCE, async || {
        last = holds().await;
        !matches!(last, Ok(false))
    });
    let held = held.await;
    ensure!(held && last?, "{what}: not within {PATIENCE:?}");
    Ok(())
}
