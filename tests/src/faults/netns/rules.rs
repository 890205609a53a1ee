//! What `nft` is told: one table of the system's and one in the namespace, both with the namespace's name.
//!
//! Text alone; nothing is run here. Invariant: names are ours and ports are numbers, so no rule is another's.

use std::{fmt::Write, net::Ipv4Addr};

use super::Lost;

/// The link's end in the namespace.
pub(super) const INNER: &str = "inner";
/// The counter of dropped packets.
pub(super) const DROPPED: &str = "dropped";
/// The chain whose rules drop them. It stands after the translation of addresses, which leaves ports alone.
const LOST: &str = "lost";
/// Near ports of connections that have met a pattern.
const MET: &str = "met";

/// What comes over the link goes to the loopback.
pub(super) fn of_system(name: &str, ports: &[u16]) -> String {
    let translate = format!(
        "chain there {{ type nat hook prerouting priority -100; iifname \"{name}\" tcp dport {} dnat to 127.0.0.1; }}",
        set(ports)
    );
    table(name, &translate, "prerouting")
}

/// What goes to the loopback goes over the link.
pub(super) fn of_namespace(name: &str, (system, own): (Ipv4Addr, Ipv4Addr), ports: &[u16]) -> String {
    let translate = format!(
        "chain there {{ type nat hook output priority -100; ip daddr 127.0.0.1 tcp dport {} dnat to {system}; }}
         chain back {{ type nat hook postrouting priority 100; oifname \"{INNER}\" snat to {own}; }}",
        set(ports)
    );
    table(name, &translate, "input")
}

fn table(name: &str, translate: &str, hook: &str) -> String {
    format!(
        "table ip {name} {{
         counter {DROPPED} {{ }}
         set {MET} {{ type inet_service; flags dynamic; size 65535; }}
         {translate}
         chain {LOST} {{ type filter hook {hook} priority 0; }}
         }}\n"
    )
}

pub(super) fn lose(name: &str, lost: Lost, ports: &[u16]) -> String {
    format!("add rule ip {name} {LOST} {} counter name {DROPPED} drop\n", of(name, lost, ports))
}

pub(super) fn lose_from(name: &str, pattern: &[u8], (lost, ports): (Lost, &[u16])) -> String {
    let (of, near) = (of(name, lost, ports), format!("tcp {}", near(lost)));
    let bytes = pattern.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    format!(
        "add rule ip {name} {LOST} {of} @ih,0,{} 0x{bytes} add @{MET} {{ {near} }}\n\
         add rule ip {name} {LOST} {of} {near} @{MET} counter name {DROPPED} drop\n",
        pattern.len() * 8
    )
}

pub(super) fn heal(name: &str) -> String {
    format!(
        "flush chain ip {name} {LOST}\nflush set ip {name} {MET}\n\
         delete counter ip {name} {DROPPED}\nadd counter ip {name} {DROPPED}\n"
    )
}

/// What a listed counter has counted.
pub(super) fn packets(said: &str) -> Option<u64> {
    let mut words = said.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1)?.parse().ok()
}

/// What has come over the link that way, and nothing else: the system's own packets pass the same chain.
fn of(name: &str, lost: Lost, ports: &[u16]) -> String {
    let (device, far) = match lost {
        Lost::Requests => (name, "dport"),
        Lost::Answers => (INNER, "sport"),
    };
    format!("iifname \"{device}\" tcp {far} {}", set(ports))
}

/// The port of who connected to it.
fn near(lost: Lost) -> &'static str {
    match lost {
        Lost::Requests => "sport",
        Lost::Answers => "dport",
    }
}

fn set(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    format!("{{ {} }}", ports.join(", "))
}
