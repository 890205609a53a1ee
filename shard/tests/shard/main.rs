//! What every shard promises, written once against `Shard` and run on each engine; and what only one of them promises.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod apply;
mod build;
mod cancel;
mod copies;
mod database;
mod memory;
mod postgres;
mod read;
mod router;
mod sqlite;
mod stats;

use database::on_postgres;
use millpond_shard::{Shard, SqliteConfig};

/// An empty shard that is gone with this value.
pub(crate) struct Fixture {
    pub(crate) shard: Shard,
    pub(crate) directory: tempfile::TempDir,
}

/// An empty SQLite shard.
pub(crate) async fn on_sqlite() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let shard = Shard::open(&config(&directory)).await.unwrap();
    Fixture { shard, directory }
}

pub(crate) fn config(directory: &tempfile::TempDir) -> SqliteConfig {
    SqliteConfig::new(directory.path().join("shard.sqlite"))
}

/// Runs each promise on a shard of its own, of each engine.
macro_rules! promises {
    ($($module:ident::{$($promise:ident),+ $(,)?}),+;) => {
        promises!(on_sqlite: $($module::{$($promise),+}),+;);
        promises!(on_postgres: $($module::{$($promise),+}),+;);
    };
    ($engine:ident: $($module:ident::{$($promise:ident),+}),+;) => {
        mod $engine {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let fixture = crate::$engine().await;
                    crate::$module::$promise(&fixture.shard).await;
                    fixture.shard.close().await;
                }
            )+)+
        }
    };
}

promises! {
    apply::{
        a_copy_is_created_once,
        a_flush_writes_rows_and_moves_the_watermark,
        a_flush_sent_twice_changes_nothing_and_says_fenced,
        a_fenced_partition_does_not_hold_up_the_others,
        a_digest_or_log_that_differs_is_fenced,
        a_lower_owner_is_fenced_and_a_higher_one_takes_over,
        a_row_that_is_ahead_rolls_everything_back,
        created_at_stays_only_while_the_key_lives,
        created_at_that_is_known_is_taken,
        a_purge_removes_exact_versions_only,
        ten_thousand_rows_fit_a_flush,
        large_values_come_back,
        rows_of_partitions_stay_apart,
        flushes_of_many_partitions_and_sizes_fit_one_call,
        a_row_that_is_ahead_in_one_of_many_is_named,
        fenced_and_ahead_in_one_call_is_fenced_then_ahead,
    },
    read::{
        missing_tombstone_and_expired_keys_read_as_none,
        a_read_names_the_state_that_it_is_from,
        a_read_beside_applies_sees_whole_flushes,
        values_of_any_bytes_come_back_and_empty_is_not_none,
        reads_of_every_size_keep_the_order_of_the_keys,
        a_partition_without_a_copy_is_unavailable,
        readers_see_the_watermarks,
        too_many_keys_are_refused,
        keys_of_many_partitions_come_in_order_with_each_state,
        the_same_key_of_several_tenants_is_several_keys,
        partitions_without_a_copy_are_left_out_of_a_read_of_many,
        folds_get_tombstones_and_expired_rows_and_operations,
        folds_of_many_partitions_get_their_own,
        what_is_due_comes_in_order_up_to_the_limit,
        ranges_are_in_bytewise_order_both_ways,
        ranges_stay_within_tenant_bounds_and_partitions,
        a_range_stops_at_its_limits_and_says_where,
        a_read_of_many_keys_stops_where_values_are_too_much,
    },
    memory::{
        outcomes_come_by_range,
        plain_outcomes_leave_no_row,
        ids_come_back_after_an_offset_and_a_time,
        an_operation_that_comes_again_replaces_the_old_one,
        dead_letters_come_back_unchanged,
        dead_letters_are_unpublished_until_told_otherwise,
        pruning_forgets_only_what_is_too_old,
        dumps_do_not_depend_on_how_flushes_were_cut,
    },
    copies::{
        a_copy_is_read_thing_by_thing_as_it_is,
        copies_are_read_alike_whatever_the_engine_and_the_flushes,
        a_copy_is_read_at_one_moment_while_others_write,
        without_a_copy_there_is_no_watermark_and_nothing_to_read,
        a_reader_that_is_dropped_halfway_leaves_the_shard_usable,
    },
    stats::{
        tombstones_of_all_partitions_are_counted,
        a_pool_at_rest_lends_nothing,
    },
    cancel::{
        sixty_dropped_applies_lose_no_statement,
        dropped_reads_leave_the_readers_usable,
        a_closed_shard_is_unavailable,
    };
}
