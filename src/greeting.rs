//! What a server prints when it is ready: where it listens, and lines to try that work in order.
//!
//! Invariant: the lines name what this very server has; the last one is the `sqlite3` line.

use std::{io::Write, net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use millpond_api::{Scope, Tenants, Token, Tokens};
use millpond_schemas::{RecordKey, Tenant};

use crate::embedded::Embedded;

/// The key that the lines put.
const KEY: &str = "hello";

/// The tenant whose key the lines put where calls need a token: of one that allows all three of them.
pub fn tenant(tokens: &Tokens) -> Tenant {
    let able = |token: &&Token| [Scope::Read, Scope::Write].iter().all(|scope| token.scopes.contains(scope));
    let first = tokens.iter().filter(able).filter_map(|token| match &token.tenants {
        Tenants::Any => None,
        Tenants::These(tenants) => tenants.first().cloned(),
    });
    first.min().unwrap_or_else(tenant_default)
}

fn tenant_default() -> Tenant {
    Tenant::new("default").expect("it is a tenant's name")
}

/// Prints it to standard output. A reader that has gone away is no error. With a tenant, calls need a token of it.
pub fn print(
    (address, ops_address): (SocketAddr, SocketAddr),
    embedded: &Embedded,
    data_dir: &Path,
    tenant: Option<Tenant>,
) -> Result<()> {
    let bearer = if tenant.is_some() { " -H \"Authorization: Bearer $MILLPOND_TOKEN\"" } else { "" };
    let tenant = tenant.unwrap_or_else(tenant_default);
    let shard = shard_file(embedded, &tenant)?;
    let shard = data_dir.join(shard);
    let text = format!(
        "\
Millpond {version} listens on http://{address} (ops on http://{ops_address}), data in {data_dir}
How it is doing: http://{ops_address}/ in a browser

Try it:
  curl -X PUT http://{address}/kv/{KEY}{bearer} -H 'Content-Type: text/plain' -d 'world'
  curl http://{address}/kv/{KEY}{bearer}
  curl -X PUT http://{address}/kv/{KEY}{bearer} -H 'If-None-Match: *' -d 'again'
  sqlite3 '{shard}' \"SELECT CAST(key AS TEXT), CAST(value AS TEXT), version FROM kv WHERE tenant = '{tenant}' AND key = CAST('{KEY}' AS BLOB)\"
",
        version = env!("CARGO_PKG_VERSION"),
        data_dir = data_dir.display(),
        shard = shard.display(),
    );
    let mut out = std::io::stdout().lock();
    let _nobody_reads = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(())
}

fn shard_file(embedded: &Embedded, tenant: &Tenant) -> Result<String> {
    let key = RecordKey::new(tenant, KEY.as_bytes()).context("the key to try")?;
    let topology = embedded.topology.borrow();
    let index =
        topology.shard_of(key.partition(topology.partitions())).context("every partition has a shard")?;
    Ok(topology.shards[index].primary.clone())
}
