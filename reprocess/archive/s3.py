"""List an archive in S3 by few requests: a page holds 1000 names, and years are read by prefix.

Where the paths begin with what tells the year (`%Y/%m%d/…`, `KHO/%Y…`), each
wanted year is one sweep of its prefix and the eve of a wanted year one sweep
of that day's, whatever else the bucket holds. Beside that only the directories
above are listed, so that files in strange places are still reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date

from reprocess.archive.pattern import NamePattern
from reprocess.stores.s3 import S3Bucket, S3Object

Add = Callable[[str, S3Object], None]


def list_bucket(
    bucket: S3Bucket,
    pattern: NamePattern,
    years: Iterable[int],
    reach_days: int,
    keep: Callable[[str], bool],
    add: Add,
) -> bool:
    """Pass every object that may be a wanted frame, or is in a strange place, to `add`, once.

    Parameters
    ----------
    years : UTC years wanted; the day before each is listed too
    reach_days : by how much a told date may differ from the UTC day
    keep : whether a directory may hold wanted frames

    Returns
    -------
    bool
        Whether there was any object or directory at all.
    """
    wanted = sorted(set(years))
    sweeps = [text for year in wanted if (text := pattern.prefix(year))]
    by_prefix = bool(sweeps)
    if by_prefix:
        sweeps += [pattern.prefix(day.year, day) for day in _around(wanted, reach_days)]
    covered = tuple(sweeps)
    found_any = False
    # An archive whose names alone tell the time may hold a frame anywhere.
    pending = [""] if pattern.n_directories else []
    if not pending:
        sweeps = [""]
    while pending:
        for objects, directories in bucket.pages(pending.pop(), by_directory=True):
            found_any = found_any or bool(objects or directories)
            for found in objects:
                if not found.key.startswith(covered):
                    _add(found, add)
            for path in directories:
                name = path.rstrip("/")
                if path.startswith(covered) or _is_hidden(name) or not keep(name):
                    continue
                year = pattern.directory_date(name)[0]
                if year is not None and by_prefix:
                    continue  # not wanted, but for its last day, which is swept by prefix
                if year not in wanted and pattern.may_lead_to_frames(name):
                    pending.append(path)
                else:
                    sweeps.append(path)
    for prefix in sweeps:
        for objects, _ in bucket.pages(prefix):
            found_any = found_any or bool(objects)
            for found in objects:
                _add(found, add)
    return found_any


def _around(years: list[int], reach_days: int) -> list[date]:
    """Days beside the wanted years on which a wanted frame may be told to be."""
    days = []
    for year in years:
        if year - 1 not in years and year > 1:
            days += [date(year - 1, 12, 31 - back) for back in range(reach_days + 1)]
        if year + 1 not in years:
            days += [date(year + 1, 1, 1 + ahead) for ahead in range(reach_days)]
    return days


def _add(found: S3Object, add: Add) -> None:
    if not _is_hidden(found.key):
        add(found.key, found)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or "/." in name
