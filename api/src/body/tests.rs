//! Bodies that are large, slow, encoded or cut, in paused time.

use std::{convert::Infallible, time::Duration};

use http::{HeaderValue, header};
use http_body_util::{Full, StreamBody};
use hyper::body::Frame;
use proptest::prelude::*;
use tokio::{
    sync::mpsc,
    time::{Instant, interval},
};

use super::*;

const LIMIT: Limit = Limit { bytes: 64 * 1024, code: Code::ValueTooLarge };

fn budget() -> Budget {
    Budget::new(1024 * 1024)
}

async fn read_code(headers: HeaderMap, body: Body) -> Result<Bytes, Code> {
    read(&budget(), &headers, body, LIMIT).await.map(|whole| whole.bytes).map_err(|problem| problem.code())
}

/// A body without a length, that brings what is sent.
fn stream() -> (mpsc::Sender<usize>, Body) {
    let (sender, mut receiver) = mpsc::channel::<usize>(16);
    let frames = futures_util::stream::poll_fn(move |context| {
        receiver
            .poll_recv(context)
            .map(|bytes| bytes.map(|bytes| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; bytes])))))
    });
    (sender, Body::new(StreamBody::new(frames)))
}

#[tokio::test]
async fn a_length_over_the_limit_is_refused_before_reading() {
    let body = Body::new(Full::new(Bytes::from(vec![0; LIMIT.bytes + 1])));
    assert_eq!(read_code(HeaderMap::new(), body).await, Err(Code::ValueTooLarge));
    let body = Body::new(Full::new(Bytes::from(vec![0; LIMIT.bytes])));
    assert_eq!(read_code(HeaderMap::new(), body).await.map(|bytes| bytes.len()), Ok(LIMIT.bytes));
}

#[tokio::test]
async fn reading_stops_where_a_body_without_a_length_passes_the_limit() {
    let (sender, body) = stream();
    sender.send(LIMIT.bytes).await.unwrap();
    sender.send(1).await.unwrap();
    assert_eq!(read_code(HeaderMap::new(), body).await, Err(Code::ValueTooLarge));
    assert!(sender.send(1).await.is_err(), "the body is dropped");
}

