//! How many items go into one statement.
//!
//! Invariant: every item is in exactly one run, in order.

use bytes::Bytes;
use millpond_schemas::{DeadLetter, Flush, PartitionId, Row};

/// Splits `items` into runs of at most `largest`, none above `bytes_max` unless it is a single item; with the bytes of
/// each.
pub(crate) fn runs<T>(
    largest: usize,
    mut items: &[T],
    bytes_max: usize,
    bytes: impl Fn(&T) -> usize,
) -> impl Iterator<Item = (&[T], usize)> {
    std::iter::from_fn(move || {
        let (mut length, mut sum) = (0, 0);
        for item in items.iter().take(largest) {
            let more = bytes(item);
            if length > 0 && sum + more > bytes_max {
                break;
            }
            (length, sum) = (length + 1, sum + more);
        }
        let (run, rest) = items.split_at_checked(length).filter(|(run, _)| !run.is_empty())?;
        items = rest;
        Some((run, sum))
    })
}

/// Items of flushes, each with its partition.
pub(crate) fn each<'f, T: 'f>(
    flushes: impl IntoIterator<Item = &'f Flush>,
    items: impl Fn(&'f Flush) -> &'f [T],
) -> impl Iterator<Item = (PartitionId, &'f T)> {
    flushes.into_iter().flat_map(move |flush| items(flush).iter().map(|item| (flush.next.partition, item)))
}

pub(crate) fn row_bytes(row: &Row) -> usize {
    row.key.bytes().len() + row.value.as_ref().map_or(0, Bytes::len)
}

pub(crate) fn dead_letter_bytes(dead_letter: &DeadLetter) -> usize {
    let raw = &dead_letter.raw;
    let headers: usize = raw.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    headers + raw.key.as_ref().map_or(0, Bytes::len) + raw.value.as_ref().map_or(0, Bytes::len)
}
