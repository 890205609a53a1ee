//! Writes a history: from any number of tasks, an event a line.
//!
//! Not buffered for ever: [`Recorder::finish`] says whether all of it is on disk. Invariant: its clock starts at the wall's
//! and never jumps, so the order of its times is that of what happened.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result};

use super::Event;

/// A history in the making. A clone writes the same one.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    started: Instant,
    started_us: i64,
    file: Mutex<Writing>,
}

#[derive(Debug)]
struct Writing {
    file: BufWriter<File>,
    failed: Option<std::io::Error>,
}

impl Recorder {
    /// Of a new file.
    ///
    /// # Errors
    /// It cannot be made.
    #[expect(clippy::disallowed_methods, reason = "this is the history's Clock")]
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("make {}", path.display()))?;
        let wall =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock is before 1970")?;
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            started: Instant::now(),
            started_us: i64::try_from(wall.as_micros()).context("the clock is far off")?,
            file: Mutex::new(Writing { file: BufWriter::with_capacity(1 << 20, file), failed: None }),
        })))
    }

    /// Unix µs: the wall clock's when the recorder was made, and the time since.
    pub fn now_us(&self) -> i64 {
        let since = i64::try_from(self.0.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.0.started_us.saturating_add(since)
    }

    /// Writes an event. What goes wrong is told by [`Recorder::finish`].
    pub fn record(&self, event: &Event) {
        let mut line = serde_json::to_vec(event).expect("an event is JSON");
        line.push(b'\n');
        let mut writing = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        if writing.failed.is_none()
            && let Err(error) = writing.file.write_all(&line)
        {
            writing.failed = Some(error);
        }
    }

    /// Everything so far is in the file.
    ///
    /// # Errors
    /// Some of it could not be written: the history is worthless.
    pub fn finish(&self) -> Result<()> {
        let mut writing = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = writing.failed.take() {
            return Err(error).with_context(|| format!("write {}", self.0.path.display()));
        }
        writing.file.flush().with_context(|| format!("write {}", self.0.path.display()))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}
