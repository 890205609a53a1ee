"""A Kafka broker as the tests run theirs: the same jars, settings and heap. Alone, and compiled well, as a stack's."""

import base64
import uuid

from .process import ROOT, connects, free_ports, until

JARS = ROOT / "target" / "kafka"
STARTED = "Kafka Server started"
HEAP = "-Xmx512m"


def _id():
    """A new id in Kafka's form."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")


class Broker:
    """A broker of one node."""

    def __init__(self, scope):
        port, controller = free_ports(2)
        self.address = f"127.0.0.1:{port}"
        folder = scope.folder("kafka")
        config = ROOT / "tests" / "config"
        listeners = f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{controller}"
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
        self.process = scope.start([*java, "kafka.Kafka", properties])
        until(self.process, "start the broker", lambda: STARTED in self.process.log.read_text() and connects(port))
