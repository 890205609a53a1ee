//! A history that keeps every promise, made of a seed: clients, faults and a shard that are simulated on the naive model.
//!
//! Invariant: shares no code with the checker but the sums of copies; what clients are told comes of whole models, one for
//! every offset.

mod answers;
mod ending;

use millpond_fold::{Entry, model::Model};
use millpond_schemas::{
    Claim, Conditions, Control, ControlOp, Decoder, Expiry, FORMAT_RECORD, Generation, HEADER_FORMAT,
    Keyring, LogId, Mutation, MutationId, Offset, Op as Change, Outcome, PartitionId, Position, Raw,
    Received, RecordKey, TtlMode, UnixMillis, limits,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::history::{
    Consistency, Door, Event, Fault, Intent, Look, Op, Read, Run, Seen, Told, WriteResult, Written,
};

const PARTITIONS: u32 = 2;
const LOG_ID: LogId = LogId([7; 16]);
const MAC_KEY: [u8; 32] = [1; 32];
const START_US: i64 = 1_700_000_000_000_000;
const KEYS: u32 = 10;
const SESSIONS: u64 = 3;
const STEPS: usize = 900;

pub(super) const SKEW_MS: u64 = 50;

/// One partition: its log, and what it was after each record.
struct Part {
    decoder: Decoder,
    records: Vec<Received>,
    models: Vec<Model>,
}

struct World {
    random: StdRng,
    now_us: i64,
    parts: Vec<Part>,
    events: Vec<Event>,
    /// What each session has seen, by partition.
    tokens: Vec<Vec<i64>>,
    values: u64,
}

/// The history of a seed.
pub(super) fn history(seed: u64) -> Vec<Event> {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.plant();
    world.end();
    world.events
}

impl World {
    fn new(seed: u64) -> Self {
        let keyring = Keyring::new(1, MAC_KEY);
        let part = |partition| Part {
            decoder: Decoder {
                log_id: LOG_ID,
                partition: PartitionId(partition),
                partitions: PARTITIONS,
                keyring: keyring.clone(),
            },
            records: Vec::new(),
            models: Vec::new(),
        };
        let run = Run { drill: "simulated".into(), seed, skew_ms: SKEW_MS, transactions: false };
        let mut world = Self {
            random: StdRng::seed_from_u64(seed),
            now_us: START_US,
            parts: (0..PARTITIONS).map(part).collect(),
            events: vec![Event::Run(run)],
            tokens: vec![vec![-1; PARTITIONS as usize]; usize::try_from(SESSIONS).unwrap()],
            values: 0,
        };
        let claim = Claim {
            copy: "shard-0".into(),
            generation: Generation::FIRST,
            partitions: PARTITIONS,
            fold_version: limits::FOLD_VERSION,
            format_max: limits::FORMAT,
            value_bytes_max: 1024,
            purge_grace_ms: 20_000,
            mac_key_id: 1,
        };
        for partition in 0..PARTITIONS {
            let genesis = ControlOp::Genesis { generation: Generation::FIRST, partitions: PARTITIONS };
            world.control(partition, genesis);
            world.control(partition, ControlOp::Claim(claim.clone()));
        }
        world
    }

    fn control(&mut self, partition: u32, op: ControlOp) {
        let part = &self.parts[partition as usize];
        let control = Control {
            id: self.random.random(),
            log_id: LOG_ID,
            partition: PartitionId(partition),
            end_seen: Offset(i64::try_from(part.records.len()).unwrap()),
            mac_key_id: 1,
            op,
        };
        let raw = control.encode(&part.decoder.keyring).unwrap();
        self.append(partition, raw);
    }

    fn append(&mut self, partition: u32, raw: Raw) -> (Position, Outcome) {
        let part = &mut self.parts[partition as usize];
        let offset = Offset(i64::try_from(part.records.len()).unwrap());
        let received = Received { offset, time: UnixMillis(self.now_us / 1000), raw };
        let empty = || Model::new(PartitionId(partition), Generation::FIRST, LOG_ID);
        let mut model = part.models.last().cloned().unwrap_or_else(empty);
        let outcome = model.apply(&Entry::new(&part.decoder, received.clone())).unwrap();
        part.records.push(received);
        part.models.push(model);
        (Position { generation: Generation::FIRST, partition: PartitionId(partition), offset }, outcome)
    }

    fn step(&mut self) {
        self.pass(5..120);
        match self.random.random_range(0..100) {
            0..55 => self.write(),
            55..60 => self.retried(),
            60..62 => self.poison(),
            62..66 => {
                let partition = self.random.random_range(0..PARTITIONS);
                let rows_max = self.random.random_range(1..4);
                let purge = self.random.random_bool(0.2);
                let op = if purge { ControlOp::Purge { rows_max } } else { ControlOp::Sweep { rows_max } };
                self.control(partition, op);
            }
            66 => self.fault(),
            _ => self.read(),
        }
    }

    fn pass(&mut self, ms: std::ops::Range<i64>) {
        self.now_us += self.random.random_range(ms) * 1000 + 7;
    }

    fn key(&mut self) -> RecordKey {
        RecordKey::parse(format!("default/key-{}", self.random.random_range(0..KEYS)).into()).unwrap()
    }

    fn mutation(&mut self) -> Mutation {
        let key = self.key();
        let mut conditions = Conditions::default();
        match self.random.random_range(0..8) {
            0 => conditions.absent = true,
            1 => conditions.exists = true,
            2 => conditions.version = Some(self.version_of(&key)),
            _ => {}
        }
        let op = self.change();
        Mutation { key, id: None, conditions, op }
    }

    /// The key's version, or one that is not it.
    fn version_of(&mut self, key: &RecordKey) -> String {
        let partition = key.partition(PARTITIONS);
        let model = self.parts[partition.0 as usize].models.last().unwrap();
        let row = model.rows.get(key).filter(|_| self.random.random_bool(0.8));
        row.map_or("1-0-0".into(), |row| row.version.position(partition).to_string())
    }

    fn change(&mut self) -> Change {
        self.values += 1;
        let value = format!("value-{}", self.values).into();
        let ttl = Expiry::TtlMs(self.random.random_range(1000..4000));
        let expiry = self.random.random_bool(0.4).then_some(ttl);
        match self.random.random_range(0..10) {
            0..4 => Change::Put { value, content_type: "text/plain".into(), expiry },
            4 => Change::Put { value: self.values.to_string().into(), content_type: "text/x".into(), expiry },
            5 => Change::Delete,
            6 => Change::Ttl { mode: TtlMode::OnlyLonger, expiry: Some(ttl) },
            7 => Change::Append { value },
            8 => Change::Put { value: "5".into(), content_type: "text/plain".into(), expiry: None },
            _ => Change::Increment { by: i64::try_from(self.values).unwrap(), initial: 3 },
        }
    }

    /// A write by anybody, however it ends.
    fn write(&mut self) {
        let mutation = self.mutation();
        let session = self.random.random_bool(0.5).then(|| self.random.random_range(0..SESSIONS));
        let door = if self.random.random_bool(0.2) { Door::Kafka } else { Door::Http };
        match self.random.random_range(0..20) {
            0 => {
                let failed = WriteResult::Failed { status: 503, code: "unavailable".into() };
                self.op(session, door, Intent::of(&mutation), failed);
            }
            1 | 2 => {
                if self.random.random_bool(0.5) {
                    self.land(&mutation, door);
                }
                let unknown = WriteResult::Unknown { status: 504, code: "log-timeout".into() };
                self.op(session, door, Intent::of(&mutation), unknown);
            }
            _ => {
                let (position, outcome) = self.land(&mutation, door);
                let waits = door == Door::Http && self.random.random_bool(0.7);
                let told = self.told(&mutation, position, waits.then_some(&outcome));
                if let Some(session) = session {
                    self.see(session, position);
                }
                self.op(session, door, Intent::of(&mutation), WriteResult::Ok(told));
            }
        }
    }

    /// On the log with the id that its door gives it.
    fn land(&mut self, mutation: &Mutation, door: Door) -> (Position, Outcome) {
        let random = MutationId { bytes: self.random.random(), durable: false };
        let id = mutation.id.or((door != Door::Kafka).then_some(random));
        let sent = Mutation { id, ..mutation.clone() };
        self.append(mutation.key.partition(PARTITIONS).0, sent.encode())
    }

    /// One request with an Idempotency-Key, sent until it is answered, and once more.
    fn retried(&mut self) {
        let mut mutation = self.mutation();
        self.values += 1;
        let idempotency_key = format!("once-{}", self.values);
        mutation.id = Some(MutationId::of_idempotency_key(&mutation.key, &idempotency_key));
        let intent = Intent { id: None, idempotency_key: Some(idempotency_key), ..Intent::of(&mutation) };
        for _ in 0..self.random.random_range(0..3) {
            if self.random.random_bool(0.5) {
                self.land(&mutation, Door::Http);
            }
            let unknown = WriteResult::Unknown { status: 0, code: "connection reset".into() };
            self.op(None, Door::Http, intent.clone(), unknown);
            self.pass(5..50);
        }
        for _ in 0..2 {
            let (position, outcome) = self.land(&mutation, Door::Http);
            let told = self.told(&mutation, position, Some(&outcome));
            self.op(None, Door::Http, intent.clone(), WriteResult::Ok(told));
            self.look(position, &outcome, &mutation);
            self.pass(5..50);
        }
    }

    fn look(&mut self, position: Position, outcome: &Outcome, mutation: &Mutation) {
        let told = match outcome {
            Outcome::Duplicate { of, .. } => {
                Told { written: Written::Duplicate { of: of.to_string() }, ..Told::accepted(position) }
            }
            outcome => self.told(mutation, position, Some(outcome)),
        };
        self.events.push(Event::Look(Look { client: 9, end_us: self.now_us, told }));
    }

    fn op(&mut self, session: Option<u64>, door: Door, intent: Intent, result: WriteResult) {
        let start_us = self.now_us - 2000;
        let client = session.unwrap_or(100);
        self.events.push(Event::Op(Op {
            client,
            session,
            door,
            intent,
            start_us,
            end_us: self.now_us,
            result,
        }));
    }

    fn see(&mut self, session: u64, position: Position) {
        let token = &mut self.tokens[usize::try_from(session).unwrap()][position.partition.0 as usize];
        *token = (*token).max(position.offset.0);
    }

    fn poison(&mut self) {
        self.values += 1;
        let value = format!("\u{fffd}{}", self.values);
        let key = format!("default/poison-{}", self.values);
        let headers = vec![(HEADER_FORMAT.to_owned(), std::str::from_utf8(FORMAT_RECORD).unwrap().into())];
        let change = crate::history::Change::Poison { headers, value: Some(value.into()) };
        let intent = Intent::new(key, change);
        let (position, outcome) = self.append(0, intent.poison().unwrap());
        assert!(matches!(outcome, Outcome::DeadLettered(_)), "{outcome:?}");
        self.op(None, Door::Kafka, intent, WriteResult::Ok(Told::accepted(position)));
        let mutation =
            Mutation { key: self.key(), id: None, conditions: Conditions::default(), op: Change::Delete };
        self.look(position, &outcome, &mutation);
    }

    fn fault(&mut self) {
        let (name, target) = ("kill-9".into(), "writer 0".into());
        self.events.push(Event::Fault(Fault { name, target, at_us: self.now_us, until_us: None }));
    }

    /// A read by a session with its tokens, by anybody of an old state, or of the log's end.
    fn read(&mut self) {
        let key = self.key();
        let partition = key.partition(PARTITIONS);
        let end = i64::try_from(self.parts[partition.0 as usize].records.len()).unwrap();
        let (session, consistency, at_least) = match self.random.random_range(0..3) {
            0 => (None, Consistency::Eventual, (end - 40).max(0)),
            1 => (None, Consistency::Strong, end - 1),
            _ => {
                let session = self.random.random_range(0..SESSIONS);
                let token = self.tokens[usize::try_from(session).unwrap()][partition.0 as usize];
                (Some(session), Consistency::Session, token.max(0))
            }
        };
        let min_position = session.and_then(|session| self.token(session));
        let offset = self.random.random_range(at_least..end);
        let position = Position { generation: Generation::FIRST, partition, offset: Offset(offset) };
        if let Some(session) = session {
            self.see(session, position);
        }
        let seen = self.shown(&key, position);
        self.events.push(Event::Read(Read {
            client: session.unwrap_or(101),
            session,
            tenant: key.tenant().into(),
            key: key.key().into(),
            consistency,
            min_position,
            start_us: self.now_us - 1000,
            end_us: self.now_us + 1000,
            seen,
        }));
    }

    fn token(&self, session: u64) -> Option<String> {
        let tokens = (0..).zip(&self.tokens[usize::try_from(session).unwrap()]);
        let tokens = tokens.filter(|(_, offset)| **offset >= 0);
        let list: Vec<String> =
            tokens.map(|(partition, offset): (u32, _)| format!("1-{partition}-{offset}")).collect();
        (!list.is_empty()).then(|| list.join(","))
    }

    /// Writes of one content that are on the log twice, with good reason.
    fn plant(&mut self) {
        let key = RecordKey::parse("default/twice".into()).unwrap();
        let unknown = WriteResult::Unknown { status: 504, code: "planted".into() };
        for (by, acked) in [(7, false), (11, true)] {
            let op = Change::Increment { by, initial: 0 };
            let mutation = Mutation { key: key.clone(), id: None, conditions: Conditions::default(), op };
            let (position, outcome) = self.land(&mutation, Door::Http);
            let told = WriteResult::Ok(self.told(&mutation, position, Some(&outcome)));
            self.op(None, Door::Http, Intent::of(&mutation), if acked { told } else { unknown.clone() });
            self.land(&mutation, Door::Http);
            self.op(None, Door::Http, Intent::of(&mutation), unknown.clone());
        }
        self.fault();
        self.look_into_nothing(&key);
    }

    /// A copy that has applied nothing yet answers.
    fn look_into_nothing(&mut self, key: &RecordKey) {
        self.events.push(Event::Read(Read {
            client: 102,
            session: None,
            tenant: key.tenant().into(),
            key: key.key().into(),
            consistency: Consistency::Eventual,
            min_position: None,
            start_us: self.now_us - 1000,
            end_us: self.now_us + 1000,
            seen: Seen::Absent { position: String::new() },
        }));
    }
}
