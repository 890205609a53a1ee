"""A foreign producer that does what it is told: `produce.py confluent|kafka-python BROKERS TOPIC [NAME=VALUE...]`.

Reads one JSON object a line and answers each with one:

{"key": hex|null, "value": hex|null, "record": text|null, "headers": [[name, hex|null]...], "partition": number|null}
    sends a record; "record" is a millpond.v1.Record in protobuf's text format, in place of a value. Without a
    partition the client computes it. The answer: {"partition": number, "offset": number}.
{"partitions_of": [hex...], "counts": [number...]}
    where the client's own partitioner puts these keys: {"partitions": [[number...]...]}.
"""

import ctypes
import json
import pathlib
import sys

from google.protobuf import text_format

import millpond_v1


def unhex(text):
    return None if text is None else bytes.fromhex(text)


class Confluent:
    """librdkafka's. Its default partitioner is not Millpond's: `partitioner=murmur2_random` must be set."""

    def __init__(self, brokers, topic, settings):
        from confluent_kafka import Producer

        self.topic = topic
        self.producer = Producer({"bootstrap.servers": brokers, **settings})

    def send(self, key, value, headers, partition):
        done = []
        where = {} if partition is None else {"partition": partition}
        self.producer.produce(self.topic, value, key, headers=headers, **where,
                              on_delivery=lambda error, message: done.append((error, message)))
        self.producer.flush(60)
        error, message = done[0]
        assert error is None, error
        return message.partition(), message.offset()

    def partition(self, key, count):
        import confluent_kafka

        folder = pathlib.Path(confluent_kafka.__file__).resolve().parent
        libraries = [*folder.parent.glob("confluent_kafka.libs/librdkafka*"), *folder.glob(".dylibs/librdkafka*")]
        function = ctypes.CDLL(str(libraries[0])).rd_kafka_msg_partitioner_murmur2
        function.restype = ctypes.c_int32
        function.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int32,
                             ctypes.c_void_p, ctypes.c_void_p]
        return function(None, key, len(key), count, None, None)


class KafkaPython:
    """The one in pure Python. Nothing needs to be set."""

    def __init__(self, brokers, topic, settings):
        from kafka import KafkaProducer

        self.topic = topic
        self.producer = KafkaProducer(bootstrap_servers=brokers, **settings)

    def send(self, key, value, headers, partition):
        sent = self.producer.send(self.topic, value, key, headers=headers, partition=partition).get(60)
        return sent.partition, sent.offset

    def partition(self, key, count):
        from kafka.partitioner.default import DefaultPartitioner

        return DefaultPartitioner().partition("topic", key, key, None, None, Partitions(count))


class Partitions:
    """What kafka-python's partitioner asks of a cluster."""

    def __init__(self, count):
        self.partitions = set(range(count))

    def topics(self):
        return {"topic"}

    def partitions_for_topic(self, topic):
        return self.partitions

    def available_partitions_for_topic(self, topic):
        return self.partitions


def main():
    kind, brokers, topic, *settings = sys.argv[1:]
    client = {"confluent": Confluent, "kafka-python": KafkaPython}[kind]
    client = client(brokers, topic, dict(setting.split("=", 1) for setting in settings))
    for line in sys.stdin:
        asked = json.loads(line)
        if "partitions_of" in asked:
            keys = [bytes.fromhex(key) for key in asked["partitions_of"]]
            answer = {"partitions": [[client.partition(key, count) for count in asked["counts"]] for key in keys]}
        else:
            value = unhex(asked.get("value"))
            if asked.get("record") is not None:
                value = text_format.Parse(asked["record"], millpond_v1.record.Record()).SerializeToString()
            headers = [(name, unhex(text)) for name, text in asked.get("headers", [])]
            partition, offset = client.send(unhex(asked.get("key")), value, headers, asked.get("partition"))
            answer = {"partition": partition, "offset": offset}
        print(json.dumps(answer), flush=True)


main()
