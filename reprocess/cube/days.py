"""One day of committed detections: read, and counted by MLT bin and cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from reprocess import stages
from reprocess.campaign import Campaign
from reprocess.cube.count import Counter, mlt_bin_index, mlt_bin_of_cells, own_mlt_offset_h
from reprocess.cube.selection import cells_left_out, select
from reprocess.detectors.detector import FRACTION_UNOBSERVED
from reprocess.errors import LayoutDamaged, StoreError
from reprocess.geometry.calibration import cell_places, epoch_geometry
from reprocess.stores.days import DayReader, YearReader
from reprocess.stores.layout import NOT_ACQUIRED_US
from reprocess.stores.objects import ObjectStore
from reprocess.stores.records import Records, day_block


@dataclass(frozen=True)
class DayDetections:
    """What one label found on one day, by slot."""

    acquired: NDArray[np.int64]
    fraction: NDArray[np.uint8]
    mlt: NDArray[np.float32]
    sun: NDArray[np.float32]
    moon: NDArray[np.float32]

    @classmethod
    def find(
        cls,
        objects: ObjectStore,
        campaign: Campaign,
        label: str,
        day: date,
        fingerprint: str,
        year: YearReader,
    ) -> DayDetections | StoreError:
        """A day's detections, or why they cannot be counted; `year` is their open store."""
        path = stages.detections_path(label, day.year)
        try:
            record = Records(objects).read(day_block("detections", label, day), fingerprint)
            reader = DayReader(objects, path, day, campaign.slots_per_day, record.objects, year)
            names = ("acquired", "fraction", "mlt", "sun_elevation", "moon_elevation")
            return cls(*(reader.read(name) for name in names))
        except LayoutDamaged:
            raise  # of the whole year, and no fault of the day's
        except StoreError as error:
            return error


@dataclass(frozen=True)
class DayExposure:
    """When a day's frames were taken, their exposure and gain, by slot; not an image is read."""

    acquired: NDArray[np.int64]
    exposure_s: NDArray[np.float32]
    gain: NDArray[np.float32]

    @classmethod
    def read(
        cls,
        objects: ObjectStore,
        slots_per_day: int,
        day: date,
        fingerprint: str | None,
        year: YearReader | None = None,
    ) -> DayExposure:
        """From a day's frames, by their record; `year` is their store, if it is open already."""
        if fingerprint is None:
            raise StoreError(
                f"frames of {day}: found no record, expected one: cube.exposure_range_s and "
                f"cube.gain_range look at what the frames store holds; run the campaign again"
            )
        record = Records(objects).read(day_block("frames", "", day), fingerprint)
        path = stages.frames_path(day.year)
        reader = DayReader(objects, path, day, slots_per_day, record.objects, year)
        return cls(*(reader.read(name) for name in ("acquired", "exposure_s", "gain")))


def count_day(
    counter: Counter,
    campaign: Campaign,
    day: date,
    read: Mapping[str, DayDetections],
    exposed: DayExposure | None,
) -> None:
    """Add a day's detections to the counter; `read` by label, `exposed` if it is selected by."""
    # Whichever label has the frame knows its MLT, Sun and Moon: they follow from its time.
    known = [d.acquired != NOT_ACQUIRED_US for d in read.values()]
    present = np.flatnonzero(np.any(known, axis=0))
    mlt, sun, moon = (
        np.select(known, [getattr(d, name) for d in read.values()], np.float32("nan"))[present]
        for name in ("mlt", "sun", "moon")
    )
    times = np.select(known, [d.acquired for d in read.values()], NOT_ACQUIRED_US)[present]
    cube = campaign.cube
    cells = epoch_geometry(campaign, campaign.camera[0]).cells
    left_out = cells_left_out(cube, cells.zenith_max_deg)

    def fraction(label: str) -> NDArray[np.uint8] | None:
        if label not in read:
            return None
        # Indexing copies, so the array is ours to change.
        counted = np.ascontiguousarray(read[label].fraction[present])
        counted[:, left_out] = FRACTION_UNOBSERVED
        return counted

    counter.add_day(
        day.month - 1,
        _mlt_bins(campaign, mlt),
        select(
            cube,
            times.view("datetime64[us]"),
            sun,
            moon,
            None if exposed is None else exposed.exposure_s[present],
            None if exposed is None else exposed.gain[present],
        ),
        {label: fraction(label) for label in campaign.detectors},
    )


def _mlt_bins(campaign: Campaign, mlt: NDArray[np.float32]) -> NDArray[np.int16]:
    """Bin of each frame, or of each cell of each frame."""
    cube = campaign.cube
    if cube.mlt == "station":
        return mlt_bin_index(mlt, cube.mlt_bins, cube.mlt_centred)
    zenith = epoch_geometry(campaign, campaign.camera[0]).cells.zenith_deg
    offset = own_mlt_offset_h(
        cell_places(campaign).mlt_offset_h, zenith, cube.mlt_elevation_min_deg
    )
    return mlt_bin_of_cells(mlt, offset, cube.mlt_bins, cube.mlt_centred)
