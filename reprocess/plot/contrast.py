"""Two detectors against each other: the difference of their rates, or their ratio.

Always on the common denominator: frames and cells that both observed. A ratio
of small counts is noise, so it is drawn only where enough frames were
observed and both detectors saw aurora often enough; the page says how often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reprocess.cube.selection import mlt_place
from reprocess.errors import ConfigurationError
from reprocess.plot import captions
from reprocess.plot.mapgrid import Maps, Scale, below_words, count_note, maps_figure
from reprocess.plot.numbers import (
    AURORA_MIN,
    FRAMES_MIN,
    bears_ratio,
    ratio_digits,
    ratio_over_cells,
)
from reprocess.plot.occurrence import count_maps, head_lines
from reprocess.plot.page import PAGE_MM, save_figure
from reprocess.plot.sky import East, sky_of

Kind = Literal["difference", "ratio"]
DIFFERENCE_MAP, RATIO_MAP = "RdBu_r", "PuOr_r"
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
_RATIOS = (1.5, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def draw_contrast(
    cube: xr.Dataset, path: str | Path, kind: Kind, *, dpi: int = 300, **options: Any
) -> Path:
    """Write `contrast_figure` to a file (.png, .pdf, .svg)."""
    return save_figure(contrast_figure(cube, kind, **options), path, dpi)


def contrast_figure(
    cube: xr.Dataset,
    kind: Kind,
    *,
    detectors: Sequence[str] | None = None,
    east: East = "left",
    frames_min: int = FRAMES_MIN,
    aurora_min: int = AURORA_MIN,
    limit: float | None = None,
    title: str | None = None,
    width_mm: float = PAGE_MM,
) -> Figure:
    """Draw the second detector's occurrence rate minus, or over, the first one's.

    Parameters
    ----------
    cube : from `open_cube` or `count_occurrence`, or a selection of months or groups of one
    kind : "difference" of the rates, percentage points; or their "ratio", on a log scale
    detectors : two labels that were compared with each other; default the first two
    frames_min : least frames observed in a cell for either picture to have a number there
    aurora_min : least frames with aurora by each detector for a ratio
    limit : end of the colour scale, a rate (0-1) or a factor (> 1); default a round number
    east, title, width_mm : as `occurrence_figure`

    Raises
    ------
    ConfigurationError
        As `occurrence_figure`; if there are not two detectors, or they were not counted on
        common frames.

    Notes
    -----
    Cells that no frame of both observed are hatched, those below the limits
    dotted: neither has a colour. The number under a map is that of all cells:
    the difference of the rates, or the ratio of the counts with aurora, where at
    least one cell bears a ratio itself (`ratio_over_cells`, the report page's rule
    too). Rates on the common denominator have one denominator, so their ratio is
    the ratio of the counts with aurora.
    """
    first, second = _pair(cube, detectors)
    counted = count_maps(cube, [first, second], True)
    observed = counted.observed[0]
    before, after = counted.aurora.astype(np.float64)
    few = (observed > 0) & (observed < frames_min)
    explained = [
        *below_words("common frames", "the number over all cells", counted.days),
        f"above: magnetic local time of the {mlt_place(cube.attrs)}, hours",
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind == "difference":
            values = (after - before) / observed
            scale = _difference_scale(np.where(few, np.nan, values), limit, first, second)
            explained.append(f"dotted: fewer than {frames_min} common frames")
        else:
            few = (observed > 0) & ~bears_ratio(observed, before, after, frames_min, aurora_min)
            values = after / before
            scale = _ratio_scale(np.where(few, np.nan, values), limit, first, second)
            explained.append(
                f"dotted: fewer than {frames_min} common frames, or fewer than {aurora_min} "
                f"with aurora by either detector; × ?: so in all cells"
            )
    values = np.where(few | (observed == 0), np.nan, values)
    days = [None] * len(observed) if counted.days is None else counted.days[0].tolist()
    notes = [
        count_note(int(n.max(initial=0)), _whole(kind, n, a, b, frames_min, aurora_min), n_days)
        for n, a, b, n_days in zip(observed, before, after, days, strict=True)
    ]
    sign = "−" if kind == "difference" else "/"
    what = f"occurrence rate of {second} {sign} that of {first}"
    head = head_lines(cube, True, title=title, what=what)
    return maps_figure(
        Maps([f"{second} {sign} {first}"], counted.hours, values[None], [notes], few[None]),
        sky_of(cube, east),
        scale,
        [replace(head[0], text=title or f"{_NAMES[kind]} · {captions.headline(cube)}"), *head[1:]],
        explained,
        width_mm=width_mm,
        simulated=captions.is_simulated(cube.attrs),
    )


_NAMES = {"difference": "Difference of detectors", "ratio": "Ratio of detectors"}


def _pair(cube: xr.Dataset, detectors: Sequence[str] | None) -> tuple[str, str]:
    known = [str(label) for label in np.atleast_1d(cube["detector"].to_numpy())]
    said = cube.attrs.get("compare")
    compared = known if said is None else [label for label in known if label in list(said)]
    chosen = compared[:2] if detectors is None else list(detectors)
    strange = [label for label in chosen if label not in compared]
    if len(chosen) != 2 or strange or chosen[0] == chosen[1]:
        raise ConfigurationError(
            f"difference and ratio need two detectors that were counted on common frames: found "
            f"{', '.join(chosen) or 'none'}, expected two of {', '.join(compared) or 'none'} "
            f"(the campaign's cube.compare; the cube holds {', '.join(known)})"
        )
    return chosen[0], chosen[1]


def _whole(
    kind: Kind,
    observed: NDArray[Any],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    frames_min: int,
    aurora_min: int,
) -> str:
    if kind == "difference":
        more = float(after.sum() - before.sum())
        return f"{100 * more / max(float(observed.sum()), 1.0):+.1f}".replace("-", "−")
    ratio = ratio_over_cells(observed, before, after, frames_min, aurora_min)
    return "× ?" if ratio is None else f"× {ratio_digits(ratio)}"


def _difference_scale(
    values: NDArray[np.float64], limit: float | None, first: str, second: str
) -> Scale:
    seen = np.abs(values[np.isfinite(values)])
    if limit is None:
        wanted = float(np.quantile(seen, 0.99)) if seen.size else 1.0
        limit = next((step for step in _STEPS if 1.001 * step >= wanted), 1.0)
    elif not 0 < limit <= 1:
        raise ConfigurationError(f"difference: found limit {limit}, expected above 0 and up to 1")
    ticks = [limit * k / 2 for k in (-2, -1, 0, 1, 2)]
    return Scale(
        Normalize(-limit, limit),
        matplotlib.colormaps[DIFFERENCE_MAP],
        [(tick, f"{100 * tick:+g}".replace("-", "−") if tick else "0") for tick in ticks],
        f"{second} − {first}, percentage points (red: more {second})",
        "both" if bool((seen > 1.001 * limit).any()) else "neither",
    )


def _ratio_scale(
    values: NDArray[np.float64], limit: float | None, first: str, second: str
) -> Scale:
    seen = values[np.isfinite(values) & (values > 0)]
    spread = np.exp(np.abs(np.log(seen)))
    if limit is None:
        wanted = float(np.quantile(spread, 0.98)) if seen.size else 10.0
        limit = next((step for step in _RATIOS if 1.001 * step >= wanted), _RATIOS[-1])
    elif limit <= 1:
        raise ConfigurationError(f"ratio: found limit {limit}, expected a factor above 1")
    inner = [r for r in (2.0, 5.0, 10.0, 20.0, 50.0, 100.0) if r < 0.8 * limit] + [limit]
    kept = inner if len(inner) <= 4 else [r for r in inner if r in (2.0, 10.0) or r == limit]
    ticks = [(1 / r, f"1/{r:g}") for r in reversed(kept)] + [(1.0, "1")]
    ticks += [(r, f"{r:g}") for r in kept]
    return Scale(
        LogNorm(1 / limit, limit),
        matplotlib.colormaps[RATIO_MAP],
        ticks,
        f"{second} / {first}, log scale (orange: more {second})",
        "both" if bool((spread > 1.001 * limit).any()) else "neither",
    )
