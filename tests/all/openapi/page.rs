//! The page, the document and the schemas as they are served.
//!
//! Invariant: nothing that a browser loads for them comes from elsewhere.

use anyhow::Result;
use base64::{Engine, engine::general_purpose::STANDARD};
use millpond_tests::server::Fresh;
use sha2::{Digest, Sha256};

/// Largest page, bytes.
const PAGE_BYTES_MAX: usize = 60 * 1024;

/// What stands between two marks.
fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map_or("", |(inside, _)| inside)
}

#[tokio::test]
async fn fixed_texts_have_a_version_and_are_not_sent_twice() -> Result<()> {
    let server = Fresh::start().await?;
    for (path, content_type) in [
        ("/openapi.json", "application/json"),
        ("/docs", "text/html; charset=utf-8"),
        ("/schemas", "application/json"),
        ("/schemas/mutation.proto", "text/plain; charset=utf-8"),
        ("/schemas/outcome.proto", "text/plain; charset=utf-8"),
    ] {
        let answer = server.http.get(path).send().await?;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, content_type), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        let etag = answer.header("etag");
        assert!(etag.starts_with('"') && etag.len() == 18, "{path}: {etag}");
        let again = server.http.get(path).header("if-none-match", etag).send().await?;
        assert_eq!((again.status.as_u16(), again.header("etag")), (304, etag), "{path}");
        assert!(again.body.is_empty());
        let other = server.http.get(path).header("if-none-match", "\"0\"").send().await?;
        assert_eq!(other.body, answer.body, "{path}");
        let head = server.http.call(http::Method::HEAD, path).send().await?;
        assert_eq!((head.status.as_u16(), head.header("etag")), (200, etag), "{path}");
        let unknown = server.http.get(&format!("{path}?x=1")).send().await?;
        assert_eq!((unknown.status.as_u16(), unknown.code().as_str()), (400, "unknown-field"), "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn the_schemas_are_the_files_of_the_source() -> Result<()> {
    let server = Fresh::start().await?;
    let list = server.http.get("/schemas").send().await?.json();
    let listed = list["schemas"].as_array().map(Vec::len);
    assert_eq!(listed, Some(2), "{list}");
    for (index, file) in ["record", "outcome"].into_iter().enumerate() {
        let path = list["schemas"][index]["href"].as_str().unwrap_or_default();
        let served = server.http.get(path).send().await?.text();
        let source = super::root().join(format!("schemas/proto/millpond/v1/{file}.proto"));
        assert_eq!(served, std::fs::read_to_string(source)?, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn the_page_runs_only_its_own_script_and_loads_nothing_from_elsewhere() -> Result<()> {
    let server = Fresh::start().await?;
    let answer = server.http.get("/docs").send().await?;
    let (page, policy) = (answer.text(), answer.header("content-security-policy"));
    assert!(page.len() < PAGE_BYTES_MAX, "{} bytes", page.len());
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    for (from, to) in [("<script>", "</script>"), ("<style>", "</style>")] {
        let inside = between(&page, from, to);
        assert!(inside.len() > 1000, "{from}");
        assert!(
            policy.contains(&STANDARD.encode(Sha256::digest(inside))),
            "{from} is not what {policy} allows"
        );
    }
    // Neither addresses elsewhere nor what a policy of hashes forbids.
    for forbidden in
        ["http://", "https://", "//cdn", " onclick=", " style=", "innerHTML", "eval(", "@import", ": url("]
    {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    Ok(())
}
