//! Every crash state of a recorded run, or as many as are wanted, laid out and checked.
//!
//! State N of a seed is always the same: the moment, and what the disk kept of what was not synced. The first ones go
//! through all moments, once with nothing and once with all of it kept; the others are any.
//! Invariant: a state that fails stays in its folder, together with the recording that it was made from.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{
    check,
    disk::{Disk, Image, Keep},
    recording::Recording,
};

/// States that are checked at once.
const AT_ONCE: usize = 2;

/// What is opened in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The streams of the log alone.
    Log,
    /// Log and shards, and a writer on them.
    Pond,
}

/// Which states.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What is opened.
    pub subject: Subject,
    /// Fixes every state.
    pub seed: u64,
    /// How many.
    pub states: u64,
    /// Only this one; none: all.
    pub only: Option<u64>,
}

/// What was checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Moments of the run at which there is something new to see.
    pub moments: usize,
    /// States checked.
    pub states: u64,
    /// Different disks among them.
    pub distinct: usize,
    /// Calls of the recorded run that were answered with a position.
    pub answered: u64,
}

/// One state to be made.
struct State {
    number: u64,
    done: usize,
    keep: Keep,
    random: StdRng,
}

impl Plan {
    /// After how many events there is something new to see: of the log alone, after those that concern it, and answers.
    fn moments(&self, recording: &Recording) -> Vec<usize> {
        let folder = match self.subject {
            Subject::Log => recording.data_dir.join("log"),
            Subject::Pond => recording.data_dir.clone(),
        };
        let after = (1..).zip(&recording.events).filter(|(_, event)| event.concerns(&folder));
        std::iter::once(0).chain(after.map(|(done, _)| done)).collect()
    }

    /// The states, in order of their moments.
    fn states(&self, moments: &[usize]) -> Vec<State> {
        let all = moments.len() as u64;
        let through = if self.states >= all * 4 { all * 2 } else { 0 };
        let state = |number: u64| {
            let mut random = StdRng::seed_from_u64(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let (done, keep) = match number {
                n if n < all.min(through) => (n, Keep::Nothing),
                n if n < through => (n - all, Keep::All),
                _ => (random.random_range(0..all), Keep::Some),
            };
            let done = moments[usize::try_from(done).expect("moments are counted in memory")];
            State { number, done, keep, random }
        };
        let mut states: Vec<State> =
            (0..self.states).filter(|n| self.only.is_none_or(|only| only == *n)).map(state).collect();
        states.sort_by_key(|state| state.done);
        states
    }

    /// Makes and checks them. `keep`: where a failing one is left.
    ///
    /// # Errors
    /// A state breaks a promise: which, how, and where it lies.
    pub async fn run(&self, recording: &Arc<Recording>, keep: &Path) -> Result<Figures> {
        let moments = self.moments(recording);
        let (mut disk, mut at, mut distinct) = (Disk::default(), 0, BTreeSet::new());
        let (mut checks, mut figures) = (JoinSet::new(), Figures::default());
        for mut state in self.states(&moments) {
            while at < state.done {
                disk.apply(&recording.events[at])?;
                at += 1;
            }
            let mut image = disk.image(state.keep, &mut state.random);
            if self.subject == Subject::Log {
                let of_log = recording.data_dir.join("log");
                image.files.retain(|path, _| path.starts_with(&of_log));
            }
            distinct.insert(image.hash());
            figures.states += 1;
            if checks.len() >= AT_ONCE {
                joined(checks.join_next().await)?;
            }
            let (recording, subject) = (Arc::clone(recording), self.subject);
            let case =
                Case { seed: self.seed, number: state.number, done: state.done, keep: keep.to_owned() };
            checks.spawn(async move { case.check(&image, &recording, subject).await });
        }
        while let Some(one) = checks.join_next().await {
            joined(Some(one))?;
        }
        (figures.moments, figures.distinct) = (moments.len(), distinct.len());
        figures.answered = recording.sent.len() as u64;
        Ok(figures)
    }
}

fn joined(one: Option<Result<Result<()>, tokio::task::JoinError>>) -> Result<()> {
    one.unwrap_or(Ok(Ok(()))).context("a check does not panic")?
}

/// One state on its way.
struct Case {
    seed: u64,
    number: u64,
    done: usize,
    keep: PathBuf,
}

impl Case {
    async fn check(&self, image: &Image, recording: &Recording, subject: Subject) -> Result<()> {
        let folder = in_memory()?;
        let data = folder.path().join("data");
        lay_out(image, &recording.data_dir, &data)?;
        let checked = match subject {
            Subject::Log => check::log(&data, recording, self.done).await,
            Subject::Pond => check::pond(&data, recording, self.done).await,
        };
        let Err(error) = checked else { return Ok(()) };
        let kept = self.keep.join(format!("state-{}", self.number));
        lay_out(image, &recording.data_dir, &kept)?;
        let around =
            &recording.events[self.done.saturating_sub(3)..recording.events.len().min(self.done + 1)];
        let lately: Vec<String> =
            around.iter().map(|event| format!("{event:.0?}").chars().take(160).collect()).collect();
        bail!(
            "{subject:?}, seed {}, state {} after {} of {} events, lately {lately:#?}: {error:#}; it lies in {}",
            self.seed,
            self.number,
            self.done,
            recording.events.len(),
            kept.display()
        )
    }
}

/// A folder on a file system in memory where there is one: nothing here cuts the real power.
fn in_memory() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    folder.context("make a folder for a state")
}

/// Writes an image of the directory `from` to `to`.
fn lay_out(image: &Image, from: &Path, to: &Path) -> Result<()> {
    for folder in &image.folders {
        fs::create_dir_all(to.join(folder.strip_prefix(from)?))?;
    }
    for (path, content) in &image.files {
        let path = to.join(path.strip_prefix(from)?);
        let file = fs::File::create(&path).with_context(|| format!("make {}", path.display()))?;
        file.write_all_at(&content.bytes, 0)?;
        file.set_len(content.length as u64)?;
    }
    Ok(())
}
