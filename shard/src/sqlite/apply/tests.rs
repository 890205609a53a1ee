//! Flushes of many partitions together do exactly what they do one after the other.

use std::collections::BTreeMap;

use millpond_schemas::{
    Created, DeadLetter, DeadReason, Digest, Exception, Fingerprint, Generation, IdHash, LogId, Offset,
    Operation, Outcome, OutcomeRange, Position, Raw, RecordKey, Refusal, Rejected, Rejection, Row, Seen,
    Tenant, UnixMillis, Upsert, Version, Watermark,
};
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{
    SqliteConfig,
    sqlite::{open, watermark},
};

const PARTITIONS: u32 = 4;
const TABLES: [&str; 6] = ["kv", "watermark", "outcome", "seen", "operation", "dead_letter"];

/// One record of a flush.
#[derive(Clone, Copy, Debug)]
enum Change {
    Put(Created),
    PutThatExpired,
    Delete,
    Purge,
    Reject,
    DeadLetter,
}

/// What is wrong with a flush.
#[derive(Clone, Copy, Debug)]
enum Fault {
    SentTwice,
    OtherDigest,
    OtherLog,
    LowerOwner,
    NoCopy,
    /// Its rows are not above those that are there.
    OldVersions,
    PurgesWhatIsNotThere,
}

type Made = (Vec<(u8, Change)>, Option<Fault>);

fn flushes() -> impl Strategy<Value = Vec<Option<Made>>> {
    let change = prop_oneof![
        4 => Just(Change::Put(Created::KeepIfLive)),
        2 => Just(Change::Put(Created::Known)),
        1 => Just(Change::PutThatExpired),
        2 => Just(Change::Delete),
        1 => Just(Change::Purge),
        1 => Just(Change::Reject),
        1 => Just(Change::DeadLetter),
    ];
    let fault = prop_oneof![
        Just(Fault::SentTwice),
        Just(Fault::OtherDigest),
        Just(Fault::OtherLog),
        Just(Fault::LowerOwner),
        Just(Fault::NoCopy),
        Just(Fault::OldVersions),
        Just(Fault::PurgesWhatIsNotThere),
    ];
    let flush = (vec((0u8..6, change), 1..6), option::weighted(0.1, fault));
    vec(option::weighted(0.8, flush), PARTITIONS as usize)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flushes_together_do_what_they_do_apart(calls in vec(flushes(), 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare(calls));
    }
}

async fn compare(calls: Vec<Vec<Option<Made>>>) {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = TestWriter::default();
    let mut both = Vec::new();
    for name in ["together", "apart"] {
        let config = SqliteConfig::new(directory.path().join(name));
        let mut connection = open::prepare(&config).await.unwrap();
        for partition in (0..PARTITIONS).map(PartitionId) {
            watermark::create(&mut connection, empty(partition)).await.unwrap();
        }
        both.push(connection);
    }
    let [one, two] = both.as_mut_slice() else { unreachable!("two were opened") };
    for call in calls {
        let (flushes, faults) = writer.flushes(&call);
        let result = if faults {
            apply(one, flushes.clone()).await
        } else {
            assert!(together(one, &flushes).await.unwrap().is_some(), "nothing stands against it");
            Ok(Applied::default())
        };
        let expected = all_apart(two, flushes.clone()).await;
        match (&result, &expected) {
            (Ok(applied), Ok(expected)) => {
                assert_eq!(applied.fenced, expected.fenced);
                writer.applied(flushes, &applied.fenced);
            }
            (Err(error), Err(expected)) => {
                assert!(faults && matches!(error, Error::RowAhead { .. }), "{error:?}");
                assert_eq!(error.to_string(), expected.to_string());
                // Elsewhere the connection is closed, which does the same.
                execute(one, "ROLLBACK").await.unwrap();
                execute(two, "ROLLBACK").await.unwrap();
            }
            other => panic!("{other:?}"),
        }
        for table in TABLES {
            assert_eq!(content(one, table).await, content(two, table).await, "{table} differs");
        }
    }
    for connection in both {
        sqlx::Connection::close(connection).await.unwrap();
    }
}

