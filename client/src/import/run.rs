//! One import: the reader, the lanes, and what becomes of their notes.
//!
//! Invariant: dropping the run is as good as kill -9: nothing is said to be done that the journal does not name.

use std::{future::Future, io, pin::pin, time::Duration};

use tokio::{sync::mpsc, task::JoinSet};

use super::{
    BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, Error, ImportOptions, Input, LANES_MAX, Mapping,
    coordinator::Coordinator,
    frontier::Delivered,
    journal::Witness,
    lane::Lane,
    reader::Reader,
    report::{Observer, Report},
    start,
    window::{Bounds, Opened, Window},
};
use crate::{Client, Position};

/// Notes under way to the coordinator.
const NOTES_MAX: usize = 64;
/// Batches that wait for their lane.
const LANE_BATCHES_MAX: usize = 1;

/// What the coordinator hears.
pub(super) enum Note {
    Opened(Opened),
    Delivered(Delivered),
    /// `None`: the server has no answer that could be compared later.
    Witnessed(Option<Witness>),
    Failed(crate::Error),
    Ended {
        truncated: Option<u64>,
    },
    Unreadable {
        line: u64,
        source: io::Error,
    },
}

/// An import that can be run once.
pub struct Importer {
    client: Client,
    options: ImportOptions,
    input: Input,
    observer: Observer,
}

impl Importer {
    /// Takes what an import needs; nothing is read or sent yet.
    ///
    /// # Errors
    /// [`Error::Invalid`]: an option is out of its bounds.
    pub fn new(
        client: &Client,
        options: ImportOptions,
        input: Input,
        observer: Observer,
    ) -> Result<Self, Error> {
        let within = |name: &str, value: usize, max: usize| {
            let fits = (1..=max).contains(&value);
            if fits { Ok(()) } else { Err(Error::Invalid(format!("{name} is 1 to {max}, not {value}"))) }
        };
        within("the number of lanes", options.lanes, LANES_MAX)?;
        within("operations in a batch", options.batch_operations_max, BATCH_OPERATIONS_MAX)?;
        within("bytes in a batch", options.batch_bytes_max, BATCH_BYTES_MAX)?;
        if let Mapping::Documents { key_pointers, .. } = &options.mapping
            && (key_pointers.is_empty() || !key_pointers.iter().all(|pointer| pointer.starts_with('/')))
        {
            return Err(Error::Invalid("a key needs JSON Pointers, which begin with /".into()));
        }
        Ok(Self { client: client.persistent(), options, input, observer })
    }

    /// Imports until the input ends or `stop` is ready. Waits for as long as the server cannot be reached.
    ///
    /// # Errors
    /// What stands in the journal stays done; the same import, run again, goes on from there.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<Report, Error> {
        let Self { client, options, input, observer } = self;
        let mut stop = pin!(stop);
        let start = tokio::select! {
            start = start::prepare(&client, &options, input, &observer) => start?,
            () = &mut stop => return Ok(Report::stopped()),
        };
        let (notes, mut inbox) = mpsc::channel(NOTES_MAX);
        let mut tasks = JoinSet::new();
        let lanes = (0..options.lanes)
            .map(|_| {
                let (batches, arriving) = mpsc::channel(LANE_BATCHES_MAX);
                let lane = Lane {
                    client: client.clone(),
                    wait: options.wait,
                    observer: observer.clone(),
                    notes: notes.clone(),
                };
                tasks.spawn(lane.run(arriving));
                batches
            })
            .collect();
        let bounds = Bounds {
            lanes: options.lanes,
            operations_max: options.batch_operations_max,
            bytes_max: options.batch_bytes_max,
        };
        let window = Window::new(bounds, options.rejects.is_some());
        let reader = Reader {
            lines: start.lines,
            mapping: options.mapping,
            id: start.journal.state.id.clone(),
            window,
            notes: notes.clone(),
            lanes,
        };
        // Not among the tasks: a read from a stream can block for ever. It ends when nobody listens.
        drop(tokio::task::spawn_blocking(move || reader.run()));
        let mut coordinator = Coordinator::new(start.journal, start.rejects, start.bytes_total, observer);
        while !coordinator.is_done() {
            tokio::select! {
                biased;
                () = &mut stop => return Ok(coordinator.report(true)),
                Some(ended) = tasks.join_next() => ended.expect("no task of an import panics"),
                Some(note) = inbox.recv() => {
                    if let Some(position) = coordinator.take(note)? {
                        tasks.spawn(witness(client.clone(), position, notes.clone()));
                    }
                }
            }
        }
        Ok(coordinator.report(false))
    }
}

/// Asks what can be compared later, to know this log again.
async fn witness(client: Client, position: Position, notes: mpsc::Sender<Note>) {
    let found = client.mutation(&position, Duration::ZERO).await.ok().flatten();
    let witness = found.map(|mutation| Witness { position, time: mutation.time });
    // Nobody listens when the import was stopped meanwhile.
    let _ = notes.send(Note::Witnessed(witness)).await;
}
