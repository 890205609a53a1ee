//! How an import begins: anew, where an earlier run stopped, or from the first line because something changed.
//!
//! Invariant: an earlier run is continued only in an input whose every byte up to its place is the same, and only
//! against the log that it wrote to. The journal is saved before the first line is sent.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use super::{
    BATCH_BYTES_MAX, Error, ImportOptions, Input,
    journal::{Journal, State, Witness},
    line::{Lines, Place},
    rejects::Rejects,
    report::{Event, Observer},
};
use crate::{Client, Retry};

/// Room for what is added to a line before it must fit in a batch.
const LINE_BYTES_MAX: usize = BATCH_BYTES_MAX - 4096;
/// How much of a file's beginning identifies it, beside its path.
const HEAD_BYTES: u64 = 64 * 1024;

pub(super) struct Start {
    pub(super) journal: Journal,
    pub(super) lines: Lines,
    pub(super) rejects: Option<Rejects>,
    pub(super) bytes_total: Option<u64>,
}

/// Decides how to begin. Waits for the server only when an earlier run has to be compared with its log.
pub(super) async fn prepare(
    client: &Client,
    options: &ImportOptions,
    input: Input,
    observer: &Observer,
) -> Result<Start, Error> {
    let mut journal = journal(client, options, &input)?;
    if options.restart {
        journal.state = State::new(State::random_id());
    }
    if let Some(witness) = journal.state.witness.clone()
        && !knows(client, &witness, observer).await?
    {
        observer(Event::LogChanged);
        journal.state = State::new(journal.state.id);
    }
    let rejects = options.rejects.clone();
    let observer = observer.clone();
    let begun = tokio::task::spawn_blocking(move || begin(journal, input, rejects.as_deref(), &observer));
    begun.await.expect("the reader does not panic")
}

fn journal(client: &Client, options: &ImportOptions, input: &Input) -> Result<Journal, Error> {
    let (name, id) = match input {
        Input::File(path) => {
            let path = fs::canonicalize(path).map_err(|source| unreadable(0, source))?;
            if !path.is_file() {
                return Err(Error::Invalid(
                    "only a regular file can be resumed; import a pipe as a stream".into(),
                ));
            }
            let head = head(&path).map_err(|source| unreadable(0, source))?;
            let mut digest = Xxh3Default::new();
            digest.update(path.as_os_str().as_encoded_bytes());
            digest.update(&head.to_le_bytes());
            let id = format!("{:016x}", digest.digest());
            (Some(path.as_os_str().as_encoded_bytes().to_vec()), id)
        }
        Input::Stream { name: Some(name), .. } => {
            (Some(format!("stream {name}").into_bytes()), State::random_id())
        }
        Input::Stream { name: None, .. } => (None, State::random_id()),
    };
    let name = name.map(|name| {
        let scope = client.scope();
        format!("{:016x} {scope} {}", xxh3_64(&name), options.mapping.fingerprint())
    });
    Journal::open(&options.state_dir, name.as_deref(), id)
}

fn head(path: &Path) -> std::io::Result<u64> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(xxh3_64(&head))
}

/// Whether the server's log is the one that the earlier run wrote to. Past 24 h nobody can tell: it is taken to be.
async fn knows(client: &Client, witness: &Witness, observer: &Observer) -> Result<bool, Error> {
    let notify = |retry: Retry<'_>| observer(Event::Waiting { error: retry.error, delay: retry.delay });
    match client.mutation_with(&witness.position, &notify).await {
        Ok(Some(mutation)) => Ok(mutation.time == witness.time),
        Ok(None) => Ok(false),
        Err(crate::Error::Refused(problem)) if problem.status == 410 => Ok(true),
        // The place lies beyond the end of this log.
        Err(crate::Error::Refused(problem)) if problem.status == 400 => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn begin(
    mut journal: Journal,
    input: Input,
    rejects: Option<&Path>,
    observer: &Observer,
) -> Result<Start, Error> {
    let (lines, bytes_total) = match input {
        Input::File(path) => {
            let bytes = fs::metadata(&path).map_err(|source| unreadable(0, source))?.len();
            (open_file(&path, &mut journal, observer)?, Some(bytes))
        }
        Input::Stream { reader, .. } => (open_stream(reader, &journal)?, None),
    };
    if journal.state.place != Place::default() {
        observer(Event::Resumed { line: journal.state.place.line, stale: journal.stale });
    }
    let earlier = journal.state.rejects.as_ref();
    let rejects = rejects.map(|path| Rejects::open(path, earlier)).transpose()?;
    journal.state.rejects = rejects.as_ref().map(Rejects::place);
    journal.save()?;
    Ok(Start { journal, lines, rejects, bytes_total })
}

fn open_file(path: &PathBuf, journal: &mut Journal, observer: &Observer) -> Result<Lines, Error> {
    let place = journal.state.place.clone();
    let open = || -> std::io::Result<Lines> { Ok(Lines::new(Box::new(File::open(path)?), LINE_BYTES_MAX)) };
    let fail = |source| unreadable(0, source);
    let mut lines = open().map_err(fail)?;
    if lines.skip_to(&place).map_err(fail)? {
        return Ok(lines);
    }
    observer(Event::InputChanged { line: place.line });
    // After a whole run the new content is new operations, even where it repeats lines.
    let id = if journal.state.complete { State::random_id() } else { journal.state.id.clone() };
    let rejects = journal.state.rejects.take();
    journal.state = State { rejects: rejects.map(|place| rewound(&place.path)), ..State::new(id) };
    open().map_err(fail)
}

/// An earlier run's rejects file, to be written anew.
fn rewound(path: &Path) -> super::rejects::RejectsPlace {
    super::rejects::RejectsPlace { path: path.to_owned(), bytes: 0 }
}

fn open_stream(reader: Box<dyn Read + Send>, journal: &Journal) -> Result<Lines, Error> {
    let place = &journal.state.place;
    let mut lines = Lines::new(reader, LINE_BYTES_MAX);
    if lines.skip_to(place).map_err(|source| unreadable(0, source))? {
        return Ok(lines);
    }
    let line = place.line;
    Err(Error::Invalid(format!(
        "the input differs, before line {line}, from what an earlier run saw under this name; give it another \
         name, or restart it"
    )))
}

fn unreadable(line: u64, source: std::io::Error) -> Error {
    Error::Input { line, source }
}
