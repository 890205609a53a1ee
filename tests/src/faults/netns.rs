//! A network namespace for a process of ours: a host of its own to the network, whose packets to and from ports of the
//! engines can be dropped, in one direction alone. Needs root, `ip` and `nft`.
//!
//! No relay stands between: a connection has its two real ends, which alone notice that packets are missing. What
//! listens on the loopback of the system is found on the loopback there, by translation of addresses.
//! Invariant: namespace, link and rules go with the value; those of a process that was killed go with the next one's.

mod rules;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    process::{self, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};

use crate::process::{exists, run};

/// The variable of a role that names the namespace to start it in.
pub const NAME: &str = "MILLPOND_TEST_NETNS";
/// The variable that says where the system finds what listens there.
pub const ADDRESS: &str = "MILLPOND_TEST_NETNS_ADDRESS";
/// Before the names of namespaces, links and tables: `mpns`, the process, a number. A link's name has 15 letters at most.
const PREFIX: &str = "mpns";
/// Networks of four addresses each in 198.18.0.0/15, which no real network has: it is there for tests (RFC 2544).
const NETWORKS: u32 = 1 << 15;
const FIRST: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// What is missing, and what to do.
const NEEDED: &str =
    "a network namespace takes root, and the Debian packages iproute2 and nftables (or their like)";

/// How many this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Which packets are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Those that come from the ports.
    Answers,
    /// Those that go to them.
    Requests,
}

/// A namespace.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// The two ends of the link: the system's, and its own.
    system: Ipv4Addr,
    own: Ipv4Addr,
}

