//! What stops a partition, and what must not.

use millpond_schemas::{Decoder, Generation, Keyring, LogId, PartitionId, Received, limits::FOLD_VERSION};

use super::*;

const LOG: LogId = LogId([7; 16]);
const PARTITION: PartitionId = PartitionId(0);

fn keyring() -> Keyring {
    Keyring::new(1, [1; 32])
}

fn claim(fold_version: u32, mac_key_id: u32) -> Claim {
    Claim {
        copy: "a".to_owned(),
        generation: Generation::FIRST,
        partitions: 1,
        fold_version,
        format_max: 100,
        value_bytes_max: 100,
        purge_grace_ms: 0,
        mac_key_id,
    }
}

fn state(in_force: Option<&Claim>) -> State {
    let empty = Watermark::empty(PARTITION, Generation::FIRST, LOG);
    let claim = in_force.map(Claim::encode).unwrap_or_default();
    State::new(Watermark { claim, ..empty }, Vec::new()).unwrap()
}

/// A control record by key `mac_key_id`, as a reader with `keyring()` finds it.
fn entry(op: ControlOp, mac_key_id: u32) -> Entry {
    let control =
        Control { id: [3; 16], log_id: LOG, partition: PARTITION, end_seen: Offset(0), mac_key_id, op };
    let raw = control.encode(&keyring().with(2, [2; 32])).unwrap();
    let decoder = Decoder { log_id: LOG, partition: PARTITION, partitions: 1, keyring: keyring() };
    Entry::new(&decoder, Received { offset: Offset(0), time: UnixMillis(1), raw })
}

fn folded(in_force: Option<&Claim>, entry: &Entry) -> Result<Flush, Halt> {
    fold(&state(in_force), std::slice::from_ref(entry), &Given::default())
}

#[test]
fn a_build_older_than_the_claim_in_force_halts() {
    let newer = claim(FOLD_VERSION + 1, 1);
    let halt = Err(Halt::VersionUnknown { version: FOLD_VERSION + 1 });
    for op in [ControlOp::Sweep { rows_max: 1 }, ControlOp::Claim(claim(FOLD_VERSION, 1))] {
        assert_eq!(folded(Some(&newer), &entry(op, 1)), halt);
    }
}

#[test]
fn a_key_that_nobody_announced_stops_nobody() {
    let flush = folded(Some(&claim(1, 1)), &entry(ControlOp::Sweep { rows_max: 1 }, 2)).unwrap();
    let reasons: Vec<DeadReason> = flush.dead_letters.iter().map(|dead| dead.refusal.reason).collect();
    assert_eq!(reasons, [DeadReason::ForgedControlRecord]);
}

#[test]
fn an_announced_key_that_is_not_held_halts() {
    let halt = Err(Halt::KeyMissing(KeyMissing { id: 2 }));
    let sweep = entry(ControlOp::Sweep { rows_max: 1 }, 2);
    assert_eq!(folded(Some(&claim(1, 2)), &sweep), halt);
    assert_eq!(folded(None, &sweep), halt, "no Claim has said yet which key it is");
    assert_eq!(folded(Some(&claim(1, 1)), &entry(ControlOp::Claim(claim(1, 2)), 1)), halt);
}
