//! One line of the table, for people and for machines.
//!
//! Invariant: a line without a measurement says why, and has a target all the same. `ratio >= target` means reached, also
//! where less is better: those ratios are inverted.

use std::fmt::Write;

use serde_json::{Value, json};

use super::cpu::Shares;

/// A stage against its baseline.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    stage: String,
    unit: &'static str,
    baseline: Option<f64>,
    ours: Option<f64>,
    /// None: not measured.
    pub(crate) ratio: Option<f64>,
    /// The ratio to reach.
    pub(crate) target: f64,
    durability: &'static str,
    notes: Vec<String>,
    /// Of ours, for machines: people have them in a note.
    shares: Shares,
}

impl Line {
    /// Nothing is measured yet.
    pub(crate) fn new(stage: &str, unit: &'static str, target: f64) -> Self {
        Self {
            stage: stage.to_owned(),
            unit,
            baseline: None,
            ours: None,
            ratio: None,
            target,
            durability: "none",
            notes: Vec::new(),
            shares: Shares::default(),
        }
    }

    /// What cannot be measured here, and why.
    pub(crate) fn missing(stage: &str, target: f64, why: impl Into<String>) -> Self {
        Self::new(stage, "", target).note(format!("missing: {}", why.into()))
    }

    /// With both sides.
    pub(crate) fn measured(self, baseline: f64, ours: f64, ratio: f64) -> Self {
        Self { baseline: Some(baseline), ours: Some(ours), ratio: Some(ratio), ..self }
    }

    /// With ours alone: the baseline is missing.
    pub(crate) fn alone(self, ours: f64) -> Self {
        Self { ours: Some(ours), ..self }
    }

    /// Ours alone so far, beside a cost that was measured elsewhere in this run.
    pub(crate) fn against(self, baseline: f64) -> Self {
        let ratio = self.ours.map(|ours| baseline / ours);
        Self { baseline: Some(baseline), ratio, ..self }
    }

    /// Its name.
    pub(crate) fn stage(&self) -> &str {
        &self.stage
    }

    /// What it is compared with.
    pub(crate) fn baseline(&self) -> Option<f64> {
        self.baseline
    }

    /// What outlasts what, on both sides.
    pub(crate) fn durable(self, durability: &'static str) -> Self {
        Self { durability, ..self }
    }

    /// Where the CPU time of ours went.
    pub(crate) fn with_shares(self, shares: Shares) -> Self {
        Self { shares, ..self }
    }

    /// Says more.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Whether the target is reached; none: not measured.
    fn reached(&self) -> Option<bool> {
        self.ratio.map(|ratio| ratio >= self.target)
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        let shares = self.shares.0.iter().map(|(name, us)| (name.clone(), json!(us)));
        json!({
            "stage": self.stage, "unit": self.unit, "baseline": self.baseline, "ours": self.ours,
            "ratio": self.ratio, "target": self.target, "durability": self.durability, "notes": self.notes,
            "shares": shares.collect::<serde_json::Map<_, _>>(),
        })
    }

    /// For people: a line, and its notes below.
    pub(crate) fn text(&self) -> String {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
        let verdict = match self.reached() {
            Some(true) => "reached",
            Some(false) => "BELOW",
            None => "missing",
        };
        let mut text = format!(
            "{:<46} {:>11} {:>11} {:<10} {:>6} {:>6}  {verdict:<8} {}",
            self.stage,
            number(self.baseline),
            number(self.ours),
            self.unit,
            self.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            format!("{:.2}", self.target),
            self.durability,
        );
        for note in &self.notes {
            let _ = write!(text, "\n    {note}");
        }
        text
    }

    /// Above the lines.
    pub(crate) fn heading() -> String {
        format!(
            "{:<46} {:>11} {:>11} {:<10} {:>6} {:>6}  {:<8} durability",
            "stage", "baseline", "ours", "unit", "ratio", "target", ""
        )
    }
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1000.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_line_has_a_target_and_no_number() {
        let line = Line::missing("produce", 0.9, "no broker").json();
        assert_eq!((&line["ratio"], &line["ours"]), (&Value::Null, &Value::Null));
        assert_eq!((&line["target"], &line["notes"][0]), (&json!(0.9), &json!("missing: no broker")));
    }

    #[test]
    fn a_ratio_at_its_target_has_reached_it() {
        let line = Line::new("x", "", 0.9).measured(10.0, 9.0, 0.9);
        assert_eq!(line.reached(), Some(true));
        assert_eq!(Line::new("x", "", 0.9).measured(10.0, 8.9, 0.89).reached(), Some(false));
    }
}
