//! What a writer holds in memory does not grow with the number of partitions that have much to catch up with.

use anyhow::{Result, ensure};
use millpond::embedded::Options;
use millpond_schemas::PartitionId;
use millpond_tests::pond::{Pond, put};
use millpond_writer::Config;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn many_partitions_that_are_behind_are_caught_up_with_in_several_transactions() -> Result<()> {
    const PARTITIONS: u32 = 64;
    const FLUSH_BYTES: usize = 64 << 10;
    static VALUE: [u8; FLUSH_BYTES / 4] = [b'v'; FLUSH_BYTES / 4];
    let dir = TempDir::new()?;
    let options = Options { partitions: PARTITIONS, shards: 1, ..Options::new(dir.path()) };
    let pond = Pond::open(&options).await?;
    let value = std::str::from_utf8(&VALUE)?;
    for partition in (0..PARTITIONS).map(PartitionId) {
        let puts: Vec<_> = (0..)
            .map(|n| put(&format!("key-{n}"), value))
            .filter(|put| pond.partition(&put.key) == partition)
            .take(4)
            .collect();
        for put in &puts {
            pond.send(put).await?;
        }
    }
    let writer = pond.writer(Config { flush_bytes_max: FLUSH_BYTES, ..Config::default() });
    pond.drained().await?;
    let (flushes, bytes) = (writer.statuses.totals().flushes, PARTITIONS as usize * 4 * value.len());
    // Eight partitions at a time, but for their overhead.
    ensure!(flushes >= 7, "{bytes} bytes were applied in {flushes} transactions");
    writer.stop().await;
    pond.close().await;
    Ok(())
}
