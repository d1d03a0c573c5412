"""Why entries are left out, and directories that must not go unseen."""

import errno
import os
from datetime import date

import numpy as np
import pytest

from reprocess.archive.catalogue import Entry, scan
from reprocess.archive.inputs import DayInputs, assign, reasons
from reprocess.campaign import Archive
from reprocess.errors import ArchiveError

PATTERN = "%Y/%Y%m%d_%H%M.jpg"
DAY = date(2018, 6, 21)


def test_a_link_to_an_absent_directory_is_an_error(tmp_path):
    (tmp_path / "2021").symlink_to(tmp_path / "not mounted")
    with pytest.raises(ArchiveError, match=r"2021.*No such file"):
        scan(Archive(url=str(tmp_path), pattern=PATTERN), [2021])


def test_a_link_to_itself_and_a_file_link_to_nowhere_are_ignored(tmp_path):
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    found = scan(Archive(url=str(tmp_path), pattern=PATTERN), [2021])
    assert [name for name, _ in found.ignored] == ["gone.jpg", "self"]


def test_a_directory_that_cannot_be_told_from_a_file_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "2021").mkdir()
    scandir = os.scandir

    class Unknown:
        def __init__(self, item):
            self.name = item.name

        def is_dir(self):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    class Listing:
        def __init__(self, path):
            with scandir(path) as items:
                self.items = [Unknown(item) for item in items]

        def __enter__(self):
            return iter(self.items)

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(os, "scandir", Listing)
    with pytest.raises(ArchiveError, match=r"2021.*Input/output error"):
        scan(Archive(url=str(tmp_path), pattern=PATTERN), [2021])


def test_every_entry_left_out_says_why(make_campaign):
    noon = np.datetime64(DAY, "us").astype(np.int64).item() + 43_200_000_000
    rows = [
        ("a", 0, "1" * 32), ("b", 0, "2" * 32), ("c", 60, "1" * 32), ("d", 120, "3" * 32),
        ("e", 121, "4" * 32), ("f", 122, "5" * 32), ("g", 123, "6" * 32), ("h", 200, ""),
        ("i", 300, "unreadable: empty file (0 bytes)"),
    ]  # fmt: skip
    entries = [Entry(name, noon + s * 1_000_000, 1, "") for name, s, _ in rows]
    inputs = DayInputs(entries, [d for *_, d in rows], np.array([r[0] == "h" for r in rows]))
    campaign = make_campaign(process={"sun_elevation_max_deg": -10.0})
    _, column = assign(campaign, DAY, inputs)
    assert reasons(campaign, inputs, column) == [
        "", "same time as a", "same content as a", "", "slot taken", "slot taken", "",
        "Sun above -10.0 deg", "empty file (0 bytes)",
    ]  # fmt: skip
    early = [Entry("z", 0, 1, "")]
    before = DayInputs(early, [""], np.array([True]))
    _, column = assign(campaign, date(1970, 1, 1), before)
    assert reasons(campaign, before, column) == ["no camera epoch"]
