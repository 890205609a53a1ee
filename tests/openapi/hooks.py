"""What schemathesis has to know beyond the document: how lines and records are written.

Read by the suite (tests/all/openapi.rs); SCHEMATHESIS finds it by schemathesis.toml."""

import json

import schemathesis
from hypothesis import strategies


@schemathesis.serializer("application/x-ndjson")
def lines(ctx, value):
    """A list is one JSON a line; anything else goes as it is."""
    if isinstance(value, list):
        value = "\n".join(json.dumps(line) for line in value)
    return value if isinstance(value, bytes) else str(value).encode()


# Record { key: "a", put: { value: "x" } }, behind its length.
RECORD = bytes.fromhex("09 2a0161 8201030a0178")

schemathesis.openapi.media_type(
    "application/x-protobuf",
    strategies.one_of(strategies.binary(), strategies.lists(strategies.just(RECORD), max_size=20).map(b"".join)),
)
