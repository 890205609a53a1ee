"""A foreign consumer: `consume.py BROKERS TOPIC [MESSAGE]` prints a topic from its start on, one JSON object a line.

{"partition": number, "offset": number, "key": hex|null, "value": hex|null, "headers": [[name, hex|null]...]}, and with
a MESSAGE of millpond.v1, such as OutcomeRange, also "message": the value as protobuf's JSON. Follows the topic until
its standard input ends.
"""

import json
import os
import sys
import threading

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from google.protobuf import json_format

import millpond_v1


def tohex(data):
    return None if data is None else data.hex()


def end_with_input():
    sys.stdin.read()
    os._exit(0)


def main():
    brokers, topic, *message = sys.argv[1:]
    threading.Thread(target=end_with_input, daemon=True).start()
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "foreign", "enable.auto.commit": False,
                         "isolation.level": "read_committed"})
    partitions = consumer.list_topics(topic, 60).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
    while True:
        got = consumer.poll(1)
        if got is None or got.error():
            continue
        told = {"partition": got.partition(), "offset": got.offset(), "key": tohex(got.key()),
                "value": tohex(got.value()), "headers": [[name, tohex(value)] for name, value in got.headers() or []]}
        if message:
            decoded = getattr(millpond_v1.outcome, message[0]).FromString(got.value())
            told["message"] = json_format.MessageToDict(decoded)
        print(json.dumps(told), flush=True)


main()
