"""Debezium's JDBC sink in a standalone worker of Kafka Connect: it drains a log that is full into Postgres.

Nobody is answered here, so there is no latency. The clock runs from the resuming of a warm, paused connector until the
last record of each partition is in the table. The client of a row is the worker with its broker, the server Postgres.
What fills the log beforehand is not counted.
"""

import json
import secrets
import subprocess
import sys
import urllib.error
import urllib.request

from . import kafka, postgres
from .measure import Watch, installed, trees_s
from .process import Failed, connects, free_ports, until

PARTITIONS = 2
WARMUP = 200_000
RECORDS = 500_000
RECORDS_QUICK = 300_000
DURABILITY = "fsync and synchronous_commit on; log of one broker, not synced; no answers"
# The collector that Java takes by itself costs half as much again per record.
MEMORY = ("-Xms2g", "-Xmx2g", "-XX:+UseParallelGC")
# Upserts of many rows at once: the driver rewrites a batch, and the buffer keeps the last value of a key in it.
CONNECTOR = {
    "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
    "tasks.max": PARTITIONS,
    "insert.mode": "upsert",
    "primary.key.mode": "record_key",
    "primary.key.fields": "k",
    "schema.evolution": "none",
    "delete.enabled": "false",
    "batch.size": 10_000,
    "use.reduction.buffer": "true",
    "consumer.override.max.poll.records": 10_000,
    "consumer.override.auto.offset.reset": "earliest",
    "consumer.override.max.partition.fetch.bytes": 4 << 20,
    "consumer.override.fetch.min.bytes": 500_000,
    "consumer.override.fetch.max.wait.ms": 200,
    "key.converter": "org.apache.kafka.connect.storage.StringConverter",
    "value.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
    # It wants a record with fields on both sides.
    "transforms": "value,key",
    "transforms.value.type": "org.apache.kafka.connect.transforms.HoistField$Value",
    "transforms.value.field": "v",
    "transforms.key.type": "org.apache.kafka.connect.transforms.HoistField$Key",
    "transforms.key.field": "k",
}


class Worker:
    """A worker, and its REST interface."""

    def __init__(self, scope, broker):
        folder, _ = installed("debezium")
        [port] = free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        converter = "org.apache.kafka.connect.storage.StringConverter"
        settings = {
            "bootstrap.servers": broker,
            "key.converter": converter,
            "value.converter": converter,
            "offset.storage.file.filename": scope.dir / "offsets",
            "offset.flush.interval.ms": 5000,
            "plugin.path": folder / "plugins",
            "listeners": self._url,
        }
        properties = scope.dir / "connect.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        java = ["java", *MEMORY, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        program = ["-cp", folder / "worker" / "*", "org.apache.kafka.connect.cli.ConnectStandalone", properties]
        self.process = scope.start([*java, *program])
        until(self.process, "start the worker", lambda: connects(port) and self.serves())

    def call(self, method, path, body=None):
        """A request; the answer's body."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url + path, data=data, headers=headers, method=method)
        with self._open(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def serves(self):
        """It lists connectors."""
        try:
            return self.call("GET", "/connectors") is not None
        except (urllib.error.URLError, OSError):
            return False

    def all_are(self, name, state):
        """Every task of a connector is in this state; a failed one ends the wait."""
        try:
            tasks = self.call("GET", f"/connectors/{name}/status")["tasks"]
        except urllib.error.HTTPError:
            return False
        for task in tasks:
            if task["state"] == "FAILED":
                raise Failed(f"a task of {name} failed: {task.get('trace', '')[:300]}")
        return len(tasks) == PARTITIONS and all(task["state"] == state for task in tasks)


class Topic:
    """A topic of its own for a load, with what fills it."""

    def __init__(self, scope, broker, keys):
        folder, _ = installed("debezium")
        self.name = f"peers-{keys}-{secrets.token_hex(4)}"
        classes = f"{folder}:{folder / 'worker' / '*'}"
        options = ["-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", classes]
        produce = ["java", *options, "Produce", broker.address, self.name]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._fill = scope.start([*produce, keys, PARTITIONS], **pipes)
        if broker.stays:
            scope.afterwards(lambda: scope.run([*produce, "remove"]))

    def fill(self, records):
        """Sends records and an end to each partition, and tells how many different keys there are by now."""
        self._fill.stdin.write(f"{records}\n")
        self._fill.stdin.flush()
        answer = self._fill.stdout.readline()
        if not answer:
            raise Failed(f"fill {self.name}: {self._fill.log.read_text()[-300:]}")
        return int(answer)


def loads(scope, seconds):
    """Uniform keys, then Zipf's, on topics and tables of their own, by one worker."""
    server = postgres.serve(scope)
    broker = kafka.serve(scope)
    worker = Worker(scope, broker.address)
    records = RECORDS if seconds > 5 else RECORDS_QUICK
    for keys in ("uniform", "zipf"):
        yield Drain(scope, server, broker, worker).measure(keys, records)


