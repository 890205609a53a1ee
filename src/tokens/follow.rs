//! The file of tokens, followed while the server runs.
//!
//! Invariant: a file that is broken changes nothing but what `/readyz?verbose` says; a token that is taken out of a
//! sound one is none within two seconds.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use millpond_api::{Check, Checks, Health, Tokens};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::settings::{Settings, SettingsError};

/// How often it is read. It is small, and times of change are too coarse to trust.
const EVERY: Duration = Duration::from_secs(1);

/// Reads the file again and again.
pub struct Follower {
    path: PathBuf,
    /// What it said last, be it sound or not.
    last: Result<String, SettingsError>,
    tokens: watch::Sender<Arc<Tokens>>,
    /// The last look, and no other, found a file without a token.
    emptied: bool,
    /// Why it is not followed just now; empty: it is.
    trouble: Arc<Mutex<String>>,
}

/// Reads the file that the settings name; none: everybody may call.
///
/// # Errors
/// As [`super::read`]: a server does not start with a broken one.
pub fn open(settings: &Settings) -> Result<Option<Follower>, SettingsError> {
    settings.tokens_file().map(Follower::open).transpose()
}

impl Follower {
    fn open(path: &Path) -> Result<Self, SettingsError> {
        let text = super::load(path)?;
        let tokens = Arc::new(super::parse(path, &text)?);
        let (path, tokens) = (path.to_owned(), watch::channel(tokens).0);
        Ok(Self { path, last: Ok(text), tokens, emptied: false, trouble: Arc::default() })
    }

    /// The tokens, now and after every change.
    pub fn tokens(&self) -> watch::Receiver<Arc<Tokens>> {
        self.tokens.subscribe()
    }

    /// For `/readyz?verbose`.
    pub fn checks(&self) -> Checks {
        let trouble = Arc::clone(&self.trouble);
        Arc::new(move || {
            let detail = trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let health = if detail.is_empty() { Health::Ok } else { Health::Degraded };
            vec![Check { name: "tokens".to_owned(), health, detail }]
        })
    }

    /// Follows it until `stop`.
    pub async fn run(mut self, stop: CancellationToken) -> Result<&'static str> {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok("tokens"),
                _ = ticks.tick() => {}
            }
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || super::load(&path));
            self.follow(read.await.context("read the file of tokens")?);
        }
    }

    /// Takes what the file says now.
    pub(super) fn follow(&mut self, read: Result<String, SettingsError>) {
        let again = read == self.last;
        if again && !std::mem::take(&mut self.emptied) {
            return;
        }
        let parsed = read.as_ref().map_err(Clone::clone).and_then(|text| super::parse_any(&self.path, text));
        // Whoever writes it may be halfway: only a second look shows that the last token was taken out.
        self.emptied = !again && parsed.as_ref().is_ok_and(Tokens::is_empty);
        if self.emptied {
            self.last = read;
            return;
        }
        let trouble = match parsed {
            Ok(tokens) if tokens.is_empty() => {
                tracing::warn!(target: "audit", "no token is left in the file of tokens: every call is refused");
                self.tokens.send_replace(Arc::new(tokens));
                "no token is left in the file: every call is refused".to_owned()
            }
            Ok(tokens) => {
                tracing::info!(target: "audit", tokens = tokens.len(), "the file of tokens has changed");
                self.tokens.send_replace(Arc::new(tokens));
                String::new()
            }
            Err(error) => {
                tracing::warn!(target: "audit", %error, "the file of tokens is broken; those from before stay in force");
                let cause = error.to_string().replace('\n', "; ");
                format!("those from before stay in force: {cause}")
            }
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        self.last = read;
    }
}
