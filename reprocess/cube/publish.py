"""Write the occurrence cube: one object a year for each variable, all labels in it.

A cube-year is counted from the detections that are committed, each checked
against the digest its record holds. The cube's time axis begins in the
January of the first camera epoch's year, so that adding an earlier or later
year never moves what is there.
"""

from __future__ import annotations

import json
import warnings
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
from reprocess.cube.count import (
    MONTHS,
    OUTCOMES,
    Counter,
    fraction_min,
    mlt_bin_index,
    mlt_bin_of_cells,
    mlt_bounds,
    own_mlt_offset_h,
)
from reprocess.cube.selection import attributes, cells_left_out, select
from reprocess.detectors.detector import FRACTION_UNOBSERVED
from reprocess.errors import LayoutDamaged, LockLost, StoreError
from reprocess.geometry.calibration import cell_places, epoch_geometry, magnetic_epoch
from reprocess.stores.ahead import ahead
from reprocess.stores.days import DayReader
from reprocess.stores.layout import NOT_ACQUIRED_US, Coordinate, write_coordinate
from reprocess.stores.metadata import forget_layout, write_objects
from reprocess.stores.objects import MemoryObjects, ObjectStore
from reprocess.stores.records import (
    HALF,
    MARKS,
    OVERWRITTEN,
    Block,
    Record,
    Records,
    cube_block,
    day_block,
    half_digest,
    read_layout,
)
from reprocess.stores.zarrview import ZarrView

CUBE_PATH = "occurrence.zarr"
COUNTED = ("counts", "n_days")
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


def shape_cube(
    objects: ObjectStore,
    campaign: Campaign,
    last_year: int,
    guard: Callable[[], None] = lambda: None,
) -> bool:
    """Lay the cube out up to a year; True if what it held could not stay and was removed.

    Another set of labels, cells, bins or selection makes another cube: its
    records go first, then its objects, and every committed year is counted
    again. Another last year only changes the length of the time axis.
    `guard` raises `LockLost` when another run has taken over; it is called before every change.
    """
    records = Records(objects)
    try:
        return _shape(objects, records, campaign, last_year, guard)
    except LockLost:
        # What this run removed last may have been the new holder's: every year is counted again.
        for block in [b for b in records.list() if b.stage == "cube"]:
            records.mark(block, OVERWRITTEN)
        raise


def _shape(
    objects: ObjectStore,
    records: Records,
    campaign: Campaign,
    last_year: int,
    guard: Callable[[], None],
) -> bool:
    wanted = _skeleton(campaign, last_year)
    identity = half_digest(stages.cube_settings(campaign))
    try:
        layout = read_layout(objects, CUBE_PATH)
    except StoreError:
        layout = None  # damaged: the attributes tell as much
    bound = _bound(objects) if layout is None else layout.bound
    if bound == "":  # the cube cannot say: its records can
        wanted_half = stages.cube_fingerprint(campaign, {})[HALF:]
        found = [
            f
            for b, prints in records.list().items()
            if b.stage == "cube"
            for f in prints
            if f not in MARKS
        ]
        bound = identity if found and all(f[HALF:] == wanted_half for f in found) else ""
    reshaped = bound is not None and bound != identity
    if reshaped:
        for block in [b for b in records.list() if b.stage == "cube"]:
            guard()
            records.begin(block)
        guard()
        forget_layout(objects, CUBE_PATH)
        for key in list(objects.keys(CUBE_PATH)):
            guard()
            objects.delete(key)
        layout = None
    # The axis shrinks when a last year lost all its frames: its chunks must not stay behind.
    last_chunk = last_year - stages.first_year(campaign)
    for key in list(objects.keys(CUBE_PATH)):
        parts = key.split("/")
        if len(parts) > 3 and parts[1] in (*COUNTED, "n_days_committed") and parts[2] == "c":
            at = 4 if parts[1] in COUNTED else 3
            index = parts[at] if at < len(parts) else ""
            if index.isdecimal() and int(index) > last_chunk:
                guard()
                objects.delete(key)
    lacking = {}
    for key, data in wanted.items():
        try:
            if objects.read(key) == data:
                continue
        except FileNotFoundError:
            pass
        lacking[key] = data
    recorded = None if layout is None else layout.objects
    write_objects(objects, CUBE_PATH, wanted, lacking, recorded, bound=identity, guard=guard)
    return reshaped


