//! Many keys in one call: `POST /kv/query`, `QUERY /kv` and `GET /kv`.
//!
//! Not here: what is asked (`ask.rs`), reading it (`page.rs`), answering it (`answer.rs`). Invariant: all three are one
//! handler, so what one of them answers, the others answer too.

mod answer;
mod ask;
mod cursor;
mod fresh;
mod members;
mod memory;
mod merge;
mod page;
mod read_keys;
mod read_range;
mod told;

use axum::{
    extract::{Request, State as Shared},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use millpond_schemas::{Position, Tenant, limits::PAGE_ROWS_MAX};

use crate::{
    accept::{self, Format},
    body::{self, Limit},
    call,
    consistency::Consistency,
    headers,
    problem::{Code, Problem},
    query::Query,
    routes::no_method,
    state::{App, State},
};
use ask::{Ask, What};
pub use cursor::CursorKey;
use cursor::{Cursor, Word};
use members::Members;
pub(crate) use memory::Pages;

/// Largest body, bytes: 1,000 keys, each of its bytes escaped, and a cursor that carries them.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Rows of a page of a range, where nobody says how many.
const LIMIT_DEFAULT: usize = 100;
const JSON: &str = "application/json";

/// One call, understood.
struct Call {
    tenant: Tenant,
    ask: Ask,
    /// As it was named; at most [`PAGE_ROWS_MAX`].
    limit: Option<usize>,
    consistency: Consistency,
    word: Word,
    /// The last key that was answered; none at the beginning.
    after: Option<bytes::Bytes>,
    /// What pages before this one were read at: this one is not older. None on the first.
    seen: Option<Vec<Position>>,
}

/// `/kv`, whatever the method.
pub(crate) async fn kv(shared: Shared<App>, request: Request) -> Response {
    let answered = match *request.method() {
        Method::GET | Method::HEAD => get(shared, request).await,
        Method::QUERY => post(shared, request).await,
        // The router knows no QUERY: it would not name it among those that are allowed.
        _ => {
            let mut response = no_method(request.method().clone()).await;
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, QUERY"));
            return response;
        }
    };
    answered.into_response()
}

/// `POST /kv/query`, and QUERY: the query in the body.
pub(crate) async fn post(Shared(app): Shared<App>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let tenant = call::tenant(&app, &head)?;
    let query = Query::of(&head.uri, &["consistency"])?;
    check_media_type(&head)?;
    let format = accept::json_or_lines(&head.headers)?;
    let limit = Limit { bytes: BODY_BYTES_MAX, code: Code::BodyTooLarge };
    let body = body::read(&app.bodies, &head.headers, body, limit).await?;
    let mut members = Members::parse(&body.bytes)?;
    members.consistency = one_of(members.consistency, query.get("consistency"))?;
    let call = Call::of(&app, tenant, &head.headers, &members)?;
    answer(app, call, format).await
}

/// The query in the parameters.
async fn get(Shared(app): Shared<App>, request: Request) -> Result<Response, Problem> {
    let (head, _body) = request.into_parts();
    let tenant = call::tenant(&app, &head)?;
    let query = Query::of(&head.uri, members::NAMES)?;
    let format = accept::json_or_lines(&head.headers)?;
    let members = Members::of_parameters(&query)?;
    let call = Call::of(&app, tenant, &head.headers, &members)?;
    answer(app, call, format).await
}

async fn answer(app: App, call: Call, format: Format) -> Result<Response, Problem> {
    match format {
        Format::Json => answer::json(&app, call).await,
        Format::Lines => answer::lines(app, call).await,
    }
}

/// A QUERY says what its content is (RFC 10008); a POST without a word is taken at its word.
fn check_media_type(head: &Parts) -> Result<(), Problem> {
    let text = headers::single(&head.headers, &header::CONTENT_TYPE, Code::ContentTypeInvalid)?;
    let is_json =
        |text: &str| text.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(JSON));
    if text.map_or(head.method != Method::QUERY, is_json) {
        return Ok(());
    }
    Err(Problem::new(Code::MediaTypeUnsupported, "a query is application/json")
        .header(headers::ACCEPT_QUERY.clone(), HeaderValue::from_static(JSON)))
}

fn one_of<'a>(
    body: Option<std::borrow::Cow<'a, str>>,
    parameter: Option<&'a str>,
) -> Result<Option<std::borrow::Cow<'a, str>>, Problem> {
    match (body, parameter) {
        (Some(body), Some(parameter)) if *body != *parameter => {
            Err(Problem::new(Code::ConsistencyInvalid, "the body and the parameter name different ones"))
        }
        (body, parameter) => Ok(body.or(parameter.map(Into::into))),
    }
}

impl Call {
    fn of(app: &State, tenant: Tenant, headers: &HeaderMap, members: &Members<'_>) -> Result<Self, Problem> {
        let asked = Ask::of(members)?;
        let limit = members.limit()?;
        let cursor = members.cursor.as_deref();
        let cursor = cursor.map(|text| Cursor::open(text, &app.cursor_key, &tenant)).transpose()?;
        let named = members.consistency.as_deref();
        let Some(cursor) = cursor else {
            let consistency = Consistency::of(headers, named)?;
            let (word, ask) = (Word::of(&consistency), asked.unwrap_or_default());
            return Ok(Self { tenant, ask, limit, consistency, word, after: None, seen: None });
        };
        if asked.is_some_and(|asked| asked != cursor.ask) || named.is_some_and(|n| n != cursor.word.name()) {
            return Err(Problem::new(Code::CursorInvalid, "the cursor is of another query"));
        }
        // What a session asked for is in the cursor.
        let named = named.filter(|named| *named != Word::Session.name());
        let mut consistency = Consistency::of(headers, named)?;
        if consistency == Consistency::Eventual && cursor.word == Word::Strong {
            consistency = Consistency::Strong(Vec::new());
        }
        let Cursor { ask, word, after, seen } = cursor;
        Ok(Self { tenant, ask, limit, consistency, word, after, seen: Some(seen) })
    }

    /// Most keys of the answer.
    fn limit(&self) -> usize {
        let default = match &self.ask.what {
            What::Keys(_) => PAGE_ROWS_MAX,
            What::Range { .. } => LIMIT_DEFAULT,
        };
        self.limit.unwrap_or(default)
    }
}
