//! What the page shows, what it makes of nasty bytes, and how it looks.

use anyhow::{Result, ensure};
use millpond_tests::browser::{Browser, Look};
use serde_json::json;

use super::{DARK, PHONE, SCRIPT, WIDE, assert_quiet, fill, picture, seeded, text, url};

const AUDIT: &str = include_str!("audit.js");
/// Counts what is asked for just now, and what is put off until later.
const COUNTED: &str = "
    globalThis.asking = 0;
    globalThis.waiting = new Set();
    {
    const { fetch, setTimeout, clearTimeout } = globalThis;
    globalThis.fetch = (...given) => { asking += 1; return fetch(...given).finally(() => { asking -= 1; }); };
    globalThis.setTimeout = (call, ms) => {
        const id = setTimeout(() => { waiting.delete(id); call(); }, ms);
        if (ms >= 1000) waiting.add(id);
        return id;
    };
    globalThis.clearTimeout = (id) => { waiting.delete(id); clearTimeout(id); };
    }
";

/// Asks for a key, and waits for what is found.
async fn look_up(browser: &mut Browser, key: &str, form: &str, wanted: &str) -> Result<String> {
    let (key, wanted) = (json!(key), json!(wanted));
    let ask = format!(
        "document.getElementById('key-found').replaceChildren();
         document.getElementById('key').value = {key};
         document.getElementById('key-form-as').value = '{form}';
         document.getElementById('key-form').requestSubmit()"
    );
    browser.value(&ask).await?;
    browser.until(&format!("{}.includes({wanted})", text("key-found"))).await?;
    let found = browser.value(&text("key-found")).await?;
    Ok(found.as_str().unwrap_or_default().to_owned())
}

async fn audited(browser: &mut Browser, look: Look) -> Result<()> {
    browser.look(look).await?;
    let wrong = browser.value(AUDIT).await?;
    ensure!(wrong == json!([]), "{look:?}: {wrong:#}");
    Ok(())
}

#[tokio::test]
async fn the_page_tells_how_it_is_and_can_be_read_by_everybody() -> Result<()> {
    let seeded = seeded(&[]).await?;
    let rejected = fill(&seeded.server.http).await?;
    let (mut browser, url) = (Browser::open().await?, url(&seeded.server));
    browser.look(WIDE).await?;
    browser.go(&url).await?;
    browser.until("document.getElementById('health').dataset.status === 'ok'").await?;
    let sentence = browser.value(&text("sentence")).await?;
    ensure!(sentence == "All is well: 8 partitions keep up with the log, 2 shards answer.", "{sentence}");
    browser.until("document.querySelectorAll('#partitions-table tbody tr').length === 8").await?;
    browser.until("document.querySelectorAll('#partitions-table .state.good').length === 8").await?;
    browser.until("document.querySelectorAll('#shards-table tbody tr').length === 2").await?;
    browser.until("document.querySelectorAll('#letters-table tbody tr').length === 4").await?;
    browser.until(&format!("{}.startsWith('4 records can never apply')", text("letters-sum"))).await?;
    browser.until(&format!("{}.includes('everything in one process')", text("about"))).await?;
    browser.until(&format!("{}.includes('512 KiB')", text("limits-list"))).await?;

    let found = look_up(&mut browser, "greeting", "text", "hello, pond").await?;
    for part in ["text/plain", "11 B", "default", "partition ", "shard-"] {
        ensure!(found.contains(part), "{part} is not in {found}");
    }
    browser.value(&format!("document.getElementById('position').value = '{rejected}'")).await?;
    browser.value("document.getElementById('position-form').requestSubmit()").await?;
    browser.until(&format!("{}.includes('condition-failed')", text("position-found"))).await?;
    for (look, name) in [(WIDE, "light"), (DARK, "dark"), (PHONE, "phone")] {
        audited(&mut browser, look).await?;
        browser.picture(&picture(name)).await?;
    }
    assert_quiet(&browser, &url)
}

