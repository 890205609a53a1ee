//! Which handler answers what.
//!
//! Keys are read from the raw path by the handlers; the router only tells the roots apart. Invariant: sub-resources
//! have roots of their own, so every key can be reached, whatever it holds.

use axum::{Router, routing};
use http::Uri;

use crate::{
    batch, meta, mutations,
    problem::{Code, Problem},
    read,
    state::App,
    ttl, version, write,
};

/// The routes of the api.
pub(crate) fn api(app: App) -> Router {
    let kv = routing::get(read::get).put(write::put).delete(write::delete).patch(write::patch);
    Router::new()
        .route("/kv/{*key}", kv)
        .route("/kv/", routing::any(no_key))
        .route("/meta/{*key}", routing::get(meta::get))
        .route("/meta/", routing::any(no_key))
        .route("/ttl/{*key}", routing::get(ttl::get).put(ttl::put).delete(ttl::delete))
        .route("/ttl/", routing::any(no_key))
        .route("/mutations/{position}", routing::get(mutations::get))
        .route("/batch", routing::post(batch::post))
        .route("/version", routing::get(version::get))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .with_state(app)
}

/// A path's route, as metrics name it.
pub(crate) fn label(uri: &Uri) -> &'static str {
    let path = uri.path();
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
        "/batch" => "/batch",
        "/version" => "/version",
        _ => "other",
    }
}

async fn no_key() -> Problem {
    Problem::new(Code::KeyInvalid, "a key is 1 to 1024 bytes; this one has 0")
}

pub(crate) async fn no_route() -> Problem {
    Problem::new(Code::RouteUnknown, "")
}

pub(crate) async fn no_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "")
}
