"""The occurrence cube without its counts: dimensions, coordinates, and what it is bound to.

The cube's time axis begins in the January of the first camera epoch's year, so that adding an
earlier or later year never moves what is there.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable

import numpy as np
import zarr
import zarr.codecs

from reprocess import stages
from reprocess.campaign import Campaign
from reprocess.cube.count import MONTHS, OUTCOMES, mlt_bounds
from reprocess.cube.selection import attributes
from reprocess.errors import LockLost, StoreError
from reprocess.geometry.calibration import epoch_geometry, magnetic_epoch
from reprocess.stores.layout import Coordinate, write_coordinate
from reprocess.stores.metadata import forget_layout, write_objects
from reprocess.stores.objects import MemoryObjects, ObjectStore
from reprocess.stores.records import HALF, MARKS, OVERWRITTEN, Records, half_digest, read_layout
from reprocess.stores.zarrview import ZarrView

CUBE_PATH = "occurrence.zarr"
COUNTED = ("counts", "n_days")


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
    wanted = cube_objects(campaign, last_year)
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
                "detectors": [_told(campaign, label) for label in campaign.detectors],
                "compare": list(campaign.compared),
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


def _told(campaign: Campaign, label: str) -> str:
    """What a detector's counts are of: weights by their digest, and thresholds.

    Nothing of a camera epoch, as its noise: an epoch that comes later changes no count, and must
    not change what stands here.
    """
    rule = stages.detector_of(campaign, label).rule()
    return f"{label}: {json.dumps({**stages.evidence_settings(campaign, label), **rule})}"


def _bound(objects: ObjectStore) -> str | None:
    """Which settings a cube says it was made with; None without a cube, empty if it says none."""
    try:
        document = json.loads(objects.read(f"{CUBE_PATH}/zarr.json"))
        return str(document["attributes"]["settings_digest"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
