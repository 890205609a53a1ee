"""Processes and the folder of a run.

Invariant: when a Scope is left, all that was started in it has ended and its folder is gone, also after a signal. If
the driver itself is killed, the kernel kills what it started.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
START_WITHIN_S = 90
STOP_WITHIN_S = 20
POLL_S = 0.02


class Failed(Exception):
    """A load that gave no figure, with the reason."""


class Interrupted(BaseException):
    """A signal asked for the end."""


class Signals:
    """SIGINT, SIGTERM and SIGHUP end the run, but never in the middle of a start or of the cleaning up."""

    asked = None
    _depth = 0

    @classmethod
    def listen(cls):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, cls._on)

    @classmethod
    def _on(cls, number, _frame):
        if cls.asked is None:
            cls.asked = number
            if cls._depth == 0:
                raise Interrupted

    @classmethod
    @contextlib.contextmanager
    def held(cls):
        before = cls.asked
        cls._depth += 1
        try:
            yield
        finally:
            cls._depth -= 1
        if cls._depth == 0 and cls.asked != before:
            raise Interrupted


class Scope:
    """What a run of a peer has made."""

    def __enter__(self):
        self._started, self._after, self._logs = [], [], 0
        self.dir = Path(tempfile.mkdtemp(prefix="millpond-peers-"))
        self.dir.chmod(0o755)
        return self

    def __exit__(self, *_):
        with Signals.held():
            self._end_all()
            for action in reversed(self._after):
                with contextlib.suppress(Failed):
                    action()
            self._end_all()
            shutil.rmtree(self.dir, ignore_errors=True)

    def _end_all(self):
        while self._started:
            _end(*self._started.pop())

    def afterwards(self, action):
        """Does this when all that was started has ended, to remove what lies elsewhere."""
        self._after.append(action)

    def folder(self, name):
        """A new folder, for whoever the peer runs as."""
        folder = self.dir / name
        folder.mkdir()
        return folder

    def start(self, command, *, user=None, stop=signal.SIGTERM, environment=None, **pipes):
        """Starts a process in a session of its own. What it says goes to a log in the folder unless it is piped."""
        self._logs += 1
        log = self.dir / f"{Path(command[0]).name}-{self._logs}.log"
        prefix = ["setpriv", "--pdeathsig", "KILL", *_as(user), "--"]
        with Signals.held(), log.open("wb") as said:
            process = subprocess.Popen(
                [*prefix, *map(str, command)],
                stdin=pipes.get("stdin", subprocess.DEVNULL),
                stdout=pipes.get("stdout", said),
                stderr=pipes.get("stderr", said),
                env={**os.environ, **(environment or {})},
                cwd="/",
                start_new_session=True,
                text=True,
            )
            process.log = log
            self._started.append((process, stop))
        return process

    def run(self, command, **options):
        """Runs a program to its end, and gives what it printed."""
        process = self.start(command, stdout=subprocess.PIPE, **options)
        printed, _ = process.communicate()
        if process.returncode != 0:
            raise Failed(f"{Path(command[0]).name} failed: {tail(process)}")
        return printed


def _as(user):
    """Options of setpriv: Postgres refuses to run as root."""
    if user is None or os.geteuid() != 0:
        return []
    entry = pwd.getpwnam(user)
    return [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


def _end(process, stop):
    """Asks it to end, and kills its whole group in the end."""
    if process.poll() is None:
        process.send_signal(stop)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_WITHIN_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()


def tail(process):
    """The end of what it said."""
    lines = process.log.read_text(errors="replace").strip().splitlines()
    return " / ".join(lines[-3:])[-400:] or f"exit code {process.returncode}"


def until(process, what, ready, within_s=START_WITHIN_S):
    """Waits until `ready` says so, as long as the process lives."""
    end = time.monotonic() + within_s
    while not ready():
        if process.poll() is not None:
            raise Failed(f"{what}: it ended: {tail(process)}")
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {within_s} s: {tail(process)}")
        time.sleep(POLL_S)


def free_ports(count):
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def connects(port):
    """Whether someone listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def listener(port):
    """The process that listens there: the oldest of those that hold the socket."""
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()]
    # State 0A is LISTEN.
    held = {f"socket:[{line[9]}]" for line in lines if line[3] == "0A" and line[1].endswith(f":{port:04X}")}
    for entry in sorted(Path("/proc").glob("[0-9]*/fd"), key=lambda entry: int(entry.parts[2])):
        with contextlib.suppress(OSError):
            if any(os.readlink(handle) in held for handle in entry.iterdir()):
                return int(entry.parts[2])
    raise Failed(f"nobody listens on port {port}, or it may not be looked at")
