//! The page in a real browser: it shows every operation, finds what is searched for, and asks nobody but its server.
//!
//! Pictures go to `target/screenshots/`.

use std::path::Path;

use anyhow::{Result, ensure};
use millpond_tests::{
    browser::{Browser, Look},
    server::Fresh,
};
use serde_json::json;

use super::document;

#[tokio::test]
async fn the_page_shows_finds_and_copies_every_operation() -> Result<()> {
    let server = Fresh::start().await?;
    let document = document(&server.http).await?;
    let paths = document["paths"].as_object().into_iter().flatten();
    let operations: usize = paths
        .map(|(_, path)| path.as_object().into_iter().flatten().filter(|(_, told)| told.is_object()).count())
        .sum();
    let mut browser = Browser::open().await?;
    browser.look(Look { width: 1280, height: 900, dark: false }).await?;
    let url = format!("http://{}/docs", server.address);
    browser.go(&url).await?;
    browser.until(&format!("document.querySelectorAll('details.op').length === {operations}")).await?;

    let shown = "[...document.querySelectorAll('details.op')].filter((op) => !op.hidden).map((op) => op.id)";
    let search = |text: &str| {
        format!(
            "(() => {{ const s = document.getElementById('search'); s.value = '{text}'; \
             s.dispatchEvent(new Event('input')); }})()"
        )
    };
    browser.value(&search("batch-empty")).await?;
    ensure!(browser.value(shown).await?.as_array().is_some_and(|ids| !ids.is_empty()));
    browser.value(&search("post /batch")).await?;
    let found = browser.value(shown).await?;
    ensure!(found == json!(["postBatch"]), "{found}");
    browser.value(&search("")).await?;

    browser.value("location.hash = '#putKey'").await?;
    browser.until("document.querySelector('#putKey .try code') !== null").await?;
    let command = browser.value("document.querySelector('#putKey .try code').innerText").await?;
    let command = command.as_str().unwrap_or_default();
    let expected = format!("curl -i -X PUT 'http://{}/kv/users/1'", server.address);
    ensure!(command.starts_with(&expected) && command.contains("Ada"), "{command}");
    // What was never asked for is not shown, and a token only where it was typed.
    ensure!(!command.contains("Authorization"), "{command}");
    browser.value("(() => { const t = document.getElementById('token'); t.value = 'abc'; t.dispatchEvent(new Event('input')); })()").await?;
    browser.until("document.querySelector('#putKey .try code').innerText.includes('Bearer abc')").await?;

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
    browser.picture(&folder.join("docs-light.png")).await?;
    browser.value("document.getElementById('theme').click()").await?;
    browser.look(Look { width: 390, height: 844, dark: true }).await?;
    ensure!(browser.value("document.documentElement.scrollWidth <= innerWidth").await? == json!(true));
    browser.picture(&folder.join("docs-phone.png")).await?;
    ensure!(browser.troubles().is_empty(), "{:#?}", browser.troubles());
    let own = format!("http://{}/", server.address);
    let foreign =
        |asked: &String| !asked.starts_with(&own) && *asked != "about:blank" && !asked.starts_with("data:");
    let asked = browser.asked();
    ensure!(!asked.iter().any(foreign), "{asked:?}");
    Ok(())
}
