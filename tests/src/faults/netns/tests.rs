//! A namespace of its own against a server on the loopback: what passes, what is lost, and that nothing stays.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use super::*;
use crate::process::{Life, Process, until};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server that answers nothing, and a client in the namespace that sends it lines from a pipe and keeps what comes.
struct Pair {
    server: TcpStream,
    client: process::Child,
    _listener: TcpListener,
}

impl Pair {
    fn connect(namespace: &Namespace, listener: &TcpListener) -> Self {
        let port = listener.local_addr().unwrap().port();
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; cat <&3 & cat >&3");
        let prefix = prefix(&namespace.environment());
        let mut command = Command::new(&prefix[0]);
        command.args(&prefix[1..]).args(["bash", "-c", &script]);
        let client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { server, client, _listener: listener.try_clone().unwrap() }
    }

    fn send(&mut self, text: &str) {
        self.client.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn received(&mut self, bytes: usize) -> String {
        let mut buffer = vec![0; bytes];
        self.server.read_exact(&mut buffer).unwrap();
        String::from_utf8(buffer).unwrap()
    }

    fn answered(&mut self, bytes: usize) -> String {
        let mut buffer = vec![0; bytes];
        self.client.stdout.as_mut().unwrap().read_exact(&mut buffer).unwrap();
        String::from_utf8(buffer).unwrap()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = self.server.shutdown(std::net::Shutdown::Both);
        drop(self.client.stdin.take());
        let _ = self.client.wait();
    }
}

fn dropped_some(namespace: &Namespace) -> bool {
    until(PATIENCE, || Ok(namespace.dropped()? > 0)).unwrap()
}

#[test]
fn what_is_lost_goes_one_way_alone_and_comes_when_it_is_healed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = [listener.local_addr().unwrap().port()];
    let namespace = Namespace::new(&ports).unwrap();
    let mut pair = Pair::connect(&namespace, &listener);
    pair.send("one;");
    assert_eq!(pair.received(4), "one;");
    assert_eq!(namespace.dropped().unwrap(), 0);

    namespace.lose(Lost::Requests, &ports).unwrap();
    pair.send("two;");
    pair.server.write_all(b"down").unwrap();
    assert_eq!(pair.answered(4), "down");
    assert!(dropped_some(&namespace), "nothing was dropped");
    // Nobody else's are.
    let other = Namespace::new(&ports).unwrap();
    let mut others = Pair::connect(&other, &listener);
    others.send("mine");
    assert_eq!(others.received(4), "mine");
    TcpStream::connect_timeout(&listener.local_addr().unwrap(), PATIENCE).unwrap();
    namespace.heal().unwrap();
    assert_eq!(pair.received(4), "two;");
    // Acknowledged, too: a sender whose packets are not acknowledged sends no more of them.
    pair.server.write_all(b"here").unwrap();
    assert_eq!(pair.answered(4), "here");

    namespace.lose(Lost::Answers, &ports).unwrap();
    pair.server.write_all(b"late").unwrap();
    pair.send("more");
    assert_eq!(pair.received(4), "more");
    assert!(dropped_some(&namespace), "nothing was dropped");
    namespace.heal().unwrap();
    assert_eq!(pair.answered(4), "late");
}

#[test]
fn only_the_connection_that_has_met_the_pattern_loses_packets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = [listener.local_addr().unwrap().port()];
    let namespace = Namespace::new(&ports).unwrap();
    let [mut first, mut second] = [(); 2].map(|()| Pair::connect(&namespace, &listener));
    namespace.lose_from(b"COMMIT", Lost::Requests, &ports).unwrap();
    first.send("BEGIN;");
    assert_eq!(first.received(6), "BEGIN;");
    first.send("COMMIT;");
    assert!(dropped_some(&namespace), "nothing was dropped");
    second.send("BEGIN;");
    assert_eq!(second.received(6), "BEGIN;");
    namespace.heal().unwrap();
    assert_eq!(first.received(7), "COMMIT;");
}

#[test]
fn a_process_keeps_its_number_and_nothing_is_left_of_the_namespace() {
    let namespace = Namespace::new(&[1]).unwrap();
    let name = namespace.name.clone();
    let dir = tempfile::tempdir().unwrap();
    let mut sleep = Command::new("sleep");
    sleep.arg("600");
    let prefix = prefix(&namespace.environment());
    let mut process = Process::spawn(&sleep, &prefix, &dir.path().join("log"), Life::Owned).unwrap();
    let comm = || Ok(std::fs::read_to_string(format!("/proc/{}/comm", process.pid()))?.trim() == "sleep");
    assert!(until(PATIENCE, comm).unwrap(), "its number is that of another program");
    // A process in it is still alive.
    drop(namespace);
    let left = |command: &str, arguments: &[&str]| {
        run(Command::new(command).args(arguments)).unwrap().contains(&name)
    };
    assert!(!left("ip", &["netns", "list"]), "the namespace is left");
    assert!(!left("ip", &["-o", "link", "show"]), "the link is left");
    assert!(!left("nft", &["list", "tables"]), "the table is left");
    process.kill().unwrap();
}

#[test]
fn what_a_process_that_is_gone_has_left_goes_with_the_next() {
    // No process has a number above the limit of the system's.
    let name = format!("{PREFIX}99999999n0");
    ip(&["netns", "add", &name]).unwrap();
    let _next = Namespace::new(&[1]).unwrap();
    assert!(!run(Command::new("ip").args(["netns", "list"])).unwrap().contains(&name));
}
