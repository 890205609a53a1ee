"""Postgres by itself, on a leaf of Millpond's own tables: single-row upserts and reads of pgbench."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from .measure import Watch, installed
from .process import ROOT, Failed, Scope, connects, free_ports, listener, until

USER = "postgres"
KEYS = 1_000_000
CLIENTS = 64
LEAF = "kv_p00000"
DURABILITY = "fsync and synchronous_commit on"
# How many of the transactions tell how long they took: all of them would cost much.
SAMPLED = 0.05

# Key N is 16 bytes, all but the last 8 of them fixed.
KEY = r"'\x6b65792d6b65792d'::bytea || int8send({})"
ROW = (
    "0, 'default', " + KEY + ", {}, decode(repeat(lpad(to_hex({}), 16, '0'), 32), 'hex'), "
    "'application/octet-stream', NULL, 1700000000000, 1700000000000, false, {}"
)
FILL = f"INSERT INTO {LEAF} SELECT {ROW.format('n', 'n', 'n', 'n')} FROM generate_series(0::bigint, {KEYS - 1}) n;"
# Version, value and checksum differ from the old row's, as they would: the log of Postgres leaves out what is equal.
UPSERT = f"""\
\\set key random(0, {KEYS - 1})
\\set n random(0, 9000000000000000)
INSERT INTO {LEAF} AS kv VALUES ({ROW.format(":key::bigint", ":n::bigint", ":n::bigint", ":n::bigint")})
ON CONFLICT (tenant, key, partition) DO UPDATE SET
version = excluded.version, value = excluded.value, content_type = excluded.content_type,
expires_at = excluded.expires_at, updated_at = excluded.updated_at, tombstone = excluded.tombstone,
checksum = excluded.checksum;
"""
SELECT = f"""\
\\set key random(0, {KEYS - 1})
SELECT version, value, content_type FROM {LEAF} WHERE tenant = 'default' AND key = {KEY.format(":key::bigint")};
"""


def program(name):
    """A program of the newest Postgres here. Debian keeps the server's programs off the PATH."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(found, key=lambda path: int(path.parts[-3]), default=None)
    return newest.with_name(name) if newest else Path(shutil.which(name) or name)


