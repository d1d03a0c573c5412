"""What lies in a store, by its keys alone: blocks, hierarchies, settings, and everything else."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, timedelta

import zarr

from reprocess.cube.shape import CUBE_PATH
from reprocess.stages import detections_path, evidence_path, frames_path
from reprocess.stores.layout import days_in_year
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import Block, parse_key

_HIERARCHY = re.compile(
    r"(?P<path>(?P<stage>frames|evidence|detections)/(?:(?P<label>[a-z0-9][a-z0-9_-]*)/)?"
    r"(?P<year>[0-9]{4})\.zarr|occurrence\.zarr)/(?P<inside>.+)"
)
_BESIDE = ("runs/", "locks/", "failures/")
"""Where objects lie that tell about runs; they are no part of the result."""


@dataclass
class Inventory:
    """The keys of a store, by what they belong to."""

    blocks: dict[Block, list[str]] = field(default_factory=dict)
    hierarchies: dict[str, list[str]] = field(default_factory=dict)
    layouts: set[str] = field(default_factory=set)
    settings: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @classmethod
    def take(cls, objects: ObjectStore) -> Inventory:
        found = cls()
        for key in objects.keys(""):
            parsed = parse_key(key)
            inside = _HIERARCHY.fullmatch(key)
            if parsed is not None:
                found.blocks.setdefault(parsed[0], []).append(parsed[1])
            elif inside is not None and bool(inside["label"]) == (
                inside["stage"] in ("evidence", "detections")
            ):
                found.hierarchies.setdefault(inside["path"], []).append(key)
            elif key.startswith("records/layout/"):
                found.layouts.add(key)
            elif re.fullmatch(r"records/settings/[a-z0-9_-]+\.json", key):
                found.settings.append(key)
            elif key.startswith(_BESIDE):
                found.beside.append(key)
            else:
                found.unknown.append(key)
        return found

    @property
    def years(self) -> tuple[int, ...]:
        inside = (self.year(path) for path in self.hierarchies)
        return tuple(sorted({b.year for b in self.blocks} | {y for y in inside if y is not None}))

    @staticmethod
    def year(path: str) -> int | None:
        """The year of a hierarchy; None for the cube."""
        return None if path == CUBE_PATH else int(path[-9:-5])

    def of(self, stage: str, year: int) -> dict[Block, list[str]]:
        return {
            block: self.blocks[block]
            for block in sorted(self.blocks)
            if block.stage == stage and block.year == year
        }


def hierarchy_of(block: Block) -> str:
    """Where a block's chunks lie."""
    if block.stage == "frames":
        return frames_path(block.year)
    if block.stage == "evidence":
        return evidence_path(block.label, block.year)
    return detections_path(block.label, block.year)


def chunk_along_time(group: zarr.Group, name: str) -> int | None:
    """Slots in a chunk of an array along `time`; None for any other."""
    try:
        array = group[name]
    except KeyError:
        return None
    if not isinstance(array, zarr.Array):
        return None
    dims = getattr(array.metadata, "dimension_names", None) or ()
    return int(array.chunks[0]) if dims[:1] == ("time",) else None


def day_of_chunk(path: str, key: str, group: zarr.Group) -> date | None:
    """The UTC day of a chunk of a year store; None for what is no chunk along `time`."""
    name, separator, index = key[len(path) + 1 :].partition("/c/")
    slots = chunk_along_time(group, name) if separator and name != "time" else None
    first = index.partition("/")[0]
    if slots is None or not first.isdecimal():
        return None
    year = int(path[-9:-5])
    array = group[name]
    assert isinstance(array, zarr.Array)
    per_day = array.shape[0] // days_in_year(year)
    day = int(first) * slots // max(1, per_day)
    return date(year, 1, 1) + timedelta(days=day) if day < days_in_year(year) else None
