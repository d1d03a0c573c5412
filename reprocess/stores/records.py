"""Records: what is committed, under which settings, over which bytes.

A block's record is the only thing that says it is done. It is written last
and its key ends in the block's fingerprint, so that one listing tells what
six years hold. The fingerprint is two halves: what the block was made from,
and the settings it was made with; which half differs is the reason a plan
gives for doing a block again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from reprocess.errors import StoreError
from reprocess.stores.objects import ObjectStore
from reprocess.stores.sealed import canonical, seal, unseal

FORMAT_VERSION = 1
HALF = 24  # hexadecimal digits in each half of a fingerprint: 96 bits

UNFINISHED = "0" * 2 * HALF
"""Fingerprint of the mark on a day's frames while they are made, and on a cube-year while it is
counted: what a killed run left of them is found again, even if the archive has lost the day or the
year since."""

OVERWRITTEN = "f" * 2 * HALF
"""Fingerprint of the mark that an orphan leaves on the block it was writing when it found that
another run had taken over: its last write may lie on top of that run's bytes."""

MARKS = frozenset({UNFINISHED, OVERWRITTEN})
"""Fingerprints of no content: a block that has one of them is not committed."""

_MARKED_LAYOUT = re.compile(
    r"records/layout/(?P<path>(?:frames|(?:evidence|detections)/[a-z0-9_-]+)/[0-9]{4}\.zarr)"
    rf"\.(?:{UNFINISHED}|{OVERWRITTEN})\.json"
)

_KEY = re.compile(
    r"records/[0-9]{4}/(?P<stage>frames|evidence|detections|cube)/(?:(?P<label>[a-z0-9_-]+)/)?"
    r"(?P<day>[0-9]{4}(?:-[0-9]{2}-[0-9]{2})?)"
    rf"\.(?P<fingerprint>[0-9a-f]{{{2 * HALF}}})\.json"
)


def half_digest(value: Any) -> str:
    """First 96 bits of the SHA-256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()[:HALF]


def fingerprint(inputs: Any, settings: Any) -> str:
    """Fingerprint of a block: a half for its inputs, a half for its settings."""
    return half_digest(inputs) + half_digest([FORMAT_VERSION, settings])


class Block(NamedTuple):
    """One unit of a stage: a UTC day of one label, or a year of the cube.

    `label` is empty for the frames and cube stages; `day` is ISO 8601
    (`2021-06-01`), or the year for the cube.
    """

    stage: str
    label: str
    day: str

    @property
    def year(self) -> int:
        return int(self.day[:4])

    def __str__(self) -> str:
        return " ".join(part for part in self if part)


def day_block(stage: str, label: str, day: date) -> Block:
    """The block of one UTC day."""
    return Block(stage, label, day.isoformat())


def cube_block(year: int) -> Block:
    """The block of one year of the cube."""
    return Block("cube", "", f"{year:04d}")


@dataclass(frozen=True)
class Record:
    """What one committed block is: its fingerprint, its bytes, and what its maker knew.

    Attributes
    ----------
    block, fingerprint : which block, and the fingerprint its key ends in
    objects : digest (SHA-256 of the stored bytes) of every object the block left, by key;
        a chunk of the block that is not listed must be absent
    facts : stage-specific and free of times and machine names: equal runs write equal records
    """

    block: Block
    fingerprint: str
    objects: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


Listing = dict[Block, list[str]]
"""Fingerprints of the records found for each block; more than one = a crash between two."""


def only_fingerprint(found: Sequence[str]) -> str | None:
    """The fingerprint of a block that is committed; None for none, a mark, or more than one."""
    return found[0] if len(found) == 1 and found[0] not in MARKS else None


class Records:
    """The records of one store."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def list(self, years: Iterable[int] | None = None) -> Listing:
        """List the committed blocks of some years, or of all, without reading a record."""
        prefixes = ["records"] if years is None else [f"records/{year}" for year in sorted(years)]
        found: Listing = {}
        for prefix in prefixes:
            for key in self._objects.keys(prefix):
                parsed = parse_key(key)
                if parsed is not None:
                    found.setdefault(parsed[0], []).append(parsed[1])
        return found

    def read(self, block: Block, fingerprint: str) -> Record:
        """Read one record.

        Raises
        ------
        StoreError
            If there is no such record or it is not one.
        """
        key = record_key(block, fingerprint)
        try:
            return decode_record(block, fingerprint, self._objects.read(key))
        except FileNotFoundError as error:
            raise StoreError(f"{key}: no such record; run again to make the block") from error
        except ValueError as error:
            raise StoreError(
                f"{key}: is not the record of {block} (found {error}); the block is stale: run "
                f"again, or `reprocess verify STORE --repair CAMPAIGN`"
            ) from error

    def write(self, record: Record) -> None:
        """Commit a block. Its data must already be durable."""
        document = {
            **_identity(record.block, record.fingerprint),
            "objects": record.objects,
            "facts": record.facts,
        }
        self._objects.write(record_key(record.block, record.fingerprint), seal(document))

    def mark(self, block: Block, mark: str) -> None:
        """Leave one of `MARKS` on a block: whatever else is recorded of it, it is done again."""
        self.write(Record(block, mark))

    def begin(self, block: Block) -> None:
        """Take a block's records back before its data is overwritten.

        A mark stands in for them until `finish`: should what the block is made of be gone before
        the next run, nothing else tells that half of it may be there.
        """
        self.mark(block, UNFINISHED)
        mark = record_key(block, UNFINISHED)
        for key in self._keys(block):
            if key != mark:
                self._objects.delete(key)

    def finish(self, block: Block) -> None:
        """Take the mark of `begin` off, after the block's record was written."""
        self.delete(block, [UNFINISHED])

    def delete(self, block: Block, fingerprints: Iterable[str]) -> None:
        """Take back the given records of a block, before its data is overwritten."""
        for fingerprint in fingerprints:
            self._objects.delete(record_key(block, fingerprint))

    def delete_all(self, block: Block) -> None:
        """Take back every record of a block, whatever a plan knew of them."""
        for key in self._keys(block):
            self._objects.delete(key)

    def _keys(self, block: Block) -> tuple[str, ...]:
        directory = record_key(block, "").rpartition("/")[0]
        start = f"{directory}/{block.day}."
        return tuple(key for key in self._objects.keys(directory) if key.startswith(start))

    def read_settings(self, name: str) -> dict[str, Any] | None:
        """The settings that `frames` or a detector's label was first run with, or None.

        Raises
        ------
        StoreError
            If they are not what was written.
        """
        key = settings_key(name)
        try:
            document = unseal(self._objects.read(key))
            settings = document.pop("settings", None)
            if document or not isinstance(settings, dict):
                raise ValueError("no settings")
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StoreError(
                f"{self._objects.url}/{key}: found {error}; expected the settings that {name} was "
                f"made with. Run `reprocess verify STORE --repair CAMPAIGN`"
            ) from error
        return settings

    def write_settings(self, name: str, settings: dict[str, Any]) -> None:
        """Bind `frames` or a label to its settings."""
        self._objects.write(settings_key(name), seal({"settings": settings}))


