//! A batch's operations: every form of it to checked mutations, counted before any is looked into.
//!
//! Invariant: an operation that is refused fails alone; only a body that is no batch at all fails as a whole.

use std::{io::BufRead, mem};

use bytes::Bytes;
use millpond_schemas::{
    KeyJoiner, Mutation, MutationId, RecordKey, Tenant, UnixMillis, limits::BATCH_OPERATIONS_MAX,
};
use serde_json::value::RawValue;

use super::{
    array,
    form::Form,
    line::{self, Line},
    records,
};
use crate::{
    answer::{Answer, Asked},
    problem::{Code, Problem},
    submit::random_id,
};

/// One operation on its way.
pub(crate) struct Operation<'a> {
    /// From 1; in lines, blank ones counted.
    pub(crate) number: usize,
    /// Echoed.
    pub(crate) id: Option<&'a RawValue>,
    /// What the single call would answer, as far as is known.
    pub(crate) state: Result<Pending, Problem>,
}

/// An operation that was not refused.
pub(crate) struct Pending {
    pub(crate) asked: Asked,
    /// Boxed: most batches have none, and each operation would be many times as large.
    pub(crate) answer: Option<Box<Answer>>,
}

/// What operations are read against.
pub(crate) struct Context<'a> {
    pub(crate) tenant: &'a Tenant,
    /// The whole body, that values are slices of.
    pub(crate) body: &'a Bytes,
    pub(crate) now: UnixMillis,
    /// Of the request: each operation's number makes a key of it.
    pub(crate) idempotency_key: Option<&'a str>,
    /// Longest value, bytes.
    pub(crate) value_bytes_max: usize,
}

impl Context<'_> {
    /// A value or a patch over the limit fails its operation: the log would refuse the whole batch for it.
    pub(super) fn within_limit(&self, bytes: usize) -> Result<(), Problem> {
        let max = self.value_bytes_max;
        if bytes > max {
            return Err(Problem::new(Code::ValueTooLarge, format!("at most {max} bytes")).limit(max));
        }
        Ok(())
    }

    /// The id of an operation without one of its own: of the request's Idempotency-Key and its number, else random.
    pub(super) fn id(&self, key: &RecordKey, number: usize) -> MutationId {
        self.idempotency_key.map_or_else(random_id, |request| {
            MutationId::of_idempotency_key(key, &format!("{request}:{number}"))
        })
    }
}

/// The operations of a batch, in order, and the mutations of those that are not refused.
#[derive(Default)]
pub(crate) struct Batch<'a> {
    pub(crate) operations: Vec<Operation<'a>>,
    pub(crate) mutations: Vec<Mutation>,
}

impl<'a> Batch<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// It holds no operation, or too many; an array or a framing is malformed. Nothing of it may be sent.
    pub(crate) fn read(form: Form, context: &Context<'a>) -> Result<Self, Problem> {
        match form {
            Form::Lines => Self::of_lines(context),
            Form::Array => Self::of_array(context),
            Form::Records => Self::of_records(context),
        }
    }

    fn of_lines(context: &Context<'a>) -> Result<Self, Problem> {
        let body: &'a [u8] = context.body;
        let lines = || (1..).zip(lines(body)).filter(|(_, line)| !line.is_empty());
        let mut batch = Self::of(lines().take(BATCH_OPERATIONS_MAX + 1).count())?;
        let mut keys = KeyJoiner::default();
        for (number, text) in lines() {
            let (id, mutation) = of_object(text, number, context, &mut keys);
            batch.push(number, id, mutation);
        }
        Ok(batch)
    }

    fn of_array(context: &Context<'a>) -> Result<Self, Problem> {
        let elements = array::elements(context.body)?;
        let mut batch = Self::of(elements.len())?;
        let mut keys = KeyJoiner::default();
        for (index, element) in elements.into_iter().enumerate() {
            let (id, mutation) = of_object(element.get().as_bytes(), index + 1, context, &mut keys);
            batch.push(index + 1, id, mutation.map_err(|problem| problem.under(format_args!("/{index}"))));
        }
        Ok(batch)
    }

    fn of_records(context: &Context<'a>) -> Result<Self, Problem> {
        let frames = records::frames(context.body)?;
        let mut batch = Self::of(frames.len())?;
        let mut keys = KeyJoiner::default();
        for (number, frame) in (1..).zip(frames) {
            batch.push(number, None, records::mutation(frame, number, context, &mut keys));
        }
        Ok(batch)
    }

    /// Of so many operations.
    fn of(count: usize) -> Result<Self, Problem> {
        match count {
            0 => Err(Problem::new(Code::BatchEmpty, "a batch holds an operation at least")),
            1..=BATCH_OPERATIONS_MAX => {
                Ok(Self { operations: Vec::with_capacity(count), mutations: Vec::with_capacity(count) })
            }
            _ => Err(too_many()),
        }
    }

    /// Refuses further operations, each for itself, where `judge` says so.
    pub(crate) fn refuse(&mut self, judge: impl Fn(&Mutation) -> Result<(), Problem>) {
        let mut mutations = mem::take(&mut self.mutations).into_iter();
        for operation in self.operations.iter_mut().filter(|operation| operation.state.is_ok()) {
            let mutation = mutations.next().expect("an operation that is not refused has a mutation");
            match judge(&mutation) {
                Ok(()) => self.mutations.push(mutation),
                Err(problem) => operation.state = Err(problem),
            }
        }
    }

    fn push(&mut self, number: usize, id: Option<&'a RawValue>, mutation: Result<Mutation, Problem>) {
        let state = mutation.map(|mutation| {
            let asked = Asked::of(&mutation);
            self.mutations.push(mutation);
            Pending { asked, answer: None }
        });
        self.operations.push(Operation { number, id, state });
    }
}

/// Every line, without space around it.
fn lines(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let all = rest;
        let bytes = rest.skip_until(b'\n').expect("memory can be read");
        all.get(..bytes).filter(|line| !line.is_empty()).map(<[u8]>::trim_ascii)
    })
}

/// What a JSON object asks, and the id that it goes by even where it is wrong.
fn of_object<'a>(
    text: &'a [u8],
    number: usize,
    context: &Context<'_>,
    keys: &mut KeyJoiner,
) -> (Option<&'a RawValue>, Result<Mutation, Problem>) {
    match Line::parse(text) {
        Ok(line) => (line.id, line.mutation(number, context, keys)),
        Err(problem) => (line::id_of(text), Err(problem)),
    }
}

pub(super) fn too_many() -> Problem {
    Problem::new(Code::BatchTooLarge, "too many operations").limit(BATCH_OPERATIONS_MAX)
}

#[cfg(test)]
mod tests;
