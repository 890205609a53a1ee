//! A small server for tests: answers, cuts or hangs as a closure says, and remembers what it saw.
//!
//! Not the contract: a test that needs some of it brings that in its closure.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{Client, Options, RetryPolicy};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What becomes of a request.
pub(crate) enum React {
    Answer(Response<Full<Bytes>>),
    /// The connection is closed without an answer.
    Cut,
    /// Nothing ever comes.
    Hang,
}

type Handler = Arc<Mutex<dyn FnMut(&Seen) -> React + Send>>;

/// Ends, with its connections, when it is dropped.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    tasks: JoinSet<()>,
}

impl TestServer {
    pub(crate) async fn start(handler: impl FnMut(&Seen) -> React + Send + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), handler).await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        handler: impl FnMut(&Seen) -> React + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::new(Mutex::new(handler)), Arc::clone(&seen)));
        Self { address, seen, tasks }
    }

    /// Returns once its address is free.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// A client that tries again fast.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.options()).unwrap()
    }

    pub(crate) fn options(&self) -> Options {
        let retry = RetryPolicy {
            delay_first: Duration::from_millis(1),
            delay_max: Duration::from_millis(5),
            give_up_after: Some(Duration::from_secs(20)),
        };
        Options { retry, ..Options::at(format!("http://{}", self.address)) }
    }
}

async fn accept(listener: TcpListener, handler: Handler, seen: Arc<Mutex<Vec<Seen>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (handler, seen) = (Arc::clone(&handler), Arc::clone(&seen));
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&handler), Arc::clone(&seen)));
            // A cut connection is an error here and what the test wants.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    handler: Handler,
    seen: Arc<Mutex<Vec<Seen>>>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = head.uri.path_and_query().unwrap().to_string();
    let request = Seen { method: head.method, path, headers: head.headers, body };
    seen.lock().unwrap().push(request.clone());
    let react = (handler.lock().unwrap())(&request);
    match react {
        React::Answer(response) => Ok(response),
        React::Cut => Err(io::Error::other("cut")),
        React::Hang => Ok(std::future::pending::<Result<_, Infallible>>().await.unwrap()),
    }
}

/// An answer with a body and headers.
pub(crate) fn respond(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> React {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    React::Answer(response.body(Full::new(body.into())).unwrap())
}

/// A problem document.
pub(crate) fn problem(status: u16, code: &str, outcome: &str) -> React {
    let body = format!(r#"{{"status":{status},"code":"{code}","outcome":"{outcome}"}}"#);
    respond(status, &[("content-type", "application/problem+json")], body)
}
