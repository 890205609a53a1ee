//! The log's end, asked while records are on their way.

use millpond_log::Append;
use millpond_schemas::PartitionId;
use tokio::task::JoinSet;

use super::{super::raw, open};

/// So many records, one after the other.
const RECORDS: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_covers_a_record_before_its_ack_comes_is_no_other_log() {
    let (log, _alive) = open().await;
    let mut asking = JoinSet::new();
    let asker = log.clone();
    asking.spawn(async move {
        loop {
            asker.bounds(PartitionId(0)).await.unwrap();
        }
    });
    for at in 0..RECORDS {
        let append = Append { partition: PartitionId(0), raw: raw("k", "v") };
        let acked = log.append(vec![append]).await;
        assert!(acked.is_ok(), "record {at}: {acked:?}");
    }
    assert!(!log.is_remade());
    asking.shutdown().await;
    log.close().await;
}
