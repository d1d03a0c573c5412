"""Put the page together: facts from the store, pictures kept beside them, one template."""

from __future__ import annotations

import base64
import functools
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

from reprocess.archive.inputs import Column
from reprocess.campaign import Campaign, StoreAccess, campaign_from_mapping
from reprocess.cube.open import open_stored_cube
from reprocess.errors import ConfigurationError, ReprocessError, StoreError
from reprocess.history import list_runs, read_run, run_key
from reprocess.page.account import lost, read_accounts
from reprocess.page.calendar import draw_year, most_frames
from reprocess.page.comparison import Comparison, Total, compare, totals
from reprocess.page.frames import PICTURED, PICTURES, bad_frames, with_thumbnails
from reprocess.page.state import StoreState, read_state
from reprocess.plot import captions
from reprocess.plot.numbers import AURORA_MIN, FRAMES_MIN, ratio_digits
from reprocess.runlog import read_log
from reprocess.stores.objects import ObjectStore, open_objects
from reprocess.stores.records import Records, half_digest
from reprocess.worker import WHOLE

REPORT = "report.html"
SLOWEST = 10
LISTED = 50
"""Rows of a list on the page; the rest is counted, with where it is."""

NEEDED = frozenset(
    {
        "run", "campaign", "request", "started", "ended", "machine", "software", "catalogue",
        "plan", "tasks", "n_frames", "seconds", "seconds_by_day", "ledger_by_day", "unfinished",
        "failures", "published", "held", "damaged", "ledger",
    }
)  # fmt: skip
"""What the page shows of `run.json`."""

PICTURE_DPI = 190
PICTURE_VERSION = 3
"""Raised when the same cube is to be drawn differently: kept pictures are then drawn again."""

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s<>\"]+@")


