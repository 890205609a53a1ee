//! The problems that an operation may end in: one answer a status, with the codes that it may carry.
//!
//! Invariant: status, title and what is said about the log come from the table of problems, not from here.

use std::collections::BTreeMap;

use http::{HeaderName, StatusCode, header};
use serde_json::{Value, json};

use super::{answer_headers, build};
use crate::{
    headers::{KV_DUPLICATE, KV_POSITION, KV_STALENESS_MS, X_REQUEST_ID},
    problem::{Code, Fate},
};

/// What problems of an operation may say about the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Always `none`.
    Read,
    /// As the table says.
    Write,
}

/// What any call may be refused for, whatever it calls.
pub(super) const ANY: &[Code] = &[
    Code::RequestMalformed,
    Code::HostInvalid,
    Code::UriTooLong,
    Code::HeadersTooLarge,
    Code::ExpectationFailed,
];
/// Calls of a tenant.
pub(super) const TENANT: &[Code] =
    &[Code::TenantInvalid, Code::Unauthenticated, Code::Forbidden, Code::TenantUnknown];
/// Calls of a key in the path.
pub(super) const KEY: &[Code] = &[Code::KeyInvalid, Code::UnknownField];
/// Calls with a body.
pub(super) const BODY: &[Code] = &[
    Code::BodyInvalid,
    Code::BodyIncomplete,
    Code::BodyTimeout,
    Code::EncodingUnsupported,
    Code::Overloaded,
];
/// Reads from the shards.
pub(super) const READ: &[Code] = &[
    Code::ConsistencyInvalid,
    Code::PositionInvalid,
    Code::PositionNotReached,
    Code::LogUnavailable,
    Code::Internal,
];
/// Reads of one key.
pub(super) const READ_KEY: &[Code] = &[Code::NotFound, Code::ConditionInvalid, Code::ShardUnavailable];
/// What is sent to the log.
pub(super) const SEND: &[Code] = &[
    Code::IdempotencyKeyInvalid,
    Code::BodyTooLarge,
    Code::BacklogFull,
    Code::LogBackpressure,
    Code::LogUnavailable,
    Code::LogDiverged,
    Code::ClockSkew,
    Code::OutcomeUnknown,
    Code::Internal,
];
/// Writes of one key, which may wait for their outcome.
pub(super) const WRITE_KEY: &[Code] = &[
    Code::ConditionInvalid,
    Code::TtlInvalid,
    Code::ConditionFailed,
    Code::IdempotencyConflict,
    Code::DeadLettered,
];
/// What a mutation on the log may end in.
pub(super) const REJECTED: &[Code] = &[
    Code::NotFound,
    Code::ConditionFailed,
    Code::IdempotencyConflict,
    Code::WrongType,
    Code::PatchTestFailed,
    Code::PatchPathMissing,
    Code::IncrementOverflow,
    Code::ValueOutgrown,
    Code::DeadLettered,
];
/// Why one operation of a batch is refused.
pub(super) const LINE: &[Code] = &[
    Code::KeyInvalid,
    Code::UnknownField,
    Code::BodyInvalid,
    Code::ValueNotText,
    Code::TtlInvalid,
    Code::ConditionInvalid,
    Code::ContentTypeInvalid,
    Code::IdempotencyKeyInvalid,
    Code::ValueTooLarge,
    Code::ValueInvalid,
    Code::ClockSkew,
];
/// What answers a call that no operation here describes.
pub(super) const UNMATCHED: &[Code] = &[Code::RouteUnknown, Code::MethodNotAllowed];

/// Several lists as one.
pub(super) fn all(lists: &[&[Code]]) -> Vec<Code> {
    lists.concat()
}

/// Those of a call that changes one key with a body, and these.
pub(super) fn of_change(more: &[Code]) -> Vec<Code> {
    all(&[ANY, TENANT, KEY, BODY, SEND, WRITE_KEY, more])
}

/// The answers, by status. `accepts`: the header that names the media types that are taken.
pub(super) fn answers(
    codes: &[Code],
    kind: Kind,
    accepts: Option<&'static HeaderName>,
) -> BTreeMap<u16, Value> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        let of = by_status.entry(code.status().as_u16()).or_default();
        if !of.contains(code) {
            of.push(*code);
        }
    }
    by_status.into_iter().map(|(status, codes)| (status, answer(&codes, kind, accepts))).collect()
}

