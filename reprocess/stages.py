"""What each stage of the job depends on, and where its result lies.

    frames → evidence (per label) → detections (per label) → cube-year

Fingerprints include their parent's, so a change reaches exactly what was made
from it. What is deliberately absent: paths, hosts, clusters, workers,
retries, file times.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from reprocess.archive.frames import SCALING, FrameStatus
from reprocess.archive.pattern import NamePattern
from reprocess.archive.readers.reader import load_reader
from reprocess.campaign import CameraEpoch, Campaign
from reprocess.detectors.detector import Detector, EvidenceStatus, load_detector
from reprocess.flags import digest
from reprocess.geometry.calibration import (
    cell_places,
    epoch_geometry,
    geometry_settings,
    magnetic_epoch,
)
from reprocess.geometry.cells import CellFlag
from reprocess.geometry.ephemeris import EPHEMERIS
from reprocess.stores.layout import (
    ACQUIRED,
    Coordinate,
    Variable,
    YearLayout,
    chunk_slots,
    status_variable,
)
from reprocess.stores.records import fingerprint, half_digest

STAGES = ("frames", "evidence", "detections", "cube")
DETECTIONS_VARIABLES = (
    "fraction", "acquired", "status", "mlt", "sun_elevation", "moon_elevation",
)  # fmt: skip


def frames_variables(campaign: Campaign) -> tuple[str, ...]:
    """The arrays of a frames store along time."""
    deep = ("image16",) if campaign.archive.bits == 16 else ()
    return ("image", *deep, "acquired", "status", "exposure_s", "gain")


def channels_of(campaign: Campaign) -> str:
    """`rgb` or `mono`: as the campaign declares, else what the reader's format usually holds."""
    return campaign.archive.channels or load_reader(campaign.archive.reader).channels


def frames_path(year: int) -> str:
    return f"frames/{year:04d}.zarr"


def evidence_path(label: str, year: int) -> str:
    return f"evidence/{label}/{year:04d}.zarr"


def detections_path(label: str, year: int) -> str:
    return f"detections/{label}/{year:04d}.zarr"


@functools.lru_cache(maxsize=64)
def detector_of(campaign: Campaign, label: str) -> Detector:
    """The detector behind a label, loaded once a process."""
    return load_detector(label, campaign.detectors[label])


def context_s(campaign: Campaign, label: str) -> float:
    """Seconds before midnight that a label's day may look back into; 0 = none.

    Two cadences are added, because whether a frame has a slot depends on its neighbours.
    """
    lag_s = detector_of(campaign, label).context_s
    return lag_s + 2 * campaign.cadence_s if lag_s > 0 else 0.0


def epochs_on(campaign: Campaign, day: date) -> tuple[int, ...]:
    """Indices of the camera epochs valid at some time of a UTC day."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return _epochs_between(campaign, start, start + timedelta(days=1))


def epochs_in(campaign: Campaign, year: int) -> tuple[int, ...]:
    """Indices of the camera epochs valid at some time of a year."""
    return _epochs_between(
        campaign, datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    )


def _epochs_between(campaign: Campaign, start: datetime, end: datetime) -> tuple[int, ...]:
    return tuple(
        index
        for index, (epoch, until) in enumerate(
            zip(campaign.camera, campaign.epoch_ends, strict=True)
        )
        if epoch.valid_from < end and until > start
    )


def _changes(campaign: Campaign, after: datetime, before: datetime) -> tuple[str, ...]:
    """Instants strictly between two times at which an epoch begins, or ends before the next."""
    begins = [epoch.valid_from for epoch in campaign.camera]
    found = {t.isoformat() for t in begins if after < t < before}
    ends = [e.valid_until for e in campaign.camera if e.valid_until not in (None, *begins)]
    found |= {f"until {t.isoformat()}" for t in ends if t is not None and after < t < before}
    return tuple(sorted(found))


# --- settings -----------------------------------------------------------------


def frames_settings(campaign: Campaign) -> dict[str, Any]:
    """What binds a whole frames store: changing it needs `--recompute frames` or a new store."""
    return {
        "site": campaign.site.model_dump(mode="json", exclude={"name"}),
        "simulated": campaign.simulated,
        "reader": load_reader(campaign.archive.reader).settings(),
        "image": campaign.image.model_dump(mode="json"),
        "scaling": SCALING,
        "cadence_s": campaign.cadence_s,
        "phase_s": campaign.phase_s,
        "process": campaign.process.model_dump(mode="json"),
        "bits": campaign.archive.bits,
        "channels": channels_of(campaign),
        "name_fields": NamePattern(campaign.archive.pattern).name_fields,
    }


def evidence_settings(campaign: Campaign, label: str) -> dict[str, Any]:
    """What binds a label: changing it needs `--recompute LABEL` or a new label."""
    return detector_of(campaign, label).evidence_settings()


def _crop_settings(epoch: CameraEpoch) -> dict[str, Any]:
    crop = epoch.model_dump(mode="json", include={"image_width_px", "image_height_px", "crop"})
    return {**crop, **level_settings(epoch)}


def level_settings(epoch: CameraEpoch) -> dict[str, Any]:
    """How an epoch's counts become 8 bits."""
    return epoch.model_dump(mode="json", include={"black_level", "white_level", "channel_response"})