@dataclass(frozen=True)
class Sky:
    """What the cube says: totals, comparisons, the occurrence maps, and why a part is missing."""

    totals: tuple[Total, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    attributes: Mapping[str, Any] | None = None
    period: str = ""
    picture: bytes | None = None
    problem: str = ""


def write_report(
    store_url: str,
    run_id: str | None = None,
    output: Path | None = None,
    access: StoreAccess | None = None,
) -> str:
    """Write the page of a run, from its store alone, and return where it is.

    Parameters
    ----------
    access : how an S3 service is reached
    run_id : default the last run
    output : file to write; default `runs/<run>/report.html` in the store

    Raises
    ------
    ConfigurationError
        If the store remembers no run.
    StoreError
        If there is no such run, or its object is damaged.
    """
    objects = open_objects(store_url, access)
    if run_id is None:
        known = list_runs(objects)
        if not known:
            raise ConfigurationError(
                f"{store_url}: found no runs/<run>/run.json, expected a store that a run has "
                f"written to; check the URL, or run the campaign first"
            )
        run_id = known[-1]
    page = make_page(objects, read_run(objects, run_id)).encode()
    if output is not None:
        output.write_bytes(page)
        return str(output)
    objects.write(run_key(run_id, REPORT), page)
    return f"{objects.url}/{run_key(run_id, REPORT)}"


def make_page(objects: ObjectStore, run: Mapping[str, Any]) -> str:
    """Render the page of a run as one HTML document without any outside reference."""
    missing = sorted(NEEDED - set(run))
    if missing:
        raise StoreError(
            f"{objects.url}: run.json of run {run.get('run', '')} has no {', '.join(missing)}, "
            f"expected them in what a run of this version leaves; run again and report that run"
        )
    state = read_state(objects, run)
    campaign = _campaign(run)
    frames, n_unreadable = bad_frames(Records(objects), state, run)
    most = most_frames(state.years)
    events = list(read_log(objects, str(run["run"])))
    troubles = [e for e in events if e.get("level") in ("warning", "error")]
    sky = _sky(objects, run, state)
    accounts, unread = read_accounts(objects, state.listing, run["campaign"]["detectors"])
    page = _template().render(
        run=run,
        store=objects.url,
        archive=run["campaign"]["archive"]["url"],
        state=state,
        status=_status(run),
        columns=[str(column) for column in Column],
        stage_names=_stage_names(run),
        calendars=[draw_year(year, most) for year in state.years if year.days],
        sky=sky,
        accounts=accounts,
        unread=unread,
        lost=lost(accounts),
        counted={total.label: total for total in sky.totals},
        selected=captions.limits(sky.attributes or {}),
        frames_min=FRAMES_MIN,
        aurora_min=AURORA_MIN,
        slowest=_slowest(run),
        stages=_stages(run),
        total_key=WHOLE,
        frames=with_thumbnails(frames, objects, campaign),
        n_unreadable=n_unreadable,
        pictured_max=PICTURED,
        events=len(events),
        troubles=troubles,
        listed=LISTED,
        settings=yaml.safe_dump(run["campaign"], sort_keys=False, allow_unicode=True, width=100),
    )
    # The whole page, because errors repeat addresses too.
    return _CREDENTIALS.sub("…@", page)


def _status(run: Mapping[str, Any]) -> tuple[str, str]:
    """A word for the style, and the run in a line."""
    tasks = run["tasks"]
    if run.get("error"):
        return "bad", f"Stopped by an error: {run['error']}"
    parts = []
    if run.get("interrupted"):
        parts.append("interrupted")
    for key, text in (("failures", "failed"), ("held", "held by another run")):
        n = len(run.get(key, {}))
        if n:
            noun = "day" if key == "failures" else "year"
            parts.append(f"{n} {noun}{'s' if n > 1 else ''} {text}")
    if run.get("damaged"):
        n = len(run["damaged"])
        parts.append(f"{n} damaged block{'s' if n > 1 else ''}")
    if parts:
        text = ", ".join(parts)
        return "bad", f"Incomplete: {text}. What is committed stays; run again to go on."
    if not sum(run["catalogue"]["frames"].values()):
        return "good", "Complete: the archive holds no frame of these years."
    were = "was up to date" if tasks["skipped"] == 1 else "were up to date"
    if not tasks["done"] and not run.get("published"):
        return "good", f"Complete: nothing to do, {captions.days(tasks['skipped'])} {were}."
    done, skipped = captions.days(tasks["done"]), captions.thousands(tasks["skipped"])
    return "good", f"Complete: {done} done, {skipped} {were}."


def _sky(objects: ObjectStore, run: Mapping[str, Any], state: StoreState) -> Sky:
    if not any(year.fingerprint for year in state.years):
        return Sky(problem="No year is counted yet.")
    kinds = {label: d["kind"] for label, d in run["campaign"]["detectors"].items()}
    try:
        cube = open_stored_cube(objects)
        counted = totals(cube)
        sky = Sky(counted, compare(cube, kinds), cube.attrs, captions.period(cube))
    except (ReprocessError, OSError, ValueError, KeyError) as error:
        return Sky(problem=f"The cube cannot be read: {error}")
    if not any(total.observed for total in counted):
        return Sky(counted, (), cube.attrs, problem="No frame of the selection was observed yet.")
    drawn = half_digest([PICTURE_VERSION, PICTURE_DPI, [y.fingerprint for y in state.years]])
    key = f"{PICTURES}/occurrence-{drawn}.png"
    try:
        picture = objects.read(key)
    except FileNotFoundError:
        from reprocess.plot.occurrence import draw_occurrence

        try:
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "occurrence.png"
                picture = draw_occurrence(cube, path, dpi=PICTURE_DPI).read_bytes()
        except Exception as error:  # noqa: BLE001 - the tables stand, whatever a picture lacks
            problem = f"The maps could not be drawn: {type(error).__name__}: {error}"
            return Sky(sky.totals, sky.comparisons, sky.attributes, sky.period, None, problem)
        for old in [k for k in objects.keys(PICTURES) if "/occurrence-" in k]:
            objects.delete(old)
        objects.write(key, picture)
    return Sky(sky.totals, sky.comparisons, sky.attributes, sky.period, picture)


def _stage_names(run: Mapping[str, Any]) -> list[str]:
    """Names of the kinds of blocks a day has, as `YearState.blocks` counts them."""
    labels = run["campaign"]["detectors"]
    return ["frames", *(f"{stage} {n}" for stage in ("evidence", "detections") for n in labels)]


def _stages(run: Mapping[str, Any]) -> list[str]:
    """Names under which days spent seconds: labels first, as the campaign has them."""
    found = {name for seconds in run["seconds_by_day"].values() for name in seconds}
    order = [*run["campaign"]["detectors"], "detections", "write"]
    return [n for n in order if n in found] + sorted(found - {*order, WHOLE})


def _slowest(run: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float], float]]:
    """The days that took longest, their seconds by stage, and the seconds in no stage."""
    rows = []
    for day, seconds in run["seconds_by_day"].items():
        inside = sum(s for name, s in seconds.items() if name != WHOLE)
        rows.append((day, seconds, max(0.0, seconds.get(WHOLE, inside) - inside)))
    rows.sort(key=lambda row: (-row[1].get(WHOLE, 0.0), row[0]))
    return rows[:SLOWEST]


def _campaign(run: Mapping[str, Any]) -> Campaign | None:
    try:
        return campaign_from_mapping(dict(run["campaign"]), f"run {run['run']}")
    except ConfigurationError:
        return None  # written by another version: the page does without the archive


# --- the template ------------------------------------------------------------------------


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("reprocess", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=_count, percent=_percent, factor=_factor, seconds=_seconds, size=_size,
        picture=_picture, years=captions.year_ranges,
    )  # fmt: skip
    return environment.get_template("report.html.j2")


def _count(number: int | None) -> str:
    return "—" if number is None else captions.thousands(number)


def _percent(share: float | None) -> str:
    return "—" if share is None else f"{100 * share:.1f}"


def _factor(factor: float | None) -> str:
    return "—" if factor is None else ratio_digits(factor)


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "—"
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(n_bytes: int | None) -> str:
    if n_bytes is None:
        return "—"
    return f"{n_bytes} B" if n_bytes < 10_000 else f"{n_bytes / 1000:.0f} kB"


def _picture(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
