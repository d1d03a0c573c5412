"""What is told or refused before a run begins: that it would find no frame, or observe nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from reprocess import stages
from reprocess.archive.catalogue import Catalogue
from reprocess.archive.inputs import acquired_times, outside_range
from reprocess.campaign import SECONDS_PER_DAY, Campaign, Difference
from reprocess.errors import ConfigurationError
from reprocess.geometry.calibration import epoch_geometry
from reprocess.geometry.ephemeris import sun_elevation_deg
from reprocess.request import Request, year_ranges
from reprocess.stores.records import Listing

EXAMPLES_MAX = 3
"""Files that are no frames which an error names; a run lists more."""


def refuse_lost_years(
    campaign: Campaign, request: Request, n_frames: Mapping[int, int], listing: Listing
) -> None:
    """Refuse committed years without a frame, unless they are given up by name.

    A disk that is not mounted must never look like frames that were removed: years of results
    would be erased for it.

    Parameters
    ----------
    n_frames : frames catalogued by year

    Raises
    ------
    ConfigurationError
        Naming those years; or years that are given up and have frames or are not asked for.
    """
    gone = set(request.gone)
    kept = sorted(year for year in gone if n_frames.get(year) or year not in request.years)
    if kept:
        raise ConfigurationError(
            f"--gone: found {year_ranges(kept)}, expected years of the request of which "
            f"{campaign.archive.url} holds no frame; it holds "
            f"{sum(n_frames.get(year, 0) for year in kept)} frames of them"
        )
    asked = set(request.years)
    if request.days is not None:  # a repair leaves all other days as they are
        asked &= {day.year for day in request.days}
    committed = {b.year for b in listing if b.stage == "frames"} & asked
    lost = sorted(year for year in committed - gone if not n_frames.get(year))
    if lost:
        raise ConfigurationError(
            f"archive {campaign.archive.url}: found no frames for {year_ranges(lost)}, which are "
            f"committed from it; expected them to be mounted. If they left the archive for good, "
            f"--gone {' '.join(map(str, lost))} erases what was made of them"
        )


def without_frames(
    campaign: Campaign,
    request: Request,
    n_frames: Mapping[int, int],
    catalogue: Catalogue,
    listing: Listing,
) -> str | None:
    """What to say of years for which the archive holds no frame; None if it holds some.

    Parameters
    ----------
    n_frames : frames catalogued by year

    Raises
    ------
    ConfigurationError
        If nothing is committed yet: so far nothing says that the archive is the right one.
    """
    if not request.years or any(n_frames.get(year) for year in request.years):
        return None
    among = ", nor any file (directories of other years are not looked at)"
    if catalogue.n_files:
        ignored = catalogue.ignored
        among = f" among {catalogue.n_files} files"
        if ignored:
            examples = "; ".join(f"{name!r}: {reason}" for name, reason in ignored[:EXAMPLES_MAX])
            among += f", of which {len(ignored)} are no frames of any year, such as {examples}"
    found = (
        f"archive {campaign.archive.url}: found no frames of {year_ranges(request.years)}{among}"
    )
    if request.days is None and not any(block.stage == "frames" for block in listing):
        raise ConfigurationError(
            f"{found}; expected some on a first run. Correct archive.url, archive.pattern "
            f"({campaign.archive.pattern}) or the years"
        )
    return found


def doubts(campaign: Campaign, request: Request, catalogue: Catalogue) -> Iterator[str]:
    """Say which settings leave nothing to observe: each was found, none is impossible.

    Raises
    ------
    ConfigurationError
        If a camera epoch's mask or skymap is none.
    """
    yield from _blind_epochs(campaign, request.years)
    yield from _lags_without_partner(campaign, request.labels)
    yield from _all_outside(campaign, request.years, catalogue)


def _blind_epochs(campaign: Campaign, years: Sequence[int]) -> Iterator[str]:
    cells = campaign.cells
    for index in sorted({i for year in years for i in stages.epochs_in(campaign, year)}):
        cellmap = epoch_geometry(campaign, campaign.camera[index]).cellmap
        if not cellmap.observed.any():
            best = int(np.argmax(cellmap.visible_share))
            yield (
                f"camera.{index}: found no sky cell that can be observed, the most visible one "
                f"being visible to a share of {cellmap.visible_share[best]:.2g} on "
                f"{cellmap.n_pixels[best]} pixels; expected at least cells.visible_min "
                f"({cells.visible_min:g}) and cells.pixels_min ({cells.pixels_min}). Look at its "
                f"lens (px_per_deg is pixels of the stored image for a degree), zenith_max_deg (in "
                f"degrees), crop, mask, horizon and hide with `reprocess plot cells`"
            )


def _lags_without_partner(campaign: Campaign, labels: Sequence[str]) -> Iterator[str]:
    cadence_s = campaign.cadence_s
    for label in labels:
        settings = campaign.detectors[label]
        if not isinstance(settings, Difference):
            continue
        nearest_s = max(1, round(settings.lag_s / cadence_s)) * cadence_s
        if abs(nearest_s - settings.lag_s) > settings.lag_tolerance_s:
            yield (
                f"detectors.{label}.lag_s: found {settings.lag_s:g} with lag_tolerance_s "
                f"{settings.lag_tolerance_s:g}, expected a multiple of cadence_s ({cadence_s}) "
                f"within the tolerance, such as {nearest_s}: frames that are a cadence apart have "
                f"no partner, and no pair is observed"
            )


def _all_outside(campaign: Campaign, years: Sequence[int], catalogue: Catalogue) -> Iterator[str]:
    days = [acquired_times(e) for day, e in catalogue.days.items() if e and day.year in years]
    held = [times[campaign.epoch_index(times) >= 0] for times in days]
    total = sum(map(len, days))
    if total and not any(map(len, held)):
        first, last = (np.datetime64(t, "s") for t in (days[0][0], days[-1][-1]))
        yield (
            f"camera[].valid_from, valid_until: found no camera epoch at the time of any of "
            f"{total} frames ({first} to {last}), expected one: none of them is read"
        )
    darkest = np.array(
        [_nearest_midnight(times, campaign.site.longitude_deg) for times in held if len(times)],
        "datetime64[us]",
    )
    if not len(darkest) or not outside_range(campaign, darkest).all():
        return
    lowest = float(sun_elevation_deg(campaign.site, darkest).min())
    yield (
        f"process.sun_elevation_max_deg: found {campaign.process.sun_elevation_max_deg:g}, "
        f"expected some of {total} frames to be that dark: the Sun is no lower than {lowest:.1f} "
        f"in any, and none is read. Look at site.latitude_deg (north positive), "
        f"site.longitude_deg (east positive) and archive.timezone"
    )


def _nearest_midnight(times: NDArray[np.datetime64], longitude_deg: float) -> np.datetime64:
    """The time at which the Sun is lowest, but for the equation of time: at most 17 minutes."""
    day_us = SECONDS_PER_DAY * 1_000_000
    after = (times.astype(np.int64) + round(longitude_deg / 360 * day_us)) % day_us
    return np.datetime64(times[np.argmin(np.minimum(after, day_us - after))])
