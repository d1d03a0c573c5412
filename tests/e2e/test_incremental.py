"""A re-run does what changed and nothing else, and leaves what a first run would have."""

import copy
import hashlib
import json
import os
import re
import shutil
import socket
import time

import pytest

from reprocess.stores.days import DayReader
from reprocess.stores.objects import LocalObjects

YEAR_END = ("2021-12-30", "2021-12-31", "2022-01-01", "2022-01-02")


@pytest.fixture
def done(tiny):
    """A tiny campaign that has been run over four days around a new year."""
    tiny.put_days(*YEAR_END)
    outcome = tiny.run()
    assert outcome.code == 0, outcome.err
    assert outcome.done == 4
    return tiny


@pytest.fixture
def no_images(monkeypatch):
    """Make the test fail where a frame is read or decoded, or a network loaded or run."""

    def refuse(*_arguments, **_settings):
        pytest.fail("an image was read or a network was used")

    def install():
        monkeypatch.setattr("reprocess.archive.files.ArchiveBytes.read", refuse)
        monkeypatch.setattr("reprocess.archive.readers.numpy_array.NumpyArrayReader.read", refuse)
        monkeypatch.setattr("reprocess.detectors.fcn.open_runtime", refuse)
        monkeypatch.setattr("reprocess.detectors.difference.DifferenceDetector.measure", refuse)

    yield install
    monkeypatch.undo()


def done_days(tiny):
    """Days that the last run did."""
    runs = max(tiny.store.glob("runs/2*/run.json"), key=lambda p: p.stat().st_mtime_ns)
    return sorted(json.loads(runs.read_text())["seconds_by_day"])


def test_a_second_run_does_nothing(done, no_images):
    before = done.keys()
    no_images()

    outcome = done.run()

    assert outcome.code == 0
    assert outcome.years("done") == {2021: 0, 2022: 0}
    assert outcome.years("skipped") == {2021: 2, 2022: 2}
    assert outcome.years("ledger") == {2021: {"ok": 8}, 2022: {"ok": 8}}
    assert done.keys() == before


def test_two_first_runs_leave_the_same_bytes(done):
    done.check_identity()


def test_the_numbers_are_not_trivial(done):
    """Both detectors observed cells, some with aurora and some without: identity compares that."""
    import reprocess

    cube = reprocess.open_cube(str(done.store))
    for label in ("diff", "fcn"):
        one = cube.sel(detector=label)
        assert 0 < int(one["n_aurora"].sum()) < int(one["n_observed"].sum())


def test_a_replaced_frame_redoes_its_day(done, frame_bytes):
    done.put("2021-12-30", "00:10", frame_bytes(1))

    outcome = done.run()

    assert done_days(done) == ["2021-12-30"]
    assert outcome.report["years"]["2021"]["by_reason"] == {"inputs changed": 1}
    done.check_identity()


def test_a_replaced_frame_before_midnight_redoes_the_next_day_too(done, frame_bytes):
    before = done.keys()
    done.put("2021-12-31", "23:50", frame_bytes(1))

    outcome = done.run()

    assert done_days(done) == ["2021-12-31", "2022-01-01"]
    assert outcome.years("done") == {2021: 1, 2022: 1}
    changed = {key for key, data in done.keys().items() if before.get(key) != data}
    assert not [key for key in changed if "fcn" in key and "2022" in key]
    assert not [key for key in changed if key.startswith("frames/2022")]
    done.check_identity()


def test_same_bytes_under_a_new_time_of_file_redo_nothing(done):
    before = done.keys()
    for path in done.archive.rglob("*.npy"):
        os.utime(path, (time.time(), time.time() - 1e6))

    outcome = done.run()

    assert outcome.code == 0
    assert outcome.done == 0
    assert done.keys() == before


def test_a_copied_archive_redoes_nothing(done):
    before = done.keys()
    copy = done.root / "copy"
    shutil.copytree(done.archive, copy, copy_function=shutil.copyfile)
    shutil.rmtree(done.archive)

    outcome = done.run("--set", f"archive.url={copy}")

    assert outcome.code == 0, outcome.err
    assert outcome.done == 0
    assert done.keys() == before


