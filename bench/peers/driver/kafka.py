"""A Kafka broker: that of the environment, or one of our own, as the tests run theirs.

The same jars, settings and heap; ours is compiled well, as one that lives long.
"""

import base64
import os
import uuid
from dataclasses import dataclass

from .process import ROOT, connects, free_ports, listener, until

JARS = ROOT / "target" / "kafka"
STARTED = "Kafka Server started"
HEAP = "-Xmx512m"


def _id():
    """A new id in Kafka's form."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")


@dataclass(frozen=True)
class Broker:
    """A broker of one node. `pid`: the process whose CPU time counts. `stays`: it outlives the run."""

    address: str
    pid: int
    stays: bool


def serve(scope):
    """That of the environment, as tests/stack starts it, or one of our own."""
    if address := os.environ.get("MILLPOND_TEST_KAFKA"):
        return Broker(address, listener(int(address.rpartition(":")[2])), stays=True)
    return _own(scope)


def _own(scope):
    port, controller = free_ports(2)
    address = f"127.0.0.1:{port}"
    folder = scope.folder("kafka")
    config = ROOT / "tests" / "config"
    listeners = f"PLAINTEXT://{address},CONTROLLER://127.0.0.1:{controller}"
    own = {
        "listeners": listeners,
        "advertised.listeners": listeners,
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        "log.dirs": folder / "data",
    }
    properties = folder / "kafka.properties"
    lines = "".join(f"{name}={value}\n" for name, value in own.items())
    properties.write_text((config / "kafka.properties").read_text() + "\n" + lines)
    logging = f"-Dlog4j2.configurationFile={config / 'log4j2.properties'}"
    java = ["java", HEAP, "-XX:+UseSerialGC", logging, "-cp", JARS / "*"]
    voter = f"1@127.0.0.1:{controller}:{_id()}"
    tool = ["kafka.tools.StorageTool", "format", "-t", _id(), "--initial-controllers", voter]
    scope.run([*java, *tool, "-c", properties])
    process = scope.start([*java, "kafka.Kafka", properties])
    until(process, "start the broker", lambda: STARTED in process.log.read_text() and connects(port))
    return Broker(address, process.pid, stays=False)
