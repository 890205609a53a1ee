//! Many statements in one text: they cross to the connection's thread and back together, which costs more than most
//! of them.
//!
//! sqlx binds the parameters of such a text in order, ends it at the first error, and answers each statement's count.
//! Invariant: each count is compared with what was sent before the next text goes out; what is not yet sent goes with
//! [`Batch::send`].

use futures_util::TryStreamExt;
use sqlx::{Executor, SqliteConnection};

use super::{
    error::during,
    statement::{Parameters, Sizes},
};
use crate::{Error, chunks::runs};

/// Rows of one statement. It is filled up with NULL, which costs little and is filtered out; so its texts are few.
pub(super) const SIZES: [usize; 5] = [256, 64, 16, 4, 1];
/// Rows of statements that share a text, which is kept prepared. More: more memory; fewer: more ways there and back.
const ROWS_MAX: usize = 64;
/// Bytes of keys and values at which a text is sent, unless a single row has more: each is in memory three times.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a statement is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It changes no rows that are counted.
    Begin,
    Rows,
    Memory,
    Watermarks,
}

impl Step {
    fn doing(self) -> &'static str {
        match self {
            Self::Begin => "begin a transaction",
            Self::Rows => "write rows",
            Self::Memory => "write what is remembered",
            Self::Watermarks => "set watermarks",
        }
    }
}

/// Why a transaction must not be committed.
#[derive(Debug)]
pub(super) enum Failed {
    /// Some rows were not below the version that was to replace them, or not at the one that was to be removed.
    Rows { sent: u64, touched: u64 },
    /// Some watermarks were not what they were to be set from.
    Watermarks,
    /// What SQLite or the way to it says.
    Error(Error),
}

/// Statements that wait to be sent.
pub(super) struct Batch<'c> {
    connection: &'c mut SqliteConnection,
    text: String,
    parameters: Parameters,
    steps: Vec<(Step, u64)>,
    rows: usize,
    bytes: usize,
}

impl<'c> Batch<'c> {
    pub(super) fn new(connection: &'c mut SqliteConnection) -> Self {
        let (text, parameters) = (String::new(), Parameters::default());
        Self { connection, text, parameters, steps: Vec::new(), rows: 0, bytes: 0 }
    }

    /// Adds a statement without parameters.
    pub(super) fn begin(&mut self, sql: &str) {
        self.text.push_str(sql);
        self.steps.push((Step::Begin, 0));
    }

    /// Adds statements over `items`, and sends what gets too large to wait.
    pub(super) async fn add<T>(
        &mut self,
        (step, sizes): (Step, &Sizes),
        items: &[T],
        bytes: fn(&T) -> usize,
        push: fn(&mut Parameters, &T),
    ) -> Result<(), Failed>
    where
        T: Sync,
    {
        for (run, run_bytes) in runs(sizes.largest(), items, BYTES_MAX, bytes) {
            if self.rows + run.len() > ROWS_MAX || self.bytes + run_bytes > BYTES_MAX {
                self.send().await?;
            }
            let (size, sql) = sizes.covering(run.len());
            if !self.text.is_empty() {
                self.text.push(';');
            }
            self.text.push_str(sql);
            let before = self.parameters.len();
            for item in run {
                push(&mut self.parameters, item);
            }
            let columns = (self.parameters.len() - before) / run.len();
            self.parameters.push_nulls(columns * (size - run.len()));
            self.steps.push((step, run.len() as u64));
            self.rows += run.len();
            self.bytes += run_bytes;
        }
        Ok(())
    }

    /// Sends what waits, and compares how many rows each statement changed.
    pub(super) async fn send(&mut self) -> Result<(), Failed> {
        if self.steps.is_empty() {
            return Ok(());
        }
        (self.rows, self.bytes) = (0, 0);
        let query = std::mem::take(&mut self.parameters).query_text(std::mem::take(&mut self.text));
        let steps = std::mem::take(&mut self.steps);
        let mut counts = self.connection.execute_many(query);
        let mut outcome = Ok(());
        for (step, sent) in steps {
            let done = counts.try_next().await.map_err(|error| Failed::Error(during(step.doing())(error)))?;
            let touched = done.ok_or_else(unanswered)?.rows_affected();
            outcome = outcome.and(match step {
                Step::Rows if sent != touched => Err(Failed::Rows { sent, touched }),
                Step::Watermarks if sent != touched => Err(Failed::Watermarks),
                Step::Begin | Step::Rows | Step::Memory | Step::Watermarks => Ok(()),
            });
        }
        outcome
    }
}

/// Of a text of many statements, some were not run.
fn unanswered() -> Failed {
    Failed::Error(Error::schema("write a flush", "a statement was not answered"))
}