impl Namespace {
    /// One from which these ports of the system's loopback are reached at `127.0.0.1`.
    ///
    /// # Errors
    /// There is no root, `ip` or `nft`; the message says what to install.
    pub fn new(ports: &[u16]) -> Result<Self> {
        let list = run(Command::new("ip").args(["netns", "list"])).context(NEEDED)?;
        run(Command::new("nft").args(["list", "tables"])).context(NEEDED)?;
        sweep(&list);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}n{number}", process::id());
        let network = free_network(process::id().wrapping_mul(8).wrapping_add(number))?;
        let address = |host| Ipv4Addr::from(network + host);
        // From here on its drop undoes whatever of it was done.
        let namespace = Self { name, system: address(1), own: address(2) };
        namespace.connect().context(NEEDED)?;
        nft(None, &rules::of_system(&namespace.name, ports)).context(NEEDED)?;
        nft(
            Some(&namespace.name),
            &rules::of_namespace(&namespace.name, (namespace.system, namespace.own), ports),
        )
        .context(NEEDED)?;
        Ok(namespace)
    }

    /// Variables of a role that is to run in it.
    pub fn environment(&self) -> BTreeMap<String, String> {
        [(NAME, self.name.clone()), (ADDRESS, self.own.to_string())]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    /// From now on every packet between it and these ports is dropped that goes this way.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn lose(&self, lost: Lost, ports: &[u16]) -> Result<()> {
        nft(self.where_lost(lost), &rules::lose(&self.name, lost, ports))
    }

    /// From the first packet on that begins with these bytes and goes this way, every packet of its connection that goes
    /// this way is dropped, that packet too. Others pass, until [`Namespace::lose`].
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn lose_from(&self, pattern: &[u8], lost: Lost, ports: &[u16]) -> Result<()> {
        nft(self.where_lost(lost), &rules::lose_from(&self.name, pattern, (lost, ports)))
    }

    /// How many packets were dropped since it was healed last.
    ///
    /// # Errors
    /// `nft` does not say.
    pub fn dropped(&self) -> Result<u64> {
        let mut dropped = 0;
        for lost in [Lost::Answers, Lost::Requests] {
            let mut list = nft_in(self.where_lost(lost));
            let said = run(list.args(["list", "counter", "ip", &self.name, rules::DROPPED]))?;
            dropped += rules::packets(&said).with_context(|| format!("nft tells no packets: {said}"))?;
        }
        Ok(dropped)
    }

    /// Nothing is dropped any more.
    ///
    /// # Errors
    /// `nft` refuses.
    pub fn heal(&self) -> Result<()> {
        let heal = |lost| nft(self.where_lost(lost), &rules::heal(&self.name));
        heal(Lost::Answers).and(heal(Lost::Requests))
    }

    /// At the end of the link at which those arrive: who has sent a packet is never told that it is lost.
    fn where_lost(&self, lost: Lost) -> Option<&str> {
        match lost {
            Lost::Answers => Some(&self.name),
            Lost::Requests => None,
        }
    }

    /// Makes it, and a link between it and the system.
    fn connect(&self) -> Result<()> {
        let name = &self.name;
        ip(&["netns", "add", name])?;
        ip(&["link", "add", name, "type", "veth", "peer", "name", rules::INNER, "netns", name])?;
        ip(&["addr", "add", &format!("{}/30", self.system), "dev", name])?;
        ip(&["link", "set", name, "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{}/30", self.own), "dev", rules::INNER])?;
        ip(&["-n", name, "link", "set", rules::INNER, "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        // A loopback's address may travel over the link, both ways.
        set_route_localnet(&mut Command::new("sh"), name)?;
        let mut inside = Command::new("ip");
        set_route_localnet(inside.args(["netns", "exec", name, "sh"]), "all")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Where the system finds what listens in the namespace that these variables name; the loopback without one.
pub(crate) fn address(environment: &BTreeMap<String, String>) -> IpAddr {
    let address = environment.get(ADDRESS).and_then(|address| address.parse().ok());
    address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// What starts a command in the namespace that these variables name. It becomes the command: the process is the same.
pub(crate) fn prefix(environment: &BTreeMap<String, String>) -> Vec<String> {
    let within = |name: &String| ["ip", "netns", "exec", name].map(str::to_owned).into();
    environment.get(NAME).map(within).unwrap_or_default()
}

fn set_route_localnet(shell: &mut Command, device: &str) -> Result<()> {
    let set = format!("echo 1 > /proc/sys/net/ipv4/conf/{device}/route_localnet");
    run(shell.args(["-c", &set])).with_context(|| format!("set route_localnet of {device}"))?;
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments)).with_context(|| format!("run ip {}", arguments.join(" ")))?;
    Ok(())
}

fn nft_in(namespace: Option<&str>) -> Command {
    match namespace {
        None => Command::new("nft"),
        Some(name) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", name, "nft"]);
            command
        }
    }
}

/// Has `nft` do what a script says, all of it or nothing.
fn nft(namespace: Option<&str>, script: &str) -> Result<()> {
    let mut command = nft_in(namespace);
    let piped = command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().context("start nft")?;
    child.stdin.take().expect("it is piped").write_all(script.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "nft refuses {script}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A network that no link of the system has: its first address.
fn free_network(begin: u32) -> Result<u32> {
    let links = run(Command::new("ip").args(["-o", "-4", "addr", "show"]))?;
    let is_free = |network: &u32| !links.contains(&format!(" {}/", Ipv4Addr::from(network + 1)));
    let mut networks = (0..NETWORKS).map(|at| FIRST + (begin.wrapping_add(at) % NETWORKS) * 4);
    networks.find(is_free).context("every network for tests is taken")
}

/// Removes what processes that are gone have left.
fn sweep(list: &str) {
    for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('n')?.0.parse().ok());
        if owner.is_some_and(|pid: u32| !exists(pid)) {
            remove(name);
        }
    }
}

/// Removes a namespace, its link and its rules, as far as they are there.
fn remove(name: &str) {
    // The link by itself: the namespace lives on while a process in it is about to end.
    for arguments in [&["link", "del", name][..], &["netns", "del", name]] {
        let _ = run(Command::new("ip").args(arguments));
    }
    let _ = run(Command::new("nft").args(["delete", "table", "ip", name]));
}
