//! Who may ask `/admin` on loopback, the files of the page, and what `/admin` answers.

use anyhow::Result;
use serde_json::json;

use super::{fill, seeded};

#[tokio::test]
async fn other_sites_pages_cannot_ask_what_loopback_may() -> Result<()> {
    let seeded = seeded(&[]).await?;
    let (ops, port) = (&seeded.server.ops, seeded.server.ops_address.port());
    for path in [
        "/admin/overview",
        "/admin/lag",
        "/admin/dead-letters",
        "/admin/key?key_b64=YQ==",
        "/admin/mutations/1-0-0",
    ] {
        let status = async |name: &str, value: &str| {
            anyhow::Ok(ops.get(path).header(name, value).send().await?.status.as_u16())
        };
        for good in [format!("127.0.0.1:{port}"), format!("localhost:{port}")] {
            assert_ne!(status("host", &good).await?, 403, "{path} of {good}");
        }
        for bad in ["evil.example", "127.0.0.1.evil.example", "10.1.2.3"] {
            assert_eq!(status("host", &format!("{bad}:{port}")).await?, 403, "{path} of {bad}");
        }
        for bad in ["http://evil.example", "null", "http://127.0.0.1:1"] {
            assert_eq!(status("origin", bad).await?, 403, "{path} from {bad}");
        }
        assert_eq!(status("sec-fetch-site", "cross-site").await?, 403, "{path}");
        assert_eq!(status("sec-fetch-site", "same-site").await?, 403, "{path}");
        assert_ne!(status("sec-fetch-site", "same-origin").await?, 403, "{path}");
        let own =
            ops.get(path).header("origin", &format!("http://{}", seeded.server.ops_address)).send().await?;
        assert_ne!(own.status, 403, "{path}");
        assert_eq!(own.header("cross-origin-resource-policy"), "same-origin");
        assert_eq!(own.header("x-content-type-options"), "nosniff");
        assert!(!own.headers.contains_key("access-control-allow-origin"));
    }
    Ok(())
}

#[tokio::test]
async fn the_page_is_served_with_a_policy_that_lets_nothing_foreign_in() -> Result<()> {
    let seeded = seeded(&[]).await?;
    let ops = &seeded.server.ops;
    let page = ops.get("/").header("sec-fetch-site", "cross-site").send().await?;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    for part in ["default-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    for path in ["/console/console.js", "/console/dom.js", "/console/console.css", "/console/icon.svg"] {
        let file = ops.get(path).send().await?;
        assert_eq!((file.status.as_u16(), file.header("x-content-type-options")), (200, "nosniff"), "{path}");
    }
    for path in ["/console", "/console/"] {
        let there = ops.get(path).send().await?;
        assert_eq!((there.status.as_u16(), there.header("location")), (308, "/"));
    }
    for path in ["/console/nothing", "/console/../Cargo.toml", "/console/%2e%2e%2fCargo.toml"] {
        assert_eq!(ops.get(path).send().await?.status, 404, "{path}");
    }
    assert!(seeded.server.greeting.contains(&format!("http://{}/", seeded.server.ops_address)));
    Ok(())
}

#[tokio::test]
async fn admin_answers_what_is_asked_of_it() -> Result<()> {
    let seeded = seeded(&[]).await?;
    let rejected = fill(&seeded.server.http).await?;
    let ops = &seeded.server.ops;
    let get = async |path: &str| anyhow::Ok(ops.get(path).send().await?.json());
    let overview = get("/admin/overview").await?;
    assert_eq!((&overview["role"], &overview["health"]["status"]), (&json!("all"), &json!("ok")));
    assert_eq!(overview["partitions"].as_array().map(Vec::len), Some(8));
    assert_eq!(overview["shards"][0]["nodes"][0]["kind"], "primary");
    assert_eq!(overview["shards"][0]["answers"], true);
    assert_eq!(overview["topology"], json!({"epoch": 1, "generation": 1, "partitions": 8}));

    let key = get("/admin/key?key_b64=Z3JlZXRpbmc=&consistency=strong").await?;
    assert_eq!((&key["found"], &key["tenant"], &key["size"]), (&json!(true), &json!("default"), &json!(11)));
    assert_eq!((&key["value_b64"], &key["whole"]), (&json!("aGVsbG8sIHBvbmQ="), &json!(true)));
    assert!(key["expires_at"].is_string() && key["version"].is_string());
    let other = get("/admin/key?key_b64=Z3JlZXRpbmc=&tenant=other").await?;
    assert_eq!((&other["found"], &other["tenant"]), (&json!(false), &json!("other")));
    for (query, code) in [
        ("key_b64=%25", "key-invalid"),
        ("", "key-invalid"),
        ("key_b64=YQ==&tenant=UPPER", "tenant-invalid"),
        ("key_b64=YQ==&consistency=odd", "consistency-invalid"),
        ("key=a", "unknown-field"),
    ] {
        assert_eq!(get(&format!("/admin/key?{query}")).await?["code"], code, "{query}");
    }

    let told = get(&format!("/admin/mutations/{rejected}")).await?;
    assert_eq!(
        (&told["status"], &told["tenant"], &told["key"]),
        (&json!("rejected"), &json!("default"), &json!("greeting"))
    );
    let genesis = get("/admin/mutations/1-0-0").await?;
    assert_eq!((&genesis["control"], &genesis["key"]), (&json!(true), &json!(null)));
    assert_eq!(get("/admin/mutations/1-0-999").await?["code"], "position-unknown");
    assert_eq!(get("/admin/mutations/x").await?["code"], "position-invalid");
    Ok(())
}
