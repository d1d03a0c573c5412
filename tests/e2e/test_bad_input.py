"""Bad files are counted and listed, bad settings and archives stop a run before it writes."""

import errno
import io
import os

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def stills(tiny):
    """A tiny campaign of JPEG files."""
    tiny.document["archive"]["pattern"] = "%Y/%m%d/%Y%m%d_%H%M%S*.npy"
    tiny.document["archive"]["reader"] = "still"
    tiny.document["years"] = [2021]
    for minute in range(0, 60, 10):
        tiny.put("2021-12-31", f"00:{minute:02}", jpeg(minute))
    return tiny


def jpeg(seed, size=(32, 32), mode="RGB"):
    """A JPEG file; its pattern's name may end otherwise, the content tells."""
    noise = np.random.default_rng(seed).integers(0, 255, (*size, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def ledger(outcome, year=2021):
    return outcome.report["years"][str(year)]["ledger"]


def png16(size=(32, 32)):
    stream = io.BytesIO()
    Image.fromarray(np.arange(size[0] * size[1], dtype=np.uint16).reshape(size)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (jpeg(1)[:-200], "truncated JPEG"),
        (b"", "empty file (0 bytes)"),
        (jpeg(1, (16, 32)), "is 32 x 16 pixels"),
        (png16(), "16"),
        (b"<html>not found</html>", "unreadable frames: 1"),
    ],
    ids=["truncated", "empty", "size", "mode", "html"],
)
def test_a_bad_frame_is_counted_and_listed(stills, data, says):
    stills.put("2021-12-31", "00:20", data)

    outcome = stills.run()

    assert outcome.code == 0, outcome.err
    assert ledger(outcome) == {"ok": 5, "unreadable": 1}
    assert "2021/1231/20211231_002000.npy: " in outcome.out
    assert says in outcome.out
    stills.check_identity()


def test_a_repaired_frame_is_read(stills):
    stills.put("2021-12-31", "00:20", b"")
    stills.run()
    stills.put("2021-12-31", "00:20", jpeg(20))

    outcome = stills.run()

    assert ledger(outcome) == {"ok": 6}
    stills.check_identity()


def test_a_day_of_bad_frames_only_is_done(stills):
    for minute in range(0, 60, 10):
        stills.put("2021-12-31", f"00:{minute:02}", b"")

    outcome = stills.run()

    assert outcome.code == 0, outcome.err
    assert ledger(outcome) == {"unreadable": 6}
    assert stills.run().done == 0


def test_frames_beside_each_other_in_a_slot(stills):
    stills.put("2021-12-31", "00:20", jpeg(99), "_b")  # same time
    stills.put("2021-12-31", "00:30:10", jpeg(30))  # same content
    stills.put("2021-12-31", "00:14", jpeg(14))  # taken slot, and its neighbours too

    outcome = stills.run()

    assert ledger(outcome) == {"ok": 6, "duplicate": 2, "surplus": 1}
    stills.check_identity()


def test_a_displaced_frame_takes_a_free_slot(stills):
    stills.path("2021-12-31", "00:10").unlink()
    stills.path("2021-12-31", "00:20").unlink()
    stills.put("2021-12-31", "00:15", jpeg(15))
    stills.put("2021-12-31", "00:19", jpeg(19))

    assert ledger(stills.run()) == {"ok": 6}


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_names_that_are_no_times_are_listed(stills, arguments):
    stills.path("2021-12-31", "00:00").with_name("20211231_256130.npy").write_bytes(b"x")
    stills.path("2021-12-31", "00:00").with_name("notes.txt").write_text("clear sky")

    outcome = stills.run(*arguments)

    assert outcome.code == 0
    assert outcome.report["archive"] == {"files": 8, "not_frames": 2, "other_years": 0}
    assert "files in the archive that are no frames: 2" in outcome.out
    assert "there is no time 25:61:30" in outcome.out


def test_a_time_outside_the_years_is_counted_apart(stills):
    stills.document["archive"]["pattern"] = "%Y%m%d_%H%M%S*.npy"
    stills.put("2019-06-01", "00:00", jpeg(1))

    outcome = stills.run()

    assert outcome.code == 0
    assert outcome.report["archive"]["other_years"] == 1
    assert ledger(outcome) == {"ok": 6}


def test_years_that_the_campaign_does_not_have_are_refused(stills):
    outcome = stills.run("--years", "2019")

    assert outcome.code == 2
    assert "2019" in outcome.err


def test_a_date_without_calibration_is_not_processed(stills):
    stills.document["camera"][0]["valid_from"] = "2021-12-31T00:25:00Z"

    outcome = stills.run()

    assert outcome.code == 0, outcome.err
    assert ledger(outcome) == {"ok": 3, "outside": 3}


def test_a_year_without_calibration_is_refused(stills):
    stills.document["camera"][0]["valid_from"] = "2022-06-01T00:00:00Z"

    outcome = stills.run()

    assert outcome.code == 2
    assert "no calibration" in outcome.err
    assert not stills.store.exists()


def test_an_unreadable_directory_never_looks_like_removed_frames(stills, monkeypatch):
    stills.run()
    before = stills.keys()
    whole = os.scandir

    def scandir(path):
        if str(path).endswith("1231"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return whole(path)

    with monkeypatch.context() as patch:
        patch.setattr("reprocess.archive.catalogue.os.scandir", scandir)
        outcome = stills.run()

    assert outcome.code == 2
    assert "2021/1231" in outcome.err
    assert "Permission denied" in outcome.err
    assert stills.keys() == before


@pytest.mark.parametrize("committed", [False, True])
def test_an_absent_archive_is_refused(stills, committed):
    if committed:
        stills.run()
    before = stills.keys()
    stills.archive.rename(stills.root / "elsewhere")

    outcome = stills.run()

    assert outcome.code == 2
    assert str(stills.archive) in outcome.err
    assert stills.keys() == before


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("pattern", "years", "says"),
    [
        ("jbs_%Y%m%d_%H%M%S.jpg", "2021", ["of 2021 among 6 files", "of which 6 are no frames",
                                           "20211231_000000.npy", "jbs_%Y%m%d_%H%M%S.jpg"]),
        ("%Y%m%d_%H%M%S*.npy", "2022", ["of 2022 among 6 files; expected some"]),
        ("%Y/%m%d/%Y%m%d_%H%M%S*.npy", "2023", ["of 2023, nor any file"]),
    ],
)  # fmt: skip
def test_a_first_run_that_finds_no_frame_is_refused(stills, pattern, years, says, arguments):
    """It ended with 0, "complete", whatever was wrong with the pattern."""
    stills.document["years"] = ["2021-2023"]
    stills.document["archive"]["pattern"] = pattern

    outcome = stills.run("--years", years, *arguments)

    assert outcome.code == 2
    for text in ("archive.url", "archive.pattern", *says):
        assert text in outcome.err
    assert not stills.store.exists()


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
def test_a_campaign_that_can_observe_nothing_is_warned_of_once(stills, arguments, caplog):
    stills.document["cells"] = {"pixels_min": 4000}

    outcome = stills.run(*arguments)

    assert outcome.code == 0, outcome.err
    assert caplog.text.count("warning: ") == 1
    assert "warning: camera.0: found no sky cell" in caplog.text


def test_a_year_without_frames_beside_committed_ones_is_warned_of(stills, caplog):
    stills.document["years"] = [2021, 2022]
    assert stills.run("--years", "2021").code == 0
    assert "warning" not in caplog.text

    assert stills.run("--years", "2022").code == 0

    assert "warning: archive " in caplog.text
    assert "found no frames of 2022" in caplog.text


def test_an_archive_that_lost_everything_is_refused(stills):
    stills.run()
    before = stills.keys()
    for frame in stills.archive.rglob("*.npy"):
        frame.unlink()

    outcome = stills.run()

    assert outcome.code == 2
    assert "found no frames" in outcome.err
    assert stills.keys() == before


def test_a_frame_that_cannot_be_read_by_this_user(stills, monkeypatch):
    from reprocess.archive.files import ArchiveBytes
    from reprocess.errors import UnreadableFrame

    whole = ArchiveBytes.read

    def read(self, name):
        if name.endswith("002000.npy"):
            raise UnreadableFrame("cannot be read: Permission denied")
        return whole(self, name)

    monkeypatch.setattr(ArchiveBytes, "read", read)
    outcome = stills.run()

    assert outcome.code == 0, outcome.err
    assert ledger(outcome) == {"ok": 5, "unreadable": 1}
    assert "20211231_002000.npy: cannot be read: Permission denied" in outcome.out


def test_trouble_of_the_archive_is_a_failed_block_and_not_a_bad_frame(stills, monkeypatch):
    from reprocess.archive.files import ArchiveBytes

    def read(_self, _name):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("reprocess.clusters.executors.time.sleep", lambda _seconds: None)
    with monkeypatch.context() as patch:
        patch.setattr(ArchiveBytes, "read", read)
        outcome = stills.run()

    assert outcome.code == 1
    assert ledger(outcome) == {"failed": 6}
    assert "Input/output error" in outcome.out
    assert stills.run().code == 0
    stills.check_identity()


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("cube.mlt_bin=24", ["cube.mlt_bin: unknown key", "mlt_bins"]),
        ("cadence_s=7", ["cadence_s", "found 7", "divides 86400"]),
        ("phase_s=700", ["phase_s"]),
        ("cube.cell_fraction_min=2", ["cube.cell_fraction_min", "found 2"]),
        ("detectors.diff.lag_s=two", ["detectors.diff.lag_s", "found 'two'"]),
        ("detectors.fcn.weights=/no/such/file", ["/no/such/file"]),
        ("archive.reader=fit", ["fit", "fits", "still"]),
        ("archive.time=header", ["archive.time: found header", "name or exif"]),
        ("archive.pattern=%Y.npy", ["archive.pattern"]),
    ],
)
def test_a_wrong_setting_is_named(stills, setting, says):
    outcome = stills.run("--set", setting)

    assert outcome.code == 2
    assert all(text in outcome.err for text in says), outcome.err
    assert "Traceback" not in outcome.err
    assert not stills.store.exists()


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)])
@pytest.mark.parametrize("noise", [None, {"red_dn": 1.0}])
def test_a_threshold_in_noise_that_is_not_known_is_refused_before_the_work(
    stills, noise, arguments
):
    """Every day failed for it, at its end, when its frames and evidence had been made."""
    known = {"red_dn": 1.0, "green_dn": 1.0}
    first, camera = stills.document["camera"][0], stills.document["camera"]
    first["noise"] = known
    camera.append({**first, "valid_from": "2021-06-01T00:00:00Z", "noise": noise})
    camera.append({**first, "valid_from": "2022-06-01T00:00:00Z", "noise": None})  # not run
    difference = stills.document["detectors"]["diff"]
    difference |= {"k_sigma": 5, "threshold_dn": None}

    outcome = stills.run(*arguments)

    assert outcome.code == 2
    for text in ("camera.1: noise", "20210601", "`reprocess noise`", "detectors.diff.threshold_dn"):
        assert text in outcome.err
    assert not stills.store.exists()
    assert stills.run("--detectors", "fcn", "--dry-run").code == 0
    difference["threshold_dn"] = 5
    assert stills.run("--dry-run").code == 0
    difference["threshold_dn"], camera[1]["noise"] = None, known
    assert stills.run("--dry-run").code == 0


def test_an_unknown_key_in_the_file_names_the_file(stills):
    stills.document["cadense_s"] = 60

    outcome = stills.run()

    assert outcome.code == 2
    assert str(stills.file) in outcome.err
    assert "cadense_s: unknown key" in outcome.err
    assert "did you mean cadence_s" in outcome.err


def test_a_missing_campaign_file(tiny):
    from reprocess import run

    assert run.main([str(tiny.root / "none.yaml"), "--cluster", "serial"]) == 2
