#!/usr/bin/env python3
"""Loads the flights into a running stack through both doors, then compares every row with the file.

    tests/stack up
    python3 examples/flights/stack.py --file flights.ndjson

First over HTTP with `millpond import`, for the tenant `http`; then straight to the topic in the plain form, for the
tenant `native`, among records that can never apply, while one writer is killed half way. Afterwards every row is read
back from a replica byte for byte, in SQL and over HTTP; the count per carrier over both shards equals the file's; each
poison record is one dead letter with its reason. Prints what it measured; exits 1 when something differs.

Needs the packages confluent-kafka, and psql. Run it on a new stack: `tests/stack down` first.
"""

import argparse
import collections
import concurrent.futures
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import confluent_kafka

WORKERS = 4
# Every so many records one that can never apply.
POISON_EVERY = 10_000
FLIGHTS = "tenant = '{tenant}' AND NOT tombstone"


def poison(number):
    """A record that can never apply, and the reason; each kind in its turn."""
    key = f"native/poison-{number}"
    kinds = [
        ("missing-key", dict(key=None, value=b"x", partition=0)),
        ("key-invalid", dict(key="no-slash", value=b"x")),
        ("ttl-invalid", dict(key=key, value=b"x", headers={"kv-ttl-ms": "soon"})),
        ("header-invalid", dict(key=key, value=b"x", headers={"kv-id": "short"})),
        ("undecodable", dict(key=key, value=b"\xff\xff\xff", headers={"kv-format": "record"})),
        ("empty-mutation", dict(key=key, value=b"", headers={"kv-format": "record"})),
    ]
    return kinds[number % len(kinds)]