def cube_objects(campaign: Campaign, last_year: int) -> dict[str, bytes]:
    """The metadata and coordinate objects of the cube up to a year, by key."""
    return _skeleton(campaign, last_year)


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

    def read_day(day_name: str) -> dict[str, _Detections | StoreError]:
        day = date.fromisoformat(day_name)
        return {
            label: _Detections.find(objects, campaign, label, day, fingerprint)
            for label, fingerprint in days[day_name].items()
        }

    for day_name, answers in ahead(read_day, sorted(days), DAYS_AHEAD):
        day = date.fromisoformat(day_name)
        read: dict[str, _Detections] = {}
        for label, detections in answers.items():
            if isinstance(detections, _Detections):
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
                exposed = _Exposed.read(objects, records, campaign, day, found)
            except StoreError as error:
                guard()
                records.delete_all(block)
                damaged.append((block, str(error)))
                continue
        counted[day_name] = {label: days[day_name][label] for label in read}
        committed[day.month - 1] += len(read) == len(labels)
        _count_day(counter, campaign, day, read, exposed)
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


@dataclass(frozen=True)
class _Detections:
    acquired: NDArray[np.int64]
    fraction: NDArray[np.uint8]
    mlt: NDArray[np.float32]
    sun: NDArray[np.float32]
    moon: NDArray[np.float32]

    @classmethod
    def find(
        cls, objects: ObjectStore, campaign: Campaign, label: str, day: date, fingerprint: str
    ) -> _Detections | StoreError:
        """A day's detections, or why they cannot be counted."""
        try:
            record = Records(objects).read(day_block("detections", label, day), fingerprint)
            return cls.read(objects, campaign, label, day, record)
        except LayoutDamaged:
            raise  # of the whole year, and no fault of the day's
        except StoreError as error:
            return error

    @classmethod
    def read(
        cls, objects: ObjectStore, campaign: Campaign, label: str, day: date, record: Record
    ) -> _Detections:
        path = stages.detections_path(label, day.year)
        reader = DayReader(objects, path, day, campaign.slots_per_day, record.objects)
        names = ("acquired", "fraction", "mlt", "sun_elevation", "moon_elevation")
        return cls(*(reader.read(name) for name in names))


@dataclass(frozen=True)
class _Exposed:
    """Exposure and gain of a day's slots, from its frames; not an image is read."""

    exposure_s: NDArray[np.float32]
    gain: NDArray[np.float32]

    @classmethod
    def read(
        cls,
        objects: ObjectStore,
        records: Records,
        campaign: Campaign,
        day: date,
        fingerprint: str | None,
    ) -> _Exposed:
        if fingerprint is None:
            raise StoreError(
                f"frames of {day}: found no record, expected one: cube.exposure_range_s and "
                f"cube.gain_range look at what the frames store holds; run the campaign again"
            )
        record = records.read(day_block("frames", "", day), fingerprint)
        path = stages.frames_path(day.year)
        reader = DayReader(objects, path, day, campaign.slots_per_day, record.objects)
        return cls(reader.read("exposure_s"), reader.read("gain"))


def _count_day(
    counter: Counter,
    campaign: Campaign,
    day: date,
    read: Mapping[str, _Detections],
    exposed: _Exposed | None,
) -> None:
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


def _mlt_text(campaign: Campaign) -> str:
    if campaign.cube.mlt == "station":
        return "magnetic local time of the station at the frame's time"
    return (
        "magnetic local time of the cell's centre at the emission height at the frame's time; "
        f"none below an elevation of {campaign.cube.mlt_elevation_min_deg:g} degrees"
    )