@dataclass(frozen=True)
class Server:
    """A server, and a database of it that is ours."""

    scope: Scope
    port: int
    user: str
    password: str
    database: str
    # Roots of the trees whose CPU time counts.
    pids: tuple[int, ...] = ()

    def client(self, name, *arguments):
        """Runs a client of Postgres, and gives what it printed."""
        return self.scope.run(self.command(name, *arguments), environment=self.environment()).strip()

    def command(self, name, *arguments):
        """A client of Postgres that knows where the server is."""
        return [program(name), "-h", "127.0.0.1", "-p", self.port, "-U", self.user, *arguments]

    def environment(self):
        """Its password."""
        return {"PGPASSWORD": self.password}

    def sql(self, text):
        """Runs SQL, and gives the rows."""
        return self.client("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.database, "-c", text)

    def answers(self):
        """It takes sessions by now."""
        with contextlib.suppress(Failed):
            return self.sql("SELECT 1") == "1"
        return False


def serve(scope):
    """A server: that of the environment with its replica, as tests/stack starts them, or one of our own."""
    urls = [os.environ.get(f"MILLPOND_TEST_POSTGRES{suffix}") for suffix in ("", "_REPLICA")]
    return _shared(scope, *(urlsplit(url) for url in urls if url)) if urls[0] else _own(scope)


def _shared(scope, url, *replicas):
    pids = tuple(listener(one.port) for one in (url, *replicas))
    there = Server(scope, url.port, url.username, url.password, url.path.strip("/"))
    name = f"peers_{secrets.token_hex(4)}"
    there.sql(f"CREATE DATABASE {name}")
    scope.afterwards(lambda: there.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    return replace(there, database=name, pids=pids)


def _own(scope):
    """With the settings of the tests and, after them, those of the benches."""
    [port] = free_ports(1)
    password = secrets.token_hex(16)
    files = _make(scope, password)
    data, config, access = (files / name for name in ("data", "postgresql.conf", "pg_hba.conf"))
    process = scope.start(
        [
            *(program("postgres"), "-D", data, "-c", f"port={port}", "-c", "listen_addresses=127.0.0.1"),
            *("-c", "unix_socket_directories=", "-c", f"config_file={config}", "-c", f"hba_file={access}"),
        ],
        user=USER,
        stop=signal.SIGINT,
    )
    server = Server(scope, port, USER, password, "postgres", (process.pid,))
    until(process, "start Postgres", lambda: connects(port) and server.answers())
    return server


def _make(scope, password):
    """A folder with settings and an empty cluster, made as the tests make theirs."""
    files = scope.folder("postgres")
    config = ROOT / "tests" / "config"
    settings = (config / "postgresql.conf").read_text() + (ROOT / "bench/peers/postgres.conf").read_text()
    (files / "postgresql.conf").write_text(settings)
    shutil.copy(config / "pg_hba.conf", files)
    (files / "password").write_text(password)
    (files / "password").chmod(0o600)
    if os.geteuid() == 0:
        for path in (files, files / "password"):
            shutil.chown(path, USER)
    options = "--auth=scram-sha-256 --no-sync --data-checksums --encoding=UTF8 --locale=C.UTF-8"
    icu = "--locale-provider=icu --icu-locale=en-US"
    initdb = [program("initdb"), f"--username={USER}", *options.split(), *icu.split()]
    scope.run([*initdb, "--pwfile", files / "password", "-D", files / "data"], user=USER)
    return files


class Asker:
    """A session that stays, to ask the same small thing many times at little cost."""

    def __init__(self, scope, server):
        command = server.command("psql", "-XqAt", "-d", server.database)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._psql = scope.start(command, environment=server.environment(), **pipes)

    def ask(self, text):
        """One row, of SQL that gives one."""
        self._psql.stdin.write(text + ";\n")
        self._psql.stdin.flush()
        return self._psql.stdout.readline().strip()


def loads(scope, seconds):
    """Upserts of single rows, and reads of single rows, of 64 clients."""
    server = serve(scope)
    for file in ("0001_first.sql", "leaf.sql"):
        text = (ROOT / "schemas" / "sql" / "postgres" / file).read_text()
        server.sql(text.replace("{leaf}", LEAF).replace("{partition}", "0"))
    server.sql(FILL)
    server.sql(f"VACUUM ANALYZE {LEAF}")
    server.sql("CHECKPOINT")
    yield _pgbench(scope, server, seconds, ("select", SELECT, "select of a row, pgbench -M prepared, 64 clients"))
    yield _pgbench(scope, server, seconds, ("upsert", UPSERT, "upsert of a row, pgbench -M prepared, 64 clients"))


def _pgbench(scope, server, seconds, load):
    name, text, title = load
    script = scope.dir / f"{name}.sql"
    script.write_text(text)
    prefix = scope.dir / name
    clients = ("-n", "-M", "prepared", "-c", CLIENTS, "-j", 2, "-T", max(round(seconds), 1), "-f", script)
    sampled = ("--log", f"--log-prefix={prefix}", f"--sampling-rate={SAMPLED}")
    watch = Watch(server.pids)
    said = server.client("pgbench", *clients, *sampled, server.database)
    figures = dict(line.split(" = ") for line in said.splitlines() if line.startswith("tps = "))
    per_second = float(figures["tps"].split()[0])
    done = next(line for line in said.splitlines() if line.startswith("number of transactions actually processed"))
    ops = int(done.rpartition(":")[2].split("/")[0])
    version = installed("postgres")[1]
    more = {"seconds": ops / per_second, "durability": DURABILITY, **_quantiles(prefix)}
    return watch.row("postgres", version, title, ops, **more)


def _quantiles(prefix):
    """Of the sampled transactions: the third field of a line is its time in microseconds."""
    took = []
    for file in prefix.parent.glob(f"{prefix.name}.[0-9]*"):
        took += [int(line.split()[2]) for line in file.read_text().splitlines()]
    took.sort()
    if not took:
        return {}
    return {f"p{n}_ms": round(took[len(took) * n // 100] / 1e3, 3) for n in (50, 99)}
