//! Free ports on the loopback, out of the range that the system takes for outgoing connections: a port stays free while
//! the server that was killed on it starts again.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};
use rand::RngExt;

/// Where to look. Linux takes outgoing ports from 32768 on.
const RANGE: std::ops::Range<u16> = 15_000..32_000;
/// How many taken ports to pass over.
const TRIES: u32 = 1000;

/// So many ports, all different, that nobody listens on now.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = one()?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn one() -> Result<TcpListener> {
    let mut random = rand::rng();
    for _ in 0..TRIES {
        let port = random.random_range(RANGE);
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener);
        }
    }
    bail!("no port is free between {} and {}", RANGE.start, RANGE.end)
}
