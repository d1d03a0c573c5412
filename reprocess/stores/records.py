"""Records: what is committed, under which settings, over which bytes.

A block's record is the only thing that says it is done. It is written last
and its key ends in the block's fingerprint, so that one listing tells what
six years hold. The fingerprint is two halves: what the block was made from,
and the settings it was made with; which half differs is the reason a plan
gives for doing a block again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from reprocess.errors import StoreError
from reprocess.stores.objects import ObjectStore

FORMAT_VERSION = 1
HALF = 24  # hexadecimal digits in each half of a fingerprint: 96 bits

UNFINISHED = "0" * 2 * HALF
"""Fingerprint of the mark that stands for a day's frames while they are made: so a day that a
killed run left behind is found again, even if its frames have left the archive since."""

OVERWRITTEN = "f" * 2 * HALF
"""Fingerprint of the mark that an orphan leaves on the block it was writing when it found that
another run had taken over: its last write may lie on top of that run's bytes."""

MARKS = frozenset({UNFINISHED, OVERWRITTEN})
"""Fingerprints of no content: a block that has one of them is not committed."""

_KEY = re.compile(
    r"records/(?P<year>\d{4})/(?P<stage>frames|evidence|detections|cube)/"
    r"(?:(?P<label>[a-z0-9_-]+)/)?(?P<day>\d{4}(?:-\d\d-\d\d)?)\.(?P<fingerprint>[0-9a-f]+)\.json"
)


def canonical(value: Any) -> bytes:
    """JSON bytes that are the same for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


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
                match = _KEY.fullmatch(key)
                if match:
                    block = Block(match["stage"], match["label"] or "", match["day"])
                    found.setdefault(block, []).append(match["fingerprint"])
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
            document = json.loads(self._objects.read(key))
            return Record(block, fingerprint, document["objects"], document["facts"])
        except FileNotFoundError as error:
            raise StoreError(f"{key}: no such record; run again to make the block") from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{key}: is not a record ({error}); delete it and run again to make the block"
            ) from error

    def write(self, record: Record) -> None:
        """Commit a block. Its data must already be durable."""
        document = {
            "format_version": FORMAT_VERSION,
            "stage": record.block.stage,
            "label": record.block.label,
            "day": record.block.day,
            "fingerprint": record.fingerprint,
            "objects": record.objects,
            "facts": record.facts,
        }
        data = json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False).encode()
        self._objects.write(record_key(record.block, record.fingerprint), data + b"\n")

    def mark(self, block: Block, mark: str) -> None:
        """Leave one of `MARKS` on a block: whatever else is recorded of it, it is done again."""
        self.write(Record(block, mark))

    def delete(self, block: Block, fingerprints: Iterable[str]) -> None:
        """Take back the given records of a block, before its data is overwritten."""
        for fingerprint in fingerprints:
            self._objects.delete(record_key(block, fingerprint))

    def delete_all(self, block: Block) -> None:
        """Take back every record of a block, whatever a plan knew of them."""
        prefix = record_key(block, "").rpartition("/")[0]
        start = f"{prefix}/{block.day}."
        for key in list(self._objects.keys(prefix)):
            if key.startswith(start):
                self._objects.delete(key)

    def read_settings(self, name: str) -> dict[str, Any] | None:
        """The settings that `frames` or a detector's label was first run with, or None."""
        try:
            document = json.loads(self._objects.read(f"records/settings/{name}.json"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StoreError(f"records/settings/{name}.json: is not JSON ({error})") from error
        if not isinstance(document, dict):
            raise StoreError(f"records/settings/{name}.json: expected a mapping")
        return document

    def write_settings(self, name: str, settings: dict[str, Any]) -> None:
        """Bind `frames` or a label to its settings."""
        data = json.dumps(settings, sort_keys=True, indent=1, ensure_ascii=False).encode()
        self._objects.write(f"records/settings/{name}.json", data + b"\n")


def record_key(block: Block, fingerprint: str) -> str:
    """The key of a block's record."""
    parts = ["records", f"{block.year:04d}", block.stage]
    if block.label:
        parts.append(block.label)
    return "/".join([*parts, f"{block.day}.{fingerprint}.json"])
