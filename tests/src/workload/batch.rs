//! What a batch's answer tells of each of its lines, and a look what became of a mutation.
//!
//! Invariant: as of single calls: what does not certainly mean that a line is not on the log is *unknown*.

use serde_json::Value;

use crate::{
    history::{Told, WriteResult, Written},
    http::Answer,
};

/// Of each of `lines` lines.
pub(crate) fn results(answer: Result<&Answer, &anyhow::Error>, lines: usize) -> Vec<WriteResult> {
    let body = match answer {
        Ok(answer) if answer.status.is_success() => answer.json(),
        other => return vec![WriteResult::of_answer(other); lines],
    };
    let entry = |list: &str, line: usize| {
        body[list]
            .as_array()?
            .iter()
            .find(|entry| entry["line"].as_u64() == u64::try_from(line).ok())
            .cloned()
    };
    let of = |line: usize| match (entry("errors", line), entry("results", line)) {
        (Some(problem), _) => failed(&problem),
        (None, Some(entry)) => WriteResult::Ok(told(&entry)),
        (None, None) => WriteResult::Ok(Told { position: None, ..Told::accepted("") }),
    };
    (1..=lines).map(of).collect()
}

/// Of the answer to `GET /mutations/{position}`. None: it says nothing.
pub(super) fn looked(answer: &Answer) -> Option<Told> {
    let body = answer.json();
    let problem = &body["problem"];
    let written = match body["status"].as_str()? {
        "accepted" => Written::Accepted,
        "applied" => Written::Applied,
        "rejected" => {
            let code = text(problem, "code").unwrap_or_default();
            Written::Rejected { code, current: text(problem, "current") }
        }
        "duplicate" => Written::Duplicate { of: text(&body, "of")? },
        "dead_lettered" => Written::DeadLettered { reason: text(problem, "reason")? },
        _ => return None,
    };
    let told = Told { version: text(&body, "version"), changed: body["changed"].as_bool(), ..told(&body) };
    (answer.status == 200).then_some(Told { written, duplicate: false, value: None, ..told })
}

fn failed(problem: &Value) -> WriteResult {
    let status = problem["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or_default();
    let code = text(problem, "code").unwrap_or_default();
    match problem["outcome"].as_str() {
        Some("refused" | "not-accepted") => WriteResult::Failed { status, code },
        Some("rejected") => {
            let written = match text(problem, "reason") {
                Some(reason) if code == "dead-lettered" => Written::DeadLettered { reason },
                _ => Written::Rejected { code, current: text(problem, "current") },
            };
            WriteResult::Ok(Told { position: text(problem, "position"), written, ..told(problem) })
        }
        _ => WriteResult::Unknown { status, code },
    }
}

fn told(entry: &Value) -> Told {
    let applied = entry["status"].as_u64().is_some_and(|status| status != 202);
    Told {
        position: text(entry, "position"),
        written: if applied { Written::Applied } else { Written::Accepted },
        duplicate: entry["duplicate"].as_bool().unwrap_or(false),
        version: text(entry, "version"),
        expires_at_ms: None,
        value: text(entry, "value").map(Into::into),
        changed: entry["changed"].as_bool(),
    }
}

fn text(entry: &Value, name: &str) -> Option<String> {
    entry[name].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).expect("it is one");
        Answer { status, headers: HeaderMap::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    #[test]
    fn every_line_has_a_result_of_its_own() {
        let body = r#"{"accepted":1,"failed":3,"positions":[],"errors":[
            {"line":2,"status":503,"code":"busy","outcome":"not-accepted"},
            {"line":3,"status":504,"code":"unknown","outcome":"unknown"},
            {"line":4,"status":412,"code":"version-mismatch","outcome":"rejected","current":"1-0-3"}]}"#;
        let results = results(Ok(&answer(207, body)), 4);
        assert!(matches!(&results[0], WriteResult::Ok(told) if told.position.is_none()));
        assert!(matches!(&results[1], WriteResult::Failed { status: 503, .. }));
        assert!(matches!(&results[2], WriteResult::Unknown { status: 504, .. }));
        let WriteResult::Ok(told) = &results[3] else { panic!("it is on the log") };
        let current = Some("1-0-3".to_owned());
        assert_eq!(told.written, Written::Rejected { code: "version-mismatch".to_owned(), current });
    }

    #[test]
    fn what_is_answered_as_a_whole_is_so_for_every_line() {
        let refused = answer(503, r#"{"status":503,"code":"busy","outcome":"not-accepted"}"#);
        let results = results(Ok(&refused), 2);
        assert!(results.iter().all(|result| matches!(result, WriteResult::Failed { status: 503, .. })));
        assert_eq!(results.len(), 2);
    }
}
