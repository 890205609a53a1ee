//! The page for operators in a real browser: what it shows of an embedded server, and what no key can make it do.
//!
//! Not here: what `/admin` answers to programs. Pictures go to `target/screenshots/`. Invariant: in every test the page
//! logs no error, shows no dialog and asks nobody but the ops listener.

mod guard;
mod page;
mod token;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use bytes::Bytes;
use millpond::embedded::Options;
use millpond_schemas::{PartitionId, Raw};
use millpond_tests::{
    browser::{Browser, Look},
    http::Http,
    pond::Pond,
    server::Server,
};
use tempfile::TempDir;
use tokio::process::Command;

/// Would be a script if anybody took it for markup.
const SCRIPT: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>";
/// What is typed for [`SCRIPT`] in a path.
const SCRIPT_PATH: &str = "%3Cscript%3Ealert(1)%3C%2Fscript%3E%3Cimg%20src=x%20onerror=alert(2)%3E";
const WIDE: Look = Look { width: 1280, height: 900, dark: false };
const DARK: Look = Look { width: 1280, height: 900, dark: true };
const PHONE: Look = Look { width: 390, height: 844, dark: false };

/// A server with a few keys, and four records on its log that can never apply, their keys as nasty as they come.
struct Seeded {
    server: Server,
    _dir: TempDir,
}

async fn seeded(arguments: &[&str]) -> Result<Seeded> {
    let dir = TempDir::new()?;
    let options = Options { segment_bytes: 1 << 20, ..Options::new(dir.path()) };
    let pond = Pond::open(&options).await?;
    let keys: [&[u8]; 4] = [
        SCRIPT.as_bytes(),
        "right\u{202e}tfel-to-\u{200b}".as_bytes(),
        b"line\nbreak\x00\x1b[31m",
        b"\xff\xfe\x80",
    ];
    for (partition, key) in (0..).map(PartitionId).zip(keys) {
        let key = Bytes::from([b"default/", key].concat());
        let format = ("kv-format".into(), Bytes::from_static(b"record"));
        let value = Some(Bytes::from_static(b"no record at all"));
        pond.append(partition, Raw { key: Some(key), headers: vec![format], value }).await?;
    }
    pond.close().await;
    let mut command = Command::new(millpond_tests::server::binary());
    command.env("MILLPOND_LOG__SEGMENT_BYTES", "1MiB");
    let server = Server::start_with(dir.path(), command, arguments).await?;
    Ok(Seeded { server, _dir: dir })
}

async fn fill(http: &Http) -> Result<String> {
    let puts = [
        ("greeting", "text/plain", "hello, pond"),
        (SCRIPT_PATH, "text/html", SCRIPT),
        ("%D7%A9%D7%9C%D7%95%D7%9D", "text/plain; charset=utf-8", "\u{5e9}\u{5dc}\u{5d5}\u{5dd}"),
        ("%00%01%FF", "application/octet-stream", "\u{0}\u{1}bytes"),
    ];
    for (key, content_type, value) in puts {
        let put = http.put(&format!("/kv/{key}"), value).header("content-type", content_type);
        let put = put.header("prefer", "wait=30").send().await?;
        ensure!(put.status == 200, "{put:?}");
    }
    let again = http.put("/kv/greeting?ttl=1h", "hello, pond").header("content-type", "text/plain");
    let again = again.header("prefer", "wait=30").send().await?;
    let rejected = http.put("/kv/greeting", "other").header("if-none-match", "*").send().await?;
    ensure!(again.status == 200 && rejected.status == 412, "{again:?} {rejected:?}");
    Ok(rejected.header("kv-position").to_owned())
}

fn url(server: &Server) -> String {
    format!("http://{}/", server.ops_address)
}

fn picture(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
    target.join(format!("{name}.png"))
}

/// That nothing went wrong in the page, and that it asked only its own origin.
fn assert_quiet(browser: &Browser, url: &str) -> Result<()> {
    ensure!(browser.troubles().is_empty(), "{:#?}", browser.troubles());
    let asked = browser.asked();
    ensure!(asked.len() >= 8, "the page, its files and what it shows: {asked:?}");
    let foreign: Vec<&String> =
        asked.iter().filter(|asked| !asked.starts_with(url) && *asked != "about:blank").collect();
    ensure!(foreign.is_empty(), "it asked others: {foreign:?}");
    Ok(())
}

/// An element's text, as JavaScript.
fn text(id: &str) -> String {
    format!("document.getElementById('{id}').innerText")
}
