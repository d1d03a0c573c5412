"""Splits: the source's counts, whole dates, held-out families, and nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reprocess.errors import ConfigurationError
from reprocess.labels.labelled import LabelIndex
from reprocess.labels.splits import (
    PARTS,
    SOURCE_COUNTS,
    Split,
    read_split,
    split_by_count,
    split_by_group,
    write_split,
)


def index(times: np.ndarray, camera: list[str] | None = None, **conditions: object) -> LabelIndex:
    n = len(times)
    return LabelIndex(
        image=np.array([f"images/{i:05d}.png" for i in range(n)]),
        mask=np.array([f"masks/{i:05d}.png" for i in range(n)]),
        time=times.astype("datetime64[us]"),
        station=np.full(n, "jbs"),
        camera=np.array(camera or ["a"] * n),
        conditions={name: np.asarray(values) for name, values in conditions.items()},
        cameras={},
    )


def minutes(first: str, n: int, step: int = 1) -> np.ndarray:
    return np.datetime64(first, "m") + step * np.arange(n)


def members(split: Split) -> list[str]:
    return sorted([n for p in split.parts.values() for n in p] + list(split.left_out))


def test_the_sources_counts_and_a_seeded_draw() -> None:
    rows = index(minutes("2021-06-01T10:00", 1502))
    split = split_by_count(rows, SOURCE_COUNTS, 7, "d")
    assert [len(split.parts[part]) for part in PARTS] == [1201, 150, 151]
    assert members(split) == rows.image.tolist()
    assert split == split_by_count(rows, SOURCE_COUNTS, 7, "d")
    assert split != split_by_count(rows, SOURCE_COUNTS, 8, "d")
    turned = rows[np.arange(1502)[::-1]]
    assert split == split_by_count(turned, SOURCE_COUNTS, 7, "d")
    # Drawn at random, nearly every test image has a training image a minute away.
    train = set(split.parts["training"])
    at = {name: i for i, name in enumerate(rows.image.tolist())}
    near = [
        any(f"images/{at[name] + k:05d}.png" in train for k in (-1, 1))
        for name in split.parts["test"]
    ]
    assert np.mean(near) > 0.9


def test_sizes_must_add_up() -> None:
    rows = index(minutes("2021-06-01T10:00", 10))
    assert [len(v) for v in split_by_count(rows, (0.8, 0.1, 0.1), 1, "d").parts.values()] == [
        8, 1, 1,
    ]  # fmt: skip
    with pytest.raises(ConfigurationError, match="add up to the set's 10"):
        split_by_count(rows, SOURCE_COUNTS, 1, "d")
    with pytest.raises(ConfigurationError, match="three that add up to 1"):
        split_by_group(rows, "date", (0.8, 0.1), 1, "d")


def test_dates_stay_whole_and_midnight_neighbours_are_left_out() -> None:
    # Ten days of 144 images, ten minutes apart, without a gap at midnight.
    rows = index(minutes("2021-06-01T00:00", 1440, 10))
    split = split_by_group(rows, "date", (0.8, 0.1, 0.1), 3, "d", guard_s=1800)
    assert members(split) == rows.image.tolist()
    day = dict(zip(rows.image.tolist(), rows.time.astype("datetime64[D]").tolist(), strict=True))
    time = dict(zip(rows.image.tolist(), rows.time, strict=True))
    days = {part: {day[name] for name in split.parts[part]} for part in PARTS}
    assert not days["training"] & days["test"]
    assert not days["training"] & days["validation"]
    assert not days["validation"] & days["test"]
    assert [len(days[part]) for part in PARTS] == [8, 1, 1]
    for part, later in (("training", ("validation", "test")), ("validation", ("test",))):
        others = np.array([time[n] for p in later for n in split.parts[p]])
        mine = np.array([time[n] for n in split.parts[part]])
        assert np.abs(mine[:, None] - others).min() >= np.timedelta64(1800, "s")
    assert split.left_out
    assert set(split.parts["test"]) == {n for n in rows.image.tolist() if day[n] in days["test"]}


def test_a_family_is_held_out_whole() -> None:
    cameras = ["a", "b", "c"] * 60
    rows = index(minutes("2021-06-01T00:00", 180, 120), cameras)
    split = split_by_group(
        rows, "date", (0.8, 0.1, 0.1), 1, "d", guard_s=0, test_where={"camera": ["b"]}
    )
    camera = dict(zip(rows.image.tolist(), cameras, strict=True))
    assert {camera[n] for n in split.parts["test"]} == {"b"}
    assert len(split.parts["test"]) == 60
    assert {camera[n] for n in split.parts["training"]} == {"a", "c"}
    with pytest.raises(ConfigurationError, match="camera=z: no image has it; expected one of a, b"):
        split_by_group(rows, "date", (0.8, 0.1, 0.1), 1, "d", test_where={"camera": ["z"]})


def test_any_column_can_group() -> None:
    rows = index(
        minutes("2021-06-01T00:00", 40, 60), form=["arc", "patch", "red", "none"] * 10,
        moon=[0.0, np.nan] * 20,
    )  # fmt: skip
    split = split_by_group(rows, "form", (0.5, 0.25, 0.25), 1, "d", guard_s=0)
    form = dict(zip(rows.image.tolist(), rows.conditions["form"].tolist(), strict=True))
    assert sorted(len({form[n] for n in split.parts[p]}) for p in PARTS) == [1, 1, 2]
    with pytest.raises(ConfigurationError, match="expected one of date, station, camera, form"):
        split_by_group(rows, "cloud", (0.5, 0.25, 0.25), 1, "d")
    with pytest.raises(ConfigurationError, match="found 2 different values, expected at least 3"):
        split_by_group(rows, "moon", (0.5, 0.25, 0.25), 1, "d")


def test_a_split_is_saved_and_read(tmp_path: Path) -> None:
    rows = index(minutes("2021-06-01T00:00", 100, 60), ["a", "b"] * 50)
    split = split_by_group(rows, "date", (0.6, 0.2, 0.2), 5, "abc", test_where={"camera": ["b"]})
    write_split(split, tmp_path / "split.json")
    again = read_split(tmp_path / "split.json")
    assert again == split
    assert again.digest == split.digest
    whole = split_by_group(rows, "date", (0.6, 0.2, 0.2), 5, "abc", guard_s=0)
    write_split(whole, tmp_path / "whole.json")
    assert read_split(tmp_path / "whole.json").digest == whole.digest
    kept = rows.image[again.rows(rows, "test")].tolist()
    assert kept == list(split.parts["test"])
    with pytest.raises(ConfigurationError, match="names 50 images that the set does not have"):
        again.rows(rows[np.arange(0, 100, 2)], "test")
    with pytest.raises(ConfigurationError, match="part 'trial': expected one of test, training"):
        again.rows(rows, "trial")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "found format 'other', expected 'reprocess-split-1'"),
        ({"parts": None}, "is not a whole split"),
        ({"left_out": ["images/00000.png"]}, "lists an image twice"),
    ],
)
def test_a_wrong_split_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    rows = index(minutes("2021-06-01T00:00", 10))
    document = split_by_count(rows, (0.8, 0.1, 0.1), 5, "abc").document()
    (tmp_path / "split.json").write_text(json.dumps({**document, **change}))
    with pytest.raises(ConfigurationError, match=message):
        read_split(tmp_path / "split.json")
