//! What a server prints when it is ready: where it listens, and lines to try that work in order.
//!
//! Invariant: the lines name what this very server has; the last one is the `sqlite3` line.

use std::{io::Write, net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use millpond_schemas::{RecordKey, Tenant};

use crate::embedded::Embedded;

/// The key that the lines put.
const KEY: &str = "hello";

/// Prints it to standard output. A reader that has gone away is no error.
pub fn print(
    (address, ops_address): (SocketAddr, SocketAddr),
    embedded: &Embedded,
    data_dir: &Path,
) -> Result<()> {
    let shard = shard_file(embedded)?;
    let shard = data_dir.join(shard);
    let text = format!(
        "\
Millpond {version} listens on http://{address} (ops on http://{ops_address}), data in {data_dir}

Try it:
  curl -X PUT http://{address}/kv/{KEY} -H 'Content-Type: text/plain' -d 'world'
  curl http://{address}/kv/{KEY}
  curl -X PUT http://{address}/kv/{KEY} -H 'If-None-Match: *' -d 'again'
  sqlite3 '{shard}' \"SELECT CAST(key AS TEXT), CAST(value AS TEXT), version FROM kv WHERE tenant = 'default' AND key = CAST('{KEY}' AS BLOB)\"
",
        version = env!("CARGO_PKG_VERSION"),
        data_dir = data_dir.display(),
        shard = shard.display(),
    );
    let mut out = std::io::stdout().lock();
    let _nobody_reads = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(())
}

fn shard_file(embedded: &Embedded) -> Result<String> {
    let tenant = Tenant::new("default").context("the default tenant")?;
    let key = RecordKey::new(&tenant, KEY.as_bytes()).context("the key to try")?;
    let topology = embedded.topology.borrow();
    let index =
        topology.shard_of(key.partition(topology.partitions())).context("every partition has a shard")?;
    Ok(topology.shards[index].primary.clone())
}
