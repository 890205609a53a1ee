//! One direction of one connection.
//!
//! Invariant: bytes that may be the beginning of an awaited pattern are not forwarded before it is clear that they are
//! not.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{ReadHalf, WriteHalf},
    sync::oneshot,
    time::sleep,
};

use super::{Caught, Direction, Link, lock};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// Forwards until the end of what comes. An error: the connection is to be reset.
pub(super) async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    (direction, client): (Direction, SocketAddr),
    link: &Link,
) -> io::Result<()> {
    let (mut buffer, mut pending, mut state) = (vec![0; CHUNK], Vec::new(), link.state.subscribe());
    loop {
        let read = from.read(&mut buffer).await?;
        pending.extend_from_slice(&buffer[..read]);
        let set = *state
            .wait_for(|state| !state.held[direction as usize])
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::ConnectionReset))?;
        if !set.delay.is_zero() {
            sleep(set.delay).await;
        }
        if set.swallowed[direction as usize] {
            pending.clear();
        }
        while let Some((found, tell)) = link.find(direction, &pending) {
            to.write_all(&pending[..found.start]).await?;
            let (pass, passed) = oneshot::channel();
            // Who waited for it may have gone: then it passes.
            if tell.send(Caught { client, pass }).is_ok() && passed.await.is_err() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            to.write_all(&pending[found.clone()]).await?;
            pending.drain(..found.end);
        }
        let kept = if read == 0 { 0 } else { link.begun(direction, &pending) };
        let whole = pending.len() - kept;
        to.write_all(&pending[..whole]).await?;
        pending.drain(..whole);
        if read == 0 {
            return to.shutdown().await;
        }
    }
}

impl Link {
    /// The first awaited pattern in these bytes, which is awaited no more.
    fn find(
        &self,
        direction: Direction,
        bytes: &[u8],
    ) -> Option<(std::ops::Range<usize>, oneshot::Sender<Caught>)> {
        let mut armed = lock(&self.armed);
        armed.retain(|armed| !armed.tell.is_closed());
        let place = |pattern: &[u8]| bytes.windows(pattern.len()).position(|window| window == pattern);
        let found = armed.iter().enumerate().filter(|(_, armed)| armed.direction == direction);
        let found = found.filter_map(|(index, armed)| Some((place(&armed.pattern)?, index)));
        let (at, index) = found.min()?;
        let armed = armed.remove(index);
        Some((at..at + armed.pattern.len(), armed.tell))
    }

    /// How many bytes at the end may begin an awaited pattern.
    fn begun(&self, direction: Direction, bytes: &[u8]) -> usize {
        let armed = lock(&self.armed);
        let here = armed.iter().filter(|armed| armed.direction == direction && !armed.tell.is_closed());
        let begun = |pattern: &[u8]| {
            let longest = bytes.len().min(pattern.len().saturating_sub(1));
            (1..=longest).rev().find(|count| bytes.ends_with(&pattern[..*count])).unwrap_or(0)
        };
        here.map(|armed| begun(&armed.pattern)).max().unwrap_or(0)
    }
}
