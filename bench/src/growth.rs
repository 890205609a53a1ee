//! How cost grows along one axis at a time: a data file and a chart for each.
//!
//! Not a test, and no comparison with others: see `rows`. Invariant: a point that could not be measured is told with its
//! reason, stands in the data file, and is not drawn.

mod balance;
mod batches;
mod chart;
mod connections;
mod cost;
mod latency;
mod partitions;
mod stored;
mod table;

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

pub(crate) use self::stored::DISK;
use self::{chart::Chart, table::Table};
use crate::rows::{Plan, head};

/// What stands under `--help`.
const EXAMPLES: &str = "\
Examples:
  # All axes, with Kafka and Postgres of its own; charts and data into docs/performance.
  bench/growth
  # A first look: shorter stretches, each once.
  bench/growth --quick --out /tmp/growth
  # Two axes that need no engines.
  millpond-bench growth --quick --out /tmp/growth connections balance

Run it on a machine at rest: what stands in the data files is what was measured beside whatever else ran.
Exit code 1: an axis could not be measured.";

/// Which axes, and how thoroughly.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Growth {
    /// Which; all of them unless told.
    #[arg(value_enum, value_name = "AXIS")]
    axes: Vec<Axis>,
    /// Shorter stretches, each once, and fewer points.
    #[arg(long)]
    quick: bool,
    /// Of keys and values.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often each point is measured; 3 unless `--quick`. The one of median cost is told.
    #[arg(long)]
    repeats: Option<usize>,
    /// Where data and charts go.
    #[arg(long, value_name = "DIR", default_value = "docs/performance")]
    out: PathBuf,
}

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Axis {
    /// 1 to 64 partitions, from batches to rows on Kafka and Postgres.
    Partitions,
    /// 10^4 to 10^6 rows in the table before, 10^7 unless `--quick`: applying to Postgres, and bytes a row on disk.
    Rows,
    /// 1 to 10,000 connections with a put under way each, to the embedded server, until all is applied.
    Connections,
    /// 1 to 10,000 operations a batch, onto the local log.
    Batches,
    /// p50 and p99 of accepted puts at 10 to 90 % of what saturates.
    Latency,
    /// How evenly keys fall on partitions and shards. Computed.
    Balance,
}

/// An axis, measured.
struct Grown {
    table: Table,
    chart: Chart,
}

impl Axis {
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    async fn measure(self, plan: &Plan) -> Result<Grown> {
        match self {
            Self::Partitions => partitions::measure(plan).await,
            Self::Rows => stored::measure(plan).await,
            Self::Connections => connections::measure(plan).await,
            Self::Batches => batches::measure(plan).await,
            Self::Latency => latency::measure(plan).await,
            Self::Balance => balance::measure(plan),
        }
    }
}

impl Growth {
    /// Measures the axes one after the other, and writes each as soon as it is there.
    pub(crate) async fn run(&self) -> Result<()> {
        let plan = Plan::new(self.quick, self.repeats, self.seed);
        let axes = if self.axes.is_empty() { Axis::value_variants() } else { &self.axes };
        fs::create_dir_all(&self.out).with_context(|| format!("make {}", self.out.display()))?;
        let mut failed = Vec::new();
        for axis in axes {
            if let Err(error) = self.one(*axis, &plan).await {
                println!("{}: missing: {error:#}", axis.name());
                failed.push(axis.name());
            }
        }
        ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
        Ok(())
    }

    async fn one(&self, axis: Axis, plan: &Plan) -> Result<()> {
        let (head, began) = (head::text(plan)?, Instant::now());
        let grown = axis.measure(plan).await?;
        let how = if self.quick { " --quick" } else { "" };
        let comment = format!(
            "bench/growth{how} --seed {} {}\n{head} before, {} after\nmeasured in {:.0?}",
            self.seed,
            axis.name(),
            head::load()?,
            began.elapsed()
        );
        let path = |ending: &str| self.out.join(axis.name()).with_extension(ending);
        let (data, chart) = (path("csv"), path("svg"));
        fs::write(&data, grown.table.text(&comment)).with_context(|| format!("write {}", data.display()))?;
        fs::write(&chart, grown.chart.svg()?).with_context(|| format!("write {}", chart.display()))?;
        println!("{}: {} and {}, in {:.0?}", axis.name(), data.display(), chart.display(), began.elapsed());
        Ok(())
    }
}