def test_the_cache_of_hashes_may_be_lost(done):
    shutil.rmtree(done.store / "runs")

    assert done.run().done == 0


def test_an_added_year_is_all_that_runs(tiny):
    tiny.document["years"] = [2021]
    tiny.put_days("2021-12-30", "2021-12-31")
    tiny.run()
    before = tiny.keys()
    tiny.document["years"] = [2021, 2022]
    tiny.put_days("2022-01-01")

    outcome = tiny.run()

    assert outcome.years("done") == {2021: 0, 2022: 1}
    after = tiny.keys()
    unchanged = [key for key in before if "2021" in key]
    assert [key for key in unchanged if after.get(key) != before[key]] == []
    tiny.check_identity()


def test_a_late_frame_redoes_its_day(done):
    done.put("2022-01-02", "12:00")

    done.run()

    assert done_days(done) == ["2022-01-02"]
    done.check_identity()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mlt_bins", 24), ("mlt_centred", True), ("cell_fraction_min", 0.3),
        ("sun_elevation_max_deg", -15), ("compare", ["fcn"]),
    ],
)  # fmt: skip
def test_counting_otherwise_reads_no_image(done, no_images, monkeypatch, key, value):
    done.document["cube"][key] = value
    before = done.keys()
    no_images()

    outcome = done.run("--years", "2021")

    monkeypatch.undo()
    assert outcome.code == 0, outcome.err
    assert outcome.done == 0
    changed = {k for k, v in done.keys().items() if before.get(k) != v}
    assert {k for k in changed if not k.startswith("occurrence") and "/cube/" not in k} == set()
    done.check_identity()


@pytest.mark.parametrize(
    ("label", "key", "value"),
    [("fcn", "threshold", 0.4), ("diff", "threshold_dn", 12.0), ("diff", "combine", "or")],
)
def test_another_threshold_reads_no_image(done, no_images, monkeypatch, caplog, label, key, value):
    """Nor is it told of by the rate at which frames are processed."""
    done.document["detectors"][label][key] = value
    no_images()

    told = done.run("--dry-run", "--years", "2022")
    outcome = done.run()

    assert "no image is read" in told.out
    assert "frames/s" not in told.out + outcome.out + caplog.text
    assert re.search(r"day 2 of 4, \d+\.\d days/s, \d+ s left", caplog.text)
    assert [line.split()[:4] for line in told.out.splitlines() if line[:2] == "20"] == [
        ["2022", "2", "0", "0"], ["2021", "2", "0", "0"]
    ]  # fmt: skip
    assert outcome.report["frames_per_s"] is None

    monkeypatch.undo()
    assert outcome.code == 0, outcome.err
    assert outcome.report["years"]["2021"]["by_reason"] == {"settings changed": 2}
    done.check_identity()


def test_a_threshold_is_redone_in_every_committed_year(done, no_images, monkeypatch):
    done.document["detectors"]["fcn"]["threshold"] = 0.4
    no_images()

    outcome = done.run("--years", "2022")

    monkeypatch.undo()
    assert outcome.years("done") == {2021: 2, 2022: 2}
    done.check_identity()


def test_recompute_a_label(done):
    before = done.keys()

    outcome = done.run("--recompute", "diff")

    assert outcome.done == 4
    assert outcome.report["years"]["2021"]["by_reason"] == {"recompute asked": 2}
    assert done.keys() == before


@pytest.mark.parametrize("what", ["frames", "evidence", "detections", "cube", "all"])
def test_recompute_leaves_the_same_bytes(done, what):
    before = done.keys()

    outcome = done.run("--recompute", what)

    assert outcome.code == 0, outcome.err
    assert outcome.done == (0 if what == "cube" else 4)
    assert done.keys() == before


