//! A page of a range: every shard is asked for a part, until the page is full.
//!
//! Tombstones and expired rows lie between the others, by the million after a large delete; each shard looks at only so
//! many at a time. A page that takes too long ends short, with a cursor. Invariant: rounds of one page get no older.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use millpond_shard::{Scan, Scanned};
use tokio::time::Instant;

use super::{
    ask::What,
    fresh::Wants,
    merge::{Merged, merge},
    page::{PAGE_BYTES_MAX, Page, Step},
};
use crate::{problem::Problem, state::State};

/// Rows that a shard looks at in the first round beyond those it is to give.
const LOOKED_SPARE: usize = 64;
/// Most rows that a shard looks at in one round.
const LOOKED_MAX: usize = 16 * 1024;
/// A page that has taken so long begins no other round.
const ROUNDS_TIME_MAX: Duration = Duration::from_millis(500);

/// How much one round asks of each shard.
#[derive(Clone, Copy)]
struct Portion {
    limit: usize,
    looked_max: usize,
    bytes_max: usize,
}

impl Step<'_> {
    /// Reads up to the limit.
    pub(super) async fn read_range(&self, app: &State, wants: &Wants) -> Result<Page, Problem> {
        let (began, mut wants) = (Instant::now(), wants.clone());
        let mut page = Page::default();
        let (mut looked, mut bytes, mut is_first) = (LOOKED_SPARE, 0, true);
        loop {
            let left = self.limit - page.rows.len();
            let portion = Portion { limit: left, looked_max: looked, bytes_max: PAGE_BYTES_MAX - bytes };
            let after = page.cut.as_ref().or(self.after);
            let mut round = self.round(app, after, portion, &wants).await?;
            if is_first {
                page.shards = std::mem::take(&mut round.shards);
            } else if !round.is_complete() || round.behind(&wants).is_some() {
                // What there is, is whole up to its cut.
                return Ok(page);
            }
            bytes +=
                round.rows.iter().map(|(_, row)| row.value.as_ref().map_or(0, Bytes::len)).sum::<usize>();
            page.rows.append(&mut round.rows);
            page.states.append(&mut round.states);
            page.cut = round.cut;
            let is_full = page.rows.len() >= self.limit || bytes > PAGE_BYTES_MAX / 2;
            let is_over = page.cut.is_none() || !page.is_complete();
            if is_full || is_over || began.elapsed() > ROUNDS_TIME_MAX || page.behind(&wants).is_some() {
                return Ok(page);
            }
            for state in &page.states {
                if let Some(wanted) = wants.at_least.get_mut(&state.applied.partition) {
                    *wanted = state.applied.offset.max(*wanted);
                }
            }
            wants.strict = true;
            (looked, is_first) = ((looked * 4).min(LOOKED_MAX), false);
        }
    }

    /// What every shard has behind `after`, as one part of a page.
    async fn round(
        &self,
        app: &State,
        after: Option<&Bytes>,
        portion: Portion,
        wants: &Wants,
    ) -> Result<Page, Problem> {
        let shards = app.shards_of(wants)?;
        let limit = portion.limit;
        let scan = self.scan(after, portion, shards.len());
        let reads = shards.into_iter().map(|(shard, wants)| {
            let scan = scan.clone();
            async move { (shard, shard.range(scan, &wants).await) }
        });
        let mut page = Page::default();
        let mut parts: Vec<Scanned> = Vec::new();
        for (shard, answer) in join_all(reads).await {
            if let Some(mut part) = page.told(shard, answer) {
                page.states.append(&mut part.freshness);
                parts.push(part);
            }
        }
        app.note(&page.states);
        let Merged { rows, cut } = merge(parts, limit, self.ask.reverse);
        Ok(Page { rows, cut, ..page })
    }

    /// What each of so many shards is asked: keys are spread evenly, so with its share and some more the page is most
    /// often full.
    fn scan(&self, after: Option<&Bytes>, portion: Portion, shards: usize) -> Scan {
        let shards = shards.max(1);
        let (mut start, mut end) = match &self.ask.what {
            What::Keys(_) => (Bytes::new(), None),
            What::Range { start, end } => (start.clone(), end.clone()),
        };
        match after {
            None => {}
            Some(after) if self.ask.reverse => end = Some(after.clone()),
            // The first that there can be behind it.
            Some(after) => start = [after.as_ref(), &[0]].concat().into(),
        }
        let limit = portion.limit.min(portion.limit * 6 / (5 * shards) + 8);
        let small = |number: usize| u32::try_from(number).expect("limits are small");
        Scan {
            tenant: self.tenant.clone(),
            start,
            end,
            limit: small(limit),
            looked_max: small(limit + portion.looked_max),
            bytes_max: (portion.bytes_max / shards).max(1),
            reverse: self.ask.reverse,
        }
    }
}
