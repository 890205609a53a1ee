"""What a load took, and the row that tells it.

CPU time is that of whole process trees, from /proc/PID/stat (10 ms ticks): a child that has ended counts with its
parent. A client that ended counts with the driver's children.
"""

import json
import os
import resource
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from .process import ROOT, Failed

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Row:
    """One load of one peer. `others_cores`: what else the machine did, in cores; it disturbs."""

    peer: str
    version: str | None
    load: str
    ops_per_s: float | None = None
    cpu_us_per_op: float | None = None
    server_cpu_us: float | None = None
    client_cpu_us: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    durability: str | None = None
    others_cores: float | None = None

    def json(self):
        return json.dumps(asdict(self), ensure_ascii=False)


def installed(peer):
    """The folder of a peer and its version."""
    folder = ROOT / "target" / "peers" / peer
    return folder, (folder / "version").read_text().strip()


def trees_s(pids):
    """CPU seconds so far of these processes and all that descend from them."""
    times, children = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            times[int(entry.name)] = sum(map(int, fields[11:15]))
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    ticks, todo = 0, list(pids)
    while todo:
        pid = todo.pop()
        ticks += times.get(pid, 0)
        todo += children.get(pid, [])
    return ticks / TICKS


def _ended_children_s():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _machine_s():
    """CPU seconds of everyone, stolen ones too; waiting for the drive is idle."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


class Watch:
    """Takes the time of a load: of its server's trees, and of its client, which lives (a tree) or ends meanwhile."""

    def __init__(self, servers, clients=()):
        self._servers, self._clients = servers, clients
        self._before = self._now()

    def _now(self):
        return (
            time.monotonic(),
            trees_s(self._servers),
            trees_s(self._clients) + _ended_children_s(),
            _machine_s(),
        )

    def row(self, peer, version, load, ops, **more):
        """The row of so many operations. `seconds`: how long they took, when the client knows better."""
        wall, server, client, machine = (now - then for now, then in zip(self._now(), self._before, strict=True))
        if ops == 0:
            raise Failed(f"{load}: no operation was done")
        each = 1e6 / ops
        return Row(
            peer,
            version,
            load,
            ops_per_s=round(ops / more.pop("seconds", wall), 1),
            cpu_us_per_op=round((server + client) * each, 2),
            server_cpu_us=round(server * each, 2),
            client_cpu_us=round(client * each, 2),
            others_cores=round(max(machine - server - client, 0) / wall, 2),
            **more,
        )


def of_client(scope, server, command, row):
    """Runs a Go client of ours on a server. `row`: peer, version, load, durability."""
    peer, version, load, durability = row
    watch = Watch([server.pid])
    report = json.loads(scope.run(command))
    ops = report.pop("ops")
    for name in ("p50_ms", "p99_ms"):
        report[name] = report[name] and round(report[name], 3)
    return watch.row(peer, version, load, ops, durability=durability, **report)