#[tokio::test]
async fn a_key_that_would_be_a_script_is_only_text() -> Result<()> {
    let seeded = seeded(&[]).await?;
    fill(&seeded.server.http).await?;
    let (mut browser, url) = (Browser::open().await?, url(&seeded.server));
    browser.go(&url).await?;
    browser.until("document.querySelectorAll('#letters-table tbody tr').length === 4").await?;
    let letters = browser.value(&text("letters-table")).await?;
    let letters = letters.as_str().unwrap_or_default();
    for key in [SCRIPT, r"right\u{202e}tfel-to-\u{200b}", r"line\x0abreak\x00\x1b[31m", r"\xff\xfe\x80"] {
        ensure!(letters.contains(key), "{key} is not in {letters}");
    }
    ensure!(!letters.contains('\u{202e}'), "a key turns the text around it");

    let found = look_up(&mut browser, SCRIPT, "text", "text/html").await?;
    ensure!(found.contains(SCRIPT), "{found}");
    let found = look_up(&mut browser, "AAH/", "base64", "application/octet-stream").await?;
    ensure!(found.contains(r"\u{0}\u{1}bytes"), "{found}");
    look_up(&mut browser, "%%%", "base64", "This is no base64.").await?;
    look_up(&mut browser, "nobody", "text", "There is no such key of tenant default.").await?;

    // A click on a dead letter's key looks it up, whatever bytes it has.
    browser.value("[...document.querySelectorAll('#letters-table button')].find((b) => b.innerText.includes('xff')).click()").await?;
    browser.until("document.getElementById('key').value === '//6A'").await?;
    let made = "document.querySelectorAll('main img, main script, main iframe').length";
    ensure!(browser.value(made).await? == json!(0), "a key became an element");
    assert_quiet(&browser, &url)
}

#[tokio::test]
async fn the_page_works_by_keyboard_alone_and_rests_when_told_to() -> Result<()> {
    let seeded = seeded(&[]).await?;
    fill(&seeded.server.http).await?;
    let (mut browser, url) = (Browser::open().await?, url(&seeded.server));
    browser.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": COUNTED })).await?;
    browser.go(&url).await?;
    browser.until("document.getElementById('health').dataset.status === 'ok'").await?;
    browser.until("waiting.size === 1").await?;
    let mut seen = Vec::new();
    while browser.value("document.activeElement.id").await? != json!("key") {
        browser.press("Tab", 9).await?;
        let now = browser.value("document.activeElement.id || document.activeElement.className").await?;
        seen.push(now.as_str().unwrap_or_default().to_owned());
        ensure!(seen.len() < 40, "the key's field is never reached: {seen:?}");
    }
    ensure!(seen.starts_with(&["skip".to_owned(), "pause".to_owned()]), "{seen:?}");
    browser.write("greeting").await?;
    browser.call("Input.dispatchKeyEvent", json!({"type": "char", "text": "\r"})).await?;
    browser.until(&format!("{}.includes('hello, pond')", text("key-found"))).await?;

    browser.value("document.getElementById('pause').click()").await?;
    browser.until(&format!("{}.startsWith('paused')", text("fresh"))).await?;
    browser.until("document.getElementById('pause').getAttribute('aria-pressed') === 'true'").await?;
    // What was on its way comes, and nothing else is waited for.
    browser.until("asking === 0 && waiting.size === 0").await?;
    browser.value("document.getElementById('pause').click()").await?;
    let since =
        "performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/admin/overview')).length";
    let count = browser.value(since).await?;
    browser.until(&format!("{since} > {count} + 1")).await?;
    assert_quiet(&browser, &url)
}

#[tokio::test]
async fn a_process_that_does_not_answer_any_more_is_told() -> Result<()> {
    let seeded = seeded(&[]).await?;
    let (mut browser, url) = (Browser::open().await?, url(&seeded.server));
    browser.go(&url).await?;
    browser.until("document.getElementById('health').dataset.status === 'ok'").await?;
    seeded.server.kill().await?;
    browser.until("document.getElementById('health').dataset.status === 'failed'").await?;
    browser.until(&format!("{}.includes('does not answer')", text("sentence"))).await?;
    browser.until("document.title.startsWith('Needs you')").await?;
    Ok(())
}
