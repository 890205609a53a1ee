//! `/admin` on the ops listener: what operators and the page for them ask, and what operators decide. JSON.
//!
//! Not here: who may ask ([`crate::auth`], [`guard`]), and what only metrics tell. Shapes stand at their handlers:
//! `/admin/overview` in every process; `/admin/lag`, `/admin/dead-letters`, `/admin/key` and
//! `/admin/mutations/{position}` where there is an api, and `POST /admin/dead-letters/retry`; `/admin/hot` where there is
//! a writer; `POST /admin/decisions` where the process holds the control topic.
//! Invariant: only a POST changes anything, and it says who and why; a value is told to nobody who could not read it
//! through the api.

mod asked;
pub(crate) mod console;
pub(crate) mod decisions;
pub(crate) mod findings;
pub(crate) mod guard;
pub(crate) mod hot;
mod key;
mod mutation;
mod overview;
mod retry;
mod shards;

use axum::{
    Router,
    body::Body,
    middleware,
    response::Response,
    routing::{self, MethodRouter},
};
use http::{HeaderValue, header};
use serde::Serialize;

use self::{decisions::Decide, hot::HotKeys};
use crate::{
    answer::json_type,
    auth::{self, Admission},
    dead_letters, lag,
    ops::Ops,
    state::App,
};

/// The routes, for whom `admission` lets in.
pub(crate) fn routes(ops: &Ops, admission: &Admission) -> Router {
    let guarded = |route: Router| {
        let admin = middleware::from_fn_with_state(admission.clone(), auth::require_admin);
        let guard = middleware::from_fn_with_state(admission.clone(), guard::require);
        // The guard is asked first.
        route.route_layer(admin).route_layer(guard)
    };
    let of_all = Router::new().route("/admin/overview", routing::get(overview::get)).with_state(ops.clone());
    let of_api = ops.app.clone().map(of_api).unwrap_or_default();
    let of_writer = ops.shown.hot.clone().map(of_writer).unwrap_or_default();
    let of_control = ops.shown.decide.clone().map(of_control).unwrap_or_default();
    guarded(of_all.merge(of_api).merge(of_writer).merge(of_control))
}

fn of_control(decide: Decide) -> Router {
    Router::new().route("/admin/decisions", routing::post(decisions::post)).with_state(decide)
}

fn of_writer(hot: HotKeys) -> Router {
    Router::new().route("/admin/hot", routing::get(hot::get)).with_state(hot)
}

fn of_api(app: App) -> Router {
    let each: [(&str, MethodRouter<App>); 5] = [
        ("/admin/lag", routing::get(lag::get)),
        ("/admin/dead-letters", routing::get(dead_letters::get)),
        ("/admin/dead-letters/retry", routing::post(retry::post)),
        ("/admin/key", routing::get(key::get)),
        ("/admin/mutations/{position}", routing::get(mutation::get)),
    ];
    each.into_iter().fold(Router::new(), |router, (path, route)| router.route(path, route)).with_state(app)
}

/// An answer that nobody keeps.
fn json(told: &impl Serialize) -> Response {
    let body = serde_json::to_vec(told).expect("texts and numbers are JSON");
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, json_type());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
