//! The local log passes the suite.

use millpond_log::{
    Log,
    local::{self, DirLock, Options},
};
use tempfile::TempDir;

/// A log in a folder of its own, with segments so small that every case crosses several.
async fn open() -> (Log, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    let options = Options { segment_bytes: 64 << 10, ..Options::new(super::PARTITIONS) };
    let log = local::Log::open(&lock, "log/mutations.1", options).await.unwrap();
    (Log::Local(log), dir)
}

crate::conformance! { open:
    an_appended_record_is_read_back
    one_call_spans_partitions_and_is_acked_in_its_order
    a_call_without_records_is_acked
    every_byte_comes_back
    a_read_starts_at_any_offset_and_keeps_to_its_bound
    a_large_record_is_read_whole
    a_record_that_can_never_fit_is_refused_and_harms_nothing
    one_record_is_read_by_its_offset
    a_read_outside_the_log_is_told_its_bounds
    times_never_go_back_and_are_those_of_the_acks
    concurrent_callers_each_keep_their_order
    what_nobody_waits_for_is_appended_all_the_same
    a_reader_at_the_end_is_woken
    a_trim_keeps_what_is_at_the_floor_and_no_offset_is_issued_twice
    what_it_calls_older_is_older
    its_extent_is_what_lies_from_an_offset_on
    closing_finishes_what_was_taken_and_takes_no_more
}