/// As [`apply`], but never together.
async fn all_apart(connection: &mut SqliteConnection, mut flushes: Vec<Flush>) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    loop {
        let fenced = apart(connection, &flushes).await?;
        if fenced.is_empty() {
            return Ok(applied);
        }
        flushes.retain(|flush| !fenced.contains(&flush.next.partition));
        applied.fenced.extend(fenced);
    }
}

/// Every row as text, sorted.
async fn content(connection: &mut SqliteConnection, table: &str) -> Vec<String> {
    let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)")
        .bind(table.to_owned())
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    let quoted =
        columns.iter().map(|column| format!("quote({column})")).collect::<Vec<_>>().join(" || ',' || ");
    let sql = sqlx::AssertSqlSafe(format!("SELECT {quoted} FROM {table} ORDER BY 1"));
    sqlx::query_scalar(sql).fetch_all(connection).await.unwrap()
}

/// What a writer knows: how far it is, what it sent last, which keys there are.
#[derive(Default)]
struct TestWriter {
    at: BTreeMap<PartitionId, Watermark>,
    last: BTreeMap<PartitionId, Flush>,
    rows: BTreeMap<(PartitionId, u8), Row>,
}

impl TestWriter {
    /// Answers also whether there is a fault among them.
    fn flushes(&self, call: &[Option<Made>]) -> (Vec<Flush>, bool) {
        let made = (0..PARTITIONS).map(PartitionId).zip(call).filter_map(|(partition, made)| {
            let (changes, fault) = made.as_ref()?;
            Some(self.flush(partition, changes, *fault))
        });
        (made.collect(), call.iter().flatten().any(|(_, fault)| fault.is_some()))
    }

    fn flush(&self, partition: PartitionId, changes: &[(u8, Change)], fault: Option<Fault>) -> Flush {
        let previous = self.at.get(&partition).cloned().unwrap_or_else(|| empty(partition));
        let mut offset = previous.applied;
        let mut flush = blank(&previous);
        let mut rows = BTreeMap::new();
        for (name, change) in changes {
            offset = offset.next();
            let id = IdHash(i128::from(offset.0).to_be_bytes());
            flush.seen.push(Seen { offset, time: time(offset), hash: id });
            match change {
                Change::Put(created) => _ = rows.insert(*name, (put(*name, offset), *created)),
                Change::PutThatExpired => {
                    let row = Row { expires_at: Some(time(offset)), ..put(*name, offset) };
                    rows.insert(*name, (row, Created::KeepIfLive));
                }
                Change::Delete => {
                    let row = Row::tombstone(key(*name), version(offset), time(offset));
                    rows.insert(*name, (row, Created::Known));
                }
                Change::Purge => {
                    let there = self.rows.get(&(partition, *name)).filter(|row| row.is_tombstone());
                    flush.purged.extend(there.map(|row| (row.key.clone(), row.version)));
                }
                Change::Reject => {
                    flush.outcomes.exceptions.push(rejection(offset));
                    flush.operations.push(operation(partition, *name, offset));
                }
                Change::DeadLetter => flush.dead_letters.push(dead_letter(offset)),
            }
        }
        flush.purged.sort_by(|a, b| a.0.cmp(&b.0));
        flush.purged.dedup();
        rows.retain(|name, _| flush.purged.iter().all(|(purged, _)| *purged != key(*name)));
        let mut operations: BTreeMap<_, _> = BTreeMap::new();
        operations.extend(flush.operations.drain(..).map(|operation| (operation.hash.0, operation)));
        flush.operations = operations.into_values().collect();
        flush.rows = rows.into_values().map(|(row, created)| Upsert { row, created }).collect();
        end(&mut flush, offset);
        if let Some(fault) = fault {
            self.spoil(&mut flush, fault);
        }
        flush
    }

