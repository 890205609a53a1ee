//! Reading batches in memory, beside `serde_json` and prost: measured by the example `decode`, asked stretch by stretch.
//!
//! A program of its own, because it counts allocations, which costs. Invariant: one process measures both sides.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    Plan,
    line::Line,
    sample::{Compared, RATE, Runs, Sample, Side},
    tools::beside,
};

const ALLOCATIONS: &str = "allocations";
/// Most allocations of an operation.
const ALLOCATIONS_MAX: f64 = 0.05;

/// Both forms.
pub(crate) async fn run(plan: &Plan) -> Result<Vec<Line>> {
    let mut program = Program::start()?;
    let mut lines = Vec::new();
    for (form, target) in [("ndjson", 0.70), ("protobuf", 0.80)] {
        let runs =
            Runs::interleave(plan.repeats, async |side, _| program.stretch(form, side, plan.pick(1.0, 2.0)))
                .await?;
        let stage = format!("batch decode, {form}");
        let ns = format!(
            "{:.0} ns an operation, baseline {:.0}",
            1e9 / runs.ours(RATE),
            1e9 / runs.baseline(RATE)
        );
        lines.push(runs.line(&format!("{stage}: operations/s"), Compared::rate("op/s", target)).note(ns));
        let (plain, ours) = (runs.baseline(ALLOCATIONS), runs.ours(ALLOCATIONS));
        let line = Line::new(&format!("{stage}: allocations"), "a op", 1.0);
        let note = format!("ratio = {ALLOCATIONS_MAX} / ours");
        lines.push(line.measured(plain, ours, ALLOCATIONS_MAX / ours).note(note));
    }
    Ok(lines)
}

struct Program {
    child: Child,
    asks: ChildStdin,
    answers: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Program {
    fn start() -> Result<Self> {
        let mut command = Command::new(beside("examples/decode")?);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("start it")?;
        let asks = child.stdin.take().context("its input is piped")?;
        let answers = BufReader::new(child.stdout.take().context("its output is piped")?).lines();
        Ok(Self { child, asks, answers })
    }

    fn stretch(&mut self, form: &str, side: Side, seconds: f64) -> Result<Sample> {
        let side = match side {
            Side::Baseline => "baseline",
            Side::Ours => "ours",
        };
        writeln!(self.asks, "{form} {side} {seconds}")?;
        let answer: Value = serde_json::from_str(&self.answers.next().context("it answers")??)?;
        let number = |name: &str| answer[name].as_f64().with_context(|| format!("read {name}"));
        let mut sample = Sample::default();
        sample.set(RATE, 1e9 / number("ns")?);
        sample.set(ALLOCATIONS, number("allocations")?);
        Ok(sample)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
