"""Copy a store, from disk to S3 or back, so that at no moment it says more than it holds.

What is copied is what is committed: for each block the objects that its record
names, each checked against the record's digest, then the record. A copy that
is broken off is a store with fewer blocks; the same command goes on from there.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import zarr

from reprocess import stages
from reprocess.cube.shape import CUBE_PATH
from reprocess.errors import ConfigurationError
from reprocess.history import new_run_id
from reprocess.stores.layout import days_in_year
from reprocess.stores.lock import Heartbeat, Lock, acquire
from reprocess.stores.objects import SCRATCH, ObjectStore
from reprocess.stores.records import (
    Block,
    Listing,
    Records,
    layout_key,
    only_fingerprint,
    record_key,
)
from reprocess.stores.zarrview import ZarrView, digest

BLOCKS_AT_ONCE = 8
MONTHS = 12
SETTINGS = "records/settings"


@dataclass
class Copied:
    """What a copy did.

    Attributes
    ----------
    blocks, objects, size : copied now; size in bytes
    there : blocks that the target had already
    left : blocks that are not as their record says, and why: the source has to make them again
    """

    blocks: int = 0
    there: int = 0
    objects: int = 0
    size: int = 0
    left: dict[Block, str] = field(default_factory=dict)


def copy_store(
    source: ObjectStore,
    target: ObjectStore,
    years: Sequence[int] | None,
    say: Callable[[str], None],
) -> Copied:
    """Copy the committed blocks of some years, or of all, and what tells of their making.

    Parameters
    ----------
    source : not written; another run may write it meanwhile, what changes is left for next time
    target : empty, a part of a copy, or an older copy; locked against runs meanwhile
    say : told what is happening, a line at a time

    Raises
    ------
    ConfigurationError
        If the source holds nothing, or the target is another campaign's.
    LockHeld
        If a run is writing the target.
    """
    listing = _complete(Records(source).list(years))
    if not listing:
        raise ConfigurationError(
            f"{source.url}: found no committed block, expected a store that a run has left; "
            f"check the URL and --years"
        )
    one, other = (f"{objects.url.rstrip('/')}/" for objects in (source, target))
    if one.startswith(other) or other.startswith(one):
        raise ConfigurationError(
            f"{source.url}: is copied to {target.url}; expected two stores, neither in the other"
        )
    _refuse_another_campaign(source, target)
    wanted = sorted({block.year for block in listing})
    paths = sorted({path for block in listing for path in _paths(block)})
    copied = Copied()
    with _locked(target, wanted, say) as guard, ThreadPoolExecutor(BLOCKS_AT_ONCE) as pool:
        present = Records(target).list()
        _refuse_another_cube(source, target, present, wanted)
        todo = _without_the_equal(source, target, listing, present, copied, pool)
        for block in sorted(todo, key=_order, reverse=True):
            guard(block)
            Records(target).delete_all(block)
        before = {path: list(target.keys(path)) for path in paths} if todo else {}
        settings = list(source.keys(SETTINGS))
        metadata = [key for path in paths for key in _metadata(source, path)]
        for data in pool.map(lambda key: _copy_object(source, target, key), [*settings, *metadata]):
            copied.objects += data is not None
        for path in paths:  # what vouches for metadata comes after it
            copied.objects += _copy_object(source, target, layout_key(path)) is not None
        stale = _Chunks(target, before)

        def copy(block: Block) -> tuple[Block, int, int, str | None]:
            return block, *_copy_block(source, target, block, todo[block], stale, guard)

        for stage in stages.STAGES:  # one after the other: what a block rests on is there first
            blocks = [block for block in sorted(todo) if block.stage == stage]
            for block, objects, size, why in pool.map(copy, blocks):
                if why is None:
                    copied.blocks += 1
                    copied.objects += objects
                    copied.size += size
                else:
                    copied.left[block] = why
            if blocks:
                say(f"{stage}: {len(blocks)} blocks")
        histories = [
            key
            for area in ("runs", *(f"failures/{year:04d}" for year in wanted))
            for key in source.keys(area)
            if not key.startswith(f"{SCRATCH}/")
        ]
        list(pool.map(lambda key: _copy_object(source, target, key), histories))
    return copied


def _complete(listing: Listing) -> dict[Block, str]:
    return {
        block: one
        for block, found in listing.items()
        if (one := only_fingerprint(found)) is not None
    }


def _order(block: Block) -> tuple[int, Block]:
    """Frames, evidence, detections, cube: what a block rests on comes before it."""
    return stages.STAGES.index(block.stage), block


def _paths(block: Block) -> Iterator[str]:
    if block.stage == "cube":
        yield CUBE_PATH
    elif block.stage == "frames":
        yield stages.frames_path(block.year)
    elif block.stage == "evidence":
        yield stages.evidence_path(block.label, block.year)
    else:
        yield stages.detections_path(block.label, block.year)


# --- before anything is written ----------------------------------------------------------


def _refuse_another_campaign(source: ObjectStore, target: ObjectStore) -> None:
    for key in source.keys(SETTINGS):
        with contextlib.suppress(FileNotFoundError):
            if target.read(key) != source.read(key):
                raise ConfigurationError(
                    f"{target.url}: {key} differs from that of {source.url}; expected an empty "
                    f"store, or a copy of the same campaign's"
                )


def _refuse_another_cube(
    source: ObjectStore, target: ObjectStore, present: Listing, years: Sequence[int]
) -> None:
    """A cube has one shape for all years: it may only change where every year is replaced."""
    others = {block.year for block in present if block.stage == "cube"} - set(years)
    if not others or not source.exists(f"{CUBE_PATH}/zarr.json"):
        return
    for key in _metadata(source, CUBE_PATH):
        with contextlib.suppress(FileNotFoundError):
            if target.read(key) != source.read(key):
                raise ConfigurationError(
                    f"{target.url}: its cube holds {', '.join(map(str, sorted(others)))} beside "
                    f"the copied years and has another shape; expected the same detectors, "
                    f"selection and last year: copy all years, or run the campaign there"
                )


@contextlib.contextmanager
def _locked(
    target: ObjectStore, years: Iterable[int], say: Callable[[str], None]
) -> Iterator[Callable[[Block], None]]:
    """Hold the target's years and its cube against runs."""
    run_id = new_run_id()
    locks: dict[str, Lock] = {}
    silent: set[str] = set()
    with Heartbeat() as heartbeat:
        try:
            for name in (*(str(year) for year in years), "cube"):
                locks[name] = acquire(target, name, run_id, say, silent)
                heartbeat.add(locks[name])

            def guard(block: Block) -> None:
                locks[str(block.year)].token.check(target)
                if block.stage == "cube":
                    locks["cube"].token.check(target)

            yield guard
        finally:
            for lock in locks.values():
                heartbeat.give_back(lock, say)