    fn spoil(&self, flush: &mut Flush, fault: Fault) {
        match fault {
            Fault::SentTwice => {
                if let Some(last) = self.last.get(&flush.next.partition) {
                    *flush = last.clone();
                }
            }
            Fault::OtherDigest => flush.previous.digest = Digest([9; 16]),
            Fault::OtherLog => flush.previous.log_id = LogId([9; 16]),
            Fault::LowerOwner => flush.next.owner = Offset(-1),
            Fault::NoCopy => flush.next.partition = PartitionId(flush.next.partition.0 + 100),
            Fault::OldVersions => {
                for upsert in &mut flush.rows {
                    upsert.row.version = version(Offset(0));
                }
            }
            Fault::PurgesWhatIsNotThere => flush.purged.push((key(200), version(Offset(0)))),
        }
    }

    fn applied(&mut self, flushes: Vec<Flush>, fenced: &[PartitionId]) {
        for flush in flushes.into_iter().filter(|flush| !fenced.contains(&flush.next.partition)) {
            let partition = flush.next.partition;
            let name = |key: &RecordKey| key.key_bytes()[0];
            for (purged, _) in &flush.purged {
                self.rows.remove(&(partition, name(purged)));
            }
            for Upsert { row, .. } in &flush.rows {
                self.rows.insert((partition, name(&row.key)), row.clone());
            }
            self.at.insert(partition, flush.next.clone());
            self.last.insert(partition, flush);
        }
    }
}

fn empty(partition: PartitionId) -> Watermark {
    Watermark::empty(partition, Generation::FIRST, LogId([7; 16]))
}

fn blank(previous: &Watermark) -> Flush {
    let outcomes = OutcomeRange {
        generation: previous.generation,
        partition: previous.partition,
        from: previous.applied.next(),
        to: previous.applied,
        time: previous.time,
        exceptions: Vec::new(),
        expired: Vec::new(),
    };
    Flush {
        previous: previous.clone(),
        next: previous.clone(),
        rows: Vec::new(),
        purged: Vec::new(),
        outcomes,
        seen: Vec::new(),
        operations: Vec::new(),
        dead_letters: Vec::new(),
    }
}

fn end(flush: &mut Flush, last: Offset) {
    (flush.next.applied, flush.next.digest_offset, flush.next.time) = (last, last, time(last));
    flush.next.digest = Digest(i128::from(last.0).to_be_bytes());
    // A Claim in every flush, so that the owner rises.
    flush.next.owner = last;
    (flush.outcomes.to, flush.outcomes.time) = (last, time(last));
}

fn time(offset: Offset) -> UnixMillis {
    UnixMillis(1_000 + offset.0)
}

fn version(offset: Offset) -> Version {
    Version::new(Generation::FIRST, offset)
}

fn key(name: u8) -> RecordKey {
    RecordKey::new(&Tenant::new("t").unwrap(), &[name]).unwrap()
}

fn put(name: u8, offset: Offset) -> Row {
    Row {
        key: key(name),
        version: version(offset),
        value: Some(vec![name; usize::from(name)].into()),
        content_type: ["text/plain", "application/json", ""][usize::from(name % 3)].into(),
        expires_at: None,
        created_at: time(offset),
        updated_at: time(offset),
    }
}

fn rejection(offset: Offset) -> Exception {
    let rejected = Rejected { rejection: Rejection::ConditionFailed, current: None };
    Exception { offset, id: None, outcome: Outcome::Rejected(rejected) }
}

fn operation(partition: PartitionId, name: u8, offset: Offset) -> Operation {
    Operation {
        hash: IdHash([name; 16]),
        position: Position { generation: Generation::FIRST, partition, offset },
        time: time(offset),
        fingerprint: Fingerprint([name; 16]),
        outcome: rejection(offset).outcome,
    }
}

fn dead_letter(offset: Offset) -> DeadLetter {
    DeadLetter {
        offset,
        time: time(offset),
        refusal: Refusal::new(DeadReason::KeyInvalid, "not tenant/key"),
        raw: Raw { key: None, headers: Vec::new(), value: Some("v".into()) },
    }
}
