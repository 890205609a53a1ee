//! Imports into a server that forgets nothing, is killed, and refuses.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::{
    Client,
    test_server::{React, Seen, TestServer, problem, respond},
};

/// What a server remembers: the log, and which Idempotency-Key is at which offset.
#[derive(Default)]
struct Pond {
    log: Vec<Value>,
    keys: HashMap<String, usize>,
    batches: usize,
    /// Says what goes wrong with a batch, before or after it is on the log.
    before: Option<Fault>,
    after: Option<Fault>,
    /// Code by key, for lines that fail on their own; retryable ones only once.
    refused: BTreeMap<String, u16>,
    /// Distinguishes one log from another.
    time: &'static str,
}

type Fault = Box<dyn FnMut(usize) -> Option<React> + Send>;
type Shared = Arc<Mutex<Pond>>;

impl Pond {
    fn handle(&mut self, seen: &Seen) -> React {
        if let Some(position) = seen.path.strip_prefix("/mutations/") {
            let offset: usize = position.rsplit('-').next().unwrap().parse().unwrap();
            if offset >= self.log.len() {
                return problem(404, "mutation-unknown", "none");
            }
            let time = self.time;
            let body = format!(r#"{{"position":"{position}","status":"applied","time":"{time}"}}"#);
            return respond(200, &[], body);
        }
        assert_eq!(seen.path, "/batch");
        self.batches += 1;
        let n = self.batches;
        if let Some(react) = self.before.as_mut().and_then(|fault| fault(n)) {
            return react;
        }
        let answer = self.append(&seen.body);
        self.after.as_mut().and_then(|fault| fault(n)).unwrap_or(answer)
    }

    fn append(&mut self, body: &[u8]) -> React {
        let (mut accepted, mut errors) = (0, Vec::new());
        for (n, line) in body.split(|b| *b == b'\n').filter(|line| !line.is_empty()).enumerate() {
            let line: Value = serde_json::from_slice(line).unwrap();
            let key = line["key"].as_str().unwrap().to_owned();
            if let Some(status) = self.refused.get(&key).copied() {
                errors.push(serde_json::json!({"line": n + 1, "status": status, "code": "no"}));
                if status >= 429 {
                    self.refused.remove(&key);
                }
                continue;
            }
            accepted += 1;
            let id = line["idempotency_key"].as_str().unwrap().to_owned();
            let end = self.log.len();
            if *self.keys.entry(id).or_insert(end) == end {
                self.log.push(line);
            }
        }
        let status = if errors.is_empty() { 202 } else { 207 };
        let last = self.log.len().saturating_sub(1);
        let body = serde_json::json!({"accepted": accepted, "failed": errors.len(),
            "positions": [format!("1-0-{last}")], "errors": errors});
        respond(status, &[], body.to_string())
    }

    /// The values of one key, in log order.
    fn values(&self, key: &str) -> Vec<&str> {
        let of_key = self.log.iter().filter(|line| line["key"] == key);
        of_key.map(|line| line["value"].as_str().unwrap()).collect()
    }
}

async fn serve_at(pond: &Shared, address: SocketAddr) -> TestServer {
    let pond = Arc::clone(pond);
    TestServer::start_at(address, move |seen| pond.lock().unwrap().handle(seen)).await
}

async fn serve(pond: &Shared) -> TestServer {
    serve_at(pond, ([127, 0, 0, 1], 0).into()).await
}

fn pond() -> Shared {
    Arc::new(Mutex::new(Pond { time: "t1", ..Pond::default() }))
}

fn put(key: &str, value: usize) -> String {
    format!("{{\"op\":\"put\",\"key\":\"{key}\",\"value\":\"{value}\"}}\n")
}

/// 500 lines over 50 keys.
fn file(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("lines.ndjson");
    let text: String = (0..500).map(|n| put(&format!("k{}", n % 50), n)).collect();
    fs::write(&path, text).unwrap();
    path
}

fn options(dir: &TempDir) -> ImportOptions {
    ImportOptions { batch_operations_max: 7, lanes: 3, ..ImportOptions::in_dir(dir.path().join("state")) }
}

fn importer(client: &Client, options: ImportOptions, path: &Path) -> Importer {
    Importer::new(client, options, Input::File(path.to_owned()), Arc::new(|_| {})).unwrap()
}

async fn import(client: &Client, options: ImportOptions, path: &Path) -> Report {
    importer(client, options, path).run(std::future::pending()).await.unwrap()
}

/// Runs at `address` until the `n`th batch is on the log, then drops both sides, as kill -9 would.
async fn killed_after(pond: &Shared, n: usize, address: SocketAddr, options: ImportOptions, path: &Path) {
    let reached = Arc::new(tokio::sync::Notify::new());
    let tell = Arc::clone(&reached);
    let until = pond.lock().unwrap().batches + n;
    pond.lock().unwrap().after = Some(Box::new(move |at| {
        (at >= until).then(|| {
            tell.notify_one();
            React::Hang
        })
    }));
    let server = serve_at(pond, address).await;
    let run = importer(&server.client(), options, path).run(std::future::pending());
    tokio::select! {
        report = run => panic!("it cannot end: {:?}", report.map(|report| report.end)),
        () = reached.notified() => {}
    }
    server.stop().await;
    pond.lock().unwrap().after = None;
}

async fn free_address() -> SocketAddr {
    let server = serve(&pond()).await;
    let address = server.address;
    server.stop().await;
    address
}

/// A server at one address, so that journals of several runs belong together.
struct Fixed {
    dir: TempDir,
    server: TestServer,
    pond: Shared,
}

impl Fixed {
    async fn new() -> Self {
        let pond = pond();
        Self { dir: tempfile::tempdir().unwrap(), server: serve(&pond).await, pond }
    }
}

#[tokio::test]
async fn a_keys_lines_arrive_in_order_over_many_batches_in_flight() {
    let Fixed { dir, server, pond } = Fixed::new().await;
    let report = import(&server.client(), options(&dir), &file(&dir)).await;
    assert_eq!((report.end, report.progress.accepted, report.progress.failed), (End::Complete, 500, 0));
    assert_eq!((report.progress.line, report.progress.bytes_total), (500, Some(report.progress.bytes)));
    assert_eq!(report.positions.last().unwrap().as_str(), "1-0-499");
    let pond = pond.lock().unwrap();
    for key in 0..50 {
        let expected: Vec<String> = (0..10).map(|n| (key + n * 50).to_string()).collect();
        assert_eq!(pond.values(&format!("k{key}")), expected);
    }
}

#[tokio::test]
async fn cut_and_unknown_batches_are_repeated_and_take_effect_once() {
    let Fixed { dir, server, pond } = Fixed::new().await;
    pond.lock().unwrap().before =
        Some(Box::new(|n| (n % 5 == 0).then(|| problem(503, "log-backpressure", "not-accepted"))));
    pond.lock().unwrap().after = Some(Box::new(|n| match n % 5 {
        1 => Some(React::Cut),
        2 => Some(problem(504, "outcome-unknown", "unknown")),
        _ => None,
    }));
    let report = import(&server.client(), options(&dir), &file(&dir)).await;
    assert_eq!((report.end, report.progress.accepted), (End::Complete, 500));
    assert_eq!(pond.lock().unwrap().log.len(), 500);
}

#[tokio::test]
async fn an_import_killed_three_times_resumes_and_takes_effect_once() {
    let dir = tempfile::tempdir().unwrap();
    let (pond, path) = (pond(), file(&dir));
    let address = free_address().await;
    for n in [3, 20, 20] {
        killed_after(&pond, n, address, options(&dir), &path).await;
    }
    let server = serve_at(&pond, address).await;
    let report = import(&server.client(), options(&dir), &path).await;
    assert!(report.resumed_after > 0, "most of it was durable");
    assert_eq!((report.end, report.progress.accepted), (End::Complete, 500));
    assert_eq!(pond.lock().unwrap().log.len(), 500);
}

#[tokio::test]
async fn an_import_that_lost_its_journal_still_takes_effect_once() {
    let dir = tempfile::tempdir().unwrap();
    let (pond, path) = (pond(), file(&dir));
    let address = free_address().await;
    killed_after(&pond, 20, address, options(&dir), &path).await;
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    let server = serve_at(&pond, address).await;
    let report = import(&server.client(), options(&dir), &path).await;
    assert_eq!((report.resumed_after, report.progress.accepted), (0, 500));
    assert_eq!(pond.lock().unwrap().log.len(), 500);
}

#[tokio::test]
async fn a_stopped_import_resumes_after_its_last_durable_line() {
    let Fixed { dir, server, pond } = Fixed::new().await;
    let path = file(&dir);
    let stop = Arc::new(tokio::sync::Notify::new());
    let observer: Observer = {
        let stop = Arc::clone(&stop);
        Arc::new(move |event| match event {
            Event::Progress(progress) if progress.line > 200 => stop.notify_one(),
            Event::Progress(_) => {}
            other => panic!("nothing else happened: {other:?}"),
        })
    };
    let first = Importer::new(&server.client(), options(&dir), Input::File(path.clone()), observer).unwrap();
    let first = first.run(stop.notified()).await.unwrap();
    assert_eq!(first.end, End::Stopped);
    assert!(first.progress.line > 200 && first.progress.line < 500, "{:?}", first.progress);
    let second = import(&server.client(), options(&dir), &path).await;
    assert_eq!((second.end, second.resumed_after), (End::Complete, first.progress.line));
    assert_eq!((second.progress.accepted, pond.lock().unwrap().log.len()), (500, 500));

    let batches = pond.lock().unwrap().batches;
    let third = import(&server.client(), options(&dir), &path).await;
    assert_eq!((third.end, third.resumed_after, third.progress.line), (End::Complete, 500, 500));
    assert_eq!(pond.lock().unwrap().batches, batches, "nothing new, nothing sent");

    let again = ImportOptions { restart: true, ..options(&dir) };
    assert_eq!(import(&server.client(), again, &path).await.progress.accepted, 500);
    assert_eq!(pond.lock().unwrap().log.len(), 1000, "asked for: all of it as new operations");
}

#[tokio::test]
async fn lines_that_fail_for_the_moment_are_sent_again_and_others_reported() {
    let Fixed { dir, server, pond } = Fixed::new().await;
    pond.lock().unwrap().refused =
        BTreeMap::from([("a".into(), 400), ("b".into(), 503), ("c".into(), 504), ("d".into(), 413)]);
    let path = dir.path().join("f");
    let text: String = ["a", "b", "c", "d", "e"].map(|key| put(key, 1)).concat();
    fs::write(&path, format!("{text}\nnot json\n{}", put("f", 1))).unwrap();
    let rejects = dir.path().join("rejects");
    let options = ImportOptions { rejects: Some(rejects.clone()), lanes: 1, ..options(&dir) };
    let report = import(&server.client(), options, &path).await;
    assert_eq!((report.end, report.progress.accepted, report.progress.failed), (End::Complete, 4, 3));
    let lines: Vec<_> = report.failures.iter().map(|failure| (failure.line, failure.code.as_str())).collect();
    assert_eq!(lines, [(1, "no"), (4, "no"), (7, "line-invalid")]);
    let rejects: Vec<Value> = fs::read_to_string(rejects)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rejects.len(), 3);
    assert_eq!((&rejects[0]["line"], &rejects[0]["status"]), (&1.into(), &400.into()));
    assert_eq!(rejects[0]["input"], put("a", 1).trim_end());
    assert_eq!(rejects[2]["input"], "not json");
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_sent_in_parts() {
    let Fixed { dir, server, pond } = Fixed::new().await;
    // 40 lines, then 20, then 10: never a line alone, which would be the line's own fault.
    let too_large = |n| (n <= 3).then(|| problem(413, "batch-too-large", "refused"));
    pond.lock().unwrap().before = Some(Box::new(too_large));
    let options = ImportOptions { batch_operations_max: 40, lanes: 1, ..options(&dir) };
    let report = import(&server.client(), options, &file(&dir)).await;
    assert_eq!((report.progress.accepted, report.progress.failed), (500, 0));
    assert_eq!(pond.lock().unwrap().log.len(), 500);
}

#[tokio::test]
async fn a_batch_that_is_refused_whole_ends_the_import_with_its_reason() {
    let Fixed { dir, server, pond } = Fixed::new().await;
    pond.lock().unwrap().before = Some(Box::new(|n| (n > 4).then(|| problem(403, "forbidden", "refused"))));
    let run = importer(&server.client(), options(&dir), &file(&dir)).run(std::future::pending());
    let error = run.await.unwrap_err();
    assert!(matches!(error, Error::Server(crate::Error::Refused(_))), "{error}");
    pond.lock().unwrap().before = None;
    let report = import(&server.client(), options(&dir), &file(&dir)).await;
    assert_eq!((report.progress.accepted, pond.lock().unwrap().log.len()), (500, 500));
}

#[tokio::test]
async fn a_cut_file_leaves_its_last_line_for_the_next_run() {
    let Fixed { dir, server, pond } = Fixed::new().await;
    let path = file(&dir);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let first = import(&server.client(), options(&dir), &path).await;
    let End::Truncated { line } = first.end else { panic!("{:?}", first.end) };
    assert_eq!((first.progress.line, first.progress.accepted), (line - 1, line - 1));
    fs::write(&path, &whole).unwrap();
    let second = import(&server.client(), options(&dir), &path).await;
    assert_eq!((second.end, second.resumed_after), (End::Complete, line - 1));
    assert_eq!((second.progress.accepted, pond.lock().unwrap().log.len()), (500, 500));
}

#[tokio::test]
async fn a_changed_file_is_read_from_its_first_line_and_the_change_is_told() {
    let Fixed { dir, server, pond } = Fixed::new().await;
    let path = file(&dir);
    import(&server.client(), options(&dir), &path).await;
    let changed = fs::read_to_string(&path).unwrap().replace("\"value\":\"7\"", "\"value\":\"new\"");
    fs::write(&path, changed).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let observer: Observer = {
        let told = Arc::clone(&told);
        Arc::new(move |event| told.lock().unwrap().push(format!("{event:?}")))
    };
    let run = Importer::new(&server.client(), options(&dir), Input::File(path), observer).unwrap();
    let report = run.run(std::future::pending()).await.unwrap();
    assert_eq!((report.end, report.resumed_after, report.progress.accepted), (End::Complete, 0, 500));
    assert!(told.lock().unwrap()[0].starts_with("InputChanged"));
    assert_eq!(pond.lock().unwrap().values("k7").last(), Some(&"457"));
    assert!(pond.lock().unwrap().values("k7").contains(&"new"));
}

#[tokio::test]
async fn a_log_made_anew_gets_everything_again() {
    let Fixed { dir, server, pond } = Fixed::new().await;
    let path = file(&dir);
    import(&server.client(), options(&dir), &path).await;
    // Another log, by now longer than the first.
    let other: Vec<Value> = (0..900).map(|_| Value::Null).collect();
    *pond.lock().unwrap() = Pond { log: other, time: "t2", ..Pond::default() };
    let report = import(&server.client(), options(&dir), &path).await;
    assert_eq!((report.resumed_after, report.progress.accepted), (0, 500));
    assert_eq!(pond.lock().unwrap().log.len(), 1400);
}

#[tokio::test]
async fn an_import_waits_for_a_server_that_is_down_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (pond, path) = (pond(), file(&dir));
    let server = serve(&pond).await;
    let (address, client) = (server.address, server.client());
    server.stop().await;
    let waiting = Arc::new(tokio::sync::Notify::new());
    let observer: Observer = {
        let waiting = Arc::clone(&waiting);
        Arc::new(move |event| {
            if let Event::Waiting { error, .. } = event {
                assert!(error.is_unreachable(), "{error}");
                waiting.notify_one();
            }
        })
    };
    let run = Importer::new(&client, options(&dir), Input::File(path), observer).unwrap();
    let again = async {
        waiting.notified().await;
        serve_at(&pond, address).await
    };
    let (report, _server) = tokio::join!(run.run(std::future::pending()), again);
    assert_eq!(report.unwrap().progress.accepted, 500);
    assert_eq!(pond.lock().unwrap().log.len(), 500);
}

#[tokio::test]
async fn two_streams_are_two_imports_unless_they_have_one_name() {
    let Fixed { dir, server, pond } = Fixed::new().await;
    let text = put("k", 1).repeat(3);
    for (name, length) in [(None, 3), (None, 6), (Some("n"), 9), (Some("n"), 9)] {
        let reader = Box::new(io::Cursor::new(text.clone()));
        let input = Input::Stream { name: name.map(str::to_owned), reader };
        let run = Importer::new(&server.client(), options(&dir), input, Arc::new(|_| {})).unwrap();
        run.run(std::future::pending()).await.unwrap();
        assert_eq!(pond.lock().unwrap().log.len(), length, "{name:?}");
    }
}
