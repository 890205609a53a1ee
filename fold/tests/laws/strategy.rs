//! Random steps of a history: every operation, few keys, colliding ids, times around every border.
//!
//! Invariant: a step alone means nothing; `history` turns steps into a log.

use millpond_schemas::{
    Claim, ControlOp, Expiry, Generation, MutationId, Op, TtlMode, UnixMillis,
    limits::{
        EXPIRES_AT_MS_MAX, JSON_DEPTH_MAX, MEMORY_MS, PURGE_GRACE_MS, RESULT_BYTES_MAX, TTL_MS_MAX,
        WINDOW_OFFSETS,
    },
};
use proptest::{collection, option, prelude::*, sample::select};

/// How many keys a history has.
pub(crate) const KEYS: usize = 5;

#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Offsets that a transaction's markers take before the record.
    pub(crate) gap: i64,
    pub(crate) advance_ms: i64,
    pub(crate) skipped: bool,
    pub(crate) time_skipped: bool,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Mutation(Plan),
    /// With an id, or one of its own.
    Control(Option<u8>, ControlOp),
    /// The bytes of the record so many before this one, again.
    Repeat(usize),
    Bad(Bad),
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) key: usize,
    pub(crate) id: Option<MutationId>,
    pub(crate) condition: Condition,
    /// Moments in it are relative to the time before the record.
    pub(crate) op: Op,
    /// In the plain form, where that can say it.
    pub(crate) plain: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Condition {
    Nothing,
    Exists,
    Absent,
    /// The version that the row has, dead or alive.
    Current,
    /// One that no row has.
    Bogus(&'static str),
}

/// Records that are none, or that nobody can judge.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bad {
    Garbage,
    EmptyValue,
    NoOperation,
    Format(u32),
    NoKey,
    KeyInvalid,
    KeyMismatch,
    WrongPartition,
    ManyHeaders,
    Ttl,
    Header,
    Form,
    NoMac,
    WrongMac,
    OtherPartition,
    OtherLog,
    WithKey,
    TooOld,
    FromTheFuture,
    KeyMissing,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    // The first step is mostly a Claim with a small limit, so that growth meets it.
    let rest = collection::vec(prop_oneof![30 => step(what().boxed()), 1 => late_repeat()], 1..70);
    (option::weighted(0.8, step(control(claim()).boxed())), rest)
        .prop_map(|(first, rest)| first.into_iter().chain(rest).collect())
}

fn day_ms() -> i64 {
    i64::try_from(MEMORY_MS).expect("a day fits")
}

fn step(what: BoxedStrategy<What>) -> impl Strategy<Value = Step> {
    let (day, week) = (day_ms(), i64::try_from(PURGE_GRACE_MS).expect("a week fits"));
    let gap = prop_oneof![97 => Just(0i64), 3 => 1..4i64, 1 => Just(WINDOW_OFFSETS - 10)];
    let advance_ms = prop_oneof![
        50 => 0..20i64,
        25 => 400..1_600i64,
        10 => -5_000..0i64,
        2 => Just(-2 * day),
        2 => day - 2..day + 2,
        2 => Just(day + day / 24),
        1 => week - 2..week + 2,
    ];
    (gap, advance_ms, prop::bool::weighted(0.02), prop::bool::weighted(0.05), what).prop_map(
        |(gap, advance_ms, skipped, time_skipped, what)| Step {
            gap,
            advance_ms,
            skipped,
            time_skipped,
            what,
        },
    )
}

/// A retry around the moment, or the offset, at which its id is forgotten.
fn late_repeat() -> impl Strategy<Value = Step> {
    let day = day_ms();
    let by_time = (Just(0i64), day - 1..day + 2);
    let by_offset = (WINDOW_OFFSETS - 2..WINDOW_OFFSETS + 2, Just(0i64));
    (prop_oneof![by_time, by_offset], 1..3usize).prop_map(|((gap, advance_ms), back)| Step {
        gap,
        advance_ms,
        skipped: false,
        time_skipped: false,
        what: What::Repeat(back),
    })
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        76 => plan().prop_map(What::Mutation),
        8 => (1..12usize).prop_map(What::Repeat),
        8 => control(sweep_or_purge()),
        3 => control(claim()),
        1 => control(genesis_or_seal()),
        4 => bad().prop_map(What::Bad),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let id = (1..4u8, any::<bool>()).prop_map(|(n, durable)| MutationId { bytes: [n; 16], durable });
    let condition = prop_oneof![
        8 => Just(Condition::Nothing),
        1 => Just(Condition::Exists),
        1 => Just(Condition::Absent),
        2 => Just(Condition::Current),
        1 => select(vec!["1-1-0", "2-1-0", "1-0-0", "01-1-3", "x"]).prop_map(Condition::Bogus),
    ];
    (0..KEYS, option::weighted(0.4, id), condition, op(), any::<bool>())
        .prop_map(|(key, id, condition, op, plain)| Plan { key, id, condition, op, plain })
}