@pytest.mark.parametrize("threads", [1, 2, 9])
def test_chunks_that_are_read_at_once_come_in_their_order(tiny, monkeypatch, threads):
    tiny.put_days("2021-12-30", times=("00:10", "07:50", "08:00", "15:50", "16:00", "23:50"))
    assert tiny.run().code == 0
    before, read, slots = tiny.keys(), DayReader.read, []

    def the_first_one_late(self, name, slot=0, n_slots=None):
        if name == "image":
            slots.append(slot)
            time.sleep(0.2 if slot == 0 else 0)
        return read(self, name, slot, n_slots)

    monkeypatch.setattr(DayReader, "read", the_first_one_late)
    monkeypatch.setattr("reprocess.worker.available_cores", lambda: threads)
    assert tiny.run("--recompute", "evidence").done == 1
    assert sorted(slots) == [0, 48, 96]
    assert tiny.keys() == before


def test_frames_that_were_scaled_otherwise_are_refused(done, no_images, monkeypatch):
    """A year would hold frames of both: they differ by single counts."""
    monkeypatch.setattr("reprocess.stages.SCALING", {"shrink": "OpenCV", "enlarge": "bilinear"})
    no_images()
    outcome = done.run()
    assert outcome.code == 2
    assert "scaling" in outcome.err
    assert "whole numbers" in outcome.err
    assert "--recompute frames" in outcome.err


def test_other_evidence_settings_under_a_label_are_refused(done):
    before = done.keys()
    done.document["detectors"]["diff"]["lag_s"] = 1200

    outcome = done.run()

    assert outcome.code == 2
    assert "lag_s: found 1200" in outcome.err
    assert "committed 600" in outcome.err
    assert "diff-v2" in outcome.err
    assert "--recompute diff" in outcome.err
    assert done.keys() == before


def test_other_evidence_settings_are_recomputed_when_asked(done):
    done.document["detectors"]["diff"]["lag_s"] = 1200

    outcome = done.run("--recompute", "diff")

    assert outcome.code == 0, outcome.err
    assert outcome.done == 4
    assert done.run().done == 0
    done.check_identity()


def test_recompute_of_one_year_does_not_mix_two_settings(done):
    before = done.keys()
    done.document["detectors"]["diff"]["lag_s"] = 1200

    outcome = done.run("--recompute", "diff", "--years", "2021")

    assert outcome.code == 2
    assert "2022" in outcome.err
    assert done.keys() == before


def test_a_new_label_stands_beside_the_old(done):
    before = done.keys()
    done.document["detectors"]["diff-v2"] = {**done.document["detectors"]["diff"], "lag_s": 1200}

    outcome = done.run()

    assert outcome.code == 0, outcome.err
    assert outcome.done == 4
    after = done.keys()
    old = [k for k in before if not k.startswith("occurrence") and "/cube/" not in k]
    assert [k for k in old if after.get(k) != before[k]] == []
    assert (done.store / "evidence" / "diff-v2" / "2021.zarr").exists()
    done.check_identity()


def test_dry_run_writes_nothing(tiny):
    tiny.put_days("2021-12-30")

    outcome = tiny.run("--dry-run")

    assert outcome.code == 0
    assert "1 new" in outcome.out
    assert outcome.years("to_do") == {2021: 1, 2022: 0}
    assert outcome.report["complete"] is False
    assert not tiny.store.exists()


def test_dry_run_of_a_change_writes_nothing(done, frame_bytes):
    done.put("2021-12-30", "00:10", frame_bytes(1))
    before = {p: p.read_bytes() for p in done.store.rglob("*") if p.is_file()}

    outcome = done.run("--dry-run")

    assert "1 inputs changed" in outcome.out
    assert re.search(r"about .* for 4 frames at the .* frames/s of the last run", outcome.out)
    assert {p: p.read_bytes() for p in done.store.rglob("*") if p.is_file()} == before


def published_years(tiny):
    """Years of the cube that the last run counted."""
    runs = max(tiny.store.glob("runs/2*/run.json"), key=lambda p: p.stat().st_mtime_ns)
    return {int(year) for year in json.loads(runs.read_text())["published"]}


def change_a_frame(done, frame_bytes):
    done.put("2021-12-30", "00:10", frame_bytes(1))


def change_the_bins(done, _):
    done.document["cube"]["mlt_bins"] = 24


