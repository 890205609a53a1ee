//! Log lines on standard error.
//!
//! Which lines: `RUST_LOG`, `info` without it. As JSON each says which service, role and version it comes from.
//! Invariant: standard output stays free for results, and no line holds a key or a value of a user.

use std::{fmt, io};

use anyhow::{Context, Result};
use millpond::settings::LogFormat;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Json, JsonFields, Writer},
    },
    registry::LookupSpan,
};

use crate::{exit::Misuse, output};

const FILTER: &str = "RUST_LOG";
const FILTER_DEFAULT: &str = "info";

/// Begins to write log lines. `role`: what this process does.
///
/// # Errors
/// `RUST_LOG` is no filter.
pub(crate) fn init(format: LogFormat, role: &str) -> Result<()> {
    let filter = std::env::var(FILTER).unwrap_or_default();
    let filter = if filter.is_empty() { FILTER_DEFAULT.to_owned() } else { filter };
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| Misuse(error.to_string()))
        .with_context(|| format!("read {FILTER}"))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(output::colored())
        .log_internal_errors(false);
    match format {
        LogFormat::Pretty => lines.init(),
        LogFormat::Json => lines.fmt_fields(JsonFields::new()).event_format(Stamped::new(role)).init(),
    }
    Ok(())
}

/// A line of JSON that begins with what it comes from.
struct Stamped {
    json: Format<Json>,
    from: String,
}

impl Stamped {
    fn new(role: &str) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let from = format!(r#"{{"service":"millpond","role":"{role}","version":"{version}","#);
        Self {
            json: Format::default().json().flatten_event(true).with_current_span(false).with_span_list(false),
            from,
        }
    }
}

impl<S, N> FormatEvent<S, N> for Stamped
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.json.format_event(context, Writer::new(&mut line), event)?;
        let rest = line.strip_prefix('{').unwrap_or(&line);
        write!(writer, "{}{rest}", self.from)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_json_with_its_origin_and_its_fields() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .fmt_fields(JsonFields::new())
            .event_format(Stamped::new("writer"))
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(partition = 3, reason = "log-gap", "partition halted: \"x\"");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        for (field, value) in [
            ("service", "millpond"),
            ("role", "writer"),
            ("version", env!("CARGO_PKG_VERSION")),
            ("level", "WARN"),
            ("reason", "log-gap"),
            ("message", "partition halted: \"x\""),
        ] {
            assert_eq!(line[field], value, "{line}");
        }
        assert_eq!(line["partition"], 3);
        assert!(line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    }
}