/// The names of codes, each once, in order.
fn names(codes: &[Code]) -> Vec<&'static str> {
    let mut names: Vec<_> = codes.iter().map(|code| code.code()).collect();
    names.sort_unstable();
    names
}

/// What the members of a problem of one of these codes are, all of one status.
fn of_status(codes: &[Code], kind: Kind) -> Value {
    let fate = |code: &Code| if kind == Kind::Read { Fate::None } else { code.fate() };
    let mut outcomes: Vec<_> = codes.iter().map(|code| fate(code).word()).collect();
    outcomes.sort_unstable();
    outcomes.dedup();
    let status = codes.first().map_or(StatusCode::INTERNAL_SERVER_ERROR, |code| code.status());
    json!({ "properties": {
        "status": { "const": status.as_u16() },
        "code": { "enum": names(codes) },
        "outcome": { "enum": outcomes },
    } })
}

/// A problem of one of these codes, inside an answer.
pub(super) fn one_of(codes: &[Code]) -> Value {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status().as_u16()).or_default().push(*code);
    }
    let each: Vec<_> = by_status.values().map(|codes| of_status(codes, Kind::Write)).collect();
    json!({ "oneOf": each })
}

fn answer(codes: &[Code], kind: Kind, accepts: Option<&'static HeaderName>) -> Value {
    let titles = codes.iter().map(|code| format!("`{}`: {}.", code.code(), code.title()));
    let mut outcomes: Vec<_> =
        codes.iter().map(|code| if kind == Kind::Read { Fate::None } else { code.fate() }.word()).collect();
    outcomes.sort_unstable();
    outcomes.dedup();
    let status = codes.first().map_or(StatusCode::INTERNAL_SERVER_ERROR, |code| code.status());
    let schema = json!({
        "allOf": [build::schema("Problem"), {
            "properties": {
                "status": { "const": status.as_u16() },
                "code": { "enum": names(codes) },
                "outcome": { "enum": outcomes },
            },
        }],
    });
    json!({
        "description": titles.collect::<Vec<_>>().join(" "),
        "headers": headers(codes, accepts),
        "content": { "application/problem+json": { "schema": schema } },
    })
}

/// A header, which problems may bring it, and whether those always do.
type Brought = (&'static HeaderName, fn(Code) -> bool, bool);

static RETRY_AFTER: HeaderName = header::RETRY_AFTER;
static WWW_AUTHENTICATE: HeaderName = header::WWW_AUTHENTICATE;
static ALLOW: HeaderName = header::ALLOW;
static CACHE_CONTROL: HeaderName = header::CACHE_CONTROL;
static ACCEPT_ENCODING: HeaderName = header::ACCEPT_ENCODING;

static BROUGHT: [Brought; 10] = [
    (&X_REQUEST_ID, |_| true, true),
    (&RETRY_AFTER, Code::retry_after, true),
    (&WWW_AUTHENTICATE, |code| code == Code::Unauthenticated, true),
    // A server without tokens has nothing to ask for.
    (&WWW_AUTHENTICATE, |code| code == Code::Forbidden, false),
    (&ALLOW, |code| code == Code::MethodNotAllowed, true),
    (&KV_POSITION, |code| code.fate() == Fate::Rejected || code == Code::PositionNotReached, true),
    (&KV_STALENESS_MS, |code| code == Code::NotFound, false),
    (&CACHE_CONTROL, |code| code == Code::NotFound, false),
    (&KV_DUPLICATE, |code| code.fate() == Fate::Rejected, false),
    (&ACCEPT_ENCODING, |code| code == Code::EncodingUnsupported, true),
];

/// Headers that come with all of these codes, or with some.
fn headers(codes: &[Code], accepts: Option<&'static HeaderName>) -> Value {
    let brought = BROUGHT.iter().filter_map(|(name, brings, always)| {
        let some = codes.iter().any(|code| brings(*code));
        some.then(|| (*name, *always && codes.iter().all(|code| brings(*code))))
    });
    let accepts = accepts.filter(|_| codes.contains(&Code::MediaTypeUnsupported));
    let all = brought.chain(accepts.map(|name| (name, false)));
    build::object(all.map(|(name, always)| (build::shown(name), answer_headers::told(name, always))))
}
