//! Outcome records: split so that each piece fits, and together say what the whole said.
#![expect(clippy::unwrap_used, reason = "a test may")]

use bytes::Bytes;
use millpond_schemas::{
    Effect, Exception, Generation, Offset, Outcome, OutcomeRange, PartitionId, RecordKey, Rejected,
    Rejection, UnixMillis, Version,
    limits::{OUTCOME_BYTES_MAX, RESULT_BYTES_MAX},
};

fn range(exceptions: Vec<Exception>) -> OutcomeRange {
    OutcomeRange {
        generation: Generation(1),
        partition: PartitionId(3),
        from: Offset(100),
        to: Offset(9_999),
        time: UnixMillis(5),
        exceptions,
        expired: vec![RecordKey::parse("default/a".into()).unwrap()],
    }
}

fn exception(offset: i64, outcome: Outcome) -> Exception {
    Exception { offset: Offset(offset), id: None, outcome }
}

fn large() -> Outcome {
    Outcome::Applied(Some(Effect {
        changed: true,
        version: Version(1),
        expires_at: None,
        value: Some(Bytes::from(vec![7; RESULT_BYTES_MAX])),
        content_type: "x".into(),
    }))
}

#[test]
fn a_large_range_splits_into_disjoint_pieces_that_say_the_same() {
    let rejected = Outcome::Rejected(Rejected { rejection: Rejection::WrongType, current: None });
    let outcome = |at: i64| if at % 3 == 0 { rejected.clone() } else { large() };
    let whole = range((0..900).map(|n| exception(100 + n * 11, outcome(n))).collect());
    let pieces = whole.clone().split();
    assert!(pieces.len() > 2);
    assert_eq!((pieces[0].from, pieces[pieces.len() - 1].to), (whole.from, whole.to));
    assert!(pieces.windows(2).all(|pair| pair[0].to.next() == pair[1].from), "no hole, no overlap");
    assert!(pieces.iter().all(|piece| piece.encode().len() <= OUTCOME_BYTES_MAX && piece.from <= piece.to));
    for offset in (whole.from.0 - 1..=whole.to.0 + 1).map(Offset) {
        let told: Vec<Outcome> = pieces.iter().filter_map(|piece| piece.of(offset)).collect();
        assert_eq!(told, whole.of(offset).into_iter().collect::<Vec<_>>(), "{offset}");
    }
    let expired: Vec<RecordKey> = pieces.into_iter().flat_map(|piece| piece.expired).collect();
    assert_eq!(expired, whole.expired);
}

#[test]
fn a_small_range_stays_whole() {
    let whole = range(vec![exception(100, large()), exception(9_999, large())]);
    assert_eq!(whole.clone().split(), vec![whole]);
}

#[test]
fn an_offset_without_an_exception_succeeded_plainly() {
    let whole = range(vec![exception(200, large())]);
    assert_eq!(whole.of(Offset(199)), Some(Outcome::Applied(None)));
    assert_eq!(whole.of(Offset(200)), Some(large()));
    assert_eq!((whole.of(Offset(99)), whole.of(Offset(10_000))), (None, None));
}
