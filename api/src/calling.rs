//! The call that a task works for: its request id, for log lines, and its span, for what it sends.
//!
//! Invariant: nothing but log lines and traces depends on it.

use millpond_trace::Context;

use crate::request_id::RequestId;

tokio::task_local! {
    static CALL: Call;
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) id: RequestId,
    /// The span that is recorded of it, or else the caller's.
    pub(crate) span: Option<Box<Context>>,
}

/// Runs what works for a call.
pub(crate) fn within<F: Future>(call: Call, work: F) -> impl Future<Output = F::Output> {
    CALL.scope(call, work)
}

/// The request id of the call that this task works for; empty: for none.
pub(crate) fn request_id() -> String {
    CALL.try_with(|call| call.id.to_string()).unwrap_or_default()
}

/// The span of the call that this task works for.
pub(crate) fn span() -> Option<Context> {
    CALL.try_with(|call| call.span.as_deref().copied()).ok().flatten()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[tokio::test]
    async fn a_task_knows_the_call_that_it_works_for() {
        assert_eq!((request_id(), span()), (String::new(), None));
        let call = Call { id: RequestId::Given(Box::new(HeaderValue::from_static("abc"))), span: None };
        assert_eq!(within(call, async { request_id() }).await, "abc");
        assert_eq!(request_id(), "");
    }
}