fn op() -> impl Strategy<Value = Op> {
    let content_type = select(vec!["application/octet-stream", "application/json", "text/plain", "x"]);
    let put = (value(), content_type, option::of(expiry())).prop_map(|(value, content_type, expiry)| {
        Op::Put { value: value.into(), content_type: content_type.into(), expiry }
    });
    let step = prop_oneof![3 => -3..4i64, 1 => select(vec![i64::MIN, i64::MAX])];
    let initial = prop_oneof![3 => Just(0i64), 1 => select(vec![i64::MIN, i64::MAX, 7])];
    prop_oneof![
        6 => put,
        2 => Just(Op::Delete),
        4 => ttl(),
        3 => (step, initial).prop_map(|(by, initial)| Op::Increment { by, initial }),
        2 => value().prop_map(|value| Op::Append { value: value.into() }),
        3 => json().prop_map(|patch| Op::MergePatch { patch: patch.into() }),
        3 => json_patch().prop_map(|patch| Op::JsonPatch { patch: patch.into() }),
    ]
}

fn ttl_ms() -> impl Strategy<Value = Expiry> {
    prop_oneof![8 => 1_000..3_000u64, 1 => Just(MEMORY_MS), 1 => Just(TTL_MS_MAX)].prop_map(Expiry::TtlMs)
}

fn expiry() -> impl Strategy<Value = Expiry> {
    let moment = prop_oneof![6 => -1_000..3_000i64, 2 => 0..3i64, 1 => Just(EXPIRES_AT_MS_MAX)];
    prop_oneof![ttl_ms(), moment.prop_map(|at| Expiry::At(UnixMillis(at)))]
}

