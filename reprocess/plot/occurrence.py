"""Occurrence maps on one page: a sky map for each detector and magnetic local time.

The source's Figure 5. Zenith in the middle, the reference north (magnetic by
default) up, east on the left as one sees it looking up. What was not observed
is hatched, never the colour of zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reprocess.cube.open import rates
from reprocess.cube.selection import mlt_place
from reprocess.errors import ConfigurationError
from reprocess.plot import captions
from reprocess.plot.mapgrid import (
    UNOBSERVED_NOTE,
    Maps,
    Scale,
    below_words,
    count_note,
    maps_figure,
    round_ticks,
)
from reprocess.plot.numbers import most_days
from reprocess.plot.page import PAGE_MM, Line, message_figure, save_figure
from reprocess.plot.sky import EDGES, East, sky_of

BINS_MAX = 48
COLOUR_MAP = "viridis"
NEEDED = (*EDGES, "mlt_bounds")
ScaleName = Literal["sqrt", "linear"]
_ROUND = (*(k * 10.0**e for e in (-4, -3, -2, -1) for k in (1, 2, 5)), 1.0)


def draw_occurrence(
    cube: xr.Dataset,
    path: str | Path,
    *,
    detectors: Sequence[str] | None = None,
    common: bool | None = None,
    east: East = "left",
    vmax: float | None = None,
    scale: ScaleName = "sqrt",
    title: str | None = None,
    dpi: int = 300,
    width_mm: float = PAGE_MM,
    strip: bool = False,
) -> Path:
    """Draw the aurora occurrence rate by detector, MLT and sky cell.

    Parameters
    ----------
    path : file to write; its ending decides the format (.png, .pdf, .svg)
    dpi : of formats with pixels
    cube, detectors, common, east, vmax, scale, title, width_mm, strip : see
        `occurrence_figure`, which draws the same without writing it

    Returns
    -------
    Path of the file

    Raises
    ------
    ConfigurationError
        As `occurrence_figure`; if the file cannot be written.
    """
    figure = occurrence_figure(
        cube,
        detectors=detectors,
        common=common,
        east=east,
        vmax=vmax,
        scale=scale,
        title=title,
        width_mm=width_mm,
        strip=strip,
    )
    return save_figure(figure, path, dpi)


def occurrence_figure(
    cube: xr.Dataset,
    *,
    detectors: Sequence[str] | None = None,
    common: bool | None = None,
    east: East = "left",
    vmax: float | None = None,
    scale: ScaleName = "sqrt",
    title: str | None = None,
    width_mm: float = PAGE_MM,
    strip: bool = False,
) -> Figure:
    """Draw the aurora occurrence rate by detector, MLT and sky cell into a figure.

    Parameters
    ----------
    cube : from `open_cube` or `count_occurrence`, or a selection of months or groups of one
        Counts are summed over what is left of `time` or `group`, then divided.
    detectors : rows, top to bottom; default all
    common : True takes the frames and cells that all compared detectors observed. None does
        so where several detectors are drawn and all have such counts. The page says which.
    east : side of east, with north up; "left" is the sky as seen looking up
    vmax : upper end of the colour scale, 0-1; default a round number that at most 1 % of the
        observed cells exceed
    scale : of the colours, the same for all maps; "sqrt" shows a detector with a fifth of the
        other's rate beside it
    title : replaces the first line
    width_mm : of the page as it is printed: 175 for two columns, 85 for one
    strip : all MLT bins in one row for each detector, without compass letters

    Raises
    ------
    ConfigurationError
        If the dataset lacks counts, cell edges or a detector, or has more than 48 MLT bins, or
        `vmax` is not a rate.

    Notes
    -----
    The radius is the zenith angle (equidistant). The first number under a map
    is the largest number of frames behind one of its cells, the last the
    largest number of UTC days (`most_days`). A cell of a map
    that was never observed is hatched; a map with none observed says so.
    Matplotlib's global state is neither used nor changed.
    """
    counted = count_maps(cube, detectors, common)
    notes = counted.notes(_short if strip else count_note)
    hours = tuple(text.split("–")[0] for text in counted.hours) if strip else counted.hours
    maps = Maps(counted.labels, hours, counted.rate, notes)
    rest = "rate over all cells"
    below = below_words("frames", rest, counted.days)
    if strip:
        below = [line.replace(f" · {rest}", "").replace("days", "days (d)") for line in below]
    return maps_figure(
        maps,
        sky_of(cube, east),
        rate_scale(counted.rate, vmax, scale),
        head_lines(cube, counted.common, title=title),
        [
            *below,
            f"above: magnetic local time of the {mlt_place(cube.attrs)}, hours",
        ],
        width_mm=width_mm,
        simulated=captions.is_simulated(cube.attrs),
        columns=len(hours) if strip else None,
    )


def nothing_figure(cube: xr.Dataset, chosen: str, *, width_mm: float = PAGE_MM) -> Figure:
    """A picture that says that nothing was observed in what was chosen, and why that may be."""
    selected = ", ".join(captions.selection(cube.attrs))
    return message_figure(
        captions.headline(cube),
        f"No frame was observed in {chosen} ({selected}): nothing was processed or published for "
        f"it, or every frame is outside these limits. This is not an occurrence of 0 %.",
        width_mm=width_mm,
        simulated=captions.is_simulated(cube.attrs),
    )


@dataclass(frozen=True)
class CountedMaps:
    """Summed counts of a cube: (detector, mlt, cell) arrays, and how to call them.

    `rate` is NaN where nothing was observed; `days` is `most_days`, (detector, mlt).
    """

    labels: tuple[str, ...]
    hours: tuple[str, ...]
    observed: NDArray[np.int64]
    aurora: NDArray[np.int64]
    rate: NDArray[np.float32]
    common: bool
    days: NDArray[np.int64] | None = None

    def notes(self, note: Callable[[int, str, int | None], str] = count_note) -> list[list[str]]:
        """What stands below each map, (detector, mlt)."""
        return [
            [
                note(
                    int(n.max(initial=0)),
                    f"{100 * _mean(a, n):.1f} %",
                    None if self.days is None else int(self.days[row, column]),
                )
                for column, (a, n) in enumerate(zip(aurora, observed, strict=True))
            ]
            for row, (aurora, observed) in enumerate(zip(self.aurora, self.observed, strict=True))
        ]


def count_maps(
    cube: xr.Dataset, detectors: Sequence[str] | None, common: bool | None
) -> CountedMaps:
    """Sum a cube over its months or groups, for the detectors asked for.

    Raises
    ------
    ConfigurationError
        If the dataset lacks what a map needs, or a detector.
    """
    missing = [name for name in ("counts", *NEEDED) if name not in cube.variables]
    if missing:
        raise ConfigurationError(
            f"occurrence map: found no {', '.join(missing)} in the dataset, expected one from "
            f"open_cube or count_occurrence"
        )
    if cube.sizes.get("mlt", 0) > BINS_MAX:
        raise ConfigurationError(
            f"occurrence map: found {cube.sizes['mlt']} MLT bins, expected at most {BINS_MAX}; "
            f"count in wider bins (mlt_bins)"
        )
    total = rates(cube)
    dims = total["n_observed"].dims
    if set(dims) != {"detector", "mlt", "cell"}:
        raise ConfigurationError(
            f"occurrence map: found dimensions {dims}, expected detector, mlt and cell; select "
            f"one detector or bin with a list, such as .sel(detector=['fcn'])"
        )
    known = [str(label) for label in total["detector"].values]
    labels = known if detectors is None else list(detectors)
    unknown = [label for label in labels if label not in known]
    if unknown or not labels:
        raise ConfigurationError(
            f"occurrence map: found detectors {labels}, expected some of {', '.join(known)}"
        )
    total = total.sel(detector=labels).transpose("detector", "mlt", "cell", ...)
    if common is None:
        shared = total["n_observed_common"].sum(("mlt", "cell")) > 0
        common = len(labels) > 1 and bool(shared.all())
    suffix = "_common" if common else ""
    return CountedMaps(
        labels=tuple(labels),
        hours=tuple(
            captions.mlt_range(lower, upper) for lower, upper in total["mlt_bounds"].to_numpy()
        ),
        observed=total[f"n_observed{suffix}"].to_numpy(),
        aurora=total[f"n_aurora{suffix}"].to_numpy(),
        rate=total[f"occurrence{suffix}"].to_numpy(),
        common=common,
        days=most_days(cube, labels, common=common),
    )


def head_lines(
    cube: xr.Dataset, common: bool, *, title: str | None = None, what: str | None = None
) -> list[Line]:
    """The head of a page of maps: title, what is drawn, selection, clouds."""
    counted = (
        "frames and cells that all compared detectors observed"
        if common
        else "all frames each detector observed"
    )
    selected = [what or "frames with aurora / frames observed", counted]
    selected += captions.selection(cube.attrs)
    return [
        Line(title or captions.headline(cube), 10.0, "bold"),
        Line(" · ".join(selected)),
        Line(captions.screening(cube.attrs), weight="bold"),
    ]


def rate_scale(rate: NDArray[np.float32], vmax: float | None, scale: ScaleName) -> Scale:
    """One colour scale of rates from 0 to `vmax` or a round number."""
    top = round_maximum(rate) if vmax is None else vmax
    if not 0 < top <= 1:
        raise ConfigurationError(f"occurrence map: found vmax {vmax}, expected above 0 and up to 1")
    norm = PowerNorm(0.5, 0.0, top) if scale == "sqrt" else Normalize(0.0, top)
    words = "square-root scale" if scale == "sqrt" else "linear scale"
    return Scale(
        norm,
        matplotlib.colormaps[COLOUR_MAP],
        [(tick, f"{100 * tick:g}") for tick in round_ticks(norm, _ROUND)],
        f"occurrence rate, % ({words}, one for all maps)",
        "max" if bool(np.nanmax(rate, initial=0.0) > top) else "neither",
    )


def round_maximum(rate: NDArray[np.float32]) -> float:
    """The smallest round number that at most 1 % of the observed cells exceed."""
    observed = rate[np.isfinite(rate)]
    wanted = float(np.quantile(observed, 0.99)) if observed.size else 1.0
    steps = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    return next((step for step in steps if step >= wanted), 1.0)


def _short(n_frames: int, _rate: str, n_days: int | None) -> str:
    """As `count_note`, so short that it fits below a map of a strip."""
    if not n_frames:
        return UNOBSERVED_NOTE
    text = captions.thousands(n_frames)
    return text if n_days is None else f"{text}\n{captions.thousands(n_days)} d"


def _mean(aurora: NDArray[np.int64], observed: NDArray[np.int64]) -> float:
    """Rate over all observed cells of a map; 0 where there are none."""
    return float(aurora.sum() / max(observed.sum(), 1))
