//! The memory that pages may hold together, from before they are read until they are sent; and values being sent.
//!
//! Invariant: a page holds what it may need before it is read, and only what it is afterwards.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::page::PAGE_BYTES_MAX;
use crate::problem::{Code, Problem};

/// What memory is counted in, bytes.
const PERMIT_BYTES: usize = 1024;

/// The memory of all pages, or of all values on their way out.
#[derive(Clone, Debug)]
pub(crate) struct Pages {
    permits: Arc<Semaphore>,
    all: usize,
}

/// A page's share, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share(OwnedSemaphorePermit);

impl Pages {
    /// So many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let all = (bytes / PERMIT_BYTES).clamp(1, u32::MAX as usize >> 4);
        Self { permits: Arc::new(Semaphore::new(all)), all }
    }

    /// What so many keys with values of at most so many bytes may need, as they are and as they are told.
    ///
    /// # Errors
    /// `overloaded`: others hold too much for too long.
    pub(super) async fn share(
        &self,
        keys: usize,
        value_bytes_max: usize,
        wait: Duration,
    ) -> Result<Share, Problem> {
        let bytes = keys.saturating_mul(value_bytes_max + PERMIT_BYTES).min(PAGE_BYTES_MAX) * 2;
        let permits = u32::try_from((bytes / PERMIT_BYTES).min(self.all)).expect("it was limited");
        let taken = timeout(wait, Arc::clone(&self.permits).acquire_many_owned(permits)).await;
        let overloaded = || Problem::new(Code::Overloaded, "too many pages of queries are being read");
        let permit = taken.map_err(|_late| overloaded())?.map_err(|_closed| overloaded())?;
        Ok(Share(permit))
    }
}

/// Values smaller than this are not counted while they are being sent, bytes.
const COUNTED_BYTES_MIN: usize = 16 * 1024;

impl Pages {
    /// A value, which holds its share until it is sent: clients that ask for much and take nothing are bounded.
    ///
    /// # Errors
    /// `overloaded`: others hold too much.
    pub(crate) fn hold(&self, value: Bytes) -> Result<Bytes, Problem> {
        if value.len() < COUNTED_BYTES_MIN {
            return Ok(value);
        }
        let permits = u32::try_from((value.len() / PERMIT_BYTES).min(self.all)).expect("it was limited");
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(permits);
        let permit =
            permit.map_err(|_| Problem::new(Code::Overloaded, "too many values are on their way out"))?;
        Ok(Bytes::from_owner(Held(value, Some(permit))))
    }
}

/// Bytes, and what they hold until they are dropped.
struct Held<T>(T, #[expect(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>);

impl<T: AsRef<[u8]>> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl Share {
    /// Gives back what is more than so many bytes.
    pub(super) fn keep(&mut self, bytes: usize) {
        let needed = bytes.div_ceil(PERMIT_BYTES).min(self.0.num_permits());
        self.0 = self.0.split(needed).expect("there are as many");
    }

    /// These bytes, which from now on hold the share that they need.
    pub(super) fn of(mut self, bytes: Vec<u8>) -> Bytes {
        let needed = (bytes.capacity() / PERMIT_BYTES).min(self.0.num_permits());
        Bytes::from_owner(Held(bytes, self.0.split(needed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_page_waits_for_memory_and_gives_it_back_when_it_is_sent() {
        let pages = Pages::new(PAGE_BYTES_MAX * 2);
        let wait = Duration::from_secs(1);
        let share = pages.share(1000, 512 * 1024, wait).await.unwrap();
        assert_eq!(pages.share(1, 1, wait).await.unwrap_err().code(), Code::Overloaded);
        let sent = share.of(vec![0; PAGE_BYTES_MAX]);
        let other = pages.share(7, 512 * 1024, wait).await.unwrap();
        assert_eq!(pages.share(1000, 512 * 1024, wait).await.unwrap_err().code(), Code::Overloaded);
        drop((sent, other));
        pages.share(1000, 512 * 1024, wait).await.unwrap();
    }

    #[test]
    fn values_that_are_not_taken_are_bounded_and_small_ones_always_go() {
        let answers = Pages::new(1024 * 1024);
        let value = || Bytes::from(vec![1; 512 * 1024]);
        let held = [answers.hold(value()).unwrap(), answers.hold(value()).unwrap()];
        assert_eq!(held[1], value());
        assert_eq!(answers.hold(value()).unwrap_err().code(), Code::Overloaded);
        assert_eq!(answers.hold(Bytes::from_static(b"small")).unwrap(), "small");
        drop(held);
        assert!(answers.hold(value()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_page_in_hand_leaves_room_for_others() {
        let pages = Pages::new(PAGE_BYTES_MAX * 2);
        let wait = Duration::from_secs(1);
        let mut share = pages.share(1000, 512 * 1024, wait).await.unwrap();
        share.keep(PAGE_BYTES_MAX / 2);
        let other = pages.share(7, 512 * 1024, wait).await.unwrap();
        share.keep(PAGE_BYTES_MAX);
        assert_eq!(pages.share(1000, 512 * 1024, wait).await.unwrap_err().code(), Code::Overloaded);
        drop((share, other));
        pages.share(1000, 512 * 1024, wait).await.unwrap();
    }

    #[tokio::test]
    async fn a_page_that_may_need_more_than_there_is_takes_all() {
        let pages = Pages::new(10_000);
        drop(pages.share(1000, 512 * 1024, Duration::ZERO).await.unwrap());
    }
}