def change_a_flag(done, _):
    table = done.root / "flags.csv"
    done.document["cube"]["flags"] = [
        {"table": str(table), "reject": ["cloudy"], "unknown": "keep"}
    ]
    table.write_text("start,end,flag\n2022-01-01T00:00,2022-01-01T12:00,cloudy\n")
    assert done.run().code == 0
    table.write_text("start,end,flag\n2022-01-01T00:00,2022-01-02T12:00,cloudy\n")


def change_nothing(_done, _):
    pass


def lose_a_count(done, _):
    for record in done.store.glob("records/2022/cube/*"):
        record.unlink()


@pytest.mark.parametrize(
    ("change", "arguments", "planned"),
    [
        (change_nothing, "", {}),
        (change_the_bins, "--years 2021", {2021: "settings changed", 2022: "settings changed"}),
        (change_a_flag, "", {2021: "settings changed", 2022: "settings changed"}),
        (change_nothing, "--recompute cube --years 2022", {2022: "recompute asked"}),
        (change_a_frame, "", {2021: "parent redone"}),
        (lose_a_count, "--years 2021", {2022: "new"}),
    ],
)
def test_a_dry_run_tells_which_years_of_the_cube_are_counted_and_why(
    done, frame_bytes, change, arguments, planned
):
    change(done, frame_bytes)

    told = done.run("--dry-run", *arguments.split())

    assert {y: why for y, why in told.years("cube").items() if why} == planned
    lines = {line.split()[0]: line for line in told.out.splitlines() if line[:2] == "20"}
    assert all(lines[str(year)].endswith(why) for year, why in planned.items())
    assert (f"{len(planned)} cube" in told.out) == bool(planned)
    assert ("nothing to do" in told.out) == (not planned)
    assert told.report["complete"] == (not planned)
    done.run(*arguments.split())
    assert published_years(done) == set(planned)


def test_a_removed_day_is_erased(done):
    shutil.rmtree(done.path("2021-12-31", "00:00").parent)

    outcome = done.run()

    assert outcome.report["years"]["2021"]["by_reason"] == {"frames removed": 1}
    assert outcome.years("done") == {2021: 1, 2022: 1}  # the next day lost its lag partners
    assert not [key for key in sorted(done.keys()) if "2021-12-31" in key]
    assert done.run().done == 0
    done.check_identity()


@pytest.mark.parametrize("year", [2021, 2022])
def test_a_year_that_is_not_there_is_erased_by_name_only(done, year):
    """One disk a year, and one of them not mounted: nothing may be lost for it."""
    before = done.keys()
    away = done.root / "away"
    (done.archive / str(year)).rename(away)
    for arguments in ([], ["--years", str(year)], ["--recompute", "detections"]):
        outcome = done.run(*arguments)
        assert outcome.code == 2
        assert f"found no frames for {year}, which are committed" in outcome.err
        assert f"--gone {year}" in outcome.err
    assert done.keys() == before
    (away).rename(done.archive / str(year))
    outcome = done.run("--gone", str(year))
    assert outcome.code == 2
    assert "it holds 8 frames of them" in outcome.err
    shutil.rmtree(done.archive / str(year))

    outcome = done.run("--gone", str(year))

    assert outcome.code == 0, outcome.err
    assert done.run().done == 0
    done.check_identity()


def test_a_day_is_erased_under_a_label_that_the_campaign_dropped(done):
    del done.document["detectors"]["fcn"]
    shutil.rmtree(done.path("2021-12-30", "00:00").parent)

    outcome = done.run()

    assert outcome.code == 0, outcome.out
    assert not [key for key in sorted(done.keys()) if "2021-12-30" in key]
    assert not (done.store / "evidence/fcn/2021.zarr/logit/c/363").exists()


@pytest.mark.parametrize("method", ["_commit", "_write_evidence", "_write_detections"])
def test_a_day_that_failed_half_way_and_then_left_the_archive(done, monkeypatch, method):
    def fail(*_arguments):
        raise ValueError("stopped")

    done.put_days("2021-06-10")
    monkeypatch.setattr(f"reprocess.worker._DayBlock.{method}", fail)
    assert done.run().code == 1
    monkeypatch.undo()
    shutil.rmtree(done.path("2021-06-10", "00:00").parent)

    outcome = done.run()

    assert outcome.code == 0, outcome.err
    done.check_identity()


