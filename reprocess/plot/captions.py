"""The words on a figure: what was counted, selected and left out.

Read from the attributes that `open_cube` and `count_occurrence` leave on a
dataset: `site`, `years`, `simulated`, `cloud_screening`, `azimuth_reference`,
`north_azimuth_deg`, and the cube's limits, which
`reprocess.cube.selection.attributes` writes. What is absent is not claimed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr


def headline(cube: xr.Dataset) -> str:
    """What, where and when: `Aurora occurrence · JBS · 2018–2023`."""
    parts = ("Aurora occurrence", str(cube.attrs.get("site", "")), period(cube))
    return " · ".join(part for part in parts if part)


def is_simulated(attributes: Mapping[Any, Any]) -> bool:
    """Whether the frames were simulated, as attributes of any writer say it."""
    said = str(attributes.get("simulated", False)).strip().lower()
    return said not in ("", "false", "0", "no", "none")


def screening(attributes: Mapping[Any, Any]) -> str:
    """How clouds were screened, and what it means for the rates where they were not."""
    how = str(attributes.get("cloud_screening", "none"))
    text = f"cloud_screening: {how}"
    if how == "none":
        text += " (cloudy frames count as observed): rates are lower bounds, false detections apart"
    return text


def selection(attributes: Mapping[Any, Any]) -> list[str]:
    """The limits that decided which frames and cells count, and when a cell has aurora."""
    parts = limits(attributes)
    if "cell_fraction_min" in attributes:
        # A difference flags a cell or not, a mask covers a share of it.
        share = f"{100 * float(attributes['cell_fraction_min']):g} %"
        parts.append(f"aurora on ≥ {share} of a cell (masks), or in a flagged cell (difference)")
    return parts


def limits(attributes: Mapping[Any, Any]) -> list[str]:
    """The limits that decided which frames and cells count."""
    parts = []
    if "sun_elevation_max_deg" in attributes:
        parts.append(f"Sun ≤ {degrees(attributes['sun_elevation_max_deg'])}")
    if "moon_elevation_max_deg" in attributes:
        moon = attributes["moon_elevation_max_deg"]
        parts.append("any Moon" if moon in (None, "none") else f"Moon ≤ {degrees(moon)}")
    if attributes.get("moon_illuminated_max", "none") != "none":
        parts[-1] += f" or ≤ {100 * float(attributes['moon_illuminated_max']):g} % lit"
    if "with refraction" in str(attributes.get("sun_and_moon", "")):
        parts.append("with refraction")
    if float(attributes.get("cell_elevation_min_deg", 0.0)) > 0:
        parts.append(f"cells above {degrees(attributes['cell_elevation_min_deg'])}")
    for name, what, unit in (("exposure_range_s", "exposure", " s"), ("gain_range", "gain", "")):
        found = attributes.get(name, "none")
        if found is not None and str(found) != "none":
            lowest, highest = found
            parts.append(f"{what} {float(lowest):g}\N{EN DASH}{float(highest):g}{unit}")
    names = [str(table).partition(":")[0] for table in attributes.get("flags", ())]
    if names:
        parts.append(f"flags: {', '.join(dict.fromkeys(names))}")
    return parts


def period(cube: xr.Dataset) -> str:
    """The years, or the one month, that hold observed frames; groups by their keys."""
    name = next((n for n in ("time", "group") if n in cube.coords), None)
    years = cube.attrs.get("years")
    if name is None:
        return "" if years is None else year_ranges(years)
    values = np.atleast_1d(cube[name].to_numpy())
    if values.dtype.kind != "M":
        keys = ", ".join(map(str, values[:6])) + (", …" if len(values) > 6 else "")
        return (f"{year_ranges(years)} · " if years is not None else "") + f"group {keys}"
    if name in cube["counts"].dims:
        others = [dim for dim in cube["counts"].dims if dim != name]
        values = values[cube["counts"].sum(others).to_numpy() > 0]
    months = values.astype("datetime64[M]")
    if len(months) == 1:
        return str(months[0])
    return year_ranges(int(str(month)[:4]) for month in months)


def year_ranges(years: Iterable[int]) -> str:
    """`2018–2020, 2022` from years in any order."""
    found = sorted({int(year) for year in np.atleast_1d(np.array(list(years)))})
    runs: list[list[int]] = []
    for year in found:
        if runs and year == runs[-1][-1] + 1:
            runs[-1].append(year)
        else:
            runs.append([year])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def north(cube: xr.Dataset) -> tuple[str, float | None]:
    """Which north the cells' azimuth is measured from, and its geographic azimuth if known."""
    azimuth = cube.get("cell_azimuth_deg")
    described = "" if azimuth is None else str(azimuth.attrs.get("long_name", ""))
    guess = next((name for name in ("magnetic", "geographic") if name in described), "reference")
    north_deg = cube.attrs.get("north_azimuth_deg")
    reference = str(cube.attrs.get("azimuth_reference", guess))
    return reference, None if north_deg is None else float(north_deg)


def mlt_range(lower_hours: float, upper_hours: float) -> str:
    """`08–09`, `23:30–00:30` or `all MLT`."""
    if upper_hours - lower_hours >= 24:
        return "all MLT"
    return f"{_clock(lower_hours)}–{'24' if upper_hours == 24 else _clock(upper_hours)}"


def degrees(value: Any) -> str:
    """`−15°`, with a real minus sign."""
    return f"{float(value):g}°".replace("-", "\N{MINUS SIGN}")


def days(number: int) -> str:
    """`1 day`, `612 days`."""
    return f"{thousands(number)} day" + ("" if number == 1 else "s")


def thousands(number: int) -> str:
    """`12 345`, with a narrow space that does not break."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _clock(hours: float) -> str:
    minutes = round(hours * 60) % 1440
    return f"{minutes // 60:02d}" + (f":{minutes % 60:02d}" if minutes % 60 else "")
