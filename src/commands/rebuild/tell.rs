//! How a rebuild went, for people and for programs.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use millpond::rebuild::{Awaited, Replaced, Served};
use millpond_schemas::{Offset, Watermark};
use millpond_writer::{CopyDigest, Goal, Progress};
use serde_json::{Value, json};

use super::{
    listed,
    plan::{Plan, Serving},
};
use crate::{exit::Exit, output};

/// What was done.
#[derive(Default)]
pub(super) struct Report {
    /// Records that this run has applied.
    records: u64,
    elapsed: Duration,
    pub(super) copies: Vec<(Watermark, Option<CopyDigest>)>,
    pub(super) served: Option<Served>,
    pub(super) awaited: Option<Awaited>,
    pub(super) replaced: Option<(PathBuf, Replaced)>,
}

impl Report {
    pub(super) fn new(progress: &Progress, elapsed: Duration) -> Self {
        let records = progress.steps().values().map(|step| step.records).sum();
        Self { records, elapsed, ..Self::default() }
    }

    pub(super) fn exit(&self) -> Exit {
        if self.awaited.as_ref().is_none_or(Awaited::is_over) { Exit::Done } else { Exit::Partial }
    }

    pub(super) fn tell(&self, plan: &Plan, json: bool) -> Result<()> {
        if json {
            output::json(&self.json(plan))?;
        } else {
            output::line(&self.lines(plan).join("\n"))?;
        }
        if let Some(awaited) = self.awaited.as_ref().filter(|awaited| !awaited.is_over()) {
            let mut what = Vec::new();
            if !awaited.unclaimed.is_empty() {
                what.push(format!(
                    "no writer has claimed partitions {} yet: does one run?",
                    listed(&awaited.unclaimed)
                ));
            }
            what.extend(
                awaited.behind.iter().map(|(p, left)| format!("partition {p} is {left} records behind")),
            );
            output::warning(&format!("the topology names the target, but {}", what.join("; ")));
        }
        Ok(())
    }

    fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let records = self.records as f64;
        records / self.elapsed.as_secs_f64().max(0.001)
    }

    fn lines(&self, plan: &Plan) -> Vec<String> {
        let mut lines = Vec::new();
        for (mark, digest) in &self.copies {
            let digest = digest.map(|d| {
                format!("  {} rows, {} of them tombstones, digest {:032x}", d.rows, d.tombstones, d.digest)
            });
            lines.push(format!("{}{}", mark.position(), digest.unwrap_or_default()));
        }
        lines.push(if self.records == 0 && !self.copies.is_empty() {
            format!("{} is there already: nothing was applied", plan.target)
        } else {
            let seconds = self.elapsed.as_secs_f64();
            format!("{} records into {} in {seconds:.1} s, {:.0}/s", self.records, plan.target, self.rate())
        });
        if let Some((path, replaced)) = &self.replaced {
            let before =
                replaced.before.as_ref().map(|before| format!("; the old one is {}", before.display()));
            lines.push(format!("it serves as {}{}", path.display(), before.unwrap_or_default()));
        } else if let Some(served) = &self.served {
            lines.push(format!("it serves: epoch {} of the topology", served.epoch));
        }
        lines
    }

    fn json(&self, plan: &Plan) -> Value {
        let copies = self.copies.iter().map(|(mark, digest)| {
            json!({
                "partition": mark.partition.0,
                "position": mark.position().to_string(),
                "time_ms": mark.time.0,
                "rows": digest.map(|digest| digest.rows),
                "tombstones": digest.map(|digest| digest.tombstones),
                "dead_letters": digest.map(|digest| digest.dead_letters),
                "digest": digest.map(|digest| format!("{:032x}", digest.digest)),
            })
        });
        let awaited = self.awaited.as_ref();
        json!({
            "target": plan.target.to_string(),
            "partitions": copies.collect::<Vec<_>>(),
            "records": self.records,
            "seconds": self.elapsed.as_secs_f64(),
            "records_per_second": self.rate(),
            "serves": self.served.is_some(),
            "epoch": self.served.as_ref().map(|served| served.epoch),
            "caught_up": awaited.map(Awaited::is_over),
            "unclaimed": awaited.map(|a| a.unclaimed.iter().map(|p| p.0).collect::<Vec<_>>()),
            "before": self.replaced.as_ref().and_then(|(_, replaced)| replaced.before.clone()),
        })
    }
}

/// What would be done.
pub(super) fn dry(plan: &Plan, marks: &[Watermark], ends: &[Offset], json: bool) -> Result<()> {
    let serving = match &plan.serving {
        Serving::No => "it would not serve".to_owned(),
        Serving::Topology(_) => "it would serve, by a change of the topology".to_owned(),
        Serving::File(path) => format!("it would take the place of {}", path.display()),
    };
    let copies: Vec<(u32, Offset, Offset)> = plan
        .partitions
        .iter()
        .zip(ends)
        .map(|(partition, end)| {
            let mark = marks.iter().find(|mark| mark.partition == *partition);
            let to = if let Goal::Offset(offset) = plan.goal { offset } else { end.previous() };
            (partition.0, mark.map_or(Offset::NONE, |mark| mark.applied), to)
        })
        .collect();
    let left = |from: &Offset, to: &Offset| (to.0 - from.0).max(0);
    if json {
        let copies = copies.iter().map(|(partition, from, to)| {
            json!({ "partition": partition, "applied": from.0, "records_at_most": left(from, to) })
        });
        let copies: Vec<Value> = copies.collect();
        let target = plan.target.to_string();
        output::json(
            &json!({ "dry_run": true, "target": target, "goal": plan.goal(), "partitions": copies }),
        )?;
        return Ok(());
    }
    let mut lines =
        vec![format!("would rebuild {} {} into {}; {serving}", plan.subject(), plan.goal(), plan.target)];
    lines.extend(copies.iter().map(|(partition, from, to)| {
        let records = left(from, to);
        if *from == Offset::NONE {
            format!("partition {partition}: a new copy, up to {records} records")
        } else {
            format!("partition {partition}: goes on after offset {from}, up to {records} records")
        }
    }));
    output::line(&lines.join("\n"))?;
    Ok(())
}
