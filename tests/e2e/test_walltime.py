"""A Slurm profile in whose walltime a day would not end is refused by what the last run took."""

import json
from datetime import date

import pytest

from reprocess.execute import Execution
from reprocess.history import pace
from reprocess.stores.sealed import seal
from reprocess.worker import WHOLE, TaskResult


@pytest.fixture
def profile(tiny):
    path = tiny.root / "cluster.yaml"
    path.write_text("kind: slurm\nwalltime: 00:10:00\n")
    return str(path)


def remember(tiny, run, cluster, s_per_frame):
    path = tiny.store / "runs" / run / "run.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(
        seal({"run": run, "request": {"cluster": cluster}, "block_s_per_frame": s_per_frame})
    )


def test_a_day_that_takes_more_than_half_is_refused_before_anything_is_submitted(tiny, profile):
    tiny.put_days("2021-12-31")  # 4 frames
    remember(tiny, "20210101T000000Z-aaaaaa", profile, 80.0)
    outcome = tiny.run("--cluster", profile)
    assert outcome.code == 2
    assert "walltime: found 10 min, but 2021-12-31 with its 4 frames" in outcome.err
    assert "is expected to take 5 min (at 80 s a frame" in outcome.err
    assert sorted(path.name for path in tiny.store.iterdir()) == ["runs"]
    assert tiny.run("--cluster", profile, "--dry-run").code == 2


def test_the_last_run_with_this_profile_counts_and_no_other(tiny, profile):
    tiny.put_days("2021-12-31")
    remember(tiny, "20210101T000000Z-aaaaaa", profile, 80.0)
    remember(tiny, "20220101T000000Z-bbbbbb", profile, 1.0)
    remember(tiny, "20230101T000000Z-cccccc", "local", 80.0)
    remember(tiny, "20240101T000000Z-dddddd", profile, None)
    assert tiny.run("--cluster", profile, "--dry-run").code == 0
    assert tiny.run("--cluster", "local", "--dry-run").code == 0


def test_days_whose_images_are_not_read_again_are_not_counted(tiny, profile):
    tiny.put_days("2021-12-31")
    assert tiny.run().code == 0
    remember(tiny, "20990101T000000Z-aaaaaa", profile, 999.0)
    tiny.document["detectors"]["diff"]["threshold_dn"] = 6.0
    assert tiny.run("--cluster", profile, "--dry-run").code == 0


def test_the_pace_is_that_of_days_large_enough_to_tell():
    execution = Execution()
    blocks = [(1, 4, 60.0), (2, 100, 300.0), (3, 200, 200.0), (4, 1000, 900.0)]
    for day, n_frames, seconds in blocks:
        result = TaskResult(date(2021, 1, day), {}, n_frames=n_frames, seconds={WHOLE: seconds})
        execution.results[result.day] = result
    assert pace(execution) == 1.0
    assert pace(Execution()) is None


def test_a_run_says_what_its_blocks_took(tiny):
    tiny.put_days("2021-12-31")
    assert tiny.run().code == 0
    (run,) = (tiny.store / "runs").glob("*/run.json")
    document = json.loads(run.read_text())
    assert document["seconds_by_day"]["2021-12-31"][WHOLE] > 0
    assert document["block_s_per_frame"] is None  # four frames tell nothing
