//! "Did you mean …?"
//!
//! Invariant: suggests one name or none; a far-off guess is worse than none.

/// How alike two names must be, 0 to 1.
const LIKENESS_MIN: f64 = 0.75;

/// The known name that `unknown` most likely meant.
pub(crate) fn closest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let unknown = unknown.to_ascii_lowercase();
    let likeness = |name: &str| {
        let whole = strsim::normalized_damerau_levenshtein(&unknown, &name.to_ascii_lowercase());
        // The right name in the wrong section.
        let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
        if last(&unknown) == last(name) { whole.max(0.9) } else { whole }
    };
    let scored = known.map(|name| (likeness(name), name));
    let (best, name) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best >= LIKENESS_MIN).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_likely_name_is_suggested() {
        let known = ["listen", "log.segment_bytes", "shards.count"];
        let closest = |name| closest(name, known.into_iter());
        assert_eq!(closest("lsiten"), Some("listen"));
        assert_eq!(closest("segment_bytes"), Some("log.segment_bytes"));
        assert_eq!(closest("log.segments_byte"), Some("log.segment_bytes"));
        assert_eq!(closest("colour"), None);
    }
}
