//! Where partitions start and end, asked on a thread of its own, for all that wait at once.
//!
//! The end is the high watermark, asked with `read_uncommitted`: the last stable offset would miss acked records.
//! Invariant: an answer is asked from the broker after the question came; a broker that does not answer fails only what
//! it leads.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use millpond_schemas::{Offset, PartitionId, UnixMillis};
use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    metadata::MetadataTopic,
};
use tokio::sync::oneshot;

use super::{
    config::Config,
    context::Context,
    worker::{Stopping, Worker},
};
use crate::Error;

/// After this long without an answer the caller is told so.
const ANSWER: Duration = Duration::from_secs(5);
/// One try. A thread that stops waits no longer than that.
const TRY: Duration = Duration::from_secs(1);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes an answer, on the asking thread.
pub(super) type Answer<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

/// What is asked for besides the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    /// The first offset that can be read.
    Start,
    /// The last stable offset: where readers of committed records must stop.
    Stable,
    /// The first record that is not older than this; the end where all are.
    Since(UnixMillis),
}

/// An edge and the high watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) edge: Offset,
    pub(super) end: Offset,
}

struct Question {
    partition: PartitionId,
    edge: Edge,
    since: Instant,
    answer: Answer<Seen>,
}

/// The thread that asks.
pub(super) struct Ends {
    questions: Arc<Mutex<Vec<Question>>>,
    worker: Worker,
}

impl Ends {
    pub(super) fn start(config: &Config, topic: &str) -> Self {
        let questions = Arc::<Mutex<Vec<Question>>>::default();
        let asker = Asker {
            topic: topic.to_owned(),
            questions: Arc::clone(&questions),
            uncommitted: Client::new(config.asker("read_uncommitted")),
            committed: Client::new(config.asker("read_committed")),
        };
        Self { questions, worker: Worker::start("kafka-ends", move |stopping| asker.run(&stopping)) }
    }

    /// Asks, and answers later.
    pub(super) fn ask(&self, partition: PartitionId, edge: Edge, answer: Answer<Seen>) {
        lock(&self.questions).push(Question { partition, edge, since: Instant::now(), answer });
        self.worker.wake();
    }

    /// Asks and waits.
    pub(super) async fn seen(&self, partition: PartitionId, edge: Edge) -> Result<Seen, Error> {
        self.asked(partition, edge).await
    }

    /// Asks at once; what it returns waits.
    pub(super) fn asked(
        &self,
        partition: PartitionId,
        edge: Edge,
    ) -> impl Future<Output = Result<Seen, Error>> + use<> {
        let (answer, answered) = oneshot::channel();
        let tell = move |seen| {
            let _gone = answer.send(seen);
        };
        self.ask(partition, edge, Box::new(tell));
        async move { answered.await.unwrap_or_else(|_stopped| Err(Error::closed())) }
    }
}

fn lock(questions: &Mutex<Vec<Question>>) -> MutexGuard<'_, Vec<Question>> {
    questions.lock().expect("nothing panics while it holds the questions")
}

struct Asker {
    topic: String,
    questions: Arc<Mutex<Vec<Question>>>,
    uncommitted: Client,
    committed: Client,
}

impl Asker {
    fn run(mut self, stopping: &Stopping) {
        while !stopping.is_set() {
            let questions = mem::take(&mut *lock(&self.questions));
            if questions.is_empty() {
                self.uncommitted.serve();
                self.committed.serve();
                stopping.rest(Duration::MAX);
                continue;
            }
            if !self.round(questions) {
                stopping.rest(PAUSE);
            }
        }
        // Whoever still waits is told by the drop of its answer.
        lock(&self.questions).clear();
    }

    /// Asks once for all. Whether every question was answered.
    fn round(&mut self, questions: Vec<Question>) -> bool {
        let of = |edge| questions.iter().filter(move |q| q.edge == edge).map(|q| q.partition.0);
        let all = questions.iter().map(|question| question.partition.0);
        let (starts, stables) = (of(Edge::Start).collect(), of(Edge::Stable).collect());
        // The stable offset first: it is then no higher than the end.
        let stables = self.committed.offsets(&self.topic, stables, rdkafka::Offset::End);
        let starts = self.uncommitted.offsets(&self.topic, starts, rdkafka::Offset::Beginning);
        let since = self.uncommitted.each(&self.topic, &since(&questions));
        let ends = self.uncommitted.offsets(&self.topic, all.collect(), rdkafka::Offset::End);
        let mut again = Vec::new();
        for question in questions {
            let end = found(&ends, question.partition);
            let edge = match question.edge {
                Edge::Start => found(&starts, question.partition),
                Edge::Stable => found(&stables, question.partition),
                // None is younger, so the end that was asked after it is as good.
                Edge::Since(_) => match found(&since, question.partition) {
                    Ok(NO_OFFSET) => end.clone(),
                    found => found,
                },
            };
            match edge.and_then(|edge| end.map(|end| Seen { edge, end })) {
                Ok(seen) => (question.answer)(Ok(seen)),
                Err(error) if question.since.elapsed() > ANSWER => {
                    (question.answer)(Err(Error::unavailable("it does not say where it ends", error)));
                }
                Err(_again) => again.push(question),
            }
        }
        let done = again.is_empty();
        lock(&self.questions).extend(again);
        done
    }
}