def test_a_year_that_was_laid_out_and_then_left_the_archive(tiny, monkeypatch):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    tiny.put_days("2021-12-31", "2022-01-01")
    assert tiny.run("--years", "2021").code == 0
    monkeypatch.setattr("reprocess.job.execute", interrupt)
    assert tiny.run().code == 130
    monkeypatch.undo()
    assert (tiny.store / "frames/2022.zarr").exists()
    shutil.rmtree(tiny.archive / "2022")

    assert tiny.run(give_up=True).code == 0
    tiny.check_identity()


def test_a_year_that_was_half_removed(tiny, monkeypatch):
    """Its days are erased, and it was never counted: a mark has to tell of what is left."""

    def interrupt(*_arguments):
        raise KeyboardInterrupt

    tiny.put_days("2021-12-31", "2022-06-01")
    assert tiny.run("--years", "2021").code == 0
    with monkeypatch.context() as patch:
        patch.setattr("reprocess.job.publish_years", interrupt)
        assert tiny.run().code == 130
    shutil.rmtree(tiny.archive / "2022")
    delete = LocalObjects.delete

    def die_in_the_stores(objects, key):
        if "/2022.zarr/" in key and key.endswith("zarr.json"):
            raise KeyboardInterrupt
        delete(objects, key)

    with monkeypatch.context() as patch:
        patch.setattr(LocalObjects, "delete", die_in_the_stores)
        assert tiny.run(give_up=True).code == 130
    assert not list((tiny.store / "records/2022").rglob("*.json"))
    assert list((tiny.store / "frames/2022.zarr").rglob("*"))

    assert tiny.run(give_up=True).code == 0
    tiny.check_identity()


@pytest.mark.parametrize("year", ["2022", "2023"])
def test_a_year_whose_count_was_begun_and_then_left_the_archive(tiny, monkeypatch, year):
    """Its record is taken back first: a mark has to tell of the counts in the cube."""

    def interrupt(*_arguments):
        raise KeyboardInterrupt

    tiny.document["years"] = [2021, 2022, 2023]
    tiny.put_days("2021-12-31", "2022-06-01", "2023-01-02")
    assert tiny.run().code == 0
    tiny.put(f"{year}-06-02", "00:00")
    monkeypatch.setattr("reprocess.cube.publish._write_year", interrupt)
    assert tiny.run().code == 130
    monkeypatch.undo()
    shutil.rmtree(tiny.archive / year)

    assert tiny.run(give_up=True).code == 0
    tiny.check_identity()
    assert tiny.run().done == 0


def test_a_failed_block_is_exit_code_1_and_is_done_again(done, frame_bytes, monkeypatch):
    done.put("2021-12-30", "00:10", frame_bytes(1))

    def fail(*_arguments):
        raise ValueError("no such sky")

    monkeypatch.setattr("reprocess.detectors.difference.DifferenceDetector.fractions", fail)
    outcome = done.run()
    monkeypatch.undo()

    assert outcome.code == 1
    assert outcome.years("failed") == {2021: 1, 2022: 0}
    assert "2021-12-30: ValueError: no such sky" in outcome.out
    assert outcome.report["years"]["2021"]["ledger"] == {"ok": 4, "failed": 4}
    failure = json.loads((done.store / "failures/2021/2021-12-30.json").read_text())
    assert failure["error"] == "ValueError: no such sky"
    assert done.run().code == 0
    assert not (done.store / "failures/2021/2021-12-30.json").exists()
    done.check_identity()


def test_no_such_cluster_is_exit_code_2(tiny):
    tiny.put_days("2021-12-30")

    outcome = tiny.run("--cluster", "cloud")

    assert outcome.code == 2
    assert "--cluster cloud" in outcome.err