@functools.lru_cache(maxsize=64)
def _geometry_half(campaign: Campaign, epochs: tuple[int, ...]) -> str:
    return half_digest([geometry_settings(campaign, campaign.camera[i]) for i in epochs])


@functools.lru_cache(maxsize=64)
def _frames_settings_of(
    campaign: Campaign, epochs: tuple[int, ...], changes: tuple[str, ...]
) -> str:
    crops = [_crop_settings(campaign.camera[i]) for i in epochs]
    return half_digest([frames_settings(campaign), crops, changes])


@functools.lru_cache(maxsize=256)
def _evidence_settings_of(campaign: Campaign, label: str, epochs: tuple[int, ...]) -> str:
    detector = detector_of(campaign, label)
    geometry = _geometry_half(campaign, epochs) if detector.uses_geometry else None
    return half_digest([evidence_settings(campaign, label), geometry])


@functools.lru_cache(maxsize=256)
def _detections_settings_of(campaign: Campaign, label: str, epochs: tuple[int, ...]) -> str:
    detector = detector_of(campaign, label)
    thresholds = [detector.detection_settings(campaign.camera[i]) for i in epochs]
    return half_digest([thresholds, _geometry_half(campaign, epochs), EPHEMERIS])


def cube_settings(campaign: Campaign) -> dict[str, Any]:
    """Everything about the cube that is not a count: bins, selection, labels, cells."""
    return {
        "cube": campaign.cube.model_dump(mode="json", exclude={"flags"}),
        "flags": [
            {**table.model_dump(mode="json", exclude={"table"}), "content": digest(table)}
            for table in campaign.cube.flags
        ],
        "compare": campaign.compared,
        "labels": tuple(campaign.detectors),
        "cells": campaign.cells.model_dump(mode="json"),
        "site": campaign.site.model_dump(mode="json"),
        "first_year": first_year(campaign),
        "name": campaign.name,
        "simulated": campaign.simulated,
    }


def first_year(campaign: Campaign) -> int:
    """The year in which the cube's time axis begins: the first camera epoch's."""
    return campaign.camera[0].valid_from.year


# --- fingerprints -------------------------------------------------------------


