"""The walk over an archive's names, without Python's cyclic garbage collector."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keep the collector away while millions of entries are made, none of which is in a cycle.

    It walks through all that is there each time a quarter has been added: a seventh of the CPU time
    of cataloguing 780 000 files (measured). Also a decorator.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
