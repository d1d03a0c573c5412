"""`reprocess plot KIND STORE OUT`: arguments and one thin function for each kind of picture."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprocess.options import (
    access_of,
    add_detectors,
    add_overrides,
    add_store,
    add_verb,
    add_years,
    labels_of,
    years_of,
)

if TYPE_CHECKING:
    import xarray as xr

    from reprocess.plot.stored import Stored


EAST = "side of the picture; left as the sky is seen (default), right as on a map"


def add_kinds(kinds: Any) -> None:
    """Declare the kinds of picture as sub-commands; matplotlib is imported when one is drawn."""
    kind = _kind(kinds, "occurrence", "one sky map of occurrence for each MLT", _occurrence)
    kind.add_argument(
        "--common", action="store_true", default=None,
        help="only where all detectors observed; default so where all were compared",
    )  # fmt: skip
    add_detectors(kind, "labels, in this order; default all")
    add_years(kind)
    variant = kind.add_mutually_exclusive_group()
    variant.add_argument("--strip", action="store_true", help="all MLT in one row")
    variant.add_argument(
        "--difference", action="store_true", help="second detector minus first, common frames"
    )
    variant.add_argument(
        "--ratio", action="store_true", help="second detector over first, common frames"
    )
    variant.add_argument(
        "--dial", action="store_true", help="over MLT and magnetic latitude of the emission"
    )
    variant.add_argument(
        "--by", metavar="GROUPING",
        help="month, season, year, or a CSV file of times (UTC) and keys: a row for each",
    )  # fmt: skip
    kind.add_argument(
        "--max-age", type=float, metavar="HOURS", help="a row of the CSV holds so long"
    )
    kind.add_argument("--mlt-bins", type=int, metavar="N", help="with --by; default 4, centred")
    kind.add_argument("--vmax", type=float, metavar="RATE", help="end of the colours, 0 to 1")
    kind.add_argument("--linear", action="store_true", help="linear colours, not square-root")
    kind.add_argument("--east", choices=("left", "right"), default="left", help=EAST)

    kind = _kind(kinds, "compare", "frame, and what each detector saw in it", _compare)
    kind.add_argument(
        "--time", nargs="+", required=True, metavar="TIME", help="UTC, such as 2021-06-10T10:36"
    )
    add_detectors(kind, "labels, in this order; default all")
    kind.add_argument("--stretch", type=float, metavar="COUNTS", help="drawn as full brightness")
    kind.add_argument("--east", choices=("left", "right"), default="left", help=EAST)

    kind = _kind(kinds, "keogram", "a day along the magnetic meridian", _keogram)
    kind.add_argument("--day", required=True, metavar="DAY", help="UTC, such as 2021-06-10")
    kind.add_argument("--hours", nargs=2, type=float, metavar="HOUR", help="first and last, UT")
    add_detectors(kind, "labels, in this order; default all")
    kind.add_argument("--no-contours", action="store_true", help="no outlines over the frames")

    kind = _kind(kinds, "coverage", "frames a day and state of the blocks, by year", _coverage)
    add_years(kind)


def add_output(kind: argparse.ArgumentParser) -> None:
    """Declare `OUT`, the picture."""
    kind.add_argument(
        "output", metavar="OUT", type=Path, help="picture to write: .png, .pdf or .svg"
    )


def _kind(
    kinds: Any, name: str, text: str, call: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    kind = add_verb(kinds, name, text)
    add_store(kind)
    add_output(kind)
    kind.add_argument(
        "--campaign", metavar="FILE", help="what the store must be of; default its last run's"
    )
    add_overrides(kind, "--campaign")
    kind.add_argument(
        "--width", type=float, default=None, metavar="MM",
        help="as printed: 175 (default, two columns) or 85 (one)",
    )  # fmt: skip
    kind.add_argument("--title", help="replaces the first line")
    kind.add_argument("--dpi", type=int, default=300, help="of .png; default 300")
    kind.set_defaults(call=call)
    return kind


def _occurrence(options: argparse.Namespace) -> int:
    from reprocess.cube.open import open_cube
    from reprocess.plot.contrast import contrast_figure
    from reprocess.plot.groups import count_groups, groups_figure
    from reprocess.plot.occurrence import nothing_figure, occurrence_figure
    from reprocess.plot.page import save_figure
    from reprocess.plot.stored import check_cube, check_years

    stored = stored_of(options)
    cube = open_cube(options.store, access=stored.access)
    if stored.given is not None:
        check_cube(cube, stored.given, options.store)
    years = years_of(options)
    if years is not None:
        check_years(years, cube["time"].dt.year.to_numpy().tolist(), options.store)
        cube = cube.sel(time=cube["time"].dt.year.isin(years))
    if not int(cube["counts"].sum()):
        figure = nothing_figure(cube, _said(years), **_width(options))
        print(save_figure(figure, options.output, options.dpi))
        return 0
    labels = labels_of(options)
    page: dict[str, Any] = {"detectors": labels, "title": options.title, **_width(options)}
    colours: dict[str, Any] = {
        "vmax": options.vmax, "scale": "linear" if options.linear else "sqrt",
        "common": options.common,
    }  # fmt: skip
    if options.difference or options.ratio:
        kind: Any = "difference" if options.difference else "ratio"
        figure = contrast_figure(cube, kind, east=options.east, **page)
    elif options.dial:
        from reprocess.plot.dial import dial_figure

        figure = dial_figure(cube, **page, **colours, **_magnetic(stored, cube))
    elif options.by:
        bins = {} if options.mlt_bins is None else {"mlt_bins": options.mlt_bins}
        flags = stored.campaign.cube.flags if list(cube.attrs.get("flags", ())) else ()
        counts = count_groups(
            stored.objects, options.by, like=cube, flags=flags, max_age_h=options.max_age,
            years=years, **bins,
        )  # fmt: skip
        figure = groups_figure(counts, east=options.east, **page, **colours)
    else:
        figure = occurrence_figure(cube, east=options.east, strip=options.strip, **page, **colours)
    print(save_figure(figure, options.output, options.dpi))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from reprocess.plot.compare import draw_compare

    path = draw_compare(
        stored_of(options), options.time, options.output, detectors=labels_of(options),
        stretch=options.stretch, east=options.east, title=options.title, dpi=options.dpi,
        **_width(options),
    )  # fmt: skip
    print(path)
    return 0


def _keogram(options: argparse.Namespace) -> int:
    from reprocess.plot.keogram import draw_keogram

    hours = None if options.hours is None else tuple(options.hours)
    path = draw_keogram(
        stored_of(options), options.day, options.output, detectors=labels_of(options), hours=hours,
        contours=not options.no_contours, title=options.title, dpi=options.dpi, **_width(options),
    )  # fmt: skip
    print(path)
    return 0


def _coverage(options: argparse.Namespace) -> int:
    from reprocess.plot.coverage import draw_coverage

    path = draw_coverage(
        stored_of(options), options.output, years=years_of(options), title=options.title,
        dpi=options.dpi, **_width(options),
    )  # fmt: skip
    print(path)
    return 0


def stored_of(options: argparse.Namespace) -> Stored:
    """The store that `STORE`, `--access`, `--campaign` and `--set` tell."""
    from reprocess.campaign import load_campaign
    from reprocess.plot.stored import Stored

    campaign = None
    if options.campaign is not None:
        campaign = load_campaign(options.campaign, options.overrides, store=options.store)
    return Stored(options.store, campaign, access_of(options))


def _magnetic(stored: Stored, cube: xr.Dataset) -> dict[str, Any]:
    """Emission height and date of cubes that do not say them yet, from the campaign."""
    from reprocess.geometry.calibration import magnetic_epoch

    if "emission_height_km" in cube.attrs and "magnetic_epoch" in cube.attrs:
        return {}
    campaign = stored.campaign
    return {
        "emission_height_km": campaign.cells.emission_height_km,
        "magnetic_epoch": magnetic_epoch(campaign),
    }


def _said(years: tuple[int, ...] | None) -> str:
    from reprocess.plot.captions import year_ranges

    return "any year" if years is None else year_ranges(years)


def _width(options: argparse.Namespace) -> dict[str, float]:
    return {} if options.width is None else {"width_mm": options.width}
