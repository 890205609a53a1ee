//! Stories of one cursor.

use millpond_schemas::{Raw, UnixMillis};

use super::*;

fn record(offset: i64) -> Received {
    let raw = Raw { key: None, headers: Vec::new(), value: Some(vec![0; 100].into()) };
    Received { offset: Offset(offset), time: UnixMillis(0), raw }
}

/// A cursor that was sought at 0 and assigned.
fn assigned() -> Cursor {
    let mut cursor = Cursor::default();
    assert!(matches!(serve(&mut cursor, 0), Served::Later(_)));
    cursor.place = Place::Seeking;
    cursor
}

fn serve(cursor: &mut Cursor, from: i64) -> Served {
    cursor.serve(Offset(from), 1 << 20, Offset(0))
}

/// The offsets that a read gives, and where it goes on.
fn read(cursor: &mut Cursor, from: i64) -> (Vec<i64>, i64) {
    match serve(cursor, from) {
        Served::Read(read) => (read.records.iter().map(|r| r.offset.0).collect(), read.next.0),
        Served::Later(_) => panic!("it waits at {from}"),
        Served::Failed(error) => panic!("{error}"),
        Served::Lost => panic!("lost at {from}"),
    }
}

/// The holes to look at, each with its end.
fn holes(cursor: &mut Cursor) -> Option<Vec<(i64, i64)>> {
    Some(cursor.holes_to_look_at()?.into_iter().map(|hole| (hole.start, hole.end)).collect())
}

#[test]
fn a_hole_is_passed_over_once_it_is_confirmed() {
    let mut cursor = assigned();
    for offset in [0, 1, 4, 7] {
        assert!(cursor.push(record(offset)));
    }
    assert_eq!(read(&mut cursor, 0), (vec![0, 1], 2));
    assert!(matches!(serve(&mut cursor, 2), Served::Later(_)));
    assert_eq!(holes(&mut cursor), Some(vec![(2, 4), (5, 7)]));
    assert_eq!(holes(&mut cursor), None, "somebody looks already");
    assert_eq!(cursor.confirm(1), 2);
    assert_eq!(read(&mut cursor, 2), (vec![4], 5));
    assert_eq!(holes(&mut cursor), Some(vec![(5, 7)]));
    assert_eq!(cursor.confirm(1), 2);
    assert_eq!(read(&mut cursor, 5), (vec![7], 8));
}

#[test]
fn holes_behind_the_last_record_move_the_place_alone() {
    let mut cursor = assigned();
    cursor.push(record(0));
    cursor.reach(3);
    cursor.ended();
    assert_eq!(read(&mut cursor, 0), (vec![0], 1));
    assert!(matches!(serve(&mut cursor, 1), Served::Later(_)), "not yet confirmed");
    assert_eq!(holes(&mut cursor), Some(vec![(1, 3)]));
    cursor.confirm(1);
    assert_eq!(read(&mut cursor, 1), (vec![], 3));
    assert_eq!(read(&mut cursor, 3), (vec![], 3));
}

#[test]
fn a_record_that_never_comes_is_a_gap_after_several_looks() {
    let mut cursor = assigned();
    for round in 1..=DOUBTS_MAX {
        cursor.push(record(3));
        assert!(matches!(serve(&mut cursor, 0), Served::Later(_)));
        assert_eq!(holes(&mut cursor), Some(vec![(0, 3)]));
        cursor.refute();
        let Served::Failed(error) = serve(&mut cursor, 0) else { panic!("round {round}") };
        let gap = matches!(error, Error::Gap { wanted: Offset(0), found: Offset(3) });
        assert_eq!(gap, round == DOUBTS_MAX, "{error}");
        assert!(matches!(serve(&mut cursor, 0), Served::Later(_)));
        assert_eq!(cursor.place, Place::Wanted);
        cursor.place = Place::Seeking;
    }
}

#[test]
fn the_end_is_not_answered_below_what_is_known_to_be_there() {
    let mut cursor = assigned();
    cursor.ended();
    assert_eq!(read(&mut cursor, 0), (vec![], 0));
    assert!(matches!(cursor.serve(Offset(0), 1000, Offset(1)), Served::Later(_)));
    cursor.push(record(0));
    assert_eq!(read(&mut cursor, 0), (vec![0], 1));
}

#[test]
fn a_doubt_drops_what_was_fetched_and_is_told_once() {
    let mut cursor = assigned();
    cursor.push(record(0));
    cursor.doubt(&Error::closed());
    assert_eq!(cursor.bytes(), 0);
    assert!(!cursor.push(record(1)), "what the old consumer still gives is not taken");
    assert!(matches!(serve(&mut cursor, 0), Served::Failed(Error::Unavailable { .. })));
    assert!(matches!(serve(&mut cursor, 0), Served::Later(_)));
    let mut unused = Cursor::default();
    unused.doubt(&Error::closed());
    assert!(matches!(serve(&mut unused, 0), Served::Later(_)), "nobody has read here");
}

#[test]
fn a_parked_cursor_keeps_its_first_records_and_goes_on_behind_them() {
    let mut cursor = assigned();
    for offset in [0, 1, 2, 5, 6, 7, 8, 9] {
        cursor.push(record(offset));
    }
    let full = cursor.bytes();
    cursor.park(full / 2);
    assert_eq!((cursor.tail(), cursor.place), (Offset(6), Place::Parked));
    assert_eq!(cursor.bytes(), full / 2);
    assert_eq!(holes(&mut cursor), Some(vec![(3, 5)]), "asked for anew: the era is another");
    cursor.confirm(1);
    assert_eq!(read(&mut cursor, 0), (vec![0, 1, 2, 5], 6));
    assert_eq!(cursor.place, Place::Wanted);
    cursor.place = Place::Seeking;
    cursor.push(record(6));
    assert_eq!(read(&mut cursor, 6), (vec![6], 7));
}
