"""The drive below all of them: how fast it makes a block durable. No peer, but no figure means much without it."""

import os
import platform
import time

from .measure import Watch

BLOCK = 8192


def loads(scope, seconds):
    """Writes one block again and again, each time until it is on the drive. The client is the driver itself."""
    took = []
    handle = os.open(scope.dir / "block", os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(handle, bytes(BLOCK), 0)
    os.fsync(handle)
    watch = Watch([os.getpid()])
    end = time.monotonic() + min(seconds, 3)
    while (begin := time.monotonic()) < end:
        os.pwrite(handle, os.urandom(BLOCK), 0)
        os.fdatasync(handle)
        took.append(time.monotonic() - begin)
    took.sort()
    quantile = {f"p{n}_ms": round(took[len(took) * n // 100] * 1e3, 3) for n in (50, 99)}
    row = watch.row("drive", platform.release(), "fdatasync of 8 KiB", len(took), **quantile, durability="fdatasync")
    os.close(handle)
    yield row