def decode_record(block: Block, fingerprint: str, data: bytes) -> Record:
    """The record of a block out of its bytes.

    Raises
    ------
    ValueError
        Saying what was found, if they are not the record of that block and fingerprint.
    """
    document = unseal(data)
    objects, facts = document.pop("objects", None), document.pop("facts", None)
    if document != _identity(block, fingerprint):
        raise ValueError(f"the record of something else: {str(document)[:200]}")
    if not isinstance(objects, dict) or not all(
        isinstance(text, str) for item in objects.items() for text in item
    ):
        raise ValueError("objects that are no digests by key")
    if not isinstance(facts, dict):
        raise ValueError("facts that are no mapping")
    return Record(block, fingerprint, objects, facts)


def parse_key(key: str) -> tuple[Block, str] | None:
    """The block and fingerprint that a record's key tells; None for any other key."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    block = Block(match["stage"], match["label"] or "", match["day"])
    try:
        # A name that no writer of ours makes: a day that is none, a block of another year.
        date.fromisoformat(f"{block.day}-01-01" if block.stage == "cube" else block.day)
    except ValueError:
        return None
    fingerprint = match["fingerprint"]
    labelled = block.stage in ("evidence", "detections")
    right = bool(block.label) == labelled and record_key(block, fingerprint) == key
    return (block, fingerprint) if right else None


def record_key(block: Block, fingerprint: str) -> str:
    """Where a block's record of some fingerprint lies."""
    parts = ["records", f"{block.year:04d}", block.stage]
    if block.label:
        parts.append(block.label)
    return "/".join([*parts, f"{block.day}.{fingerprint}.json"])


def settings_key(name: str) -> str:
    """Where the settings lie that `frames` or a label is bound to."""
    return f"records/settings/{name}.json"


def _identity(block: Block, fingerprint: str) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "stage": block.stage,
        "label": block.label,
        "day": block.day,
        "fingerprint": fingerprint,
    }


@dataclass(frozen=True)
class LayoutRecord:
    """Digests of one Zarr hierarchy's metadata and coordinates, which no block's record covers.

    `bound` is what the hierarchy as a whole was made with: the cube's settings; else empty.
    """

    path: str
    objects: dict[str, str]
    bound: str = ""


def read_layout(objects: ObjectStore, path: str) -> LayoutRecord | None:
    """What a hierarchy was laid out as; None where that is not known.

    Raises
    ------
    StoreError
        If the record is not what was written.
    """
    key = layout_key(path)
    try:
        document = unseal(objects.read(key))
        digests, bound = document.get("objects"), document.get("bound")
        if (document.get("path"), set(document)) != (path, {"path", "objects", "bound"}):
            raise ValueError("the record of something else")
        if not isinstance(digests, dict) or not isinstance(bound, str):
            raise ValueError("objects that are no digests by key")
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StoreError(
            f"{objects.url}/{key}: found {error}; expected the digests of the metadata of {path}. "
            f"Run `reprocess verify STORE --repair CAMPAIGN`"
        ) from error
    return LayoutRecord(path, digests, bound)


def write_layout(objects: ObjectStore, layout: LayoutRecord) -> None:
    """Keep what a hierarchy was laid out as; its objects must already be durable."""
    document = {"path": layout.path, "objects": layout.objects, "bound": layout.bound}
    objects.write(layout_key(layout.path), seal(document))


def mark_layout(objects: ObjectStore, path: str, mark: str) -> None:
    """Say that a hierarchy's metadata are being written, or that an orphan may have written there.

    The next run lays it out again. A mark lies beside what is kept of the hierarchy and not in its
    place, because that may yet be written.
    """
    objects.write(layout_mark_key(path, mark), seal({"path": path}))


def marked_layouts(objects: ObjectStore) -> frozenset[str]:
    """Paths of the hierarchies that have a mark."""
    found = (_MARKED_LAYOUT.fullmatch(key) for key in objects.keys("records/layout"))
    return frozenset(match["path"] for match in found if match is not None)


def layout_mark_key(path: str, mark: str) -> str:
    """Where one of `MARKS` on a hierarchy's metadata lies."""
    return f"records/layout/{path}.{mark}.json"


def layout_key(path: str) -> str:
    """Where the digests of a hierarchy's metadata and coordinates lie; the cube's under `cube/`."""
    return f"records/layout/{path if '/' in path else f'cube/{path}'}.json"
