//! The page for operators, at `/`: its files, all within the binary.
//!
//! It holds nothing of this deployment; what it shows it asks of `/admin`. Invariant: a browser runs only what is served
//! here, and nothing that was put into a key, a value or a header by whoever wrote it.

use axum::{
    Router,
    body::Body,
    extract::Path,
    response::{IntoResponse, Response},
    routing,
};
use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::problem::{Code, Problem};

/// A file of the page.
struct File {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

const PAGE: File =
    File { name: "", media_type: "text/html; charset=utf-8", text: include_str!("console/index.html") };

const FILES: [File; 6] = [
    File {
        name: "console.css",
        media_type: "text/css; charset=utf-8",
        text: include_str!("console/console.css"),
    },
    File { name: "console.js", media_type: SCRIPT, text: include_str!("console/console.js") },
    File { name: "dom.js", media_type: SCRIPT, text: include_str!("console/dom.js") },
    File { name: "lookup.js", media_type: SCRIPT, text: include_str!("console/lookup.js") },
    File { name: "tables.js", media_type: SCRIPT, text: include_str!("console/tables.js") },
    File { name: "icon.svg", media_type: "image/svg+xml", text: include_str!("console/icon.svg") },
];

/// Scripts and styles of this origin only, none inline, no text that becomes markup, in no frame.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// For everybody who can reach the listener.
pub(crate) fn routes() -> Router {
    Router::new()
        .route("/", routing::get(async || serve(&PAGE)))
        .route("/console", routing::get(elsewhere))
        .route("/console/", routing::get(elsewhere))
        .route("/console/{file}", routing::get(file))
}

async fn elsewhere() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/"));
    response
}

async fn file(Path(name): Path<String>) -> Response {
    let found = FILES.iter().find(|file| file.name == name);
    found.map_or_else(|| Problem::new(Code::RouteUnknown, "").into_response(), serve)
}

fn serve(file: &File) -> Response {
    let mut response = Response::new(Body::from(file.text));
    let fields: [(HeaderName, &'static str); 7] = [
        (header::CONTENT_TYPE, file.media_type),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fields {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the page and all its files.
    const BYTES_MAX: usize = 60 * 1024;

    #[test]
    fn the_page_is_small_and_asks_nobody_else() {
        let files: Vec<&File> = std::iter::once(&PAGE).chain(&FILES).collect();
        let bytes: usize = files.iter().map(|file| file.text.len()).sum();
        assert!(bytes < BYTES_MAX, "{bytes} bytes");
        for file in files {
            let text = file.text.replace("http://www.w3.org/2000/svg", "");
            for bad in
                ["http:", "https:", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(!text.contains(bad), "{} holds {bad}", file.name);
            }
        }
        for (opening, what) in
            [("<script>", "an inline script"), (" style=", "an inline style"), (" on", "a handler")]
        {
            let found = PAGE
                .text
                .split('<')
                .any(|tag| format!("<{}", tag.split_once('>').map_or(tag, |(tag, _)| tag)).contains(opening));
            assert!(!found, "{what}");
        }
    }

    #[test]
    fn the_page_names_only_files_that_are_served() {
        let named = PAGE.text.split("\"/console/").skip(1).filter_map(|rest| rest.split('"').next());
        let named: Vec<&str> = named.collect();
        assert!(named.len() >= 3, "{named:?}");
        for name in named {
            assert!(FILES.iter().any(|file| file.name == name), "{name}");
        }
    }
}
