"""NATS JetStream KV: a bucket in a file, history 1, one replica; synced always, and by its default."""

from .measure import installed, of_client
from .process import Scope, connects, free_ports, until

SETTINGS = {
    "always": "fsync of each message before its answer",
    "default": "page cache only; synced every 2 min",
}
MODES = {
    "put": "put, 64 workers on 4 connections",
    "async": "published, 4 connections with up to 4,000 unanswered",
}


def loads(scope, seconds):
    """Puts answered one by one, and many unanswered at a time, on a server of its own each."""
    del scope
    for setting in SETTINGS:
        for mode in MODES:
            with Scope() as own:
                yield _load(own, seconds, setting, mode)


def _load(scope, seconds, setting, mode):
    programs, version = installed("nats")
    [port] = free_ports(1)
    interval = "" if setting == "default" else f", sync_interval: {setting}"
    config = scope.dir / "nats.conf"
    config.write_text(
        f'listen: 127.0.0.1:{port}\njetstream {{ store_dir: "{scope.dir}/data", max_file_store: 20G{interval} }}\n'
    )
    server = scope.start([programs / "server", "-c", config])
    until(server, "start NATS", lambda: connects(port))
    address = f"nats://127.0.0.1:{port}"
    command = [programs / "load", "-address", address, "-seconds", seconds, "-mode", mode]
    row = ("nats", version, f"{MODES[mode]}, sync_interval {setting}", SETTINGS[setting])
    return of_client(scope, server, command, row)