#[tokio::test(start_paused = true)]
async fn a_silent_body_is_given_up_after_ten_seconds() {
    let (_sender, body) = stream();
    let started = Instant::now();
    assert_eq!(read_code(HeaderMap::new(), body).await, Err(Code::BodyTimeout));
    assert_eq!(started.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_dripping_body_is_given_up_after_ten_seconds() {
    let (sender, body) = stream();
    let started = Instant::now();
    let drip = async {
        let mut seconds = interval(Duration::from_secs(1));
        while sender.send(10).await.is_ok() {
            seconds.tick().await;
        }
    };
    let (code, ()) = tokio::join!(read_code(HeaderMap::new(), body), drip);
    assert_eq!(code, Err(Code::BodyTimeout));
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_steady_body_may_take_longer_than_a_window() {
    let (sender, body) = stream();
    let steady = async move {
        let mut seconds = interval(Duration::from_secs(1));
        for _ in 0..30 {
            seconds.tick().await;
            sender.send(2000).await.unwrap();
        }
    };
    let (bytes, ()) = tokio::join!(read_code(HeaderMap::new(), body), steady);
    assert_eq!(bytes.map(|bytes| bytes.len()), Ok(60_000));
}

/// What `Content-Encoding` lines make of an empty body, which is neither gzip nor zstd.
async fn encoded(lines: &[&str]) -> Result<Bytes, Problem> {
    let headers = lines.iter().map(|line| (header::CONTENT_ENCODING, HeaderValue::from_str(line).unwrap()));
    read(&budget(), &headers.collect(), Body::empty(), LIMIT).await.map(|whole| whole.bytes)
}

#[tokio::test]
async fn one_known_encoding_is_taken_and_no_other() {
    for lines in [&[][..], &["identity"], &["Identity"]] {
        assert_eq!(encoded(lines).await.unwrap(), Bytes::new());
    }
    for name in ["gzip", "GZIP", "x-gzip", "zstd", "Zstd"] {
        assert_eq!(encoded(&[name]).await.unwrap_err().code(), Code::BodyInvalid, "{name}");
    }
    let others = ["br", "", "deflate", "identity, gzip", "gzip,zstd", "gzip, gzip", "gzip;q=1", "dcz"];
    for lines in others.iter().map(std::slice::from_ref).chain([&["gzip", "zstd"][..], &["identity", "gzip"]])
    {
        assert_eq!(encoded(lines).await.unwrap_err().code(), Code::EncodingUnsupported, "{lines:?}");
    }
}

#[tokio::test]
async fn an_encoded_body_may_be_a_little_longer_than_what_it_decodes_to_and_no_more() {
    let headers = || HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
    let most = decode::wire_bytes_max(LIMIT.bytes);
    let zeros = |bytes| Body::new(Full::new(Bytes::from(vec![0; bytes])));
    assert_eq!(read_code(headers(), zeros(most)).await, Err(Code::BodyInvalid));
    assert_eq!(read_code(headers(), zeros(most + 1)).await, Err(Code::ValueTooLarge));
    let (sender, body) = stream();
    let (code, ()) =
        tokio::join!(read_code(headers(), body), async { while sender.send(LIMIT.bytes).await.is_ok() {} });
    assert_eq!(code, Err(Code::ValueTooLarge), "without a length, too");
}

#[tokio::test]
async fn bodies_together_stay_inside_the_budget_and_give_it_back() {
    let budget = Budget::new(LIMIT.bytes);
    let full = || Body::new(Full::new(Bytes::from(vec![0; LIMIT.bytes])));
    let held = read(&budget, &HeaderMap::new(), full(), LIMIT).await.unwrap();
    let refused = read(&budget, &HeaderMap::new(), full(), LIMIT).await.unwrap_err();
    assert_eq!(refused.code(), Code::Overloaded);
    drop(held);
    assert!(read(&budget, &HeaderMap::new(), full(), LIMIT).await.is_ok());
}

#[tokio::test]
async fn a_body_counts_as_much_as_came_of_it() {
    let budget = Budget::new(2 * LIMIT.bytes);
    let (senders, waiting): (Vec<_>, Vec<_>) = (0..7)
        .map(|_| {
            let (sender, body) = stream();
            let budget = budget.clone();
            (sender, tokio::spawn(async move { read(&budget, &HeaderMap::new(), body, LIMIT).await }))
        })
        .unzip();
    for sender in &senders {
        sender.send(1).await.unwrap();
        // It was taken.
        while sender.capacity() < sender.max_capacity() {
            tokio::task::yield_now().await;
        }
    }
    let few = Body::new(Full::new(Bytes::from(vec![0; FIRST_BYTES])));
    assert!(
        read(&budget, &HeaderMap::new(), few, LIMIT).await.is_ok(),
        "seven that may become long are not yet"
    );
    senders[0].send(LIMIT.bytes / 2).await.unwrap();
    for (sender, waiting) in senders.into_iter().zip(waiting) {
        drop(sender);
        let read = waiting.await.unwrap();
        let code = read.map(|whole| whole.bytes.len()).map_err(|problem| problem.code());
        assert!(matches!(code, Ok(1) | Err(Code::Overloaded)), "{code:?}");
    }
}

proptest! {
    #[test]
    fn pieces_come_back_joined(pieces in prop::collection::vec(0usize..3000, 0..12)) {
        let total: usize = pieces.iter().sum();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let bytes = runtime.block_on(async {
            let (sender, body) = stream();
            for piece in &pieces {
                sender.send(*piece).await.unwrap();
            }
            drop(sender);
            read_code(HeaderMap::new(), body).await
        });
        prop_assert_eq!(bytes.map(|bytes| bytes.len()), Ok(total));
    }
}