class Drain:
    """One drain of a log."""

    def __init__(self, scope, server, broker, worker):
        self._scope, self._server, self._broker, self._worker = scope, server, broker, worker
        self._asker = postgres.Asker(scope, server)

    def measure(self, keys, records):
        """Warms up, pauses, fills, and takes the time of the rest."""
        worker, table = self._worker, f"sink_{keys}"
        # Bytewise order, as Millpond's: that of a language costs more.
        self._server.sql(f'CREATE TABLE {table} (k text COLLATE "C" PRIMARY KEY, v bytea)')
        topic = Topic(self._scope, self._broker, keys)
        topic.fill(WARMUP)
        worker.call("PUT", f"/connectors/{keys}/config", self._config(topic.name, table))
        self._until_ended(table, 0)
        worker.call("PUT", f"/connectors/{keys}/pause")
        until(worker.process, "pause", lambda: worker.all_are(keys, "PAUSED"))
        distinct = topic.fill(records)
        self._server.sql("CHECKPOINT")
        watch = Watch(self._server.pids, [worker.process.pid, self._broker.pid])
        before = trees_s([self._broker.pid])
        worker.call("PUT", f"/connectors/{keys}/resume")
        self._until_ended(table, 1)
        version = installed("debezium")[1]
        load = f"drain of {records // 1000}k records, {self._name(keys)} keys, {PARTITIONS} tasks"
        row = watch.row("debezium", version, load, records + PARTITIONS, durability=DURABILITY)
        broker = (trees_s([self._broker.pid]) - before) * 1e6 / records
        print(f"debezium: the broker's part of the client is {broker:.1f} CPU-µs", file=sys.stderr)
        worker.call("DELETE", f"/connectors/{keys}")
        rows = int(self._server.sql(f"SELECT count(*) FROM {table}"))
        if rows != distinct:
            raise Failed(f"{table} has {rows} rows of {distinct} keys")
        return row

    @staticmethod
    def _name(keys):
        return {"uniform": "uniform", "zipf": "Zipf(0.99)"}[keys]

    def _config(self, topic, table):
        address = f"jdbc:postgresql://127.0.0.1:{self._server.port}/{self._server.database}?reWriteBatchedInserts=true"
        return CONNECTOR | {
            "topics": topic,
            "collection.name.format": table,
            "connection.url": address,
            "connection.username": self._server.user,
            "connection.password": self._server.password,
        }

    def _until_ended(self, table, number):
        """The end of every partition in this filling is in the table."""
        ends = ", ".join(f"'end-{number}-{partition}'" for partition in range(PARTITIONS))
        sql = f"SELECT count(*) FROM {table} WHERE k IN ({ends})"
        try:
            until(self._worker.process, f"drain into {table}", lambda: self._asker.ask(sql) == str(PARTITIONS), 300)
        except Failed:
            self._worker.all_are(table.removeprefix("sink_"), "RUNNING")
            raise
