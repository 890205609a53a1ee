//! How many machines a size needs: measured costs of an operation, assumptions as flags, and each formula written out.
//!
//! Not a measurement. Invariant: what the table does not have is a question mark in every figure that depends on it.

mod inputs;
mod needs;
mod steps;

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use self::{
    inputs::Inputs,
    needs::{Needs, Size},
};

/// What stands under `--help`.
const EXAMPLES: &str = "\
Examples:
  bench/table --json > table.json
  bench/growth rows
  bench/capacity --table table.json
  # Hot keys, values of about a kilobyte, larger machines.
  bench/capacity --table table.json --keys zipf --record-bytes 1072 --skew 4.5 --cores 32 --ram-gb 128

Rows of the table that it needs: end-to-end, single, apply-postgres, held.";

/// What was measured, and what is assumed.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Capacity {
    /// What `bench/table --json` printed.
    #[arg(long, value_name = "FILE.json")]
    table: PathBuf,
    /// What `bench/growth rows` wrote: bytes a row on disk.
    #[arg(long, value_name = "FILE.csv", default_value = "docs/performance/rows.csv")]
    rows: PathBuf,
    /// Of which keys the cost of an operation is taken.
    #[arg(long, value_enum, default_value = "uniform")]
    keys: Keys,
    /// The first size: operations a second, in batches.
    #[arg(long, default_value_t = 200_000.0)]
    operations: f64,
    /// What is stored at the first size, TB of tenants, keys, values and content types.
    #[arg(long, default_value_t = 1.0)]
    operations_tb: f64,
    /// The second size: what is stored, TB, counted in the same way.
    #[arg(long, default_value_t = 5_000.0)]
    tb: f64,
    /// Calls at once at the second size, of one operation each.
    #[arg(long, default_value_t = 1_000_000.0)]
    calls: f64,
    /// How long each of them is under way in the mean, seconds: calls / this is their rate.
    #[arg(long, default_value_t = 5.0)]
    call_seconds: f64,
    #[command(flatten)]
    assumed: Assumed,
}

/// What no measurement here can tell.
#[derive(Args, Clone, Debug)]
struct Assumed {
    /// Bytes of a record that a user gave: tenant, key, value and content type.
    #[arg(long, default_value_t = inputs::MEASURED_RECORD_BYTES)]
    record_bytes: f64,
    /// Copies of the log on brokers.
    #[arg(long, default_value_t = 3.0)]
    replication: f64,
    /// Replicas of each shard.
    #[arg(long, default_value_t = 1.0)]
    replicas: f64,
    /// Operations of the busiest shard or partition over the mean; `bench/growth balance` computes it.
    #[arg(long, default_value_t = 1.1)]
    skew: f64,
    /// Cores of a machine, each as fast as those that were measured.
    #[arg(long, default_value_t = 16.0)]
    cores: f64,
    /// How much of its cores and memory a machine may use.
    #[arg(long = "use", default_value_t = 0.6)]
    used: f64,
    /// Memory of a machine that holds calls, GB.
    #[arg(long, default_value_t = 64.0)]
    ram_gb: f64,
    /// What the disk of a broker or shard writes in sequence, MB/s.
    #[arg(long, default_value_t = 500.0)]
    disk_mb_s: f64,
    /// Disk of a broker, TB.
    #[arg(long, default_value_t = 8.0)]
    broker_tb: f64,
    /// Disk of a shard, TB.
    #[arg(long, default_value_t = 8.0)]
    shard_tb: f64,
    /// How full a disk may be.
    #[arg(long, default_value_t = 0.7)]
    fill: f64,
    /// How long the log is kept, hours.
    #[arg(long, default_value_t = 24.0)]
    log_hours: f64,
}

/// How keys were drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Keys {
    /// Every key as likely.
    Uniform,
    /// Zipf(0.99).
    Zipf,
}

impl Capacity {
    /// Prints the table.
    pub(crate) fn run(&self) -> Result<()> {
        self.check()?;
        let table =
            fs::read_to_string(&self.table).with_context(|| format!("read {}", self.table.display()))?;
        let rows = fs::read_to_string(&self.rows).ok();
        let inputs = Inputs::read(&table, rows.as_deref(), (self.keys, self.assumed.record_bytes))?;
        let sizes = self.sizes();
        let needs = sizes.each_ref().map(|size| Needs::of(size, &inputs, &self.assumed));
        println!("{}", steps::markdown(&sizes, &needs, &inputs, &self.assumed));
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let Assumed { record_bytes, replication, replicas, skew, cores, used, .. } = self.assumed;
        let Assumed { ram_gb, disk_mb_s, broker_tb, shard_tb, fill, log_hours, .. } = self.assumed;
        let positive = [
            self.operations,
            self.operations_tb,
            self.tb,
            self.calls,
            self.call_seconds,
            replication,
            skew,
            cores,
            used,
            ram_gb,
            disk_mb_s,
            broker_tb,
            shard_tb,
            fill,
            log_hours,
        ];
        ensure!(positive.iter().all(|value| value.is_finite() && *value > 0.0), "every size is above 0");
        ensure!(used <= 1.0 && fill <= 1.0, "--use and --fill are shares: at most 1");
        ensure!(
            replicas >= 0.0 && skew >= 1.0 && replication >= 1.0,
            "--skew and --replication are at least 1"
        );
        let least = inputs::AROUND_VALUE;
        ensure!(record_bytes >= least, "--record-bytes is at least {least}: key, tenant and content type");
        Ok(())
    }

    fn sizes(&self) -> [Size; 2] {
        [
            Size {
                operations: self.operations,
                stored_bytes: self.operations_tb * 1e12,
                calls: None,
                call_seconds: self.call_seconds,
            },
            Size {
                operations: self.calls / self.call_seconds,
                stored_bytes: self.tb * 1e12,
                calls: Some(self.calls),
                call_seconds: self.call_seconds,
            },
        ]
    }
}
