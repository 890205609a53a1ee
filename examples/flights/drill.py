#!/usr/bin/env python3
"""Loads the flights while the server is killed three times, then compares every row with the file.

    python3 examples/flights/drill.py --binary target/release/millpond --file flights.ndjson

Afterwards every value has been read back over HTTP byte for byte, the SQL count per carrier over both shards equals
the file's, and no flight is there twice. Prints what it measured; exits 1 at the first difference.
"""

import argparse
import atexit
import collections
import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time


class Server:
    """The binary on a data directory, on fixed ports, so that the importer finds it again."""

    def __init__(self, binary, data_dir, port):
        self.binary, self.data_dir, self.port = binary, data_dir, port
        self.process = None

    def start(self):
        command = [self.binary, "--data-dir", str(self.data_dir)]
        command += ["--listen", f"127.0.0.1:{self.port}", "--ops-listen", f"127.0.0.1:{self.port + 1}"]
        environment = dict(os.environ, RUST_LOG="warn")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for line in self.process.stdout:
            if line.lstrip().startswith("sqlite3"):
                return
        sys.exit("drill.py: the server does not start")

    def stop(self):
        """Leaves no server behind, however the drill ends."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def terminate(self):
        self.process.terminate()
        if self.process.wait() != 0:
            sys.exit("drill.py: the server ended badly")


def end_of_log(ops_port):
    """Records on the log, over all partitions; none while the server is away."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", ops_port, timeout=5)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except OSError:
        return None
    found = re.findall(r"^millpond_log_end_offset\S* (\d+)", text, re.MULTILINE)
    return sum(map(int, found)) if found else None


def load(arguments, server, total):
    """Imports with three kills; returns the seconds that it took, kills included."""
    environment = dict(os.environ, MILLPOND_SERVER=f"http://127.0.0.1:{server.port}")
    began = time.monotonic()
    # Small batches: the whole of it should take longer than it takes to be disturbed three times.
    command = [arguments.binary, "import", "--batch-operations", "250", "--lanes", "2", arguments.file]
    importer = subprocess.Popen(command, env=environment)
    kills = 0
    while importer.poll() is None:
        records = end_of_log(server.port + 1)
        if kills < 3 and records is not None and records >= total * (kills + 1) // 5:
            server.kill()
            kills += 1
            print(f"killed the server at {records} records on the log", flush=True)
            server.start()
        time.sleep(0.005)
    if importer.returncode != 0:
        sys.exit(f"drill.py: the import exited with {importer.returncode}")
    if kills != 3:
        sys.exit(f"drill.py: only {kills} kills: the import was too fast to be disturbed")
    return time.monotonic() - began


def read_back(port, lines):
    """Compares a slice of the file with what GET answers, over one connection. How many differ, and how many waited.

    A strong read behind a busy writer may answer 504 position-not-reached: never an old value. It is asked again.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    different = waited = 0
    for line in lines:
        while True:
            connection.request("GET", "/kv/" + line["key"] + "?consistency=strong")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 504:
                break
            waited += 1
        if answer.status != 200 or body != line["value"].encode():
            print(f"{line['key']}: {answer.status}", file=sys.stderr)
            different += 1
    return different, waited


def per_carrier(data_dir):
    """Live flights per carrier over all SQLite shards."""
    counts = collections.Counter()
    query = "SELECT json_extract(CAST(value AS TEXT), '$.carrier'), count(*) FROM kv WHERE NOT tombstone GROUP BY 1"
    for path in sorted(pathlib.Path(data_dir).glob("shard-*.sqlite")):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as shard:
            counts.update(dict(shard.execute(query)))
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/millpond")
    parser.add_argument("--file", required=True)
    parser.add_argument("--port", type=int, default=7520)
    arguments = parser.parse_args()
    with open(arguments.file, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    with tempfile.TemporaryDirectory() as folder:
        server = Server(arguments.binary, pathlib.Path(folder) / "data", arguments.port)
        atexit.register(server.stop)
        server.start()
        seconds = load(arguments, server, len(lines))
        print(f"{len(lines)} flights in {seconds:.1f} s through 3 kills: {len(lines) / seconds:.0f}/s")
        began = time.monotonic()
        workers = 4
        with concurrent.futures.ProcessPoolExecutor(workers) as pool:
            slices = [lines[worker::workers] for worker in range(workers)]
            found = list(pool.map(read_back, [arguments.port] * workers, slices))
        different, waited = (sum(column) for column in zip(*found))
        print(f"read back over HTTP in {time.monotonic() - began:.1f} s: {different} of {len(lines)} differ; "
              f"{waited} reads had to ask again for a position that was not reached yet")
        server.terminate()
        wanted = collections.Counter(json.loads(line["value"])["carrier"] for line in lines)
        found = per_carrier(server.data_dir)
        print(f"SQL count per carrier over the shards: {sum(found.values())} flights of {len(found)} carriers, "
              f"{'equal to' if found == wanted else 'DIFFERENT FROM'} the file's")
        if different or found != wanted:
            sys.exit(1)


if __name__ == "__main__":
    main()
