"""Which labelled images train a network, which choose its checkpoint, which test it.

Neighbouring minutes look alike: images drawn at random put nearly the same
sky into training and test, and the score is then of memory. So a set can be
split by date (or by any column: whole cameras, forms, families) as well as by
count, as the source was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess.errors import ConfigurationError
from reprocess.labels.labelled import LabelIndex

FORMAT = "reprocess-split-1"
PARTS = ("training", "validation", "test")
SOURCE_COUNTS = (1201, 150, 151)
"""Of the 1502 images of the source (poster abstract, CEDAR 2025)."""
DATE, COUNT = "date", "count"
GUARD_S = 1800.0


@dataclass(frozen=True)
class Split:
    """Names of a labelled set's images by part.

    Attributes
    ----------
    by : "count", "date" or the name of a column
    seed : of the draw
    labels : digest of the labelled set (`LabelledSet.digest`)
    parts : part → names (paths of images in the set), sorted
    left_out : names in no part: too near in time to an image of another part
    guard_s : how near that is, seconds
    test_where : column → values that make an image a test image, where test was chosen so
    """

    by: str
    seed: int
    labels: str
    parts: Mapping[str, tuple[str, ...]]
    left_out: tuple[str, ...] = ()
    guard_s: float = 0.0
    test_where: Mapping[str, tuple[str, ...]] | None = None

    def rows(self, index: LabelIndex, part: str) -> NDArray[np.int64]:
        """Rows of an index that belong to a part, in the index's order.

        Raises
        ------
        ConfigurationError
            If there is no such part, or it names an image that the set does not have.
        """
        if part not in self.parts:
            raise ConfigurationError(
                f"part {part!r}: expected one of {', '.join(sorted(self.parts))}"
            )
        wanted = set(self.parts[part])
        missing = sorted(wanted - set(index.image.tolist()))
        if missing:
            raise ConfigurationError(
                f"the split's part {part} names {len(missing)} images that the set does not have "
                f"({missing[0]}, …); expected the set it was made from, digest {self.labels}"
            )
        return np.flatnonzero([name in wanted for name in index.image])

    def document(self) -> dict[str, Any]:
        """The split as JSON has it: what is saved, and what a model's card holds."""
        where = self.test_where
        return {
            "format": FORMAT,
            "by": self.by,
            "seed": self.seed,
            "labels": self.labels,
            "guard_s": self.guard_s,
            "test_where": None if where is None else {k: list(v) for k, v in where.items()},
            "parts": {part: list(names) for part, names in self.parts.items()},
            "left_out": list(self.left_out),
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the document, hexadecimal; equal splits have equal digests."""
        text = json.dumps(self.document(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def split_by_count(index: LabelIndex, sizes: Sequence[float], seed: int, labels: str) -> Split:
    """Draw single images at random, as the source did.

    Parameters
    ----------
    sizes : three numbers of images that add up to the set (the source's: `SOURCE_COUNTS`), or
        three shares that add up to 1
    labels : digest of the set

    Raises
    ------
    ConfigurationError
        If the sizes do not add up.

    Notes
    -----
    Deterministic in the set's image names and the seed; the index's order does
    not matter. Neighbouring minutes land in different parts: a score on such a
    test part is an upper bound.
    """
    counts = _counts(sizes, len(index))
    names = np.array(sorted(index.image.tolist()), np.str_)
    order = np.random.default_rng([seed, 0]).permutation(len(names))
    bounds = np.cumsum([0, *counts])
    parts = {
        part: tuple(sorted(names[order[start:stop]].tolist()))
        for part, start, stop in zip(PARTS, bounds[:-1], bounds[1:], strict=True)
    }
    return Split(COUNT, seed, labels, parts)


def split_by_group(
    index: LabelIndex,
    by: str,
    shares: Sequence[float],
    seed: int,
    labels: str,
    *,
    guard_s: float = GUARD_S,
    test_where: Mapping[str, Sequence[str]] | None = None,
) -> Split:
    """Keep whole groups together: UTC dates, or all images of one value of a column.

    Parameters
    ----------
    by : "date", "station", "camera" or a condition
    shares : of training, validation and test; they add up to 1
    guard_s : float, seconds
        Images of one station nearer in time than this to one of another part are left out: of
        training before validation, of validation before test. Two sides of a midnight are
        neighbours too.
    test_where : column → values; exactly those images are the test part, and the others are
        shared between training and validation

    Raises
    ------
    ConfigurationError
        If there is no such column or value, or fewer groups than parts that are to have any.

    Notes
    -----
    Groups are drawn in a seeded order; each goes to the part that has least of
    what it should have, so that the shares are met as far as whole groups allow.
    """
    wanted = _shares(shares)
    group = column(index, by)
    held = np.zeros(len(index), np.bool_)
    if test_where is not None:
        held = _where(index, test_where)
        wanted = (*wanted[:2], 0.0)
        group = np.where(held, "", group)
    counts = np.array(wanted) / sum(wanted) * (~held).sum()
    groups = np.unique(group[~held])
    needed = int((counts > 0).sum())
    if len(groups) < needed:
        raise ConfigurationError(
            f"by {by}: found {len(groups)} different values, expected at least {needed}, one for "
            f"each part"
        )
    filled = np.zeros(3)
    part = np.full(len(index), 2, np.int64)
    for i in np.random.default_rng([seed, 1]).permutation(len(groups)):
        rows = (group == groups[i]) & ~held
        to = int(np.argmin(np.where(counts > 0, filled / np.maximum(counts, 1e-9), np.inf)))
        part[rows] = to
        filled[to] += rows.sum()
    out = _too_near(index, part, guard_s)
    parts = {
        name: tuple(sorted(index.image[(part == i) & ~out].tolist()))
        for i, name in enumerate(PARTS)
    }
    empty = [name for name, names in parts.items() if not names]
    if empty:
        raise ConfigurationError(
            f"by {by}: nothing is left of {', '.join(empty)} at {guard_s:g} s from other parts; "
            f"expected labels spread over more dates, or a smaller guard"
        )
    where = None if test_where is None else {k: tuple(v) for k, v in test_where.items()}
    left = tuple(sorted(index.image[out].tolist()))
    return Split(by, seed, labels, parts, left, float(guard_s), where)


def column(index: LabelIndex, name: str) -> NDArray[np.str_]:
    """The values of a column as text; `date` is the UTC date.

    Raises
    ------
    ConfigurationError
        If the set has no such column; those it has are listed.
    """
    if name == DATE:
        return index.time.astype("datetime64[D]").astype(np.str_)
    if name in ("station", "camera"):
        return np.asarray(getattr(index, name), np.str_)
    if name in index.conditions:
        values = index.conditions[name]
        if values.dtype.kind == "f":
            return np.array(["" if np.isnan(v) else f"{v:g}" for v in values], np.str_)
        return np.asarray(values, np.str_)
    known = ["date", "station", "camera", *index.conditions]
    raise ConfigurationError(f"column {name!r}: expected one of {', '.join(known)}")


def write_split(split: Split, path: Path) -> None:
    """Write a split as JSON; equal splits give equal bytes."""
    path.write_text(json.dumps(split.document(), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_split(path: str | Path) -> Split:
    """Read a split that `write_split` wrote.

    Raises
    ------
    ConfigurationError
        If it cannot be read or is none.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: is not JSON: {error}") from error
    return split_from_document(document, str(path))


def split_from_document(document: Any, source: str) -> Split:
    """Check a split as JSON has it, from a file or from a model's card; `source` names it."""
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise ConfigurationError(f"{source}: found format {found!r}, expected {FORMAT!r}")
    try:
        parts = {str(k): tuple(map(str, v)) for k, v in document["parts"].items()}
        where = document["test_where"]
        split = Split(
            by=str(document["by"]),
            seed=int(document["seed"]),
            labels=str(document["labels"]),
            parts=parts,
            left_out=tuple(map(str, document["left_out"])),
            guard_s=float(document["guard_s"]),
            test_where=None if where is None else {k: tuple(v) for k, v in where.items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"{source}: is not a whole split ({type(error).__name__}: {error}); expected one "
            f"written by `reprocess labels split`"
        ) from error
    names = [name for listed in (*parts.values(), split.left_out) for name in listed]
    if len(set(names)) != len(names):
        raise ConfigurationError(f"{source}: lists an image twice; expected one part an image")
    return split


def _counts(sizes: Sequence[float], n: int) -> list[int]:
    if len(sizes) == len(PARTS) and sum(sizes) == n and all(float(s).is_integer() for s in sizes):
        return [int(s) for s in sizes]
    if abs(sum(sizes) - 1) > 1e-6:
        raise ConfigurationError(
            f"sizes {'/'.join(f'{s:g}' for s in sizes)}: expected numbers of images that add up "
            f"to the set's {n}, or shares that add up to 1"
        )
    exact = np.array(_shares(sizes)) * n
    counts = np.floor(exact).astype(int)
    for i in np.argsort(counts - exact, kind="stable")[: n - counts.sum()]:
        counts[i] += 1
    return [int(count) for count in counts]


def _shares(shares: Sequence[float]) -> tuple[float, ...]:
    if len(shares) != len(PARTS) or abs(sum(shares) - 1) > 1e-6 or min(shares) < 0:
        raise ConfigurationError(
            f"shares {'/'.join(f'{s:g}' for s in shares)}: expected three that add up to 1, for "
            f"{', '.join(PARTS)}"
        )
    return tuple(float(share) for share in shares)


def _where(index: LabelIndex, test_where: Mapping[str, Sequence[str]]) -> NDArray[np.bool_]:
    held = np.zeros(len(index), np.bool_)
    for name, values in test_where.items():
        found = column(index, name)
        for value in values:
            if not (found == value).any():
                raise ConfigurationError(
                    f"{name}={value}: no image has it; expected one of "
                    f"{', '.join(np.unique(found).tolist()[:20])}"
                )
        held |= np.isin(found, list(values))
    return held


def _too_near(index: LabelIndex, part: NDArray[np.int64], guard_s: float) -> NDArray[np.bool_]:
    """Images less than the guard from one of a later part (test is the last) at their station."""
    out = np.zeros(len(index), np.bool_)
    if guard_s <= 0:
        return out
    at = index.time.astype("datetime64[us]").astype(np.int64) / 1e6
    for station in np.unique(index.station):
        here = index.station == station
        for i in (1, 0):
            mine = np.flatnonzero(here & (part == i))
            others = np.sort(at[here & (part > i) & ~out])
            if not others.size or not mine.size:
                continue
            after = np.searchsorted(others, at[mine])
            before = np.maximum(after - 1, 0)
            after = np.minimum(after, others.size - 1)
            gap = np.minimum(np.abs(others[after] - at[mine]), np.abs(others[before] - at[mine]))
            out[mine[gap < guard_s]] = True
    return out
