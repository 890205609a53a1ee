"""The contract's messages for Python, compiled by protoc from schemas/proto when this is imported."""

import importlib
import pathlib
import sys
import tempfile

from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "schemas" / "proto"


def _compiled(name):
    with tempfile.TemporaryDirectory() as out:
        file = f"millpond/v1/{name}.proto"
        assert protoc.main(["protoc", f"-I{PROTO}", f"--python_out={out}", file]) == 0
        sys.path.insert(0, out)
        try:
            return importlib.import_module(f"millpond.v1.{name}_pb2")
        finally:
            sys.path.remove(out)


record = _compiled("record")
outcome = _compiled("outcome")
