//! The signals that ask a command to end.

use anyhow::Result;
use rustix::process::Signal;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

/// SIGINT, SIGTERM and SIGHUP, which end nothing by themselves once this exists.
pub struct Asked {
    int: Signals,
    term: Signals,
    hup: Signals,
}

impl Asked {
    /// From now on they are heard here.
    pub fn listen() -> Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one. Cancel safe: none is lost.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.int.recv() => Signal::INT,
            _ = self.term.recv() => Signal::TERM,
            _ = self.hup.recv() => Signal::HUP,
        }
    }
}