def frames_fingerprint(campaign: Campaign, day: date, inputs: str) -> str:
    """Fingerprint of a frames block; `inputs` is the hash of the day's names, times, contents."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    # The instant of a change counts only on the day that it falls on.
    changes = _changes(campaign, start, start + timedelta(days=1))
    return fingerprint(inputs, _frames_settings_of(campaign, epochs_on(campaign, day), changes))


def evidence_fingerprint(
    campaign: Campaign, label: str, day: date, frames: str, context: str
) -> str:
    """Fingerprint of an evidence block from its frames block and the frames before midnight."""
    return fingerprint([frames, context], _evidence_settings_key(campaign, label, day))


def evidence_settings_half(campaign: Campaign, label: str, day: date) -> str:
    """The second half of an evidence fingerprint, known without any frame."""
    return fingerprint(None, _evidence_settings_key(campaign, label, day))[-len(half_digest(0)) :]


def _evidence_settings_key(campaign: Campaign, label: str, day: date) -> Any:
    epochs = epochs_on(campaign, day)
    detector = detector_of(campaign, label)
    settings = _evidence_settings_of(campaign, label, epochs if detector.uses_geometry else ())
    # A change of camera shortly before midnight decides which earlier frames may be looked at.
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    reach = timedelta(seconds=context_s(campaign, label))
    changes = _changes(campaign, midnight - reach, midnight + timedelta(microseconds=1))
    return [settings, list(changes)] if reach and changes else settings


def detections_fingerprint(campaign: Campaign, label: str, day: date, evidence: str) -> str:
    """Fingerprint of a detections block from its evidence block."""
    return fingerprint(evidence, _detections_settings_of(campaign, label, epochs_on(campaign, day)))


def cube_fingerprint(campaign: Campaign, days: Mapping[str, Mapping[str, str]]) -> str:
    """Fingerprint of a cube-year from its committed days' detections: day → label → fingerprint."""
    return fingerprint(days, cube_settings(campaign))


# --- layouts ------------------------------------------------------------------


def layouts(campaign: Campaign, year: int, labels: Sequence[str] | None = None) -> list[YearLayout]:
    """Every year store that a campaign can have for a year, of all or some of its detectors."""
    if labels is None:
        labels = tuple(campaign.detectors)
    return [
        frames_layout(campaign, year),
        *(evidence_layout(campaign, label, year) for label in labels),
        *(detections_layout(campaign, label, year) for label in labels),
    ]


def frames_layout(campaign: Campaign, year: int) -> YearLayout:
    """`frames/<year>.zarr`: the archive's frames, cropped to the sky and scaled once."""
    size = campaign.image.size_px
    slots = campaign.slots_per_day
    mono = channels_of(campaign) == "mono"
    deep: tuple[Variable, ...] = ()
    if campaign.archive.bits == 16:
        deep = (
            Variable(
                "image16",
                ("y", "x") if mono else ("y", "x", "channel"),
                (size, size) if mono else (size, size, 3),
                "uint16",
                0,
                {"long_name": "frame at the archive's full depth, cropped and scaled like image",
                 "units": "1", "comment": "counts as stored by the camera; see status"},
                chunk_slots(slots),
            ),
        )  # fmt: skip
    scaled = (
        "floor(255 (image16 - black) / (white - black) / response + 0.5), 0 to 255; the levels of "
        "each camera epoch are in the records; see status"
        if deep
        else "counts as stored by the camera, unless its epoch declares levels, which are then in "
        "the records; see status"
    )
    return YearLayout(
        path=frames_path(year),
        year=year,
        slots_per_day=slots,
        phase_s=campaign.phase_s,
        variables=(
            Variable(
                "image",
                ("y", "x", "channel"),
                (size, size, 3),
                "uint8",
                0,
                {"long_name": "frame, cropped to the sky disk and scaled; row 0 is the image top",
                 "units": "1", "comment": scaled},
                chunk_slots(slots),
            ),
            *deep,
            ACQUIRED,
            status_variable(
                {member.name.lower(): int(member) for member in FrameStatus},
                "what is in this slot",
            ),
            Variable("exposure_s", (), (), "float32", float("nan"),
                     {"long_name": "exposure time, as the file or its name tells it",
                      "units": "s"}),
            Variable("gain", (), (), "float32", float("nan"),
                     {"long_name": "gain, as the file or its name tells it, in the camera's unit",
                      "units": "1"}),
        ),
        coordinates=(
            Coordinate("channel", ("channel",), np.array(["red", "green", "blue"])),
        ),
        attributes={
            "title": "all-sky frames",
            "camera_channels": (
                "mono: red, green and blue are equal copies of one channel" if mono else "rgb"
            ),
            "camera_bits": campaign.archive.bits,
            **campaign_attributes(campaign),
        },
    )  # fmt: skip