class Stack:
    """What `tests/stack up --json` says."""

    def __init__(self, command, binary):
        said = subprocess.run([command, "up", "--json"], stdout=subprocess.PIPE, check=True, text=True).stdout
        self.told, self.command, self.binary = json.loads(said), command, binary

    def sql(self, url, query):
        """Lines that psql answers."""
        done = subprocess.run(["psql", "-AtXqc", query, url], stdout=subprocess.PIPE, check=True, text=True)
        return done.stdout.splitlines()

    def lag(self):
        """Records that are on the log and not applied; None while a shard or the log does not say."""
        command = [self.binary, "--config", self.told["config"], "lag", "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            return None
        lags = [partition["lag_records"] for partition in json.loads(done.stdout)["partitions"]]
        return None if None in lags else sum(lags)

    def applied(self):
        """Waits until everything is applied; seconds."""
        began = time.monotonic()
        while self.lag() != 0:
            time.sleep(0.05)
        return time.monotonic() - began

    def primaries(self):
        return [shard["primary"] for shard in self.told["shards"]]

    def transactions(self):
        query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        return sum(int(self.sql(url, query)[0]) for url in self.primaries())

    def replicated(self):
        """Waits until every replica has replayed what its primary has written."""
        for shard in self.told["shards"]:
            (end,) = self.sql(shard["primary"], "SELECT pg_current_wal_lsn()")
            for replica in shard["replicas"]:
                while self.sql(replica, f"SELECT pg_last_wal_replay_lsn() >= '{end}'") != ["t"]:
                    time.sleep(0.02)


def through_http(stack, file, total):
    """`millpond import` into one api."""
    environment = dict(os.environ, MILLPOND_TENANT="http")
    before = stack.transactions()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as state:
        command = [stack.binary, "import", "--server", stack.told["apis"][0], "--state-dir", state, file]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    accepted = time.monotonic() - began
    stack.applied()
    applied = time.monotonic() - began
    print(f"http: {total} accepted in {accepted:.1f} s ({total / accepted:.0f}/s), applied after {applied:.1f} s "
          f"({total / applied:.0f}/s), {stack.transactions() - before} transactions", flush=True)


def through_topic(stack, lines):
    """The plain form from Python, with a writer killed half way. What was refused by design, by reason."""
    producer = confluent_kafka.Producer({
        "bootstrap.servers": stack.told["kafka"], "partitioner": "murmur2_random", "acks": "all",
        "enable.idempotence": True, "linger.ms": 5, "compression.type": "lz4", "queue.buffering.max.messages": 200_000,
    })
    topic, poisoned, failed = stack.told["topic"], collections.Counter(), []

    def produce(**record):
        while True:
            try:
                producer.produce(topic, on_delivery=lambda error, _: error and failed.append(error), **record)
                return
            except BufferError:
                producer.poll(0.1)

    began = time.monotonic()
    for number, line in enumerate(lines):
        produce(key="native/" + line["key"], value=line["value"], headers={"content-type": line["content_type"]})
        if number % POISON_EVERY == 0:
            reason, record = poison(number // POISON_EVERY)
            poisoned[reason] += 1
            produce(**record)
        if number == len(lines) // 2:
            producer.flush()
            os.kill(stack.told["pids"]["writer"][0], signal.SIGKILL)
            print(f"killed a writer after {number} records", flush=True)
        producer.poll(0)
    producer.flush()
    if failed:
        sys.exit(f"stack.py: {len(failed)} records were not delivered: {failed[0]}")
    delivered = time.monotonic() - began
    stack.applied()
    applied = time.monotonic() - began
    print(f"native: {len(lines)} delivered in {delivered:.1f} s ({len(lines) / delivered:.0f}/s), applied after "
          f"{applied:.1f} s, the takeover included", flush=True)
    return poisoned


def compare_sql(stack, lines, tenant):
    """Compares every row on the replicas with the file; how many are missing, doubled or different."""
    wanted = {line["key"]: line["value"] for line in lines}
    found = collections.Counter()
    different = 0
    where = FLIGHTS.format(tenant=tenant) + " AND key >= 'flight/' AND key < 'flight0'"
    query = f"SELECT convert_from(key, 'UTF8'), content_type, convert_from(value, 'UTF8') FROM kv WHERE {where}"
    for shard in stack.told["shards"]:
        command = ["psql", "-XqAt", "-F", "\t", "-c", query, shard["replicas"][0]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reading:
            for row in reading.stdout:
                key, content_type, value = row.rstrip("\n").split("\t", 2)
                found[key] += 1
                different += wanted.get(key) != value or content_type != "application/json"
    missing = len(wanted.keys() - found.keys())
    doubled = sum(count - 1 for count in found.values())
    return missing, doubled, different


def compare_http(api, tenant, lines):
    """Compares a slice with what GET answers, over one connection; how many differ."""
    address = urllib.parse.urlsplit(api)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    different = 0
    for line in lines:
        connection.request("GET", "/kv/" + line["key"], headers={"KV-Tenant": tenant})
        answer = connection.getresponse()
        different += answer.read() != line["value"].encode() or answer.status != 200
    return different


def per_carrier(stack, tenant):
    counts = collections.Counter()
    where = FLIGHTS.format(tenant=tenant) + " AND key >= 'flight/' AND key < 'flight0'"
    query = f"SELECT convert_from(value, 'UTF8')::json->>'carrier', count(*) FROM kv WHERE {where} GROUP BY 1"
    for url in stack.primaries():
        counts.update({carrier: int(n) for carrier, n in (row.split("|") for row in stack.sql(url, query))})
    return counts


def from_replicas(stack):
    """Reads that replicas have answered, and primaries."""
    counts = collections.Counter()
    for ops in stack.told["ops"][: len(stack.told["apis"])]:
        for row in urllib.request.urlopen(f"{ops}/metrics").read().decode().splitlines():
            if row.startswith("millpond_shard_reads_total") and 'result="answered"' in row:
                counts["replica" if 'node="replica"' in row else "primary"] += int(float(row.rsplit(" ", 1)[1]))
    return counts


def check(stack, lines, tenant):
    """Whether every row of a tenant is what the file says."""
    missing, doubled, different = compare_sql(stack, lines, tenant)
    print(f"{tenant}: on the replicas {missing} missing, {doubled} doubled, {different} different of {len(lines)}")
    before, began = from_replicas(stack), time.monotonic()
    with concurrent.futures.ProcessPoolExecutor(WORKERS) as pool:
        apis = [stack.told["apis"][worker % 2] for worker in range(WORKERS)]
        slices = [lines[worker::WORKERS] for worker in range(WORKERS)]
        over_http = sum(pool.map(compare_http, apis, [tenant] * WORKERS, slices))
    reads = from_replicas(stack) - before
    print(f"{tenant}: over HTTP {over_http} different, in {time.monotonic() - began:.1f} s; "
          f"{reads['replica']} reads from replicas, {reads['primary']} from primaries")
    wanted = collections.Counter(json.loads(line["value"])["carrier"] for line in lines)
    carriers = per_carrier(stack, tenant)
    print(f"{tenant}: {sum(carriers.values())} flights of {len(carriers)} carriers on the primaries, "
          f"{'equal to' if carriers == wanted else 'DIFFERENT FROM'} the file's", flush=True)
    return missing == doubled == different == over_http == 0 and carriers == wanted


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/millpond")
    parser.add_argument("--stack", default="tests/stack")
    parser.add_argument("--file", required=True)
    arguments = parser.parse_args()
    with open(arguments.file, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    stack = Stack(arguments.stack, arguments.binary)
    through_http(stack, arguments.file, len(lines))
    poisoned = through_topic(stack, lines)
    stack.replicated()
    sound = check(stack, lines, "http") and check(stack, lines, "native")
    letters = collections.Counter()
    for url in stack.primaries():
        rows = stack.sql(url, "SELECT reason, count(*) FROM dead_letter GROUP BY 1")
        letters.update({reason: int(count) for reason, count in (row.split("|") for row in rows)})
    print(f"dead letters: {dict(letters)}, {'one each' if letters == poisoned else f'WANTED {dict(poisoned)}'}")
    subprocess.run([arguments.stack, "start"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sys.exit(0 if sound and letters == poisoned else 1)


if __name__ == "__main__":
    main()
