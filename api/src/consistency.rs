//! How fresh a read has to be, as the call says it.
//!
//! Invariant: a token from beyond the log's end is refused at once, whichever partition it names.

use http::{HeaderMap, header};
use millpond_schemas::{Offset, PartitionId, Position};

use crate::{
    headers::KV_MIN_POSITION,
    problem::{Code, Problem},
    state::State,
};

/// What a read asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Consistency {
    /// Whatever is there, own writes included.
    Eventual,
    /// Not older than these.
    Session(Vec<Position>),
    /// Not older than the log's end at the time of the call, nor than these.
    Strong(Vec<Position>),
}

impl Consistency {
    /// Reads `?consistency=`, `Cache-Control: no-cache` and `KV-Min-Position`. The parameter outranks Cache-Control.
    pub(crate) fn of(headers: &HeaderMap, parameter: Option<&str>) -> Result<Self, Problem> {
        let positions = min_positions(headers)?;
        match parameter {
            Some("strong") => Ok(Self::Strong(positions)),
            None if no_cache(headers) => Ok(Self::Strong(positions)),
            Some("session") if positions.is_empty() => {
                Err(Problem::new(Code::PositionInvalid, "session reads name a KV-Min-Position"))
            }
            None | Some("eventual" | "session") if !positions.is_empty() => Ok(Self::Session(positions)),
            None | Some("eventual") => Ok(Self::Eventual),
            Some(_) => {
                Err(Problem::new(Code::ConsistencyInvalid, "consistency is eventual, session or strong"))
            }
        }
    }
}

fn no_cache(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CACHE_CONTROL).into_iter();
    lines
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("no-cache"))
}

fn min_positions(headers: &HeaderMap) -> Result<Vec<Position>, Problem> {
    let mut positions = Vec::new();
    for value in headers.get_all(&KV_MIN_POSITION) {
        for text in value.as_bytes().split(|b| *b == b',') {
            let text = std::str::from_utf8(text).unwrap_or_default().trim();
            positions.push(text.parse().map_err(|error: millpond_schemas::PositionInvalid| {
                Problem::new(Code::PositionInvalid, error.to_string())
            })?);
        }
    }
    Ok(positions)
}

impl State {
    /// The offset that a read of `partition` has to have applied, by `consistency` alone.
    ///
    /// # Errors
    /// `position-invalid`: some position is of a later generation, of no partition, or beyond its partition's end.
    pub(crate) async fn wanted(
        &self,
        consistency: &Consistency,
        partition: PartitionId,
    ) -> Result<Offset, Problem> {
        let (positions, strong) = match consistency {
            Consistency::Eventual => return Ok(Offset::NONE),
            Consistency::Session(positions) => (positions, false),
            Consistency::Strong(positions) => (positions, true),
        };
        let mut wanted = if strong { self.log_end(partition).await?.previous() } else { Offset::NONE };
        let generation = self.generation();
        for position in positions {
            self.check_issued(*position).await?;
            // An older generation is sealed and applied: whatever it names has been reached.
            if position.generation == generation && position.partition == partition {
                wanted = wanted.max(position.offset);
            }
        }
        Ok(wanted)
    }

    /// Refuses a position that the log has not issued. Those of older generations have been.
    pub(crate) async fn check_issued(&self, position: Position) -> Result<(), Problem> {
        let generation = self.generation();
        let is_past = position.generation < generation;
        if is_past || (position.generation == generation && self.is_issued(position).await?) {
            return Ok(());
        }
        Err(Problem::new(Code::PositionInvalid, "a position lies beyond the end of the log"))
    }

    /// Whether a position of the present generation has been issued.
    pub(crate) async fn is_issued(&self, position: Position) -> Result<bool, Problem> {
        if position.partition.0 >= self.partitions.count() {
            return Ok(false);
        }
        if position.offset < self.partitions.of(position.partition).end() {
            return Ok(true);
        }
        Ok(position.offset < self.log_end(position.partition).await?)
    }

    /// The log's end, asked of the log.
    pub(crate) async fn log_end(&self, partition: PartitionId) -> Result<Offset, Problem> {
        let bounds = self.log.bounds(partition).await;
        let bounds = bounds.map_err(|error| {
            tracing::debug!(error = &error as &dyn std::error::Error, "the log does not tell its end");
            Problem::new(Code::LogUnavailable, "")
        })?;
        self.partitions.of(partition).end_is(bounds.end);
        Ok(bounds.end)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn of(lines: &[(&HeaderName, &str)], parameter: Option<&str>) -> Result<Consistency, Code> {
        let headers =
            lines.iter().map(|(name, value)| ((*name).clone(), HeaderValue::from_str(value).unwrap()));
        Consistency::of(&headers.collect(), parameter).map_err(|problem| problem.code())
    }

    #[test]
    fn the_strongest_that_was_asked_for_holds() {
        let token = (&KV_MIN_POSITION, "1-0-7, 1-3-42");
        let positions = vec!["1-0-7".parse().unwrap(), "1-3-42".parse().unwrap()];
        let no_cache = (&header::CACHE_CONTROL, "max-age=0, No-Cache");
        assert_eq!(of(&[], None), Ok(Consistency::Eventual));
        assert_eq!(of(&[], Some("eventual")), Ok(Consistency::Eventual));
        assert_eq!(of(&[token], None), Ok(Consistency::Session(positions.clone())));
        assert_eq!(of(&[token], Some("session")), Ok(Consistency::Session(positions.clone())));
        assert_eq!(of(&[token], Some("eventual")), Ok(Consistency::Session(positions.clone())));
        assert_eq!(of(&[token], Some("strong")), Ok(Consistency::Strong(positions.clone())));
        assert_eq!(of(&[no_cache], None), Ok(Consistency::Strong(vec![])));
        assert_eq!(of(&[no_cache], Some("eventual")), Ok(Consistency::Eventual));
        assert_eq!(of(&[no_cache, token], None), Ok(Consistency::Strong(positions)));
    }

    #[test]
    fn unknown_words_and_broken_tokens_are_refused() {
        assert_eq!(of(&[], Some("Strong")), Err(Code::ConsistencyInvalid));
        assert_eq!(of(&[], Some("")), Err(Code::ConsistencyInvalid));
        assert_eq!(of(&[(&KV_MIN_POSITION, "1-0-1")], Some("weak")), Err(Code::ConsistencyInvalid));
        assert_eq!(of(&[], Some("session")), Err(Code::PositionInvalid));
        for bad in ["", "1-0", "1-0-1,", "1-0-1 1-0-2", "*", "\"1-0-1\""] {
            assert_eq!(of(&[(&KV_MIN_POSITION, bad)], None), Err(Code::PositionInvalid), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(text in "[ -~]*") {
            let _ = of(&[(&KV_MIN_POSITION, &text)], None);
        }
    }
}
