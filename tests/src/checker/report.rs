//! A verdict for people.
//!
//! Invariant: the last line is one word: what it comes to.

use std::{collections::BTreeMap, fmt::Write};

use super::{Counts, Invariant, Verdict};

/// Characters of an event that are shown.
const SHOWN: usize = 4000;

impl Verdict {
    /// Counts, violations with their events (`lines`, from 1), and PASS, VIOLATED or VOID.
    pub fn in_words(&self, lines: &BTreeMap<usize, String>) -> String {
        let Counts { ok, failed, unknown, reads, reads_failed, looks, .. } = self.counts;
        let Counts { faults, records, foreign, copies, published, .. } = self.counts;
        let mut text = format!("{} seed {}\n", self.drill, self.seed);
        let _ = writeln!(
            text,
            "  operations: {ok} ok, {failed} failed, {unknown} unknown; reads: {reads}, {reads_failed} without an answer; \
             outcomes looked up: {looks}\n  faults: {faults}; records: {records}, {foreign} of others; copies: {copies}; \
             dead letters published: {published}"
        );
        for (invariant, count) in &self.violated {
            let _ = writeln!(text, "  {invariant} broken {count} times: {}", invariant.promise());
            self.shown(*invariant, lines, &mut text);
        }
        for why in &self.void {
            let _ = writeln!(text, "  void: {why}");
        }
        let word = match (self.violated.is_empty(), self.void.is_empty()) {
            (false, _) => "VIOLATED",
            (true, false) => "VOID",
            (true, true) => "PASS",
        };
        text + "  " + word + "\n"
    }

    fn shown(&self, invariant: Invariant, lines: &BTreeMap<usize, String>, text: &mut String) {
        for violation in self.violations.iter().filter(|violation| violation.invariant == invariant) {
            let _ = writeln!(text, "    {}", violation.what);
            if let Some((line, event)) = violation.line.and_then(|line| Some((line, lines.get(&line)?))) {
                let event: String = event.trim_end().chars().take(SHOWN).collect();
                let _ = writeln!(text, "      line {line}: {event}");
            }
        }
    }
}
