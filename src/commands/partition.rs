//! `millpond partition`: where a key goes. Asks no server.

use std::ffi::OsString;

use anyhow::{Context, Result};
use clap::Args;
use millpond_schemas::{RecordKey, Tenant, limits::PARTITIONS_MAX};

use super::key_bytes;
use crate::{
    exit::{Exit, Misuse},
    output,
};

const EXAMPLES: &str = "\
Examples:
  millpond partition user:7                      of the 8 that a data directory starts with
  millpond partition user:7 --partitions 64 --tenant acme --json

The partition is (murmur2(\"tenant/key\") & 0x7fffffff) mod P: Kafka's default partitioner.";

/// Arguments of `partition`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PartitionArgs {
    /// The key
    key: OsString,
    /// How many partitions there are
    #[arg(long, value_name = "P", default_value = "8", value_parser = clap::value_parser!(u32).range(1..=i64::from(PARTITIONS_MAX)))]
    partitions: u32,
    /// Whose key
    #[arg(long, env = "MILLPOND_TENANT", value_name = "TENANT", default_value = "default")]
    tenant: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the partition.
pub(crate) fn run(args: PartitionArgs) -> Result<Exit> {
    let key = record_key(&args.tenant, args.key).context("compute the partition")?;
    let partition = key.partition(args.partitions);
    if args.json {
        output::json(&serde_json::json!({
            "partition": partition.0, "partitions": args.partitions, "tenant": args.tenant,
        }))?;
    } else {
        output::line(&partition.to_string())?;
    }
    Ok(Exit::Done)
}

fn record_key(tenant: &str, key: OsString) -> Result<RecordKey, Misuse> {
    let wrong = |error: millpond_schemas::KeyInvalid| Misuse(error.to_string());
    let tenant = Tenant::new(tenant.as_bytes().to_vec()).map_err(wrong)?;
    RecordKey::new(&tenant, &key_bytes(key)).map_err(wrong)
}
