//! `docs/errors.md`, made from the table of problems.
//!
//! Invariant: the committed page is what the table says.

use std::fmt::Write as _;

use super::{Code, Fate};

/// Set: the test writes the page in place of comparing it.
const REWRITE: &str = "MILLPOND_REWRITE";

const INTRODUCTION: &str = "# Errors

Made from the table in the source. Every answer that is an error is `application/problem+json` (RFC 9457) with `title`,
`status`, `code`, `outcome`, `retryable` and `request_id`, and where they help `detail`, `hint`, `limit`, `pointer`,
`position`, `current`, `lag_records` and `reason`. Programs look at `code`, with the status beside it; `title` and
`detail` are for people and may change. There is no `type`, which is then `about:blank`.

`outcome` says what is certain about the log:

| outcome | the mutation |
|---|---|
| none | there was nothing to log: a read, or no write at all |
| refused | is certainly not on the log; the request is at fault |
| not-accepted | is certainly not on the log; the same request may succeed later |
| unknown | may be on the log |
| rejected | is on the log, was judged in its order, and had no effect |

The outcome below is that of a write; on a read it is always `none`. `retryable`: the same request may succeed later; 429
and 503 say in `Retry-After` when. An entry of a batch carries the same members.
";

fn page() -> String {
    let mut codes = Code::ALL.to_vec();
    codes.sort_by_key(|code| code.status());
    let mut page = INTRODUCTION.to_owned();
    let mut status = None;
    for code in codes {
        if status.replace(code.status()) != Some(code.status()) {
            writeln!(page, "\n## {}\n", code.status()).unwrap();
            page.push_str(
                "| code | what | outcome | retryable | when | what to do |\n|---|---|---|---|---|---|\n",
            );
        }
        let (outcome, retryable) = (code.fate().word(), if code.retryable() { "yes" } else { "no" });
        let (what, cause, remedy) = (code.title(), code.cause(), code.remedy());
        let code = code.code();
        writeln!(page, "| `{code}` | {what} | {outcome} | {retryable} | {cause} | {remedy} |").unwrap();
    }
    page
}

#[test]
fn docs_errors_md_is_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(path, page()).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == page(),
        "docs/errors.md is not what the table says; write it anew: {REWRITE}=1 cargo test -p millpond-api errors_md"
    );
}

#[test]
fn every_code_has_a_cause_and_a_remedy_that_fit_a_table() {
    for code in Code::ALL {
        for text in [code.title(), code.cause(), code.remedy()] {
            assert!(!text.is_empty() && !text.contains(['|', '\n']), "{code:?}: {text}");
        }
        for text in [code.cause(), code.remedy()] {
            assert!(text.ends_with('.'), "{code:?}: {text}");
        }
        assert!(!code.retryable() || matches!(code.fate(), Fate::None | Fate::NotAccepted | Fate::Unknown));
    }
}
