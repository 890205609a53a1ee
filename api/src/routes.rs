//! Which handler answers what.
//!
//! Keys are read from the raw path by the handlers; the router only tells the roots apart. Invariant: sub-resources
//! have roots of their own, so every key can be reached, whatever it holds.

use std::sync::Arc;

use axum::{
    Router, middleware,
    response::{IntoResponse, Response},
    routing,
};
use http::{Method, Request, StatusCode, Uri};

use crate::{
    auth, batch, fixed, meta, mutations,
    problem::{Code, Problem},
    queries, read,
    state::App,
    ttl, version, write,
};

/// The routes of the api.
pub(crate) fn api(app: App) -> Router {
    let kv = routing::get(read::get).put(write::put).delete(write::delete).patch(write::patch);
    // A key like any other, but for POST.
    let query = kv.clone().post(queries::post);
    let routes = Router::new()
        .route("/kv", routing::any(queries::kv))
        .route("/kv/query", query)
        .route("/kv/{*key}", kv)
        .route("/kv/", routing::any(no_key))
        .route("/meta/{*key}", routing::get(meta::get))
        .route("/meta/", routing::any(no_key))
        .route("/ttl/{*key}", routing::get(ttl::get).put(ttl::put).delete(ttl::delete))
        .route("/ttl/", routing::any(no_key))
        .route("/mutations/{position}", routing::get(mutations::get))
        .route("/batch", routing::post(batch::post))
        .route("/version", routing::get(version::get))
        .route("/openapi.json", routing::get(fixed::document))
        .route("/docs", routing::get(fixed::page))
        .route("/schemas", routing::get(fixed::schemas))
        .route("/schemas/mutation.proto", routing::get(fixed::mutation_proto))
        .route("/schemas/outcome.proto", routing::get(fixed::outcome_proto))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method);
    let routes = match &app.auth {
        None => routes,
        // Around the fallbacks too: without a token nobody learns what there is.
        Some(_) => routes.layer(middleware::from_fn_with_state(Arc::clone(&app), auth::require)),
    };
    routes.with_state(app)
}

/// What the router would give to [`write::put`] or [`read::get`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfKey {
    /// `PUT /kv/{key}`
    Put,
    /// `GET /kv/{key}`
    Get,
}

impl OfKey {
    /// Whether a request is one of them.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        let key = request.uri().path().strip_prefix("/kv/");
        match *request.method() {
            _ if key.is_none_or(str::is_empty) => None,
            Method::PUT => Some(Self::Put),
            Method::GET => Some(Self::Get),
            _ => None,
        }
    }
}

/// A path's route, as metrics name it.
pub(crate) fn label(uri: &Uri) -> &'static str {
    let path = uri.path();
    if path == "/kv/query" {
        return "/kv/query";
    }
    let roots = [
        ("/kv/", "/kv/{key}"),
        ("/meta/", "/meta/{key}"),
        ("/ttl/", "/ttl/{key}"),
        ("/mutations/", "/mutations/{position}"),
    ];
    if let Some((_, label)) = roots.into_iter().find(|(root, _)| path.starts_with(root)) {
        return label;
    }
    match path {
        "/kv" => "/kv",
        "/batch" => "/batch",
        "/version" => "/version",
        "/openapi.json" => "/openapi.json",
        "/docs" => "/docs",
        "/schemas" | "/schemas/mutation.proto" | "/schemas/outcome.proto" => "/schemas",
        _ => "other",
    }
}

async fn no_key() -> Problem {
    Problem::new(Code::KeyInvalid, "a key is 1 to 1024 bytes; this one has 0")
}

/// `OPTIONS *` asks about the server as a whole.
pub(crate) async fn no_route(method: Method, uri: Uri) -> Response {
    if method == Method::OPTIONS && uri.path() == "*" {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(Code::RouteUnknown, "").into_response()
}

/// The router adds what it allows.
pub(crate) async fn no_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(Code::MethodNotAllowed, "").into_response()
}
