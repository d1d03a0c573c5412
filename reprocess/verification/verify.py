"""Verify a store: every byte against its record, every number against its source.

A record says which bytes a block left; `records/layout/` says the same of metadata and
coordinates; each of these documents carries its own digest. So one changed bit anywhere under
`records/`, `frames/`, `evidence/`, `detections/` or `occurrence.zarr` is found, and told by block.
Then the records are held against each other and against what they count, the cube is counted
again from the detections, and, where the archive can be reached, the ledger is compared with it.
Nothing is written. `reprocess.verification.repair` does what is found again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from itertools import product
from typing import Any

import numpy as np
import zarr

from reprocess.archive.frames import FrameStatus
from reprocess.archive.inputs import Column
from reprocess.campaign import Campaign, FlagTable, StoreAccess
from reprocess.cube.recount import recount_year
from reprocess.cube.shape import CUBE_PATH
from reprocess.detectors.detector import EvidenceStatus
from reprocess.errors import ConfigurationError, ReprocessError, StoreError
from reprocess.stores.layout import days_in_year
from reprocess.stores.lock import holder
from reprocess.stores.objects import ObjectStore, open_objects
from reprocess.stores.records import (
    HALF,
    OVERWRITTEN,
    UNFINISHED,
    Block,
    Record,
    Records,
    cube_block,
    day_block,
    decode_record,
    half_digest,
    layout_key,
    layout_mark_key,
    marked_layouts,
    only_fingerprint,
    read_layout,
    record_key,
)
from reprocess.stores.sealed import seal, unseal
from reprocess.stores.zarrview import ZarrView, digest
from reprocess.verification.findings import Verification
from reprocess.verification.inventory import Inventory, chunk_along_time, day_of_chunk, hierarchy_of

READ_THREADS = 8
Progress = Callable[[int, int], None]
"""Told how many of how many objects have been read."""


def verify_store(
    store_url: str,
    years: Iterable[int] | None = None,
    on_progress: Progress = lambda _done, _total: None,
    campaign: Campaign | None = None,
    access: StoreAccess | None = None,
) -> Verification:
    """Check what a store holds against its own records.

    Parameters
    ----------
    store_url : directory or fsspec URL
    years : default all that the store holds
    on_progress : told as objects are read
    campaign : tells the flag tables that the cube was counted with
    access : how an S3 service is reached; default as the campaign says

    Raises
    ------
    ConfigurationError
        If there is no store, or it holds none of the years.

    Notes
    -----
    Every object is read once, a few at a time; the detections of a cube-year once more, to be
    counted. Memory: the names of all objects, and what counting a year needs. A year that a run is
    writing is not checked, since it changes meanwhile.
    """
    if access is None and campaign is not None:
        access = campaign.store_access
    objects = open_objects(store_url, access)
    store = Inventory.take(objects)
    if not store.blocks and not store.hierarchies:
        raise ConfigurationError(
            f"{store_url}: found no records and no Zarr stores, expected the store of a campaign; "
            f"check the URL"
        )
    chosen = store.years if years is None else tuple(sorted(set(years)))
    unknown = set(chosen) - set(store.years)
    if unknown:
        raise ConfigurationError(
            f"--years: found {', '.join(map(str, sorted(unknown)))}, expected years that the store "
            f"holds ({', '.join(map(str, store.years))})"
        )
    result = Verification(objects.url, chosen)
    free = []
    for year in chosen:
        busy = holder(objects, str(year))
        if busy is None:
            free.append(year)
        else:
            result.not_checked.append(f"{year}: {busy} is writing it")
    total = sum(len(keys) for path, keys in store.hierarchies.items() if store.year(path) in free)
    with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="verify") as pool:
        check = _Check(objects, store, result, pool, on_progress, total)
        check.flags = () if campaign is None else campaign.cube.flags
        check.settings()
        for year in free:
            check.year(year)
        check.cube(free, whole=years is None and len(free) == len(chosen))
        check.beside()
    return result


class _Check:
    def __init__(
        self,
        objects: ObjectStore,
        store: Inventory,
        result: Verification,
        pool: ThreadPoolExecutor,
        on_progress: Progress,
        total: int,
    ) -> None:
        self.objects = objects
        self.store = store
        self.result = result
        self.pool = pool
        self.on_progress = on_progress
        self.done, self.total = 0, total
        self.flags: tuple[FlagTable, ...] = ()

    # --- one year ---------------------------------------------------------------------

    def year(self, year: int) -> None:
        """Frames, evidence and detections of a year: bytes, then what they say of each other."""
        records: dict[Block, Record] = {}
        paths = [p for p in sorted(self.store.hierarchies) if self.store.year(p) == year]
        for stage in ("frames", "evidence", "detections"):
            for block in self.store.of(stage, year):
                path = hierarchy_of(block)
                if path not in paths:
                    paths.append(path)
        for path in paths:
            stage, _, rest = path.partition("/")
            label = rest.rpartition("/")[0]
            mine = {b: f for b, f in self.store.of(stage, year).items() if b.label == label}
            records |= self.hierarchy(path, f"{stage} {label}".strip() + f" {year}", mine)
        self.links(records)

    def hierarchy(
        self, path: str, where: str, blocks: Mapping[Block, Sequence[str]]
    ) -> dict[Block, Record]:
        """One Zarr store: metadata, coordinates, every block's objects, and what is left over."""
        left = set(self.store.hierarchies.get(path, ()))
        sound = self.metadata(path, where, left)
        records: dict[Block, Record] = {}
        for block, fingerprints in blocks.items():
            record = self.block(block, fingerprints, path, left)
            if record is not None:
                records[block] = record
        group = self._open(path) if sound else None
        if group is not None and path != CUBE_PATH:
            for block, record in records.items():
                self.statuses(block, record, group)
        self.strays(path, where, left, group, blocks)
        return records

    def metadata(self, path: str, where: str, left: set[str]) -> bool:
        """`zarr.json` objects and coordinates, against the digests kept when they were laid out."""
        self.result.checked["hierarchies"] += 1
        key = layout_key(path)
        try:
            layout = read_layout(self.objects, path)
        except StoreError as error:
            self.result.add("metadata", key, where, str(error).partition(": found ")[2])
            layout = None
        else:
            if layout is None:
                self.result.add("metadata", key, where, "is missing: no one vouches for metadata")
        if layout is None:
            left -= {k for k in left if "/c/" not in k or not self._along_time(path, k)}
            return False
        good = True
        wanted = sorted(layout.objects.items())
        for name, problem in self._compared(wanted):
            left.discard(name)
            if problem is not None:
                good = False
                self.result.add("metadata", name, where, problem)
        return good

    def block(
        self, block: Block, fingerprints: Sequence[str], path: str, left: set[str]
    ) -> Record | None:
        """One block: its record, and every object that the record names."""
        fingerprint = only_fingerprint(fingerprints)
        if fingerprint is None:
            key = record_key(block, fingerprints[0])
            self.result.add(
                "unfinished", key, block, "a run ended while it was made; the next does it again"
            )
            left -= set(self._keys_of(block, path, left))
            return None
        key = record_key(block, fingerprint)
        self.result.checked["records"] += 1
        record = self._record(block, fingerprint, key)
        if record is None:
            left -= set(self._keys_of(block, path, left))
            return None
        foreign = [k for k in record.objects if not k.startswith(f"{path}/")]
        if foreign:
            self.result.add("record", key, block, f"names {foreign[0]}, which is not of its store")
        problems = 0
        for name, problem in self._compared(sorted(record.objects.items())):
            left.discard(name)
            if problem is not None and self._still(block, fingerprint):
                problems += 1
                kind = "missing" if problem.startswith("is not there") else "damaged"
                self.result.add(kind, name, block, problem)
        return None if problems else record

    def strays(
        self,
        path: str,
        where: str,
        left: set[str],
        group: zarr.Group | None,
        blocks: Mapping[Block, Sequence[str]],
    ) -> None:
        """What no record covers: plain Zarr readers would take it for data."""
        for key in sorted(left):
            if not self.objects.exists(key):
                continue
            day = None if group is None else day_of_chunk(path, key, group)
            if day is None:
                self.result.add("stray", key, where, "no record covers it")
                continue
            stage, _, rest = path.partition("/")
            block = day_block(stage, rest.rpartition("/")[0], day)
            held = "its day's record says that it is absent" if block in blocks else "no record"
            self.result.add("stray", key, block, f"no record covers it ({held})")

    # --- what records say --------------------------------------------------------------

    def statuses(self, block: Block, record: Record, group: zarr.Group) -> None:
        """A day's `status` against the numbers in its record."""
        array = group["status"]
        assert isinstance(array, zarr.Array)
        slots = array.shape[0] // days_in_year(block.year)
        day = date.fromisoformat(block.day)
        start = (day - date(day.year, 1, 1)).days * slots
        found = Counter(np.asarray(array[start : start + slots]).tolist())
        facts = record.facts
        try:
            if block.stage == "frames":
                wanted = Counter(
                    {
                        int(FrameStatus.OK): int(facts["ledger"].get(Column.OK, 0)),
                        int(FrameStatus.UNREADABLE): int(facts["ledger"].get(Column.UNREADABLE, 0)),
                    }
                )
                columns = Counter(str(row[2]) for row in facts["frames"])
                if +columns != +Counter(facts["ledger"]):
                    text = f"its ledger is {facts['ledger']}, its frames say {dict(columns)}"
                    self._wrong(block, record, "ledger", text)
            else:
                names = {m.name.lower(): int(m) for m in EvidenceStatus}
                wanted = Counter({names[n]: int(k) for n, k in facts["frames_by_status"].items()})
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            self._wrong(block, record, "record", f"facts of an impossible shape ({error!r})")
            return
        found.pop(0, None)
        if found != +wanted:
            text = f"its record tells of {dict(+wanted)} frames by status, stored are {dict(found)}"
            self._wrong(block, record, "ledger", text)

    def links(self, records: Mapping[Block, Record]) -> None:
        """Each block was made from the parent that is committed now, as its fingerprint says."""
        parents = {"evidence": "frames", "detections": "evidence"}
        for block, record in records.items():
            if block.stage not in parents:
                continue
            name = parents[block.stage]
            label = block.label if name == "evidence" else ""
            parent = Block(name, label, block.day)
            inputs: Any = record.facts.get(name)
            if block.stage == "evidence":
                inputs = [inputs, record.facts.get("context")]
            if half_digest(inputs) != record.fingerprint[:HALF]:
                self._wrong(block, record, "record", "its facts are not those of its fingerprint")
            elif self.store.blocks.get(parent) != [record.facts[name]]:
                text = f"was made from other {name} than are committed; the next run does it again"
                self._wrong(block, record, "unfinished", text)

    # --- the cube ------------------------------------------------------------------------

    def cube(self, years: Sequence[int], *, whole: bool) -> None:
        """The cube's bytes, and its counts against the detections."""
        blocks = {b: f for year in years for b, f in self.store.of("cube", year).items()}
        committed = {
            year: _committed(self.store.of("detections", year))
            for year in years
        }  # fmt: skip
        if CUBE_PATH not in self.store.hierarchies:
            for year in years:
                if committed[year]:
                    self.result.add(
                        "count", CUBE_PATH, cube_block(year),
                        "there is no cube, though detections are committed",
                    )  # fmt: skip
            return
        left = set(self.store.hierarchies[CUBE_PATH])
        sound = self.metadata(CUBE_PATH, "cube", left)
        damaged = {f.block for f in self.result.findings}
        for year in years:
            block = cube_block(year)
            record = self.block(block, blocks[block], CUBE_PATH, left) if block in blocks else None
            if block not in blocks and committed[year]:
                text = "detections of the year are committed, and are not counted"
                self.result.add("count", CUBE_PATH, block, text)
            if record is None:
                continue
            if not self.counted(block, record, committed[year]):
                continue
            worse = sorted(
                str(b) for b in damaged
                if b is not None and b.stage == "detections" and b.year == year
            )  # fmt: skip
            if worse or not sound:
                why = f"{worse[0]} is damaged" if worse else "its metadata is damaged"
                self.result.not_checked.append(f"counts of {year}: {why}")
                continue
            self.recount(block, year)
        if whole:
            for key in sorted(left):
                self.result.add("stray", key, "cube", "no record covers it")

    def counted(self, block: Block, record: Record, committed: Mapping[str, Any]) -> bool:
        """Whether the cube-year was made from the detections that are committed, and its ledger."""
        try:
            days = record.facts["days"]
            counted = {day: dict(entry["detections"]) for day, entry in days.items()}
            ledgers = {
                day: (entry.get("frames"), entry.get("ledger")) for day, entry in days.items()
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._wrong(block, record, "record", f"facts of an impossible shape ({error!r})")
            return False
        if half_digest(counted) != record.fingerprint[:HALF]:
            self._wrong(block, record, "record", "its facts are not those of its fingerprint")
            return False
        if counted != committed:
            other = sorted({*counted, *committed})
            days_off = [day for day in other if counted.get(day) != committed.get(day)]
            text = f"counted from other detections than are committed on {_some(days_off)}"
            self._wrong(block, record, "count", text)
            return False
        for day, (fingerprint, ledger) in ledgers.items():
            frames = Block("frames", "", day)
            if fingerprint is None or self.store.blocks.get(frames) != [fingerprint]:
                continue  # frames done again without a change of the detections' own record
            try:
                mine = Records(self.objects).read(frames, fingerprint).facts.get("ledger")
            except StoreError:
                continue  # told already
            if mine != ledger:
                text = f"its ledger of {day} is {ledger}, that of the frames is {mine}"
                self._wrong(block, record, "ledger", text)
        return True

    def recount(self, block: Block, year: int) -> None:
        """Count the year again from its detections, and compare every number."""
        self.result.checked["cube-years recounted"] += 1
        try:
            for difference in recount_year(self.objects, year, self.flags):
                self.result.add("count", CUBE_PATH, block, difference)
        except ReprocessError as error:
            self.result.not_checked.append(f"counts of {year}: {error}")

    # --- beside the result -----------------------------------------------------------------

    def settings(self) -> None:
        """What the frames store and each label are bound to."""
        labels = {b.label for b in self.store.blocks if b.stage == "evidence"}
        wanted = {f"records/settings/{name}.json" for name in labels}
        if any(b.stage == "frames" for b in self.store.blocks):
            wanted.add("records/settings/frames.json")
        for key in sorted({*wanted, *self.store.settings}):
            name = key.rpartition("/")[2].removesuffix(".json")
            where = f"settings of {name}"
            self.result.checked["records"] += 1
            try:
                data = self.objects.read(key)
                if seal(unseal(data)) != data:
                    raise ValueError("bytes that no run writes")
            except FileNotFoundError:
                self.result.add("settings", key, where, "is not there, though blocks are committed")
            except ValueError as error:
                self.result.add("settings", key, where, f"found {error}")
        known = {layout_key(path) for path in self.store.hierarchies}
        texts = {
            UNFINISHED: "a run ended while it laid its year out; the next lays it out again",
            OVERWRITTEN: "a run that had been taken over wrote there: see its year",
        }
        for path, (mark, text) in product(sorted(marked_layouts(self.objects)), texts.items()):
            key = layout_mark_key(path, mark)
            if key in self.store.layouts:
                known.add(key)
                where = path.removesuffix(".zarr").replace("/", " ")
                self.result.add("metadata", key, where, text)
        for key in sorted(self.store.layouts - known):
            self.result.add("stray", key, key, "tells of a Zarr store that is not there")

    def beside(self) -> None:
        """Failures, and documents about runs that cannot be read; unknown objects."""
        for key in sorted(self.store.beside):
            if key.startswith("runs/tmp/"):
                continue
            if key.startswith("failures/"):
                day = key.rpartition("/")[2].removesuffix(".json")
                self.result.add("failed", key, day, self._failure(key))
            elif key.endswith(".json") or key.startswith("locks/"):
                try:
                    unseal(self.objects.read(key), required=False)
                except FileNotFoundError:
                    continue  # gone meanwhile
                except ValueError as error:
                    text = f"found {error}; it is no part of the result and may be deleted"
                    self.result.add("beside", key, key, text)
        for key in sorted(self.store.unknown):
            if key.startswith(("records/", "frames/", "evidence/", "detections/", CUBE_PATH)):
                self.result.add("stray", key, key, "no run writes such a key")
            else:
                self.result.notes.append(f"{key}: is not of this package")
        scratch = sum(key.startswith("runs/tmp/") for key in self.store.beside)
        if scratch:
            self.result.notes.append(
                f"runs/tmp/: {scratch} unfinished writes of a run that ended; they may be deleted"
            )

    def _failure(self, key: str) -> str:
        try:
            document = unseal(self.objects.read(key), required=False)
        except (ValueError, FileNotFoundError) as error:
            return f"its last run failed, and what is kept of it cannot be read ({error})"
        return f"its last run failed: {str(document.get('error'))[:500]}"

    # --- small things ------------------------------------------------------------------------

    def _compared(self, items: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str | None]]:
        """Each object and what is wrong with it; a bounded number of them in memory."""
        for key, size, problem in self.pool.map(self._compare, items):
            self.result.checked["objects"] += 1
            self.result.checked["bytes"] += size
            yield key, problem
        self.done = min(self.total, self.done + len(items))
        self.on_progress(self.done, self.total)

    def _compare(self, item: tuple[str, str]) -> tuple[str, int, str | None]:
        key, wanted = item
        try:
            data = self.objects.read(key)
        except FileNotFoundError:
            return key, 0, "is not there"
        except (OSError, ValueError) as error:
            return key, 0, f"cannot be read ({error})"
        found = digest(data)
        if found == wanted:
            return key, len(data), None
        problem = f"has the SHA-256 {found[:12]}…, its record says {wanted[:12]}…"
        return key, len(data), problem

    def _record(self, block: Block, fingerprint: str, key: str) -> Record | None:
        try:
            data = self.objects.read(key)
            record = decode_record(block, fingerprint, data)
            if seal(unseal(data)) != data:
                raise ValueError("bytes that no run writes")
            return record
        except FileNotFoundError:
            return None  # a run took it back meanwhile
        except (OSError, ValueError) as error:
            self.result.add("record", key, block, f"found {error}")
            return None

    def _wrong(self, block: Block, record: Record, kind: str, text: str) -> None:
        self.result.add(kind, record_key(block, record.fingerprint), block, text)

    def _still(self, block: Block, fingerprint: str) -> bool:
        """Whether the record is still there: a run may have replaced the block meanwhile."""
        return self.objects.exists(record_key(block, fingerprint))

    def _open(self, path: str) -> zarr.Group | None:
        view = ZarrView(self.objects, path, read_only=True)
        try:
            return zarr.open_group(view, mode="r", zarr_format=3)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _keys_of(self, block: Block, path: str, left: set[str]) -> list[str]:
        """Chunks of a block's day among some keys, so that one damage is told once."""
        group = self._open(path)
        if group is None:
            return []
        if path == CUBE_PATH:
            return [key for key in left if "/c/" in key]
        day = date.fromisoformat(block.day)
        return [key for key in left if day_of_chunk(path, key, group) == day]

    def _along_time(self, path: str, key: str) -> bool:
        group = self._open(path)
        name = key[len(path) + 1 :].partition("/c/")[0]
        return group is not None and name != "time" and chunk_along_time(group, name) is not None


def _committed(detections: Mapping[Block, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Day → label → fingerprint of the detections that have one record."""
    days: dict[str, dict[str, str]] = {}
    for block, found in detections.items():
        fingerprint = only_fingerprint(found)
        if fingerprint is not None:
            days.setdefault(block.day, {})[block.label] = fingerprint
    return days


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:3]) + (f" and {len(items) - 3} more" if len(items) > 3 else "")
