//! One partition's trouble is not its neighbours': those of the same shard go on, though they share transactions.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use millpond_log::Append;
use millpond_schemas::{CONTENT_TYPE_DEFAULT, Expiry, Op, PartitionId, TtlMode, limits::TTL_MS_MAX};
use millpond_tests::pond::{Pond, key, mutation, put};
use millpond_writer::Config;
use tempfile::TempDir;

/// A key of the same shard as `of`, in another partition.
fn neighbour(pond: &Pond, of: &str) -> &'static str {
    let shard = |partition: PartitionId| pond.embedded.topology.borrow().shard_of(partition);
    let partition = pond.partition(&key(of));
    let near = |name: &&&str| {
        let other = pond.partition(&key(name));
        other != partition && shard(other) == shard(partition)
    };
    let names = ["b", "c", "d", "e", "f", "g", "h", "i"];
    names.iter().find(near).expect("four partitions lie on two shards")
}

#[tokio::test]
async fn a_damaged_row_halts_its_partition_and_no_other() -> Result<()> {
    let needle = "a value that is found in the file";
    let dir = TempDir::new()?;
    let pond = Pond::small(dir.path()).await?;
    let writer = pond.writer(Config::default());
    let (damaged, _) = pond.send(&put("a", needle)).await?;
    pond.drained().await?;
    writer.stop().await;
    let shard = pond.embedded.topology.borrow().shard_of(damaged).expect("a shard");
    pond.close().await;
    let file = dir.path().join(format!("shard-{shard}.sqlite"));
    let mut bytes = std::fs::read(&file)?;
    let at = bytes.windows(needle.len()).position(|part| part == needle.as_bytes()).expect("it is there");
    bytes[at] ^= 1;
    std::fs::write(&file, bytes)?;

    let pond = Pond::small(dir.path()).await?;
    let near = neighbour(&pond, "a");
    let append = mutation("a", Op::Append { value: Bytes::from_static(b"x") });
    let records = [append, put(near, "good")]
        .map(|mutation| Append { partition: pond.partition(&mutation.key), raw: mutation.encode() });
    let acks = pond.embedded.log.append(records.into()).await?;
    let writer = pond.writer(Config::default());
    pond.applied(pond.partition(&key(near)), acks[1].offset).await?;
    assert_eq!(writer.halted(damaged).await?, "shard-refused");
    writer.stop().await;
    pond.close().await;
    Ok(())
}

/// Few bytes on the log can ask for many in the shard: not all at once.
#[tokio::test]
async fn a_flush_that_needs_many_long_rows_is_applied_in_parts() -> Result<()> {
    let dir = TempDir::new()?;
    let pond = Pond::small(dir.path()).await?;
    let names: Vec<String> = (0..600).map(|n| format!("k{n}")).collect();
    let value = Bytes::from(vec![b'v'; 500_000]);
    let long = Op::Put { value: value.clone(), content_type: CONTENT_TYPE_DEFAULT.into(), expiry: None };
    for name in &names {
        pond.send(&mutation(name, long.clone())).await?;
    }
    // However long a transaction takes, it may hold as many records.
    let writer = pond.writer(Config { flush_time_max: Duration::from_hours(1), ..Config::default() });
    pond.drained().await?;
    let before = writer.statuses.totals();
    let changes = names.iter().map(|name| {
        let ttl = Op::Ttl { mode: TtlMode::Set, expiry: Some(Expiry::TtlMs(TTL_MS_MAX)) };
        let change = mutation(name, ttl);
        Append { partition: pond.partition(&change.key), raw: change.encode() }
    });
    pond.embedded.log.append(changes.collect()).await?;
    pond.drained().await?;
    let after = writer.statuses.totals();
    // 300 MB of rows on two shards, of which one transaction holds 64 MiB and a query's at most.
    assert!(after.flushes - before.flushes >= 4, "{} transactions", after.flushes - before.flushes);
    assert_eq!(after.rows - before.rows, 600);
    writer.stop().await;
    for name in &names {
        let (key, partition) = (key(name), pond.partition(&key(name)));
        let row = pond.shard(partition).read(partition, vec![key]).await?.rows.remove(0).expect("a row");
        assert!(row.expires_at.is_some() && row.value.as_ref() == Some(&value));
    }
    pond.close().await;
    Ok(())
}