def evidence_layout(campaign: Campaign, label: str, year: int) -> YearLayout:
    """`evidence/<label>/<year>.zarr`: what a detector measured, before any threshold."""
    detector = detector_of(campaign, label)
    variables = tuple(
        Variable(v.name, v.dims, v.shape, v.dtype, v.fill, v.attrs)
        for v in detector.variables(campaign)
    )
    coordinates = []
    if any("statistic" in v.dims for v in variables):
        coordinates = [
            Coordinate("statistic", ("statistic",), np.array(["mean", "mean_absolute"])),
            Coordinate("channel", ("channel",), np.array(["red", "green"])),
            *cell_coordinates(campaign, year),
        ]
    return YearLayout(
        path=evidence_path(label, year),
        year=year,
        slots_per_day=campaign.slots_per_day,
        phase_s=campaign.phase_s,
        variables=(*variables, ACQUIRED, _evidence_status()),
        coordinates=tuple(coordinates),
        attributes={
            "title": f"evidence of {label} ({detector.kind})",
            "detector": label,
            "settings": evidence_settings(campaign, label),
            **campaign_attributes(campaign),
        },
    )


def detections_layout(campaign: Campaign, label: str, year: int) -> YearLayout:
    """`detections/<label>/<year>.zarr`: share of each cell with aurora, a function of evidence."""
    cells = campaign_cells_count(campaign)
    per_frame = {
        "mlt": ("magnetic local time of the station", "hour"),
        "sun_elevation": ("elevation of the Sun's centre, unrefracted", "degree"),
        "moon_elevation": ("elevation of the Moon's centre, unrefracted", "degree"),
    }
    return YearLayout(
        path=detections_path(label, year),
        year=year,
        slots_per_day=campaign.slots_per_day,
        phase_s=campaign.phase_s,
        variables=(
            Variable(
                "fraction",
                ("cell",),
                (cells,),
                "uint8",
                255,
                {
                    "long_name": "share of the cell's visible solid angle with aurora, in 254ths",
                    "units": "1",
                    "valid_max": 254,
                    "_FillValue": 255,
                    "comment": "stored 0-254, rounded down so that a share of 0.5 is 127; "
                    "255 = not observed, never 'no aurora'",
                },
            ),
            ACQUIRED,
            _evidence_status(),
            *(
                Variable(name, (), (), "float32", float("nan"), {"long_name": text, "units": units})
                for name, (text, units) in per_frame.items()
            ),
        ),
        coordinates=tuple(cell_coordinates(campaign, year)),
        attributes={
            "title": f"detections of {label}",
            "detector": label,
            **sky_attributes(campaign),
        },
    )


def campaign_cells_count(campaign: Campaign) -> int:
    return epoch_geometry(campaign, campaign.camera[0]).cells.n_cells