def test_a_silent_scheduler_is_exit_code_3(tiny, monkeypatch):
    import distributed

    def nobody(*_arguments, **_settings):
        raise TimeoutError("timed out")

    monkeypatch.setattr(distributed, "Client", nobody)
    tiny.put_days("2021-12-30")

    outcome = tiny.run("--cluster", "tcp://127.0.0.1:1")

    assert outcome.code == 3
    assert "no scheduler answers" in outcome.err
    assert tiny.run().code == 0
    tiny.check_identity()


def test_a_year_that_another_run_writes_is_left_alone(done, frame_bytes):
    from reprocess.stores.lock import acquire
    from reprocess.stores.objects import open_objects

    before = done.keys()
    done.put("2021-12-30", "00:10", frame_bytes(1))
    done.put("2022-01-02", "00:10", frame_bytes(2))
    lock = acquire(open_objects(str(done.store)), "2021", "the-other-run", print)

    outcome = done.run()

    assert outcome.code == 1
    assert outcome.years("done") == {2021: 0, 2022: 1}
    assert "the-other-run" in outcome.report["years"]["2021"]["held"]
    assert f"process {os.getpid()}" in outcome.out
    assert socket.gethostname() in outcome.out
    after = done.keys()
    assert [k for k in before if "2021" in k and after.get(k) != before[k]] == []
    lock.release()
    assert done.run().years("done") == {2021: 1, 2022: 0}
    done.check_identity()


def test_damaged_bytes_are_never_counted(done):
    damage(done, "detections/fcn/2021.zarr/fraction/c/**/*")
    done.document["cube"]["mlt_bins"] = 24

    outcome = done.run()

    assert outcome.code == 1
    assert "damaged blocks, not counted: 1" in outcome.out
    assert done.run().code == 0
    done.check_identity()


def damage(done, pattern):
    victim = next(p for p in sorted(done.store.glob(pattern)) if p.is_file())
    data = victim.read_bytes()
    victim.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def heals(done):
    """One run fails and names the damage, the next makes the block again."""
    outcome = done.run()
    assert outcome.code == 1
    assert "the record expects" in outcome.out
    assert done.run().code == 0
    assert done.run().done == 0
    done.check_identity()


def test_damaged_evidence_is_made_again(done):
    damage(done, "evidence/fcn/2021.zarr/logit/c/**/*")
    done.document["detectors"]["fcn"]["threshold"] = 0.4
    heals(done)


@pytest.mark.parametrize("variable", ["image", "status"])
def test_damaged_frames_are_made_again(done, variable):
    damage(done, f"frames/2021.zarr/{variable}/c/**/*")
    done.document["detectors"]["fcn-v2"] = dict(done.document["detectors"]["fcn"])
    heals(done)


def test_a_camera_epoch_that_begins_within_a_committed_year_is_taken_in(tiny):
    """Stores hold one row of pixel counts a camera epoch: a year laid out with one gets two."""
    tiny.put_days("2021-01-01", "2021-01-02", "2021-01-03")
    assert tiny.run().code == 0
    second = copy.deepcopy(tiny.document["camera"][0])
    second["valid_from"] = "2021-01-03T00:00:00Z"
    second["lens"]["north_deg"] = 30.0
    tiny.document["camera"].append(second)
    again = tiny.run()
    assert again.code == 0, again.err
    tiny.check_identity()


def test_a_camera_epoch_that_is_given_an_end_is_taken_in_by_one_run(tiny):
    """The day after the gap looks back at frames that are not processed any more."""
    tiny.put_days("2021-06-10", "2021-06-11", "2021-06-12")
    second = copy.deepcopy(tiny.document["camera"][0])
    second["valid_from"] = "2021-06-12T00:00:00Z"
    tiny.document["camera"].append(second)
    assert tiny.run().code == 0
    tiny.document["camera"][0]["valid_until"] = "2021-06-11T00:00:00Z"
    assert tiny.run().done == 2
    tiny.check_identity()
    assert tiny.run().done == 0


def test_another_camera_epoch_reads_no_day_again_but_its_own(done, monkeypatch):
    from reprocess.archive.files import ArchiveBytes

    read = []
    original = ArchiveBytes.read
    monkeypatch.setattr(ArchiveBytes, "read", lambda self, n: read.append(n) or original(self, n))
    second = copy.deepcopy(done.document["camera"][0])
    second["valid_from"] = "2022-01-02T00:00:00Z"
    second["lens"]["north_deg"] = 30.0
    done.document["camera"].append(second)
    assert done.run().done == 1
    assert {name.split("/")[1] for name in read} == {"0101"}  # what its first frame looks back at


