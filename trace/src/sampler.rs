//! Which spans are recorded: what `OTEL_TRACES_SAMPLER` says, of linked spans too.
//!
//! Invariant: what is part of a recorded span of this process is recorded.

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceContextExt, TraceId},
};
use opentelemetry_sdk::trace::{Sampler, SamplingResult, ShouldSample};

/// The library's sampler, asked about a linked span as if the first link were its parent: the library knows of no rule
/// for links, and a flush has no parent.
#[derive(Clone, Debug)]
pub(crate) struct Following(pub(crate) Box<dyn ShouldSample>);

impl ShouldSample for Following {
    fn should_sample(
        &self,
        around: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        if let Some(link) = links.first() {
            let because = link.span_context.clone();
            let trace = because.trace_id();
            let around = Context::new().with_remote_span_context(because);
            return self.0.should_sample(Some(&around), trace, name, kind, attributes, links);
        }
        let is_part = around.is_some_and(|around| {
            let span = around.span();
            let parent = span.span_context();
            parent.is_valid() && !parent.is_remote() && parent.is_sampled()
        });
        let asked: &dyn ShouldSample = if is_part { &Sampler::AlwaysOn } else { &*self.0 };
        asked.should_sample(around, trace, name, kind, attributes, links)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::trace::SamplingDecision;

    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

    fn asked(sampler: &Sampler, around: Option<&Context>, links: &[Link]) -> bool {
        let following = Following(Box::new(sampler.clone()));
        let (trace, kind) = (TraceId::from(u128::MAX), SpanKind::Consumer);
        let result = following.should_sample(around, trace, "x", &kind, &[], links);
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn what_a_span_is_part_of_or_because_of_decides_only_where_it_may() {
        let context = |sampled: &str, is_remote| {
            crate::Context::parse(&format!("{TRACE}-{sampled}")).unwrap().to_library(is_remote)
        };
        let around =
            |sampled, is_remote| Context::new().with_remote_span_context(context(sampled, is_remote));
        for (root, records) in [(Sampler::AlwaysOn, true), (Sampler::AlwaysOff, false)] {
            let parent_based = Sampler::ParentBased(Box::new(root.clone()));
            let linked = [Link::with_context(context("01", true))];
            assert!(asked(&parent_based, None, &linked));
            assert!(asked(&parent_based, Some(&around("01", true)), &[]));
            assert!(!asked(&parent_based, Some(&around("00", true)), &[]));
            assert_eq!(asked(&parent_based, None, &[]), records);
            assert_eq!(asked(&root, None, &linked), records);
            assert_eq!(asked(&root, Some(&around("01", true)), &[]), records);
            assert!(asked(&root, Some(&around("01", false)), &[]), "a part of what is recorded");
        }
        // The linked trace was taken by the same ratio, whatever the new one's id is.
        let ratio = Sampler::TraceIdRatioBased(0.9);
        assert!(!asked(&ratio, None, &[]));
        assert!(asked(&ratio, None, &[Link::with_context(context("01", true))]));
    }
}
