//! A page of keys that are named: each shard is asked for its own.
//!
//! Invariant: a key is among the rows or the missing only when its shard has answered for it.

use bytes::Bytes;
use futures_util::future::join_all;
use millpond_schemas::{PartitionId, RecordKey};
use millpond_shard::ManyRead;

use super::{
    fresh::Wants,
    page::{Keys, PAGE_BYTES_MAX, Page, Step},
};
use crate::{problem::Problem, state::State};

impl Step<'_> {
    /// Reads `keys`, or as many as fit a page. `is_last`: there are no others.
    pub(super) async fn read_keys(
        &self,
        app: &State,
        keys: &Keys,
        is_last: bool,
        wants: &Wants,
    ) -> Result<Page, Problem> {
        let shards = app.shards_of(wants)?;
        let bytes_max = PAGE_BYTES_MAX / shards.len().max(1);
        let reads = shards.into_iter().map(|(shard, wants)| {
            let has = |(partition, _): &&(PartitionId, RecordKey)| {
                wants.at_least.binary_search_by_key(partition, |(own, _)| *own).is_ok()
            };
            let own: Keys = keys.iter().filter(has).cloned().collect();
            async move {
                let answer = shard.read_many(own.clone(), bytes_max, &wants).await;
                (shard, own, answer)
            }
        });
        let mut page = Page::default();
        let mut first_cut: Option<Bytes> = None;
        for (shard, own, answer) in join_all(reads).await {
            let Some(ManyRead { mut freshness, rows, cut }) = page.told(shard, answer) else { continue };
            page.states.append(&mut freshness);
            if let Some((_, key)) = cut.and_then(|cut| own.get(cut)) {
                let key = key.key();
                let is_first = first_cut.as_ref().is_none_or(|first| self.is_before(&key, first));
                first_cut = if is_first { Some(key) } else { first_cut };
            }
            for ((partition, key), row) in own.into_iter().zip(rows) {
                match row {
                    Some(row) => page.rows.push((partition, row)),
                    None => page.missing.push(key.key()),
                }
            }
        }
        app.note(&page.states);
        self.finish(&mut page, keys, is_last, first_cut.as_ref());
        Ok(page)
    }

    /// Puts the page in order, and ends it before the first key that some shard did not come to.
    fn finish(&self, page: &mut Page, keys: &Keys, is_last: bool, first_cut: Option<&Bytes>) {
        page.rows.sort_by(|(_, one), (_, other)| one.key.cmp(&other.key));
        page.missing.sort();
        if self.ask.reverse {
            page.rows.reverse();
            page.missing.reverse();
        }
        let last = match first_cut {
            None if is_last => return,
            None => keys.last(),
            Some(cut) => {
                page.rows.retain(|(_, row)| self.is_before(row.key.key_bytes(), cut));
                page.missing.retain(|key| self.is_before(key, cut));
                keys.iter().rfind(|(_, key)| self.is_before(key.key_bytes(), cut))
            }
        };
        page.cut = last.map(|(_, key)| key.key());
    }

    fn is_before(&self, one: &[u8], other: &[u8]) -> bool {
        if self.ask.reverse { one > other } else { one < other }
    }
}
