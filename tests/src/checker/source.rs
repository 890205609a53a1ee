//! Where events come from: a file, line by line, or memory. Read once for each pass.
//!
//! Invariant: a line that is no event is an error, never passed over.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use crate::history::Event;

/// A history.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A file, an event a line.
    File(&'a Path),
    /// As it would be in a file.
    Events(&'a [Event]),
}

/// A history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file does not give its bytes.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is no event.
    #[error("{path}:{line}: {source}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

/// Kinds of events that a pass does not want, as a line begins.
pub(super) type Unwanted = &'static [&'static str];

/// The first pass: what is about the log, and which copies there are.
pub(super) const LOG: Unwanted = &[r#"{"op":"#, r#"{"read":"#, r#"{"look":"#];
/// The second pass: what clients were told, and copies.
pub(super) const CALLS: Unwanted = &[r#"{"log":"#];

impl Source<'_> {
    /// Calls `take` with every event that a pass wants, and its line from 1; of those in memory, with all.
    pub(super) fn each(
        &self,
        unwanted: Unwanted,
        mut take: impl FnMut(usize, Event),
    ) -> Result<(), Unreadable> {
        match self {
            Self::Events(events) => {
                (1..).zip(*events).for_each(|(line, event)| take(line, event.clone()));
                Ok(())
            }
            Self::File(path) => {
                let is_wanted = |text: &str| !unwanted.iter().any(|kind| text.starts_with(kind));
                each_line(path, |line, text| {
                    if !is_wanted(text) {
                        return Ok(());
                    }
                    let event = serde_json::from_str(text).map_err(|source| Unreadable::Line {
                        path: path.to_path_buf(),
                        line,
                        source,
                    })?;
                    take(line, event);
                    Ok(())
                })
            }
        }
    }
}

/// These lines of a file, from 1.
///
/// # Errors
/// [`Unreadable::File`].
pub fn lines(path: &Path, wanted: &BTreeSet<usize>) -> Result<BTreeMap<usize, String>, Unreadable> {
    let mut found = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    each_line(path, |line, text| {
        if wanted.contains(&line) {
            found.insert(line, text.to_owned());
        }
        Ok(())
    })?;
    Ok(found)
}

/// Calls `take` with every line that is not blank, from 1.
fn each_line(
    path: &Path,
    mut take: impl FnMut(usize, &str) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let failed = |source| Unreadable::File { path: path.to_path_buf(), source };
    let mut lines = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
    let mut text = String::new();
    for line in 1.. {
        text.clear();
        if lines.read_line(&mut text).map_err(failed)? == 0 {
            break;
        }
        if !text.trim().is_empty() {
            take(line, &text)?;
        }
    }
    Ok(())
}
