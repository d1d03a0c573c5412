"""Which frames and which cells are counted: Sun, Moon, elevation, flag tables.

Everything here follows from a frame's time and from what detections already
hold, so a changed selection needs neither an image nor a network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import Cube, FlagTable
from reprocess.cube.count import select_frames
from reprocess.errors import ConfigurationError
from reprocess.flags import digest, kept
from reprocess.geometry.ephemeris import apparent_elevation_deg, moon_phase_fraction

EDGE_TOLERANCE_DEG = 1e-4
"""A cell's edge, kept as float32, may lie so far below the elevation limit and still be on it."""


def select(
    cube: Cube,
    times: NDArray[np.datetime64],
    sun_elevation_deg: NDArray[np.float32],
    moon_elevation_deg: NDArray[np.float32],
    exposure_s: NDArray[np.float32] | None = None,
    gain: NDArray[np.float32] | None = None,
) -> NDArray[np.bool_]:
    """Tell which frames are counted.

    Parameters
    ----------
    cube : the campaign's section
    times : (n,) datetime64[us] array, UTC; NaT where there is no frame
    sun_elevation_deg, moon_elevation_deg : (n,) float32 arrays, degrees
        Of the centres, unrefracted, as detections hold them; NaN where there is no frame.
    exposure_s, gain : (n,) float32 arrays, or None; NaN where not known
        Looked at where the campaign limits them.

    Returns
    -------
    (n,) bool array
        False where an elevation, an exposure or a gain that is needed is not known.

    Notes
    -----
    The Sun at or below its limit, and the Moon at or below its own or its illuminated fraction
    at most `moon_illuminated_max`, and kept by every flag table. With `refraction` the limits are
    those of apparent elevations.
    """
    sun, moon = sun_elevation_deg, moon_elevation_deg
    if cube.refraction:
        sun, moon = apparent_elevation_deg(sun), apparent_elevation_deg(moon)
    selected = select_frames(sun, moon, cube.sun_elevation_max_deg, cube.moon_elevation_max_deg)
    if cube.moon_illuminated_max is not None:
        dark = select_frames(sun, moon, cube.sun_elevation_max_deg, None)
        thin = moon_phase_fraction(times) <= np.float32(cube.moon_illuminated_max)
        selected |= dark & thin
    for values, limits in ((exposure_s, cube.exposure_range_s), (gain, cube.gain_range)):
        if limits is not None:
            known = np.full(len(times), np.nan, np.float32) if values is None else values
            selected &= (known >= np.float32(limits[0])) & (known <= np.float32(limits[1]))
    for table in cube.flags:
        selected &= kept(table, times)
    return selected


def cells_left_out(cube: Cube, cell_zenith_max_deg: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Tell which cells are not counted, because they reach below the elevation limit.

    Parameters
    ----------
    cell_zenith_max_deg : (cell,) array, degrees
        Zenith angle of each cell's outer edge.

    Returns
    -------
    (cell,) bool array
    """
    lowest = 90.0 - np.asarray(cell_zenith_max_deg, np.float64)
    return np.asarray(lowest < cube.cell_elevation_min_deg - EDGE_TOLERANCE_DEG, np.bool_)


def attributes(cube: Cube) -> dict[str, Any]:
    """What the cube says about its selection: everything that was used, by name and content."""
    return {
        "cloud_screening": cloud_screening(cube.flags),
        "sun_elevation_max_deg": cube.sun_elevation_max_deg,
        "moon_elevation_max_deg": _or_none(cube.moon_elevation_max_deg),
        "moon_illuminated_max": _or_none(cube.moon_illuminated_max),
        "sun_and_moon": (
            "centres with refraction of 1010 hPa and 10 degrees Celsius"
            if cube.refraction
            else "unrefracted centres"
        ),
        "cell_elevation_min_deg": cube.cell_elevation_min_deg,
        "exposure_range_s": _range(cube.exposure_range_s),
        "gain_range": _range(cube.gain_range),
        "flags": [_described(table) for table in cube.flags],
        "cell_fraction_min": cube.cell_fraction_min,
        "mlt": _mlt_text(cube),
    }


def limits(attributes: Mapping[Any, Any], flags: Sequence[FlagTable] = ()) -> dict[str, Any]:
    """What `count_occurrence` must be told to count as a cube was counted: `attributes`, read back.

    Parameters
    ----------
    attributes : of a cube; what they do not tell is left to `count_occurrence`
    flags : the flag tables that the cube names but does not hold

    Raises
    ------
    ConfigurationError
        If the cube was counted with other flag tables than these.
    """
    told, given = list(attributes.get("flags", ())), [_described(table) for table in flags]
    if told != given:
        raise ConfigurationError(
            f"found a cube counted with {_listed(told)}, expected the same to count in the same "
            f"way and not {_listed(given)}; give the campaign that it was made with"
        )
    found: dict[str, Any] = {"flags": tuple(flags)}
    for name in ("sun_elevation_max_deg", "cell_fraction_min", "cell_elevation_min_deg"):
        if name in attributes:
            found[name] = float(attributes[name])
    for name in ("moon_elevation_max_deg", "moon_illuminated_max"):
        value = attributes.get(name, "none")
        found[name] = None if value in (None, "none") else float(value)
    for name in ("exposure_range_s", "gain_range"):
        value = attributes.get(name, "none")
        found[name] = None if value is None or str(value) == "none" else tuple(map(float, value))
    found["refraction"] = "with refraction" in str(attributes.get("sun_and_moon", ""))
    found["mlt"] = mlt_place(attributes)
    lowest = re.search(r"below an elevation of ([-0-9.]+) degrees", str(attributes.get("mlt", "")))
    if lowest is not None:
        found["mlt_elevation_min_deg"] = float(lowest[1])
    return found


def mlt_place(attributes: Mapping[Any, Any]) -> str:
    """Whose magnetic local time was counted: that of the `station`, or of each `cell`."""
    return "cell" if "of the cell" in str(attributes.get("mlt", "")) else "station"


def _mlt_text(cube: Cube) -> str:
    if cube.mlt == "station":
        return "magnetic local time of the station at the frame's time"
    return (
        "magnetic local time of the cell's centre at the emission height at the frame's time; "
        f"none below an elevation of {cube.mlt_elevation_min_deg:g} degrees"
    )


def _listed(tables: Sequence[Any]) -> str:
    return f"flag tables ({'; '.join(map(str, tables))})" if tables else "no flag tables"


def cloud_screening(tables: tuple[FlagTable, ...]) -> str:
    """`none`, or the tables of name `cloud` and what they did."""
    used = [_described(table) for table in tables if table.name == "cloud"]
    return "; ".join(used) or "none"


def _described(table: FlagTable) -> str:
    rule = f"kept {', '.join(table.keep)}" if table.keep else f"rejected {', '.join(table.reject)}"
    unknown = "kept" if table.unknown == "keep" else "rejected"
    how = "" if table.tolerance_s is None else f", samples within {table.tolerance_s:g} s"
    return (
        f"{table.name}: table {PurePosixPath(table.table).name} (sha256 {digest(table)}), {rule}, "
        f"times without a flag {unknown}{how}"
    )


def _range(limits: tuple[float, float] | None) -> list[float] | str:
    return "none" if limits is None else list(limits)


def _or_none(value: float | None) -> float | str:
    return "none" if value is None else value
