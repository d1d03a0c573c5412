"""Count a year into the occurrence cube: one object a year for each variable, all labels in it.

A cube-year is counted from the detections that are committed, each checked
against the digest its record holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import zarr
import zarr.codecs
from numpy.typing import NDArray

from reprocess import stages
from reprocess.campaign import Campaign
from reprocess.cube.count import MONTHS, Counter, fraction_min
from reprocess.cube.days import DayDetections, DayExposure, count_day
from reprocess.cube.shape import CUBE_PATH
from reprocess.errors import LockLost, StoreError
from reprocess.stores.ahead import ahead
from reprocess.stores.days import YearReader
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import OVERWRITTEN, Block, Record, Records, cube_block, day_block
from reprocess.stores.zarrview import ZarrView

DAYS_AHEAD = 8
"""Days read while others are counted; each is a dozen small objects, slow over a network."""
CommittedDays = Mapping[str, Mapping[str, str]]
"""Day → label → fingerprint of its detections."""


@dataclass(frozen=True)
class Published:
    """A cube-year that was written, and the blocks that were left out because they are damaged."""

    year: int
    fingerprint: str
    n_days: int
    damaged: tuple[tuple[Block, str], ...] = ()


def publish_year(
    objects: ObjectStore,
    campaign: Campaign,
    year: int,
    days: CommittedDays,
    facts: Mapping[str, Any],
    guard: Callable[[], None],
) -> Published:
    """Count one year and replace it in the cube.

    Parameters
    ----------
    days : committed detections; a label that is missing on a day was not observed on it
    facts : what the year's record keeps about each day beside the fingerprints
    guard : raises `LockLost` when another run has taken over; called before every write

    Returns
    -------
    Published
        With the blocks whose bytes are not those of their record: they are not
        counted, and their records are taken back so that the next run does them again.
    """
    records = Records(objects)
    labels = tuple(campaign.detectors)
    n_cells = stages.campaign_cells_count(campaign)
    counter = Counter(
        labels,
        campaign.cube.mlt_bins,
        n_cells,
        fraction_min(campaign.cube.cell_fraction_min),
        compare=campaign.compared,
    )
    committed = np.zeros(MONTHS, np.int32)
    damaged: list[tuple[Block, str]] = []
    counted: dict[str, dict[str, str]] = {}

    stores = {
        label: YearReader(objects, stages.detections_path(label, year))
        for label in sorted(set().union(*days.values()))
    }

    def read_day(day_name: str) -> dict[str, DayDetections | StoreError]:
        day = date.fromisoformat(day_name)
        return {
            label: DayDetections.find(objects, campaign, label, day, fingerprint, stores[label])
            for label, fingerprint in days[day_name].items()
        }

    for day_name, answers in ahead(read_day, sorted(days), DAYS_AHEAD):
        day = date.fromisoformat(day_name)
        read: dict[str, DayDetections] = {}
        for label, detections in answers.items():
            if isinstance(detections, DayDetections):
                read[label] = detections
                continue
            block = day_block("detections", label, day)
            guard()
            records.delete_all(block)
            damaged.append((block, str(detections)))
        if not read:
            continue
        exposed = None
        if campaign.cube.exposure_range_s is not None or campaign.cube.gain_range is not None:
            block = day_block("frames", "", day)
            try:
                found = facts.get(day_name, {}).get("frames")
                exposed = DayExposure.read(objects, campaign.slots_per_day, day, found)
            except StoreError as error:
                guard()
                records.delete_all(block)
                damaged.append((block, str(error)))
                continue
        counted[day_name] = {label: days[day_name][label] for label in read}
        committed[day.month - 1] += len(read) == len(labels)
        count_day(counter, campaign, day, read, exposed)
    fingerprint = stages.cube_fingerprint(campaign, counted)
    block = cube_block(year)
    guard()
    records.begin(block)
    try:
        digests = _write_year(objects, campaign, year, counter, committed, guard)
    except LockLost:
        # The write after the last check may have come after the new holder's: count it again.
        records.mark(block, OVERWRITTEN)
        raise
    records.write(
        Record(
            block,
            fingerprint,
            digests,
            {"days": {d: {"detections": counted[d], **facts.get(d, {})} for d in sorted(counted)}},
        )
    )
    guard()  # else the mark may be the new holder's
    records.finish(block)
    return Published(year, fingerprint, len(counted), tuple(damaged))


def _write_year(
    objects: ObjectStore,
    campaign: Campaign,
    year: int,
    counter: Counter,
    committed: NDArray[np.int32],
    guard: Callable[[], None],
) -> dict[str, str]:
    """Replace a year's objects; returns their digests by key."""
    view = ZarrView(objects, CUBE_PATH)
    group = zarr.open_group(view, mode="r+", zarr_format=3, use_consolidated=False)
    first = (year - stages.first_year(campaign)) * MONTHS
    span = slice(first, first + MONTHS)
    for name, values in (("counts", counter.counts), ("n_days", counter.n_days)):
        guard()
        array = group[name]
        assert isinstance(array, zarr.Array)
        array[:, span] = values
    guard()
    array = group["n_days_committed"]
    assert isinstance(array, zarr.Array)
    array[span] = committed
    guard()
    return dict(sorted(view.written.items()))
