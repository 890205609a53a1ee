//! HTTP answers as events tell them.
//!
//! Invariant: a status that does not certainly mean that a write is not on the log is *unknown*.

use http::StatusCode;
use millpond_schemas::UnixMillis;

use super::{Key, Seen, Told, WriteResult, Written};
use crate::http::Answer;

impl WriteResult {
    /// Of a single write's answer; `Err`: there was none.
    ///
    /// `sent`: whether it may have left this machine. A connection that was refused sent nothing.
    pub fn of_answer(answer: Result<&Answer, &anyhow::Error>) -> Self {
        match answer {
            Ok(answer) => Self::of_http(answer),
            Err(error) if is_refused(error) => Self::Failed { status: 0, code: format!("{error:#}") },
            Err(error) => Self::Unknown { status: 0, code: format!("{error:#}") },
        }
    }

    fn of_http(answer: &Answer) -> Self {
        let (status, code) = (answer.status.as_u16(), answer.code());
        if answer.status.is_success() {
            return Self::Ok(Told::of_success(answer));
        }
        let problem = answer.json();
        match problem["outcome"].as_str() {
            Some("refused" | "not-accepted") => Self::Failed { status, code },
            Some("rejected") => {
                Self::Ok(Told { written: rejected(&code, &problem), ..Told::of_headers(answer) })
            }
            _ => Self::Unknown { status, code },
        }
    }
}

fn rejected(code: &str, problem: &serde_json::Value) -> Written {
    let text = |name: &str| problem[name].as_str().map(str::to_owned);
    match text("reason") {
        Some(reason) if code == "dead-lettered" => Written::DeadLettered { reason },
        _ => Written::Rejected { code: code.to_owned(), current: text("current") },
    }
}

/// Nobody listened, so nothing was sent.
fn is_refused(error: &anyhow::Error) -> bool {
    let refused = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused)
    };
    error.chain().any(refused)
}

impl Told {
    fn of_headers(answer: &Answer) -> Self {
        Self {
            position: some(answer.header("kv-position")),
            written: Written::Applied,
            duplicate: answer.header("kv-duplicate") == "true",
            version: some(answer.header("etag").trim_matches('"')),
            expires_at_ms: millis(answer.header("kv-expires-at")),
            value: None,
            changed: None,
        }
    }

    fn of_success(answer: &Answer) -> Self {
        let mut told = Self::of_headers(answer);
        if answer.status == StatusCode::ACCEPTED {
            told.written = Written::Accepted;
            return told;
        }
        // The answer of a patch is the value; what is about the mutation itself names its position.
        let body = answer.json();
        let is_about = answer.header("content-type") == "application/json" && body["position"].is_string();
        if is_about && body["position"].as_str() == told.position.as_deref() {
            told.changed = body["changed"].as_bool();
        } else if answer.status == StatusCode::OK {
            told.value = Some(answer.body.clone().into());
        }
        told
    }
}

impl Seen {
    /// Of the answer to `GET /kv/{key}`; `Err`: there was none.
    pub fn of_answer(answer: Result<&Answer, &anyhow::Error>) -> Self {
        match answer {
            Err(error) => Self::Failed { status: 0, code: format!("{error:#}") },
            Ok(answer) if answer.status == StatusCode::OK => Self::Found(Key {
                value: Some(answer.body.clone().into()),
                content_type: some(answer.header("content-type")),
                ..key(answer)
            }),
            Ok(answer) if answer.status == StatusCode::NOT_MODIFIED => Self::Found(key(answer)),
            Ok(answer) if answer.status == StatusCode::NOT_FOUND && answer.code() == "not-found" => {
                Self::Absent { position: answer.header("kv-position").to_owned() }
            }
            Ok(answer) => Self::Failed { status: answer.status.as_u16(), code: answer.code() },
        }
    }
}

fn key(answer: &Answer) -> Key {
    Key {
        position: answer.header("kv-position").to_owned(),
        version: answer.header("etag").trim_matches('"').to_owned(),
        value: None,
        content_type: None,
        expires_at_ms: millis(answer.header("kv-expires-at")),
        expiry_told: true,
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// RFC 3339 in UTC with milliseconds, as the api writes it.
fn millis(text: &str) -> Option<i64> {
    millis_of_rfc3339(text).map(|at| at.0)
}

/// Reads `2026-11-24T15:11:39.000Z`. None: it is not that.
pub(super) fn millis_of_rfc3339(text: &str) -> Option<UnixMillis> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let numbers =
        |text: &str, by: [char; 2]| text.split(by).map(str::parse).collect::<Result<Vec<i64>, _>>().ok();
    let [year, month, day] = numbers(date, ['-', '-'])?.try_into().ok()?;
    let [hour, minute, second, ms] = numbers(time, [':', '.'])?.try_into().ok()?;
    // Days since the epoch of a date of the Gregorian calendar, counted in years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(UnixMillis((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_the_api_writes_them() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2000-02-29T12:34:56.789Z", 951_827_696_789),
            ("2026-11-24T15:11:39.001Z", 1_795_533_099_001),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ] {
            assert_eq!(millis_of_rfc3339(text), Some(UnixMillis(ms)), "{text}");
        }
        for bad in ["", "2000-02-29", "2000-02-29T12:34:56Z", "x"] {
            assert_eq!(millis_of_rfc3339(bad), None, "{bad}");
        }
    }
}
