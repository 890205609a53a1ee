//! One operation: what it takes, how it succeeds, and which problems it may end in.
//!
//! Not here: what the operations are. Invariant: the statuses of problems come from the table of problems.

use http::HeaderName;
use serde_json::{Map, Value, json};

use super::{
    answer_headers, build,
    problems::{self, Kind},
    shared::Shared,
};
use crate::{headers::X_REQUEST_ID, problem::Code};

/// An operation.
pub(super) struct Operation {
    /// Its member of the path: a method in lower case, or an extension where `OpenAPI` 3.1 knows no such method.
    pub(super) method: &'static str,
    /// Its name in generated clients.
    pub(super) id: &'static str,
    /// Which group it belongs to.
    pub(super) tag: &'static str,
    /// In a few words.
    pub(super) summary: &'static str,
    /// All that its reader needs.
    pub(super) description: &'static str,
    /// Names of parameters.
    pub(super) parameters: Vec<&'static str>,
    /// Media types of its body; none: it has none.
    pub(super) body: Option<Value>,
    /// The header that names these media types, where another one is refused.
    pub(super) accepts: Option<&'static HeaderName>,
    /// How it succeeds.
    pub(super) answers: Vec<Answer>,
    /// What problems may say about the log.
    pub(super) kind: Kind,
    /// The problems.
    pub(super) problems: Vec<Code>,
    /// Whether no token is needed.
    pub(super) public: bool,
}

/// A success.
pub(super) struct Answer {
    /// Its status.
    pub(super) status: u16,
    /// When it is given.
    pub(super) description: &'static str,
    /// Its headers: always there, or only sometimes.
    pub(super) headers: Vec<(HeaderName, Always)>,
    /// Media types of its body.
    pub(super) content: Option<Value>,
    /// Where to go from here.
    pub(super) links: Option<Value>,
}

/// Whether a header is always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Always {
    /// Yes.
    Yes,
    /// No.
    No,
}

impl Answer {
    /// With a body and no headers of its own.
    pub(super) fn new(status: u16, description: &'static str, content: Value) -> Self {
        Self { status, description, headers: Vec::new(), content: Some(content), links: None }
    }

    /// Without a body.
    pub(super) fn empty(status: u16, description: &'static str) -> Self {
        Self { status, description, headers: Vec::new(), content: None, links: None }
    }

    /// With headers that are always there.
    pub(super) fn always(mut self, names: &[&HeaderName]) -> Self {
        self.headers.extend(names.iter().map(|name| ((*name).clone(), Always::Yes)));
        self
    }

    /// With headers that may be there.
    pub(super) fn maybe(mut self, names: &[&HeaderName]) -> Self {
        self.headers.extend(names.iter().map(|name| ((*name).clone(), Always::No)));
        self
    }

    /// With links.
    pub(super) fn links(mut self, links: Value) -> Self {
        self.links = Some(links);
        self
    }

    fn told(&self) -> Value {
        let mut told = Map::new();
        told.insert("description".to_owned(), build::text(self.description).into());
        let own = self.headers.iter().map(|(name, always)| (name, *always));
        let headers = own.chain([(&X_REQUEST_ID, Always::Yes)]);
        let header = |(name, always)| (build::shown(name), answer_headers::told(name, always == Always::Yes));
        told.insert("headers".to_owned(), build::object(headers.map(header)));
        if let Some(content) = &self.content {
            told.insert("content".to_owned(), content.clone());
        }
        if let Some(links) = &self.links {
            told.insert("links".to_owned(), links.clone());
        }
        Value::Object(told)
    }
}

impl Operation {
    /// As the document tells it.
    pub(super) fn told(&self, shared: &mut Shared) -> Value {
        let mut told = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "description": build::text(self.description),
        });
        let parameters = self.parameters.iter().chain(&["RequestId"]);
        let reference = |name: &&str| json!({ "$ref": format!("#/components/parameters/{name}") });
        told["parameters"] = parameters.map(reference).collect();
        if let Some(body) = &self.body {
            told["requestBody"] = json!({ "required": true, "content": body });
        }
        let successes = self.answers.iter().map(|answer| (answer.status.to_string(), answer.told()));
        let problems = problems::answers(&self.problems, self.kind, self.accepts);
        let is_head = self.method == "head";
        let problems = problems.into_iter().map(|(status, mut answer)| {
            // The answer to a HEAD has no body.
            if is_head && let Some(members) = answer.as_object_mut() {
                members.remove("content");
            }
            // Of a code alone it is the same everywhere; of several it depends on what else the call may meet.
            let name = format!("{status}-{}", self.id);
            (status.to_string(), shared.refer(name, answer))
        });
        told["responses"] = build::object(successes.chain(problems));
        if self.public {
            told["security"] = json!([]);
        }
        told
    }
}