def _bound(objects: ObjectStore) -> str | None:
    """Which settings a cube says it was made with; None without a cube, empty if it says none."""
    try:
        document = json.loads(objects.read(f"{CUBE_PATH}/zarr.json"))
        return str(document["attributes"]["settings_digest"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _skeleton(campaign: Campaign, last_year: int) -> dict[str, bytes]:
    memory = MemoryObjects()
    cube = campaign.cube
    cells = epoch_geometry(campaign, campaign.camera[0]).cells
    labels = np.array(list(campaign.detectors))
    first_year = stages.first_year(campaign)
    n_months = (last_year - first_year + 1) * MONTHS
    months = (np.datetime64(f"{first_year:04d}-01", "M") + np.arange(n_months)).astype(
        "datetime64[D]"
    )
    centres, bounds = mlt_bounds(cube.mlt_bins, cube.mlt_centred)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        store = ZarrView(memory, CUBE_PATH)
        group = zarr.create_group(
            store,
            zarr_format=3,
            attributes={
                "Conventions": "CF-1.11",
                "format_version": 1,
                "title": "aurora occurrence: counts of frames observed and frames with aurora",
                "settings_digest": half_digest(stages.cube_settings(campaign)),
                "campaign": campaign.name,
                **stages.sky_attributes(campaign),
                **attributes(cube),
                "compare": list(campaign.compared),
                "mlt": _mlt_text(campaign),
                "emission_height_km": campaign.cells.emission_height_km,
                "magnetic_epoch": magnetic_epoch(campaign).date().isoformat(),
                "comment": "255 in the detections is 'not observed' and is in no count; a rate is "
                "sum(aurora) / sum(observed), missing where nothing was observed",
            },
        )  # fmt: skip
        coordinates = [
            Coordinate("time", ("time",), (months - np.datetime64("1970-01-01")).astype("int32"),
                       {"standard_name": "time", "long_name": "start of the month, UTC",
                        "units": "days since 1970-01-01", "calendar": "proleptic_gregorian"}),
            Coordinate("outcome", ("outcome",), np.array(OUTCOMES),
                       {"long_name": "what was counted; *_common: on the frames and cells that all "
                        "compared detectors observed"}),
            Coordinate("detector", ("detector",), labels, {"long_name": "label of the detector"}),
            Coordinate("mlt", ("mlt",), np.asarray(centres, "float32"),
                       {"long_name": "magnetic local time, centre of the bin", "units": "hour",
                        "bounds": "mlt_bounds"}),
            Coordinate("mlt_bounds", ("mlt", "bound"), np.asarray(bounds, "float32"),
                       {"units": "hour"}),
            Coordinate("cell_solid_angle_sr", ("cell",), cells.solid_angle_sr.astype("float32"),
                       {"long_name": "solid angle of the whole cell", "units": "sr"}),
            *stages.cell_coordinates(campaign),
        ]  # fmt: skip
        for coordinate in coordinates:
            write_coordinate(group, coordinate)
        shape = (len(OUTCOMES), n_months, len(labels), cube.mlt_bins, cells.n_cells)
        texts = {
            "counts": "number of frames",
            "n_days": "number of distinct UTC days with at least one such frame",
        }
        for name, text in texts.items():
            group.create_array(
                name,
                shape=shape,
                chunks=(shape[0], MONTHS, *shape[2:]),
                dtype="int32",
                fill_value=0,
                compressors=[zarr.codecs.ZstdCodec(level=1)],
                filters=None,
                dimension_names=("outcome", "time", "detector", "mlt", "cell"),
                attributes={"long_name": text, "units": "1"},
            )
        group.create_array(
            "n_days_committed",
            shape=(n_months,),
            chunks=(MONTHS,),
            dtype="int32",
            fill_value=0,
            compressors=[zarr.codecs.ZstdCodec(level=1)],
            filters=None,
            dimension_names=("time",),
            attributes={
                "long_name": "UTC days of the month whose blocks are committed for all detectors",
                "units": "1",
            },
        )
        zarr.consolidate_metadata(store)
    return memory.data
