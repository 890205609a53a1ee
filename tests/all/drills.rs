//! The drills in their short form: one test each, on the suite's engines. No time is judged here.

use anyhow::Result;
use millpond_tests::drills::{ALL, short};

/// A drill that the suite does not run is found broken when it is needed.
#[test]
fn every_drill_has_a_short_form_here() {
    let source = include_str!("drills.rs");
    let is_missing = |name: &&str| !source.contains(&format!("short(\"{name}\")"));
    let missing: Vec<_> = ALL.iter().map(|drill| drill.name).filter(is_missing).collect();
    assert!(missing.is_empty(), "no test runs the short form of {missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_writers_successor_neither_loses_nor_doubles() -> Result<()> {
    short("writer-kill").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_wakes_up_commits_nothing() -> Result<()> {
    short("writer-stop").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_packets_to_postgres_are_lost_is_replaced() -> Result<()> {
    short("one-way").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_done_once() -> Result<()> {
    short("commit-cut").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_the_one_that_was_applied_halts() -> Result<()> {
    short("log-lost").await
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_a_dead_link_left_unknown_are_seen_once() -> Result<()> {
    short("kafka-cut").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_lost_takes_nothing_with_it() -> Result<()> {
    short("broker-loss").await
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_years_off_change_no_result() -> Result<()> {
    short("clocks").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_at_any_moment_loses_nothing_that_was_answered() -> Result<()> {
    short("power-cut").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_loses_nothing_and_passes_by_itself() -> Result<()> {
    short("disk-full").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_found_and_never_served() -> Result<()> {
    short("bit-flip").await
}

#[tokio::test(flavor = "multi_thread")]
async fn flights_through_both_doors_are_what_the_log_says() -> Result<()> {
    short("flights").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_dies_is_replaced_and_its_calls_are_unknown() -> Result<()> {
    short("producer-death").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primarys_death_stops_no_put() -> Result<()> {
    short("primary-kill").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_gets_from_the_log_what_it_lacks() -> Result<()> {
    short("promotion").await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_primary_that_lives_is_not_read_any_more() -> Result<()> {
    short("old-timeline").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_cancels_or_dies_costs_no_answer() -> Result<()> {
    short("replica-lag").await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_log_is_the_same_on_every_engine_in_flushes_of_any_size() -> Result<()> {
    short("same-log").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_was_lost_serves_again_after_one_command() -> Result<()> {
    short("shard-lost").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_down_for_too_long_stops_writes_before_any_is_lost() -> Result<()> {
    short("retention").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_apis_clients_lose_and_double_nothing() -> Result<()> {
    short("api-kill").await
}

#[tokio::test(flavor = "multi_thread")]
async fn sweepers_may_be_two_or_none_and_no_state_differs() -> Result<()> {
    short("sweepers").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_the_state_at_its_position_while_all_is_written() -> Result<()> {
    short("read-race").await
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_dead_lettered_once_and_its_neighbours_are_applied() -> Result<()> {
    short("poison").await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_whose_clients_go_away_leave_nothing_half_done() -> Result<()> {
    short("dropped-calls").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_meets_a_next_version_halts_and_drops_nothing() -> Result<()> {
    short("versions").await
}
