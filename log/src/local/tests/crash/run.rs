//! The run whose every moment is tried, and what it was promised by each.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use super::super::*;

/// A recorded file operation in the stream's folder; files by name.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Create(String),
    Write(String, usize, Vec<u8>),
    Sync(String),
    SyncFailed,
    SetLen(String, usize),
    Allocate(String, usize),
    Rename(String, String),
    SyncDir,
    Remove(String),
}

impl Operation {
    fn of(op: &Op<'_>) -> Self {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let length = |length: u64| usize::try_from(length).unwrap();
        match *op {
            Op::Create(path) => Self::Create(name(path)),
            Op::Write(path, position, parts) => Self::Write(name(path), length(position), joined(parts)),
            Op::Sync(path) => Self::Sync(name(path)),
            Op::SetLen(path, to) => Self::SetLen(name(path), length(to)),
            Op::Allocate(path, to) => Self::Allocate(name(path), length(to)),
            Op::Rename(from, to) => Self::Rename(name(from), name(to)),
            Op::SyncDir(_) => Self::SyncDir,
            Op::Remove(path) => Self::Remove(name(path)),
        }
    }
}

type Place = (u32, Offset);
/// By how many operations, and the record's value.
type Event = (usize, Vec<u8>);

/// What was sent, acked and given up, each with the number of operations done by then.
#[derive(Clone, Default)]
pub(super) struct History {
    sent: BTreeMap<Place, Vec<Event>>,
    acked: BTreeMap<Place, Event>,
    floors: Vec<(usize, Vec<Offset>)>,
}

impl History {
    pub(super) fn sent(&mut self, partition: u32, offset: Offset, value: Vec<u8>, done: usize) {
        self.sent.entry((partition, offset)).or_default().push((done, value));
    }

    pub(super) fn acked(&mut self, partition: u32, offset: Offset, value: Vec<u8>, done: usize) {
        self.acked.insert((partition, offset), (done, value));
    }

    /// No record at or above it may be missing.
    pub(super) fn floor(&self, partition: u32, done: usize) -> Offset {
        let asked =
            self.floors.iter().filter(|(at, _)| *at <= done).map(|(_, floors)| floors[partition as usize]);
        asked.max().unwrap_or(Offset(0))
    }

    /// Whether this value may lie there: the acked one, or, before the ack, one that was sent.
    pub(super) fn may_hold(&self, partition: u32, offset: Offset, value: &[u8], done: usize) -> bool {
        match self.acked.get(&(partition, offset)) {
            Some((at, acked)) if *at <= done => acked == value,
            _ => self.sent[&(partition, offset)].iter().any(|(at, sent)| *at <= done && sent == value),
        }
    }

    /// Behind the last acked record.
    pub(super) fn acked_end(&self, partition: u32, done: usize) -> Offset {
        let acked = self.acked.iter().filter(|((p, _), (at, _))| *p == partition && *at <= done);
        acked.map(|((_, offset), _)| offset.next()).max().unwrap_or(Offset(0))
    }
}

/// Appends of many sizes over several segments, trims, a reopening, and perhaps one failing sync.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// The sync that fails, counted from the start.
    pub(super) fails_at: Option<usize>,
}

type Recorded = Arc<Mutex<Vec<Operation>>>;

impl Run {
    fn files(self, recorded: &Recorded) -> Files {
        let recorded = Arc::clone(recorded);
        Files::watched(move |op| {
            let in_stream = |path: &Path| path.components().any(|part| part.as_os_str() == STREAM);
            if matches!(op, Op::SyncDir(dir) if !in_stream(dir)) {
                return None;
            }
            let mut recorded = recorded.lock().unwrap();
            let is_sync =
                |operation: &&Operation| matches!(operation, Operation::Sync(_) | Operation::SyncFailed);
            let fails =
                matches!(op, Op::Sync(_)) && Some(recorded.iter().filter(is_sync).count()) == self.fails_at;
            recorded.push(if fails { Operation::SyncFailed } else { Operation::of(op) });
            fails.then(|| Fault::Fail(io::Error::other("no")))
        })
    }

    /// Does it all, and returns what was done and promised.
    pub(super) async fn record(self) -> (Vec<Operation>, History) {
        let dir = tempfile::tempdir().unwrap();
        let (recorded, mut history) = (Recorded::default(), History::default());
        let open = || {
            let once = || try_open(dir.path(), options(), self.files(&recorded));
            // The sync that fails may be one of these.
            once().or_else(|_| once()).unwrap()
        };
        let mut log = open();
        for round in 0..26u8 {
            let value = |size: usize| vec![b'a' + round; size];
            let sizes = [[1, 0, 0], [40, 3, 0], [1500, 2, 700], [0, 600, 0], [5, 5, 5]];
            let records =
                [0, 1, 0].into_iter().zip(sizes[usize::from(round) % 5]).filter(|(_, size)| *size > 0);
            let records: Vec<_> = records.map(|(partition, size)| (partition, value(size))).collect();
            step(&log, &recorded, &mut history, records).await;
            if round % 7 == 6 {
                let floors: Vec<_> = ends(&log).await.into_iter().map(Offset::previous).collect();
                history.floors.push((recorded.lock().unwrap().len(), floors.clone()));
                log.trim(&floors).await.unwrap();
            }
            if round == 11 {
                drop(log);
                log = open();
            }
        }
        drop(log);
        (std::mem::take(&mut *recorded.lock().unwrap()), history)
    }
}

/// One call, and what it was told.
async fn step(log: &Log, recorded: &Recorded, history: &mut History, records: Vec<(u32, Vec<u8>)>) {
    let done = || recorded.lock().unwrap().len();
    let (before, mut next) = (done(), ends(log).await);
    for (partition, value) in &records {
        let next = &mut next[*partition as usize];
        history.sent(*partition, *next, value.clone(), before);
        *next = next.next();
    }
    let call = records.iter().map(|(partition, value)| to(*partition, value)).collect();
    if let Ok(acks) = log.append(call).await {
        for ((partition, value), ack) in records.into_iter().zip(acks) {
            history.acked(partition, ack.offset, value, done());
        }
    }
}