def cell_coordinates(campaign: Campaign, year: int | None = None) -> list[Coordinate]:
    """Centres and bounds of the sky cells; with a year, also the pixels behind each cell."""
    cells = epoch_geometry(campaign, campaign.camera[0]).cells
    reference = f"{cells.azimuth_reference} north, eastward"
    degree = {"units": "degree"}
    found = [
        Coordinate("cell_zenith_deg", ("cell",), cells.zenith_deg.astype("float32"),
                   {"long_name": "zenith angle of the cell's centre", **degree}),
        Coordinate("cell_azimuth_deg", ("cell",), cells.azimuth_deg.astype("float32"),
                   {"long_name": f"azimuth of the cell's centre from {reference}", **degree}),
        Coordinate("cell_zenith_bounds", ("cell", "bound"),
                   np.stack([cells.zenith_min_deg, cells.zenith_max_deg], 1).astype("float32"),
                   {"long_name": "zenith angles of the cell's edges", **degree}),
        Coordinate("cell_azimuth_bounds", ("cell", "bound"),
                   np.stack([cells.azimuth_min_deg, cells.azimuth_max_deg], 1).astype("float32"),
                   {"long_name": f"azimuths of the cell's edges from {reference}", **degree}),
        *_cell_places(campaign),
    ]  # fmt: skip
    if year is not None:
        epochs = [campaign.camera[i] for i in epochs_in(campaign, year)]
        maps = [epoch_geometry(campaign, epoch).cellmap for epoch in epochs]
        found += [
            Coordinate("epoch", ("epoch",), np.array([e.name for e in epochs]),
                       {"long_name": "camera epoch, by the time it is valid from"}),
            Coordinate("cell_n_pixels", ("epoch", "cell"),
                       _by_epoch([m.n_pixels for m in maps], cells.n_cells, "int32"),
                       {"long_name": "visible pixels behind the cell", "units": "1"}),
            Coordinate("cell_visible_share", ("epoch", "cell"),
                       _by_epoch([m.visible_share for m in maps], cells.n_cells, "float32"),
                       {"long_name": "visible share of the cell's solid angle", "units": "1"}),
            Coordinate("cell_quality", ("epoch", "cell"),
                       _by_epoch([m.flags for m in maps], cells.n_cells, "uint8"),
                       {"long_name": "why the cell is never observed; 0 = it is",
                        "flag_masks": [int(flag) for flag in CellFlag],
                        "flag_meanings": "hidden few_pixels"}),
        ]  # fmt: skip
    return found


def _cell_places(campaign: Campaign) -> list[Coordinate]:
    places = cell_places(campaign)
    height = f"at {campaign.cells.emission_height_km:g} km"
    when = magnetic_epoch(campaign).date().isoformat()
    texts = {
        "latitude": ("latitude_deg", f"geodetic latitude of the cell's centre {height}", "degree"),
        "longitude": ("longitude_deg", f"longitude of the cell's centre {height}", "degree"),
        "mlat": ("mlat_deg", f"AACGM-v2 latitude of the cell's centre {height}, {when}", "degree"),
        "mlon": ("mlon_deg", f"AACGM-v2 longitude of the cell's centre {height}, {when}", "degree"),
    }
    found = [
        Coordinate(f"cell_{name}_deg", ("cell",), getattr(places, source).astype("float32"),
                   {"long_name": text, "units": units})
        for name, (source, text, units) in texts.items()
    ]  # fmt: skip
    # Not rounded: which bin a frame falls into is counted from it again.
    return [
        *found,
        Coordinate("cell_mlt_offset_h", ("cell",), places.mlt_offset_h,
                   {"long_name": f"MLT of the cell's centre {height} minus the station's",
                    "units": "hour"}),
    ]  # fmt: skip


def _by_epoch(rows: list[Any], n_cells: int, dtype: str) -> np.ndarray:
    """(epoch, cell) array; a year that lies in a gap between epochs has no row."""
    return np.array(rows, dtype=dtype).reshape(len(rows), n_cells)


def _evidence_status() -> Variable:
    return status_variable(
        {member.name.lower(): int(member) for member in EvidenceStatus},
        "whether the detector observed this frame, and why not",
    )


def sky_attributes(campaign: Campaign) -> dict[str, Any]:
    """What stores with sky cells say beside `campaign_attributes`."""
    cells = epoch_geometry(campaign, campaign.camera[0]).cells
    return {
        **campaign_attributes(campaign),
        "cloud_screening": "none",
        "azimuth_reference": cells.azimuth_reference,
        "north_azimuth_deg": round(float(cells.north_azimuth_deg), 3),
    }


def campaign_attributes(campaign: Campaign) -> dict[str, Any]:
    """What every store says about where its numbers come from.

    Only what is bound to the whole store: metadata never changes under committed days.
    """
    site = campaign.site
    return {
        "simulated": str(campaign.simulated).lower(),
        "site": site.code,
        "site_latitude_deg": site.latitude_deg,
        "site_longitude_deg": site.longitude_deg,
        "cadence_s": campaign.cadence_s,
        "phase_s": campaign.phase_s,
    }