fn ttl() -> impl Strategy<Value = Op> {
    let mode = select(vec![TtlMode::Set, TtlMode::OnlyLonger, TtlMode::OnlyShorter, TtlMode::IfNone]);
    prop_oneof![
        1 => Just(Op::Ttl { mode: TtlMode::Set, expiry: None }),
        3 => ttl_ms().prop_map(|ttl| Op::Ttl { mode: TtlMode::Extend, expiry: Some(ttl) }),
        6 => (mode, expiry()).prop_map(|(mode, expiry)| Op::Ttl { mode, expiry: Some(expiry) }),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let integers = ["0", "41", "-7", "007", "-0", "+5", "-", "", " 1", "1.0", "9223372036854775807"];
    // What serde_json takes for a number, well made and not.
    let odd =
        ["{\"a\":{\"$serde_json::private::Number\":\"1\"}}", "{\"$serde_json::private::Number\":\"x\"}"];
    let texts = [&integers[..], &odd[..]].concat();
    prop_oneof![
        4 => select(texts).prop_map(|text| text.as_bytes().to_vec()),
        4 => json().prop_map(String::into_bytes),
        2 => collection::vec(any::<u8>(), 0..8),
        1 => (RESULT_BYTES_MAX - 1..RESULT_BYTES_MAX + 2).prop_map(|bytes| vec![b'7'; bytes]),
        1 => (30..60usize).prop_map(|bytes| vec![b'8'; bytes]),
    ]
}

const NUMBERS: [&str; 11] = [
    "1",
    "1.0",
    "10e-1",
    "0.01E+2",
    "-1",
    "-0",
    "0e9",
    "0.0",
    "12345678901234567890123",
    "1e400",
    "1e99999999999999999999",
];

/// Short JSON with colliding names and one number in many spellings.
fn json() -> impl Strategy<Value = String> {
    let others = ["null", "true", "\"x\"", "\"\\u0000\"", "[]", "{}", "\"1\""];
    let leaf = select([&NUMBERS[..], &others[..]].concat()).prop_map(str::to_owned);
    leaf.prop_recursive(3, 10, 3, |inner| {
        let names = select(vec!["a", "b", "c", "m~n", "x/y", "", "0", "é"]);
        prop_oneof![
            1 => collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            3 => collection::btree_map(names, inner, 0..4).prop_map(|members| {
                let member = |(name, value): (&str, String)| format!("\"{name}\":{value}");
                format!("{{{}}}", members.into_iter().rev().map(member).collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

fn json_patch() -> impl Strategy<Value = String> {
    let tokens = ["a", "b", "c", "m~0n", "x~1y", "0", "1", "-", "01", "+1", "", "é", "~01"];
    let path = collection::vec(select(tokens.to_vec()), 0..3)
        .prop_map(|tokens| tokens.iter().flat_map(|token| ["/", token]).collect::<String>());
    let deep = (JSON_DEPTH_MAX - 2..JSON_DEPTH_MAX + 2).prop_map(|tokens| "/a".repeat(tokens));
    let path = prop_oneof![20 => path, 1 => deep];
    let op = select(vec!["add", "add", "add", "remove", "replace", "move", "copy", "test", "test"]);
    let step = (op, path.clone(), path, json()).prop_map(|(op, from, path, value)| {
        format!("{{\"value\":{value},\"from\":\"{from}\",\"more\":1,\"path\":\"{path}\",\"op\":\"{op}\"}}")
    });
    let root = option::weighted(0.4, json())
        .prop_map(|value| value.map(|value| format!("{{\"op\":\"add\",\"path\":\"\",\"value\":{value}}}")));
    let number = || select(NUMBERS.to_vec());
    let alike = (number(), number()).prop_map(|(one, other)| {
        format!("{{\"op\":\"add\",\"path\":\"\",\"value\":[{one}]}},{{\"op\":\"test\",\"path\":\"\",\"value\":[{other}]}}")
    });
    let steps = collection::vec(prop_oneof![5 => step, 1 => alike], 0..4);
    (root, steps).prop_map(|(root, steps)| {
        format!("[{}]", root.into_iter().chain(steps).collect::<Vec<_>>().join(","))
    })
}

fn control(op: impl Strategy<Value = ControlOp>) -> impl Strategy<Value = What> {
    (option::weighted(0.15, 1..3u8), op).prop_map(|(id, op)| What::Control(id, op))
}

fn sweep_or_purge() -> impl Strategy<Value = ControlOp> {
    let rows_max = || prop_oneof![4 => 1..4u32, 1 => Just(0), 1 => Just(u32::MAX)];
    prop_oneof![
        3 => rows_max().prop_map(|rows_max| ControlOp::Sweep { rows_max }),
        2 => rows_max().prop_map(|rows_max| ControlOp::Purge { rows_max }),
    ]
}

fn genesis_or_seal() -> impl Strategy<Value = ControlOp> {
    select(vec![
        ControlOp::Genesis { generation: Generation(1), partitions: 4 },
        ControlOp::Genesis { generation: Generation(1), partitions: 4 },
        ControlOp::Seal { next_generation: Generation(2) },
    ])
}

fn claim() -> impl Strategy<Value = ControlOp> {
    let fold_version = prop_oneof![30 => Just(1u32), 1 => Just(0), 1 => Just(2)];
    let format_max = prop_oneof![6 => Just(100u32), 1 => Just(200), 1 => Just(300)];
    let value_bytes_max = prop_oneof![4 => 30..60u64, 1 => Just(4_097), 2 => Just(100_000)];
    let purge_grace_ms = select(vec![0, 1_000, 1_000, PURGE_GRACE_MS, u64::MAX]);
    (select(vec!["a", "b"]), fold_version, format_max, value_bytes_max, purge_grace_ms).prop_map(
        |(copy, fold_version, format_max, value_bytes_max, purge_grace_ms)| {
            ControlOp::Claim(Claim {
                copy: copy.to_owned(),
                generation: Generation(1),
                partitions: 4,
                fold_version,
                format_max,
                value_bytes_max,
                purge_grace_ms,
                mac_key_id: 1,
            })
        },
    )
}

fn bad() -> impl Strategy<Value = Bad> {
    use Bad::{
        EmptyValue, Form, Format, FromTheFuture, Garbage, Header, KeyInvalid, KeyMismatch, KeyMissing,
        ManyHeaders, NoKey, NoMac, NoOperation, OtherLog, OtherPartition, TooOld, Ttl, WithKey, WrongMac,
        WrongPartition,
    };
    let bad = vec![
        Garbage,
        EmptyValue,
        NoOperation,
        Format(200),
        Format(250),
        Format(399),
        NoKey,
        KeyInvalid,
        KeyMismatch,
        WrongPartition,
        ManyHeaders,
        Ttl,
        Header,
        Form,
        NoMac,
        WrongMac,
        OtherPartition,
        OtherLog,
        WithKey,
        TooOld,
        FromTheFuture,
    ];
    prop_oneof![60 => select(bad), 1 => Just(KeyMissing)]
}
