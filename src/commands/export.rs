//! `millpond export`: keys as lines that `millpond import` and `POST /batch` take back, byte for byte.
//!
//! Not a snapshot, and not a backup of a shard. Invariant: what the state beside the file names is in the file, so that
//! an export that was killed goes on without a gap and without a key twice.

mod progress;
mod sink;

use std::{
    io::{self, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;
use millpond_client::{Error as ClientError, Item, Page, Pages, Query};
use serde_json::json;

use self::{
    progress::Display,
    sink::{Asked, Counts, Sink},
};
use super::{import::interrupted, scan};
use crate::{
    client_args::{RangeArgs, ReadArgs, ServerArgs},
    exit::Exit,
    output,
};

const EXAMPLES: &str = "\
Examples:
  millpond export --out all.ndjson               every key of the tenant
  millpond export --prefix user: --out users.ndjson
  millpond export --tenant acme | zstd > acme.ndjson.zst
  millpond export --consistency strong --out all.ndjson
                                                 with every write that was answered before it began
  millpond import all.ndjson --server http://other:7420

Each line is a put with key, value, content type and expiry (`key_b64` and `value_b64` where they are no UTF-8), as \
`millpond import` and POST /batch take it. Versions and the times of creation and change are not in it. A key that has \
expired by the time of the import fails there with ttl-invalid.

What it promises: each page of up to 1,000 keys is the state of each partition at one offset, and later pages are never \
older. The whole is no snapshot. Every key comes at most once, and one that nobody changes meanwhile comes exactly as it \
is; of one that is changed meanwhile, some state that it had; one that is put meanwhile may be missing.

With --out it is resumable: after Ctrl-C, kill -9 or a server that went away, the same command goes on. Until it is \
done, FILE.export-state stands beside the file. It never overwrites a finished file without --restart.

Exits 3 when it is not done: a shard does not answer, the server went away, or it was stopped.";

/// Between two tries of a page that lacked a shard's keys.
const PAUSE: Duration = Duration::from_millis(250);

/// Arguments of `export`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    range: RangeArgs,
    /// Write to this file, resumably [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Begin again, over what the file holds
    #[arg(long, requires = "out")]
    restart: bool,
    /// Print the result as JSON
    #[arg(long, requires = "out")]
    json: bool,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Exports until there are no more keys, or someone presses Ctrl-C.
pub(crate) async fn run(args: ExportArgs) -> Result<Exit> {
    let client = args.server.client()?;
    let read = args.read.options()?;
    let query = Query {
        meta: true,
        consistency: read.consistency,
        min_position: read.min_position,
        ..Query::new(args.range.select())
    };
    let asked = Asked::of(&query);
    let pages = client.pages(query);
    let patience = args.server.retry_for;
    let Some(path) = args.out else { return to_stdout(Reading { pages, patience }).await };
    let (mut sink, cursor) = Sink::open(path, asked, args.restart)?;
    let display = Display::new(sink.counts());
    if let Some(cursor) = &cursor {
        display.note(&format!("going on after {} keys", sink.counts().keys));
        tracing::debug!(cursor, "export is resumed");
    }
    let pages = cursor.into_iter().fold(pages, Pages::resume);
    let ended = tokio::select! {
        ended = copy(Reading { pages, patience }, &mut sink, &display) => ended,
        () = interrupted() => Ok(End::Stopped),
    };
    display.finish();
    tell(ended, sink, args.json)
}

/// How a copy ended, short of an error.
enum End {
    Complete,
    Stopped,
    /// A shard does not answer.
    Incomplete(String),
}

/// The pages, and how long one is asked for again that is not complete.
struct Reading {
    pages: Pages,
    patience: Duration,
}

impl Reading {
    /// The next page; an incomplete one only after the time is over.
    async fn next(&mut self) -> Result<Option<Page>, ClientError> {
        let began = Instant::now();
        loop {
            let page = self.pages.next().await?;
            let complete = page.as_ref().is_none_or(|page| page.complete);
            if complete || began.elapsed() + PAUSE > self.patience {
                return Ok(page);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn copy(mut reading: Reading, sink: &mut Sink, display: &Display) -> Result<End> {
    while let Some(page) = reading.next().await.context("read the next page")? {
        if !page.complete {
            return Ok(End::Incomplete(scan::incomplete(&page)));
        }
        sink.write(&page)?;
        display.show(sink.counts());
    }
    Ok(End::Complete)
}

async fn to_stdout(mut reading: Reading) -> Result<Exit> {
    let mut keys = 0_u64;
    let mut out = io::BufWriter::new(io::stdout().lock());
    while let Some(page) = reading.next().await.context("read the next page")? {
        if !page.complete {
            out.flush()?;
            output::error(&scan::incomplete(&page));
            output::note(&format!("{keys} keys are written; --out FILE makes an export that can go on"));
            return Ok(Exit::Partial);
        }
        for item in &page.items {
            write_line(&mut out, item)?;
        }
        out.flush()?;
        keys += page.items.len() as u64;
    }
    Ok(Exit::Done)
}

/// Says how it went, after what there is is safe.
fn tell(ended: Result<End>, sink: Sink, json: bool) -> Result<Exit> {
    let (path, counts) = (sink.path().to_owned(), sink.counts());
    let complete = matches!(ended, Ok(End::Complete));
    if complete {
        sink.finish()?;
    } else {
        sink.save()?;
    }
    match &ended {
        Ok(End::Complete) => {}
        Ok(End::Stopped) => output::warning("stopped before the end"),
        Ok(End::Incomplete(why)) => output::error(why),
        // Nothing is written yet: the error alone says what to do.
        Err(_) if counts.keys == 0 => return ended.map(|_| Exit::Partial),
        Err(error) => output::error(&format!("{error:#}")),
    }
    let Counts { keys, bytes } = counts;
    if json {
        output::json(
            &json!({"file": path.to_string_lossy(), "keys": keys, "bytes": bytes, "complete": complete}),
        )?;
    } else if complete {
        output::line(&format!("{keys} keys, {bytes} bytes in {}", path.display()))?;
    }
    if complete {
        return Ok(Exit::Done);
    }
    output::note(&format!("{keys} keys are in {}; run the same command again to go on", path.display()));
    Ok(Exit::Partial)
}

/// One key as the operation that puts it.
fn write_line(out: &mut impl Write, item: &Item) -> Result<()> {
    let (Some(value), Some(meta)) = (&item.value, &item.meta) else {
        return Err(ClientError::Protocol("an item without its value or content type".into()).into());
    };
    let mut line = json!({"op": "put"});
    scan::insert(&mut line, "key", &item.key);
    scan::insert(&mut line, "value", value);
    line["content_type"] = meta.content_type.as_str().into();
    if let Some(at) = &meta.expires_at {
        line["expires_at"] = at.as_str().into();
    }
    serde_json::to_writer(&mut *out, &line).map_err(io::Error::from).context("write a line")?;
    out.write_all(b"\n").context("write a line")?;
    Ok(())
}
