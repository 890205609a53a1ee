//! Texts that are the same until the next build: this API's document, its page, and the schemas.
//!
//! Invariant: they are served to anybody, and nothing in them is of any tenant.

use std::sync::LazyLock;

use axum::{body::Body, extract::Request, response::Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use crate::{conditions, headers, openapi, problem::Problem, query::Query};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
/// A text with its type and its version.
struct Text {
    content_type: &'static str,
    bytes: Bytes,
    version: String,
    /// What a browser may run and load.
    policy: Option<HeaderValue>,
}

impl Text {
    fn new(content_type: &'static str, text: impl Into<Bytes>) -> Self {
        let bytes = text.into();
        Self { content_type, version: format!("{:016x}", xxh3_64(&bytes)), bytes, policy: None }
    }

    fn of(content_type: &'static str, text: &'static str) -> Self {
        Self::new(content_type, Bytes::from_static(text.as_bytes()))
    }

    /// The text, or 304 for who has it.
    fn answer(&self, request: &Request) -> Result<Response, Problem> {
        Query::of(request.uri(), &[])?;
        let same = conditions::none_match_hits(request.headers(), &self.version)?;
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(header::ETAG, headers::etag(&self.version));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if same {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(response);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(policy) = &self.policy {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
        }
        *response.body_mut() = Body::from(self.bytes.clone());
        Ok(response)
    }
}

/// The schemas: name, title, text.
const SCHEMAS: [(&str, &str, &str); 2] = [
    ("mutation.proto", "Records of the mutations log, and of batches", millpond_schemas::MUTATION_PROTO),
    ("outcome.proto", "Records of the outcomes topic", millpond_schemas::OUTCOME_PROTO),
];

fn list() -> String {
    let schema = |(name, title, _): &(&str, &str, &str)| json!({ "name": name, "href": format!("/schemas/{name}"), "title": title });
    json!({ "schemas": SCHEMAS.iter().map(schema).collect::<Vec<_>>() }).to_string()
}

/// `GET /openapi.json`.
pub(crate) async fn document(request: Request) -> Result<Response, Problem> {
    static TEXT: LazyLock<Text> = LazyLock::new(|| Text::new(JSON, openapi::text_of_document()));
    TEXT.answer(&request)
}

/// `GET /docs`: one file, which loads nothing but `/openapi.json`.
pub(crate) async fn page(request: Request) -> Result<Response, Problem> {
    static TEXT: LazyLock<Text> = LazyLock::new(read_page);
    TEXT.answer(&request)
}

/// The page runs its own script and style, known by their hashes, and reads this server alone.
fn read_page() -> Text {
    let (style, script) = (include_str!("docs/page.css"), include_str!("docs/page.js"));
    let page = include_str!("docs/page.html").replace("/* style */", style).replace("/* script */", script);
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(script),
        hash(style),
    );
    let policy = HeaderValue::try_from(policy).expect("a policy is printable ASCII");
    Text { policy: Some(policy), ..Text::new(HTML, page) }
}

/// `GET /schemas`.
pub(crate) async fn schemas(request: Request) -> Result<Response, Problem> {
    static TEXT: LazyLock<Text> = LazyLock::new(|| Text::new(JSON, list()));
    TEXT.answer(&request)
}

/// `GET /schemas/mutation.proto`.
pub(crate) async fn mutation_proto(request: Request) -> Result<Response, Problem> {
    static OF: LazyLock<Text> = LazyLock::new(|| Text::of(TEXT, SCHEMAS[0].2));
    OF.answer(&request)
}

/// `GET /schemas/outcome.proto`.
pub(crate) async fn outcome_proto(request: Request) -> Result<Response, Problem> {
    static OF: LazyLock<Text> = LazyLock::new(|| Text::of(TEXT, SCHEMAS[1].2));
    OF.answer(&request)
}