def _without_the_equal(
    source: ObjectStore,
    target: ObjectStore,
    listing: dict[Block, str],
    present: Listing,
    copied: Copied,
    pool: ThreadPoolExecutor,
) -> dict[Block, str]:
    """The blocks whose record the target does not have, byte for byte."""

    def equal(block: Block) -> bool:
        if present.get(block) != [listing[block]]:
            return False
        key = record_key(block, listing[block])
        return source.read(key) == target.read(key)

    blocks = sorted(listing)
    same = dict(zip(blocks, pool.map(equal, blocks), strict=True))
    copied.there = sum(same.values())
    return {block: listing[block] for block in blocks if not same[block]}


# --- copying -----------------------------------------------------------------------------


def _metadata(objects: ObjectStore, path: str) -> list[str]:
    """The keys of a hierarchy that belong to no block: metadata and coordinates."""
    keys = list(objects.keys(path))
    along = {
        key.removesuffix("/zarr.json")
        for key in keys
        if key.endswith("/zarr.json") and _runs_along_time(objects, key)
    }
    return [key for key in keys if key.partition("/c/")[0] not in along or "/c/" not in key]


def _runs_along_time(objects: ObjectStore, key: str) -> bool:
    document: dict[str, Any] = json.loads(objects.read(key))
    name = key.split("/")[-2]
    return "time" in (document.get("dimension_names") or ()) and name != "time"


