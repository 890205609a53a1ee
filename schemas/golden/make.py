#!/usr/bin/env python3
"""Makes the golden files of this folder with foreign code: none of Millpond's runs here.

Partitions come from kafka-python's murmur2 and are compared with librdkafka's; messages from Python's protobuf
library and protoc; MACs from Python's hmac. The Rust tests read the files; they never run this script.

    python3 -m venv venv
    venv/bin/pip install protobuf grpcio-tools kafka-python confluent-kafka
    venv/bin/python schemas/golden/make.py

Running it again changes no byte, unless the contract has changed: then say so in the changelog.
"""

import ctypes
import hashlib
import hmac
import importlib
import json
import pathlib
import sys
import tempfile

import confluent_kafka
from grpc_tools import protoc
from kafka.partitioner.default import murmur2

HERE = pathlib.Path(__file__).resolve().parent
PARTITIONS = [1, 3, 8, 64, 100, 4096]
LOG_ID = bytes(range(16))
MAC_KEYS = {1: bytes([0x11] * 32), 2: bytes(range(32))}


def keys():
    """Empty, tails of 1 to 3 bytes, high bits, long ones, and such as lie on a log. The same every time."""

    def noise(seed, length):
        return hashlib.shake_128(f"millpond {seed}".encode()).digest(length)

    known = [b"", b"21", b"foobar", b"a-little-bit-long-string", b"a-little-bit-longer-string", b"abc"]
    single = [bytes([byte]) for byte in range(256)]
    high = [bytes([high] * length) for high in (0x80, 0xFE, 0xFF) for length in range(2, 18)]
    tails = [noise(f"tail {n}", 4 * (n % 7) + n // 7 % 4) for n in range(7 * 4 * 4)]
    long = [noise(f"long {n}", n) for n in (255, 256, 257, 1022, 1023, 1024, 1025, 1088)]
    tenants = [f"{tenant}/{kind}:{n}".encode() for tenant in ("default", "acme-1", "t_2")
               for kind in ("user", "flight/2013", "ключ") for n in range(0, 1000, 13)]
    binary = [b"default/" + noise(f"binary {n}", 1 + n % 33) for n in range(64)]
    return list(dict.fromkeys(known + single + high + tails + long + tenants + binary))


def librdkafka_partition():
    """librdkafka's own `murmur2` partitioner, which needs no broker and no topic."""
    folder = pathlib.Path(confluent_kafka.__file__).resolve().parent
    libraries = [*folder.parent.glob("confluent_kafka.libs/librdkafka*"), *folder.glob(".dylibs/librdkafka*")]
    function = ctypes.CDLL(str(libraries[0])).rd_kafka_msg_partitioner_murmur2
    function.restype = ctypes.c_int32
    function.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int32,
                         ctypes.c_void_p, ctypes.c_void_p]
    return lambda key, count: function(None, key, len(key), count, None, None)


def partition_vectors():
    foreign = librdkafka_partition()
    vectors = []
    for key in keys():
        partitions = [(murmur2(key) & 0x7FFFFFFF) % count for count in PARTITIONS]
        assert partitions == [foreign(key, count) for count in PARTITIONS], key
        vectors.append([key.hex(), partitions])
    lines = ",\n".join(json.dumps(vector, separators=(",", ":")) for vector in vectors)
    about = "a record key in hex, and its partition for each number of partitions above"
    return f'{{"about":{json.dumps(about)},\n"partitions":{json.dumps(PARTITIONS)},\n"vectors":[\n{lines}\n]}}\n'


def compiled():
    """The contract's messages, compiled by protoc."""
    proto = HERE.parent / "proto"
    names = ["record", "outcome", "topology"]
    with tempfile.TemporaryDirectory() as out:
        files = [f"millpond/v1/{name}.proto" for name in names]
        assert protoc.main(["protoc", f"-I{proto}", f"--python_out={out}", *files]) == 0
        sys.path.insert(0, out)
        return [importlib.import_module(f"millpond.v1.{name}_pb2") for name in names]


RECORD, OUTCOME, TOPOLOGY = compiled()


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def record(name, value, key=b"default/hello", canonical=True, headers=()):
    return {
        "name": name,
        "key": None if key is None else key.hex(),
        "headers": [["kv-format", b"record".hex()], *([name, value.hex()] for name, value in headers)],
        "value": value.hex(),
        "canonical": canonical,
    }


def mutation(name, **fields):
    return record(name, RECORD.Record(format=100, **fields).SerializeToString(deterministic=True))


def mutations():
    pb = RECORD
    put = pb.Put(value=b"world", content_type="text/plain")
    ident = bytes(range(1, 17))
    ttl = lambda mode, **at: pb.Ttl(mode=mode, expiry=pb.Expiry(**at) if at else None)  # noqa: E731
    yield mutation("put", put=put)
    yield mutation("put-empty", put=pb.Put(content_type="application/octet-stream"))
    yield mutation("put-any-bytes", put=pb.Put(value=bytes(range(256)), content_type="x/y"))
    yield mutation("put-ttl", put=pb.Put(value=b"1", content_type="text/plain", expiry=pb.Expiry(ttl_ms=1000)))
    yield mutation("put-expires", put=pb.Put(value=b"1", content_type="text/plain",
                                             expiry=pb.Expiry(expires_at_ms=253402300799999)))
    yield mutation("delete", delete=pb.Delete())
    yield mutation("ttl-never", ttl=ttl(pb.Ttl.SET))
    yield mutation("ttl-set", ttl=ttl(pb.Ttl.SET, expires_at_ms=0))
    yield mutation("ttl-extend", ttl=ttl(pb.Ttl.EXTEND, ttl_ms=315576000000))
    yield mutation("ttl-only-longer", ttl=ttl(pb.Ttl.ONLY_LONGER, ttl_ms=60000))
    yield mutation("ttl-only-shorter", ttl=ttl(pb.Ttl.ONLY_SHORTER, ttl_ms=60000))
    yield mutation("ttl-if-none", ttl=ttl(pb.Ttl.IF_NONE, ttl_ms=60000))
    yield mutation("increment", increment=pb.Increment(by=-5, initial=9223372036854775807))
    yield mutation("increment-zero", increment=pb.Increment())
    yield mutation("append", append=pb.Append(value=b"\x00\xff"))
    yield mutation("merge-patch", merge_patch=pb.MergePatch(patch=b'{"a":null}'))
    yield mutation("json-patch", json_patch=pb.JsonPatch(patch=b'[{"op":"remove","path":"/a"}]'))
    yield mutation("if-exists", conditions=pb.Conditions(exists=True), put=put)
    yield mutation("if-absent", conditions=pb.Conditions(absent=True), put=put)
    yield mutation("if-version", conditions=pb.Conditions(version="1-3-42"), delete=pb.Delete())
    yield mutation("id", id=ident, put=put)
    yield mutation("id-durable", id=ident, durable=True, put=put)


def foreign_mutations():
    """What other libraries may write and ours does not: it says the same as `put`."""
    pb = RECORD
    put = pb.Put(value=b"world", content_type="text/plain")
    plain = pb.Record(put=put).SerializeToString(deterministic=True)
    yield record("put-format-0", plain, canonical=False)
    yield record("put-format-minor", pb.Record(format=199, put=put).SerializeToString(), canonical=False)
    yield record("put-key", pb.Record(format=100, key=b"hello", put=put).SerializeToString(), canonical=False)
    yield record("put-id-zero", pb.Record(format=100, id=bytes(16), put=put).SerializeToString(), canonical=False)
    yield record("put-last-op-counts", b"\x8a\x01\x00" + plain, canonical=False)
    yield record("put-fields-reversed", plain + b"\x08\x64", canonical=False)
    yield record("put-unknown-field", plain + varint(1000 << 3 | 2) + b"\x03new", canonical=False)
    yield record("put-varint-padded", b"\x08\xe4\x80\x80\x00" + plain, canonical=False)


def control(name, key_id=1, end_seen=41, **op):
    message = RECORD.Record(
        format=100, id=bytes(range(16, 32)),
        control=RECORD.Control(log_id=LOG_ID, partition=3, end_seen=end_seen, mac_key_id=key_id), **op)
    value = message.SerializeToString(deterministic=True)
    mac = hmac.new(MAC_KEYS[key_id], b"millpond.v1 control\0" + value, hashlib.sha256).digest()
    return record(name, value, key=None, headers=[("kv-mac", mac)])


def controls():
    pb = RECORD
    claim = pb.Claim(copy="shard-1", generation=1, partitions=8, fold_version=1, format_max=100,
                     value_bytes_max=524288, purge_grace_ms=604800000, mac_key_id=2)
    yield control("genesis", end_seen=0, genesis=pb.Genesis(generation=1, partitions=8))
    yield control("claim", claim=claim)
    yield control("sweep", key_id=2, sweep=pb.Sweep(rows_max=1000))
    yield control("purge", purge=pb.Purge(rows_max=1))
    yield control("seal", seal=pb.Seal(next_generation=2))


def message(name, proto):
    return {"name": name, "value": proto.SerializeToString(deterministic=True).hex()}


def outcomes():
    pb = OUTCOME
    effect = pb.Effect(changed=True, version=(1 << 48) | 7, expires_at_ms=5, value=b"42", content_type="text/plain")
    rejected = pb.Outcome(rejected=pb.Rejected(code="condition-failed", version=(1 << 48) | 6))
    yield message("plain", pb.Outcome(applied=pb.Applied()))
    yield message("effect", pb.Outcome(applied=pb.Applied(effect=effect)))
    yield message("effect-unchanged", pb.Outcome(applied=pb.Applied(effect=pb.Effect(version=1 << 48))))
    yield message("effect-empty-value", pb.Outcome(applied=pb.Applied(
        effect=pb.Effect(changed=True, version=1 << 48, value=b"", content_type="text/plain"))))
    yield message("rejected", rejected)
    yield message("rejected-absent", pb.Outcome(rejected=pb.Rejected(code="not-found")))
    yield message("duplicate", pb.Outcome(duplicate=pb.Duplicate(generation=1, offset=5, partition=3)))
    yield message("duplicate-durable", pb.Outcome(
        duplicate=pb.Duplicate(generation=1, offset=0, partition=3, original=rejected)))
    yield message("dead-lettered", pb.Outcome(dead_lettered=pb.DeadLettered(code="undecodable", detail="why")))


def ranges():
    pb = OUTCOME
    failed = pb.Outcome(rejected=pb.Rejected(code="wrong-type"))
    first = pb.Exception(offset_delta=0, id=bytes(range(1, 17)), outcome=failed)
    last = pb.Exception(offset_delta=9, outcome=failed)
    yield message("range", pb.OutcomeRange(**{
        "generation": 1, "partition": 3, "from": 100, "to": 109, "time_ms": 1700000000000,
        "exceptions": [first, last], "expired": [b"default/a", b"default/b"]}))
    yield message("range-plain", pb.OutcomeRange(**{"generation": 1, "from": 0, "to": 0, "time_ms": 1}))


def topologies():
    pb = TOPOLOGY
    shards = [pb.Shard(name="s0", primary="s0.sqlite"),
              pb.Shard(name="s1", primary="db-1:5432", replicas=["db-2:5432", "db-3:5432"])]
    document = pb.Topology(
        epoch=4, generation=1, log_id=LOG_ID, shards=shards, placement=[0, 1, 0, 1],
        skips=[pb.Skip(generation=1, partition=2, offset=9)],
        skip_times=[pb.SkipTime(**{"generation": 1, "partition": 3, "from": 5, "to": 7})])
    yield message("topology-change", pb.TopologyChange(replaces_epoch=3, topology=document))


def messages():
    parts = {
        "log_id": LOG_ID.hex(),
        "mac_keys": {str(number): key.hex() for number, key in MAC_KEYS.items()},
        "mutations": [*mutations(), *foreign_mutations()],
        "controls": [*controls()],
        "outcomes": [*outcomes()],
        "ranges": [*ranges()],
        "topologies": [*topologies()],
    }
    return json.dumps(parts, indent=1) + "\n"


if __name__ == "__main__":
    (HERE / "partition-vectors.json").write_text(partition_vectors())
    (HERE / "messages.json").write_text(messages())
