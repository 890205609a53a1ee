//! `/ttl/{key}`: when a key expires, and changing only that.
//!
//! Invariant: a change is a mutation like any other, judged in log order; nothing is read first.

use axum::{
    body::Body,
    extract::{Request, State as Shared},
    response::Response,
};
use http::header;
use millpond_schemas::{Expiry, Op, TtlMode, UnixMillis};
use serde_json::json;

use crate::{
    accept,
    answer::json_type,
    body::{self, Limit},
    call::Called,
    expiry,
    fields::Fields,
    problem::{Code, Problem},
    query::Query,
    read::{self, Existing},
    state::App,
    time,
    write::{Checked, write},
};

const ROOT: &str = "/ttl/";
/// Largest body, bytes.
const BODY_BYTES_MAX: usize = 4096;

/// The time left, by the shard's clock.
pub(crate) async fn get(Shared(app): Shared<App>, request: Request) -> Result<Response, Problem> {
    let (head, _body) = request.into_parts();
    accept::json(&head.headers)?;
    let found = read::find(&app, &head, ROOT).await?;
    let now = found.read_at();
    let (row, mut response) = match found.existing(&head.headers)? {
        Existing::Same(response) => return Ok(response),
        Existing::Row(row, response) => (row, response),
    };
    let ttl = json!({
        "ttl_ms": row.expires_at.map(|at| at.ms_since(now)),
        "expires_at": row.expires_at.map(time::rfc3339),
    });
    response.headers_mut().insert(header::CONTENT_TYPE, json_type());
    *response.body_mut() = Body::from(ttl.to_string());
    Ok(response)
}

/// Changes the expiry.
pub(crate) async fn put(Shared(app): Shared<App>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    accept::json(&head.headers)?;
    let called = Called::of(&app, &head, ROOT)?;
    Query::of(&head.uri, &[])?;
    let checked = Checked::of(&head, called)?;
    let limit = Limit { bytes: BODY_BYTES_MAX, code: Code::BodyTooLarge };
    let body = body::read(&app.bodies, &head.headers, body, limit).await?;
    let fields = Fields::parse(&body.bytes)?;
    fields.only(&["ttl", "expires_at", "mode"])?;
    write(&app, checked.mutation(change(&fields, app.now())?)).await
}

/// Keeps the key for ever.
pub(crate) async fn delete(Shared(app): Shared<App>, request: Request) -> Result<Response, Problem> {
    let (head, _body) = request.into_parts();
    accept::json(&head.headers)?;
    let called = Called::of(&app, &head, ROOT)?;
    Query::of(&head.uri, &[])?;
    let keep = Op::Ttl { mode: TtlMode::Set, expiry: None };
    write(&app, Checked::of(&head, called)?.mutation(keep)).await
}

/// The ttl change that `ttl` or `expires_at`, and `mode`, say.
fn change(fields: &Fields, now: UnixMillis) -> Result<Op, Problem> {
    let mode = mode(fields.get("mode").map(|mode| mode.as_str().unwrap_or_default()))?;
    of_mode(mode, expiry::of_members(fields.get("ttl"), fields.get("expires_at"), now)?)
}

/// A mode by its name; none is `set`.
pub(crate) fn mode(name: Option<&str>) -> Result<TtlMode, Problem> {
    match name {
        None | Some("set") => Ok(TtlMode::Set),
        Some("extend") => Ok(TtlMode::Extend),
        Some("only_longer") => Ok(TtlMode::OnlyLonger),
        Some("only_shorter") => Ok(TtlMode::OnlyShorter),
        Some("if_none") => Ok(TtlMode::IfNone),
        Some(_) => Err(invalid("mode is set, extend, only_longer, only_shorter or if_none").at("/mode")),
    }
}

/// A change of this mode: it needs an expiry, and extending one needs a duration.
pub(crate) fn of_mode(mode: TtlMode, expiry: Option<Expiry>) -> Result<Op, Problem> {
    match expiry {
        None => Err(invalid("ttl or expires_at says when")),
        Some(Expiry::At(_)) if mode == TtlMode::Extend => {
            Err(invalid("extend takes a ttl").at("/expires_at"))
        }
        Some(_) => Ok(Op::Ttl { mode, expiry }),
    }
}

fn invalid(detail: &'static str) -> Problem {
    Problem::new(Code::TtlInvalid, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    fn of(body: &str) -> Result<Op, Code> {
        let fields = Fields::parse(body.as_bytes()).unwrap();
        change(&fields, NOW).map_err(|problem| problem.code())
    }

    #[test]
    fn every_mode_takes_a_ttl() {
        for (name, mode) in [
            ("set", TtlMode::Set),
            ("extend", TtlMode::Extend),
            ("only_longer", TtlMode::OnlyLonger),
            ("only_shorter", TtlMode::OnlyShorter),
            ("if_none", TtlMode::IfNone),
        ] {
            let op = of(&format!(r#"{{"ttl":"15m","mode":"{name}"}}"#));
            assert_eq!(op, Ok(Op::Ttl { mode, expiry: Some(Expiry::TtlMs(900_000)) }));
        }
        let set = Op::Ttl { mode: TtlMode::Set, expiry: Some(Expiry::TtlMs(90_000)) };
        assert_eq!(of(r#"{"ttl":90}"#), Ok(set));
    }

    #[test]
    fn a_moment_is_taken_by_every_mode_but_extend() {
        let at = time::rfc3339(NOW.plus_ms(5000));
        let expiry = Some(Expiry::At(NOW.plus_ms(5000)));
        assert_eq!(
            of(&format!(r#"{{"expires_at":"{at}","mode":"only_longer"}}"#)),
            Ok(Op::Ttl { mode: TtlMode::OnlyLonger, expiry })
        );
        assert_eq!(of(&format!(r#"{{"expires_at":"{at}","mode":"extend"}}"#)), Err(Code::TtlInvalid));
    }

    #[test]
    fn nothing_both_or_an_unknown_mode_is_refused() {
        let at = time::rfc3339(NOW.plus_ms(5000));
        for body in [
            "{}".to_owned(),
            r#"{"mode":"set"}"#.to_owned(),
            r#"{"ttl":null}"#.to_owned(),
            r#"{"ttl":"15m","mode":"forever"}"#.to_owned(),
            r#"{"ttl":"15m","mode":1}"#.to_owned(),
            format!(r#"{{"ttl":"15m","expires_at":"{at}"}}"#),
        ] {
            assert_eq!(of(&body), Err(Code::TtlInvalid), "{body}");
        }
    }
}