def _copy_object(source: ObjectStore, target: ObjectStore, key: str) -> bytes | None:
    """Copy one object unless the target has the same; None if it had, or if it is gone."""
    try:
        data = source.read(key)
    except FileNotFoundError:
        return None
    with contextlib.suppress(FileNotFoundError):
        if target.read(key) == data:
            return None
    target.write(key, data)
    return data


def _copy_block(
    source: ObjectStore,
    target: ObjectStore,
    block: Block,
    fingerprint: str,
    stale: _Chunks,
    guard: Callable[[Block], None],
) -> tuple[int, int, str | None]:
    """Copy one block, its record last; returns objects, bytes, and why it was left."""
    key = record_key(block, fingerprint)
    try:
        record = source.read(key)
        objects: dict[str, str] = json.loads(record)["objects"]
    except FileNotFoundError:
        return 0, 0, "it was taken back while the store was copied"
    except (ValueError, KeyError, TypeError) as error:
        return 0, 0, f"{key}: is not a record ({error})"
    size = 0
    for name, wanted in sorted(objects.items()):
        try:
            data = source.read(name)
        except FileNotFoundError:
            return 0, 0, f"{name}: found no object, the record expects {wanted[:12]}…"
        if digest(data) != wanted:
            return 0, 0, f"{name}: found content {digest(data)[:12]}…, expected {wanted[:12]}…"
        guard(block)
        target.write(name, data)
        size += len(data)
    for name in stale.of(block):
        if name not in objects:
            guard(block)
            target.delete(name)
    guard(block)
    target.write(key, record)
    return len(objects), size, None


class _Chunks:
    """The chunks that the target already held, by the block they belong to."""

    def __init__(self, target: ObjectStore, keys: dict[str, list[str]]) -> None:
        self._of: dict[tuple[str, str], list[str]] = {}
        for path, found in keys.items():
            if any("/c/" in key for key in found):
                self._sort(target, path, found)

    def of(self, block: Block) -> list[str]:
        return self._of.get((next(_paths(block)), block.day), [])

    def _sort(self, target: ObjectStore, path: str, keys: list[str]) -> None:
        group = zarr.open_group(ZarrView(target, path, read_only=True), mode="r", zarr_format=3)
        for key in keys:
            name, separator, index = key[len(path) + 1 :].partition("/c/")
            array = group.get(name) if separator and name != "time" else None
            if not isinstance(array, zarr.Array):
                continue
            dims: tuple[str, ...] = getattr(array.metadata, "dimension_names", None) or ()
            if "time" not in dims:
                continue
            axis = dims.index("time")
            first = int(index.split("/")[axis]) * array.chunks[axis]
            self._of.setdefault((path, _day(group, path, array.shape[axis], first)), []).append(key)


def _day(group: zarr.Group, path: str, n_time: int, index: int) -> str:
    """The UTC day, or for the cube the year, that an index along `time` lies in."""
    if path == CUBE_PATH:
        months = group["time"]
        assert isinstance(months, zarr.Array)
        start = date(1970, 1, 1) + timedelta(days=int(months[0]))  # type: ignore[arg-type]
        return f"{start.year + index // MONTHS:04d}"
    year = int(path.rpartition("/")[2].removesuffix(".zarr"))
    return (date(year, 1, 1) + timedelta(days=index // (n_time // days_in_year(year)))).isoformat()
