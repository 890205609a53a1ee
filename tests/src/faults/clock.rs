//! A wall clock of a process's own, which is set while the process runs: years off, and right again.
//!
//! Not libfaketime, under which a Java process stands still (tried with 0.9.10, `FAKETIME_DONT_FAKE_MONOTONIC` and
//! `FAKETIME_FORCE_MONOTONIC_FIX`); see clock.c. Invariant: elapsed time is left alone.

use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::process::run;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/faults/clock.c");
/// Seconds of ten years.
pub const TEN_YEARS: i64 = 3653 * 24 * 60 * 60;

/// A clock. Any number of processes may go by it.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    path: PathBuf,
    file: File,
}

impl Clock {
    /// One that is right, kept in a folder that outlives its processes. Builds what they load with `cc`.
    pub fn new(dir: &Path) -> Result<Self> {
        let (library, path) = (dir.join("clock.so"), dir.join("clock"));
        let mut build = Command::new("cc");
        build
            .args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(SOURCE)
            .arg("-ldl");
        run(&mut build).context("build the clock: tests/run.sh installs a C compiler")?;
        let file = File::create(&path)?;
        let clock = Self { library, path, file };
        clock.set(0)?;
        Ok(clock)
    }

    /// Variables of a process that goes by it.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        [("LD_PRELOAD", text(&self.library)), ("TEST_CLOCK_FILE", text(&self.path))]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    /// From now on it is so many seconds ahead of the system's.
    pub fn set(&self, ahead: i64) -> Result<()> {
        self.file.write_all_at(&ahead.to_ne_bytes(), 0).context("set a clock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(clock: &Clock) -> i64 {
        let mut date = Command::new("date");
        run(date.arg("+%s").envs(clock.environment())).unwrap().trim().parse().unwrap()
    }

    #[test]
    fn a_process_goes_by_the_clock_and_the_system_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::new(dir.path()).unwrap();
        let right = date(&clock);
        clock.set(TEN_YEARS).unwrap();
        let ahead = date(&clock);
        clock.set(-TEN_YEARS).unwrap();
        let behind = date(&clock);
        clock.set(0).unwrap();
        let again = date(&clock);
        assert!(right + TEN_YEARS <= ahead && ahead <= again + TEN_YEARS, "{right} {ahead} {again}");
        assert!(right - TEN_YEARS <= behind && behind <= again - TEN_YEARS, "{right} {behind} {again}");
    }
}
