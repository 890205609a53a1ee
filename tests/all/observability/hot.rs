//! Hot keys: on the ops listener of whoever writes, by hash, and by name through the command line.

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    deployment::{Deployment, Options},
    http::Http,
    roles::Kind,
    server::{Fresh, millpond},
};
use serde_json::Value;

const HASHED: u64 = 20;

/// Twenty puts of one key, and one of each of thirty others, all applied.
async fn write(api: &Http) -> Result<()> {
    let hot = (0..HASHED).map(|_| "hot-secret".to_owned());
    for key in hot.chain((0..30).map(|n| format!("cold-secret-{n}"))) {
        let put = api.put(&format!("/kv/{key}"), "v").header("Prefer", "wait=30").send().await?;
        ensure!(put.status == 200, "{put:?}");
    }
    Ok(())
}

fn check(hottest: &Value, text: &str) {
    let first = &hottest["keys"][0];
    assert_eq!((first["count"].as_u64(), first["error"].as_u64()), (Some(HASHED), Some(0)), "{hottest}");
    assert_eq!(first["tenant"], "default");
    assert_eq!(first["hash"].as_str().map(str::len), Some(16));
    assert!(!text.contains("secret"), "no key is told: {text}");
}

#[tokio::test]
async fn the_hottest_key_is_told_by_its_hash_and_found_by_its_name() -> Result<()> {
    let server = Fresh::start().await?;
    write(&server.http).await?;
    let answer = server.ops.get("/admin/hot").send().await?;
    ensure!(answer.status == 200, "{answer:?}");
    let hottest = answer.json();
    check(&hottest, &answer.text());
    assert!(hottest["mutations"].as_u64().is_some_and(|mutations| mutations >= HASHED + 30), "{hottest}");

    let ops = format!("http://{}", server.ops_address);
    let ask = async |arguments: &[&str]| {
        let output = millpond().args(["hot", "--ops", &ops]).args(arguments).output().await?;
        let (said, error) =
            (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
        ensure!(output.status.success(), "{arguments:?}: {said}{error}");
        Ok(said)
    };
    let found: Value = serde_json::from_str(&ask(&["--key", "hot-secret", "--json"]).await?)?;
    assert_eq!(found["keys"].as_array().map(Vec::len), Some(1));
    assert_eq!(found["keys"][0]["hash"], hottest["keys"][0]["hash"]);
    assert_eq!(found["hash"], hottest["keys"][0]["hash"]);
    let cold = ask(&["--key", "never-written"]).await?;
    assert!(cold.contains("is not among the hottest keys"), "{cold}");
    let of_other = ask(&["--key", "hot-secret", "--tenant", "other"]).await?;
    assert!(of_other.contains("is not among the hottest keys"), "{of_other}");
    let all = ask(&[]).await?;
    assert_eq!(all.lines().count(), 2 + 31, "{all}");
    let hash = hottest["keys"][0]["hash"].as_str().context("a hash is text")?;
    assert!(all.lines().nth(2).is_some_and(|line| line.starts_with(hash)), "{all}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_deployment_the_writer_tells_it_and_the_api_does_not() -> Result<()> {
    let deployment = Deployment::start(&Options::default()).await?;
    write(deployment.api(0)).await?;
    let answer = deployment.ops(Kind::Writer, 0).get("/admin/hot").send().await?;
    ensure!(answer.status == 200, "{answer:?}");
    check(&answer.json(), &answer.text());
    let answer = deployment.ops(Kind::Api, 0).get("/admin/hot").send().await?;
    assert_eq!(answer.status, 404, "{answer:?}");
    Ok(())
}
