//! What came of a drill: one table for people, one object for programs.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use serde_json::{Value, json};

/// What a drill has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every promise was kept.
    Passed,
    /// One was broken, or the drill could not be run to its end.
    Violated,
    /// Too little happened to show anything.
    Void,
}

/// The outcome of a drill.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The drill's name.
    pub name: String,
    /// Its number in the table of faults.
    pub number: u32,
    /// The seed.
    pub seed: u64,
    /// Start to end, checking included.
    pub took: Duration,
    /// Operations whose success was told to their caller.
    pub ok: u64,
    /// Operations that were refused, not accepted or rejected.
    pub failed: u64,
    /// Operations of which nobody knows.
    pub unknown: u64,
    /// How many faults of each kind were injected.
    pub faults: BTreeMap<String, u64>,
    /// How long each takeover took.
    pub takeovers: Vec<Duration>,
    /// What else the drill has measured, in order: name and text.
    pub figures: Vec<(String, String)>,
    /// What the checker said; none where the drill needs none.
    pub checker: Option<String>,
    /// Deadlocks of all databases; none where there was no Postgres.
    pub deadlocks: Option<u64>,
    /// Promises that were broken.
    pub violations: Vec<String>,
    /// Why nothing was shown.
    pub voids: Vec<String>,
    /// The file with the history, where it stays.
    pub history: Option<PathBuf>,
    /// Runs the drill again.
    pub command: String,
}

impl Report {
    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        if !self.violations.is_empty() {
            Verdict::Violated
        } else if self.why_void().is_empty() {
            Verdict::Passed
        } else {
            Verdict::Void
        }
    }

    /// Reasons why it shows nothing; none when it does.
    fn why_void(&self) -> Vec<String> {
        let mut why = self.voids.clone();
        if self.faults.values().sum::<u64>() == 0 {
            why.push("no fault was injected".to_owned());
        }
        let all = self.ok + self.failed + self.unknown;
        if self.ok == 0 || self.ok * 2 < all {
            why.push(format!("{} of {all} operations succeeded", self.ok));
        }
        why
    }

    /// A share of the takeovers took no longer than this; nothing when there was none.
    pub fn takeover_at(&self, per_cent: usize) -> Option<Duration> {
        let mut sorted = self.takeovers.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * per_cent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied()
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let ms =
            |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let takeover = (!self.takeovers.is_empty()).then(|| {
            json!({
                "count": self.takeovers.len(),
                "p50_ms": ms(self.takeover_at(50)),
                "p99_ms": ms(self.takeover_at(99)),
                "max_ms": ms(self.takeover_at(100)),
            })
        });
        let figures: serde_json::Map<_, _> =
            self.figures.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        json!({
            "drill": self.name,
            "number": self.number,
            "verdict": self.verdict().to_string(),
            "seed": self.seed,
            "took_ms": ms(Some(self.took)),
            "operations": { "ok": self.ok, "failed": self.failed, "unknown": self.unknown },
            "faults": self.faults,
            "takeover": takeover,
            "figures": figures,
            "checker": self.checker,
            "deadlocks": self.deadlocks,
            "violations": self.violations,
            "void": self.why_void(),
            "history": self.history,
            "command": self.command,
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::Violated => "violated",
            Self::Void => "void",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, text: &str| writeln!(f, "  {name:<14} {text}");
        line(&format!("drill {}", self.number), &format!("{}: {}", self.name, self.verdict()))?;
        line("seed", &self.seed.to_string())?;
        line("took", &format!("{:.1} s", self.took.as_secs_f64()))?;
        line("operations", &format!("{} ok, {} failed, {} unknown", self.ok, self.failed, self.unknown))?;
        let faults: Vec<_> = self.faults.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        line("faults", &if faults.is_empty() { "none".to_owned() } else { faults.join(", ") })?;
        if let Some(p50) = self.takeover_at(50) {
            let [p99, max] = [99, 100].map(|part| self.takeover_at(part).unwrap_or(p50).as_secs_f64());
            let p50 = p50.as_secs_f64();
            let text =
                format!("p50 {p50:.2} s, p99 {p99:.2} s, max {max:.2} s ({} of them)", self.takeovers.len());
            line("takeover", &text)?;
        }
        for (name, value) in &self.figures {
            line(name, value)?;
        }
        line("checker", self.checker.as_deref().unwrap_or("not needed"))?;
        if let Some(deadlocks) = self.deadlocks {
            line("deadlocks", &deadlocks.to_string())?;
        }
        for violation in &self.violations {
            line("violation", violation)?;
        }
        for void in self.why_void() {
            line("void", &void)?;
        }
        if let Some(history) = &self.history {
            line("history", &history.display().to_string())?;
        }
        line("again", &self.command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Report {
        Report { ok: 10, faults: BTreeMap::from([("kill".to_owned(), 1)]), ..Report::default() }
    }

    #[test]
    fn too_little_is_void_and_a_violation_stands_above_it() {
        assert_eq!(good().verdict(), Verdict::Passed);
        assert_eq!(Report { ok: 10, failed: 6, unknown: 5, ..good() }.verdict(), Verdict::Void);
        assert_eq!(Report { ok: 0, ..good() }.verdict(), Verdict::Void);
        assert_eq!(Report { faults: BTreeMap::new(), ..good() }.verdict(), Verdict::Void);
        let violated = Report { ok: 0, violations: vec!["lost".to_owned()], ..good() };
        assert_eq!(violated.verdict(), Verdict::Violated);
        assert!(violated.to_string().contains("lost"));
    }

    #[test]
    fn a_quantile_is_one_of_the_times() {
        let takeovers = (1..=200).rev().map(Duration::from_secs).collect();
        let report = Report { takeovers, ..good() };
        let found = [50, 99, 100].map(|part| report.takeover_at(part).map(|time| time.as_secs()));
        assert_eq!(found, [Some(100), Some(198), Some(200)]);
        assert_eq!(good().takeover_at(99), None);
    }
}