/// What is asked by time; of a partition that is asked twice, the older.
fn since(questions: &[Question]) -> BTreeMap<u32, rdkafka::Offset> {
    let mut times: BTreeMap<u32, i64> = BTreeMap::new();
    for question in questions {
        if let Edge::Since(time) = question.edge {
            let time = time.0.max(0);
            times.entry(question.partition.0).and_modify(|other| *other = time.min(*other)).or_insert(time);
        }
    }
    times.into_iter().map(|(partition, time)| (partition, rdkafka::Offset::Offset(time))).collect()
}

/// How a broker says that no record is as young as was asked.
const NO_OFFSET: Offset = Offset(-1);

type Offsets = KafkaResult<HashMap<u32, KafkaResult<i64>>>;

fn found(offsets: &Offsets, partition: PartitionId) -> KafkaResult<Offset> {
    let found = offsets.as_ref().map_err(Clone::clone)?.get(&partition.0);
    found.cloned().unwrap_or(Err(KafkaError::Canceled)).map(Offset)
}

/// A client that is made when it is needed, and anew after an error: its view of the cluster may be stale.
pub(super) struct Client {
    config: ClientConfig,
    made: Option<BaseConsumer<Context>>,
    /// A broker did not answer, so each is asked by itself until all do.
    apart: bool,
}

impl Client {
    pub(super) fn new(config: ClientConfig) -> Self {
        Self { config, made: None, apart: false }
    }

    /// Takes log lines and errors off its queue.
    fn serve(&self) {
        if let Some(client) = &self.made {
            while client.poll(Duration::ZERO).is_some() {}
        }
    }

    /// One edge of each of these partitions.
    pub(super) fn offsets(&mut self, topic: &str, partitions: Vec<u32>, at: rdkafka::Offset) -> Offsets {
        self.each(topic, &partitions.into_iter().map(|partition| (partition, at)).collect())
    }

    /// An edge of each of these partitions, or where its log reaches a time.
    fn each(&mut self, topic: &str, asked: &BTreeMap<u32, rdkafka::Offset>) -> Offsets {
        if asked.is_empty() {
            return Ok(HashMap::new());
        }
        self.serve();
        let together = if self.apart { None } else { self.try_offsets(topic, asked).ok() };
        let offsets = match together {
            Some(offsets) => Ok(offsets),
            // All fail, and take long, for one that does not answer.
            None => self.by_leader(topic, asked),
        };
        self.apart = offsets.as_ref().map_or(true, |all| all.values().any(KafkaResult::is_err));
        if self.apart {
            self.made = None;
        }
        offsets
    }

    /// Asks what each broker leads by itself; of a partition without a leader nothing can be asked.
    fn by_leader(&mut self, topic: &str, asked: &BTreeMap<u32, rdkafka::Offset>) -> Offsets {
        let metadata = self.client()?.fetch_metadata(Some(topic), TRY)?;
        let mut leaders: BTreeMap<i32, BTreeMap<u32, rdkafka::Offset>> = BTreeMap::new();
        for described in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
            let partition = described.id().unsigned_abs();
            if let Some(at) = asked.get(&partition).filter(|_| described.leader() >= 0) {
                leaders.entry(described.leader()).or_default().insert(partition, *at);
            }
        }
        let none = || Err(KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable));
        let mut all: HashMap<_, _> = asked.keys().map(|partition| (*partition, none())).collect();
        for led in leaders.into_values() {
            match self.try_offsets(topic, &led) {
                Ok(offsets) => all.extend(offsets),
                Err(error) => all.extend(led.into_keys().map(|partition| (partition, Err(error.clone())))),
            }
        }
        Ok(all)
    }

    fn client(&mut self) -> KafkaResult<&BaseConsumer<Context>> {
        Ok(match &mut self.made {
            Some(client) => client,
            none => none.insert(self.config.create_with_context(Context::new(None))?),
        })
    }

    fn try_offsets(&mut self, topic: &str, asked: &BTreeMap<u32, rdkafka::Offset>) -> Offsets {
        let client = self.client()?;
        let mut list = TopicPartitionList::with_capacity(asked.len());
        for (partition, at) in asked {
            list.add_partition_offset(topic, number(PartitionId(*partition)), *at)?;
        }
        let list = client.offsets_for_times(list, TRY)?;
        let each = list.elements().into_iter().map(|element| {
            let partition = element.partition().unsigned_abs();
            let by_time = matches!(asked.get(&partition), Some(rdkafka::Offset::Offset(_)));
            let offset = element.error().and(match element.offset() {
                rdkafka::Offset::Offset(offset) => Ok(offset),
                rdkafka::Offset::End if by_time => Ok(NO_OFFSET.0),
                _ => Err(KafkaError::Canceled),
            });
            (partition, offset)
        });
        Ok(each.collect())
    }
}

/// A partition as librdkafka takes it.
pub(super) fn number(partition: PartitionId) -> i32 {
    i32::try_from(partition.0).expect("PARTITIONS_MAX is far below")
}
