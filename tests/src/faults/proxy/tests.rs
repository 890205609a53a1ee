//! The link between a server that answers every line and a client of it.

use std::io::ErrorKind;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

use super::*;
use crate::process::until_async;

const PATIENCE: Duration = Duration::from_mins(1);

/// A server that answers every line with `answer: ` before it, and tells which lines it has seen.
async fn server() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, (seen, lines)) = (listener.local_addr().unwrap(), mpsc::unbounded_channel());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let (from, mut to) = stream.into_split();
                let mut lines = BufReader::new(from).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let _ = seen.send(line.clone());
                    let _ = to.write_all(format!("answer: {line}\n").as_bytes()).await;
                }
            });
        }
    });
    (address, lines)
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn of(proxy: &Proxy) -> Self {
        Self(BufReader::new(TcpStream::connect(proxy.address()).await.unwrap()))
    }

    async fn say(&mut self, bytes: &str) {
        self.0.get_mut().write_all(bytes.as_bytes()).await.unwrap();
    }

    /// The next line, without its end. An empty one: the connection has ended.
    async fn hear(&mut self) -> io::Result<String> {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("an answer comes")?;
        Ok(line.trim_end().to_owned())
    }

    async fn ask(&mut self, line: &str) -> io::Result<String> {
        self.say(&format!("{line}\n")).await;
        self.hear().await
    }
}

async fn heard(lines: &mut mpsc::UnboundedReceiver<String>) -> String {
    timeout(PATIENCE, lines.recv()).await.expect("a line comes").unwrap()
}

#[tokio::test]
async fn what_comes_is_forwarded_both_ways_until_both_have_ended() {
    let proxy = Proxy::start(server().await.0).unwrap();
    let mut client = Client::of(&proxy).await;
    let long = "x".repeat(1 << 20);
    for line in ["one", "", &long] {
        assert_eq!(client.ask(line).await.unwrap(), format!("answer: {line}").trim_end());
    }
    client.say("last\n").await;
    client.0.get_mut().shutdown().await.unwrap();
    let mut rest = String::new();
    client.0.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "answer: last\n");
}

#[tokio::test]
async fn a_cut_resets_connections_and_lets_new_ones_in() {
    let proxy = Proxy::start(server().await.0).unwrap();
    let mut client = Client::of(&proxy).await;
    assert_eq!(client.ask("one").await.unwrap(), "answer: one");
    proxy.cut();
    assert_eq!(client.hear().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(Client::of(&proxy).await.ask("two").await.unwrap(), "answer: two");
}

#[tokio::test]
async fn nobody_listens_while_it_refuses() {
    let proxy = Proxy::start(server().await.0).unwrap();
    let mut old = Client::of(&proxy).await;
    assert_eq!(old.ask("one").await.unwrap(), "answer: one");
    proxy.refuse(true);
    let refused = async || {
        TcpStream::connect(proxy.address())
            .await
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    assert!(until_async(PATIENCE, refused).await, "it is refused");
    assert_eq!(old.ask("two").await.unwrap(), "answer: two", "what is there stays");
    proxy.refuse(false);
    let again = async || TcpStream::connect(proxy.address()).await.is_ok();
    assert!(until_async(PATIENCE, again).await, "it listens again");
}

#[tokio::test]
async fn what_is_held_comes_later_and_the_other_way_goes_on() {
    let (address, mut lines) = server().await;
    let proxy = Proxy::start(address).unwrap();
    let mut client = Client::of(&proxy).await;
    proxy.hold(Direction::ToClient, true);
    client.say("one\n").await;
    assert_eq!(heard(&mut lines).await, "one", "the server hears it");
    proxy.hold(Direction::ToServer, true);
    client.say("two\n").await;
    proxy.hold(Direction::ToClient, false);
    assert_eq!(client.hear().await.unwrap(), "answer: one");
    assert!(lines.is_empty(), "two is held");
    proxy.heal();
    assert_eq!(heard(&mut lines).await, "two");
    assert_eq!(client.hear().await.unwrap(), "answer: two");
}

#[tokio::test]
async fn swallowed_answers_never_come() {
    let (address, mut lines) = server().await;
    let proxy = Proxy::start(address).unwrap();
    let mut client = Client::of(&proxy).await;
    proxy.swallow(Direction::ToClient, true);
    client.say("one\n").await;
    assert_eq!(heard(&mut lines).await, "one");
    client.say("two\n").await;
    assert_eq!(heard(&mut lines).await, "two");
    proxy.cut();
    assert_eq!(
        client.hear().await.unwrap_err().kind(),
        ErrorKind::ConnectionReset,
        "nothing before the reset"
    );
}

/// The pattern comes in pieces, with something before and after it.
#[tokio::test]
async fn a_pattern_in_pieces_is_caught_before_it_is_forwarded() {
    let (address, mut lines) = server().await;
    let proxy = Proxy::start(address).unwrap();
    let mut client = Client::of(&proxy).await;
    let (caught, ()) = tokio::join!(proxy.catch(Direction::ToServer, b"COMMIT"), async {
        client.say("COM\nCOM").await;
        assert_eq!(heard(&mut lines).await, "COM", "what only begins like it is forwarded");
        client.say("MI").await;
        client.say("T\nmore\n").await;
    });
    let caught = caught.unwrap();
    assert_eq!(caught.client, client.0.get_ref().local_addr().unwrap());
    assert!(lines.is_empty(), "the pattern is not forwarded");
    caught.pass();
    assert_eq!(heard(&mut lines).await, "COMMIT");
    assert_eq!(heard(&mut lines).await, "more");
}

#[tokio::test]
async fn a_cut_before_the_answer_lets_the_server_have_it() {
    let (address, mut lines) = server().await;
    let proxy = Proxy::start(address).unwrap();
    let mut client = Client::of(&proxy).await;
    let (caught, ()) = tokio::join!(proxy.catch(Direction::ToClient, b"answer: COMMIT"), async {
        client.say("before\nCOMMIT\n").await;
    });
    assert_eq!(client.hear().await.unwrap(), "answer: before");
    caught.unwrap().cut();
    assert_eq!(client.hear().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!([heard(&mut lines).await, heard(&mut lines).await], ["before", "COMMIT"]);
    // Once only.
    assert_eq!(Client::of(&proxy).await.ask("COMMIT").await.unwrap(), "answer: COMMIT");
}

#[tokio::test]
async fn a_delay_changes_nothing_but_when() {
    let proxy = Proxy::start(server().await.0).unwrap();
    proxy.delay(Duration::from_millis(5));
    let mut client = Client::of(&proxy).await;
    assert_eq!(client.ask("one").await.unwrap(), "answer: one");
}