@pytest.mark.parametrize("at", [("2021-12-31", "00:10"), ("2021-12-31", "23:50")])
def test_a_file_that_may_be_read_again_is_read(done, monkeypatch, at):
    """Who may read a file stands in neither its size nor its time."""
    import reprocess.archive.files as files

    bad, original = done.path(*at), files.read_regular
    opened = []

    def deny(path, bytes_max):
        opened.append(path)
        if path == bad:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, bytes_max)

    done.put(*at)  # else what was seen before would stand for it
    with monkeypatch.context() as denied:
        denied.setattr(files, "read_regular", deny)
        os.utime(bad, ns=(1, 1))
        outcome = done.run()
        assert outcome.report["years"]["2021"]["ledger"]["unreadable"] == 1
        opened.clear()
        again = done.run()
        assert again.done == 0
        assert set(opened) == {bad}, "of that day, nothing else is tried again"
        before = done.keys()
        assert done.run().done == 0
        assert done.keys() == before
    assert done.run().done == outcome.done
    assert "unreadable" not in done.run().report["years"]["2021"]["ledger"]
    done.check_identity()
    monkeypatch.setattr(files, "read_regular", deny)
    opened.clear()
    assert done.run().done == 0
    assert opened == []


def test_a_year_that_another_run_holds_is_told_when_the_cube_is_made_anew(done):
    """Its counts go with the old shape; "complete" would be said of a cube without them."""
    from reprocess import open_cube
    from reprocess.stores.lock import acquire
    from reprocess.stores.objects import open_objects

    lock = acquire(open_objects(str(done.store)), "2022", "the-other-run", print)
    done.document["cube"]["mlt_bins"] = 6
    outcome = done.run("--years", "2021")
    assert outcome.code == 1
    assert not outcome.report["complete"]
    assert "2022 was held by run the-other-run" in outcome.err + outcome.out
    assert int(open_cube(str(done.store)).n_observed.sel(time="2022").sum()) == 0
    lock.release()
    assert done.run().code == 0
    assert int(open_cube(str(done.store)).n_observed.sel(time="2022").sum()) > 0
    done.check_identity()


def test_links_whose_disk_is_away_erase_nothing(done):
    real = done.root / "disk"
    shutil.copytree(done.archive, real)
    for path in list(done.archive.rglob("*.npy")):
        path.unlink()
        path.symlink_to(real / path.relative_to(done.archive))
    assert done.run().done == 0
    before = done.keys()
    away = done.root / "away"
    real.rename(away)
    outcome = done.run()
    assert outcome.code == 2
    assert "2021-12-30 is committed, and not one of its 4 files can be opened now" in outcome.err
    assert done.keys() == before
    away.rename(real)
    assert done.run().done == 0
    (real / "2021/1230").rename(real / "moved")
    lost_one = done.archive / "2021/1231/20211231_001000.npy"
    lost_one.unlink()
    lost_one.symlink_to(real / "nowhere")
    (real / "moved").rename(real / "2021/1230")
    assert done.run().report["years"]["2021"]["ledger"]["unreadable"] == 1


def test_the_cube_tells_weights_and_thresholds(done):
    """A cube that was copied alone must say which one it is."""
    from reprocess import open_cube

    def told():
        texts = open_cube(str(done.store)).attrs["detectors"]
        return {text.partition(": ")[0]: json.loads(text.partition(": ")[2]) for text in texts}

    assert list(told()) == ["diff", "fcn"]
    assert told()["fcn"]["threshold"] == 0.5
    assert told()["fcn"]["weights"] == hashlib.sha256(done.weights.read_bytes()).hexdigest()
    assert told()["diff"]["threshold_dn"] == 5.0
    done.document["detectors"]["fcn"]["threshold"] = 0.7
    assert done.run().code == 0
    assert told()["fcn"]["threshold"] == 0.7
