"""etcd: a single node, its defaults, with room for a long load."""

from .measure import installed, of_client
from .process import connects, free_ports, until

DURABILITY = "fsync of the log before each answer, in groups"


def loads(scope, seconds):
    """Puts of 64 workers over 8 connections."""
    programs, version = installed("etcd")
    ports = free_ports(2)
    client, peer = (f"http://127.0.0.1:{port}" for port in ports)
    server = scope.start(
        [
            programs / "server",
            *("--name", "one", "--data-dir", scope.dir / "data", "--log-level", "warn"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"one={peer}", "--quota-backend-bytes", 8 << 30),
        ]
    )
    until(server, "start etcd", lambda: connects(ports[0]))
    command = [programs / "load", "-address", client, "-seconds", seconds]
    row = ("etcd", version, "put, 64 workers on 8 connections", DURABILITY)
    yield of_client(scope, server, command, row)
