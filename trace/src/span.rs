//! A span while it is open.
//!
//! Invariant: a span that is not recorded holds nothing, and every call on it does nothing.

use std::time::{Instant, SystemTime};

use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanBuilder, SpanContext, Status, TraceContextExt, Tracer as _},
};
use opentelemetry_sdk::trace::{self as sdk, SdkTracer};

use crate::{Context, Kind};

/// Most links of one span; further ones are counted.
pub const LINKS_MAX: usize = 64;

/// What an attribute says: text of a fixed list, a name of the topology, an id, or a number. Never bytes that users
/// sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Value(opentelemetry::Value);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self(text.to_owned().into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::from(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// Spans that another one is because of: at most [`LINKS_MAX`], and how many more there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    pub(crate) contexts: Vec<Context>,
    pub(crate) dropped: u32,
}

impl Links {
    /// Adds one, unless it was not recorded, or is the one that was added last.
    pub fn add(&mut self, context: Context) {
        if !context.is_sampled() || self.contexts.last() == Some(&context) {
            return;
        }
        if self.contexts.len() < LINKS_MAX {
            self.contexts.push(context);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.contexts.is_empty()
    }
}

/// A span. It ends when it is dropped.
#[derive(Debug)]
pub struct Span(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    tracer: SdkTracer,
    span: sdk::Span,
    /// The same moment by both clocks; what follows is measured by the one that never jumps.
    began: Instant,
    start: SystemTime,
}

impl Span {
    /// One that is not recorded.
    pub fn none() -> Self {
        Self(None)
    }

    pub(crate) fn begin(tracer: &SdkTracer, builder: SpanBuilder, around: &opentelemetry::Context) -> Self {
        let (began, start) = (Instant::now(), opentelemetry::time::now());
        let span = tracer.build_with_context(builder.with_start_time(start), around);
        if !span.is_recording() {
            return Self::none();
        }
        Self(Some(Box::new(Open { tracer: tracer.clone(), span, began, start })))
    }

    /// What others name as their parent, or link to. None: it is not recorded.
    pub fn context(&self) -> Option<Context> {
        self.0.as_ref().map(|open| Context::of(open.span.span_context()))
    }

    /// Whether it is recorded.
    pub fn is_recorded(&self) -> bool {
        self.0.is_some()
    }

    /// Gives it a name that had to be put together.
    pub fn rename(&mut self, name: impl FnOnce() -> String) {
        if let Some(open) = &mut self.0 {
            open.span.update_name(name());
        }
    }

    /// Says something about it.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(open) = &mut self.0 {
            open.span.set_attribute(KeyValue::new(name, value.into().0));
        }
    }

    /// It failed.
    pub fn fail(&mut self, why: &str) {
        if let Some(open) = &mut self.0 {
            open.span.set_status(Status::error(why.to_owned()));
        }
    }

    /// So many links found no place. The library counts what is added beyond its limit.
    pub(crate) fn left_out(&mut self, links: u32) {
        if let Some(open) = &mut self.0 {
            (0..links).for_each(|_| open.span.add_link(SpanContext::NONE, Vec::new()));
        }
    }

    /// A part of it that is over: from `began` to `ended`.
    pub fn part(&self, name: &'static str, kind: Kind, (began, ended): (Instant, Instant)) {
        let Some(open) = &self.0 else { return };
        let at = |moment: Instant| open.start + moment.saturating_duration_since(open.began);
        let around = opentelemetry::Context::new().with_remote_span_context(open.span.span_context().clone());
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_start_time(at(began));
        open.tracer.build_with_context(builder, &around).end_with_timestamp(at(ended));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.span.end_with_timestamp(self.start + self.began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_bounded_and_the_rest_is_counted() {
        let context = |trace: usize, flags: &str| {
            Context::parse(&format!("00-{trace:032x}-00f067aa0ba902b7-{flags}")).unwrap()
        };
        let mut links = Links::default();
        links.add(context(1, "00"));
        assert!(links.is_empty(), "what was not recorded is not linked");
        links.add(context(1, "01"));
        links.add(context(1, "01"));
        assert_eq!(links.contexts.len(), 1, "a batch is linked once");
        (2..LINKS_MAX + 7).for_each(|trace| links.add(context(trace, "01")));
        assert_eq!((links.contexts.len(), links.dropped), (LINKS_MAX, 6));
    }
}
