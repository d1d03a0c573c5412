"""`reprocess noise` and `sweep` on committed evidence of more than one camera epoch."""

from __future__ import annotations

import copy
import itertools

import cv2
import numpy as np
import pytest

from reprocess.campaign import load_campaign
from reprocess.errors import ConfigurationError
from reprocess.noise import measure_noise, sweep
from reprocess.stores.objects import open_objects
from reprocess.stores.records import OVERWRITTEN, Records

FIRST, SECOND = "2021-06-10", "2021-06-11"
TIMES = [f"{hour:02d}:{minute:02d}" for hour in range(4) for minute in range(0, 60, 10)]


@pytest.fixture
def flickering(tiny, tmp_path, frame_of):
    """Two days and epochs; the lower half is masked in the first and flickers in the second."""
    mask = np.zeros((32, 32), np.uint8)
    mask[:16] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    tiny.document["detectors"].pop("fcn")
    second = copy.deepcopy(tiny.document["camera"][0])
    second["valid_from"] = f"{SECOND}T00:00:00Z"
    tiny.document["camera"][0]["mask"] = str(tmp_path / "mask.png")
    tiny.document["camera"].append(second)
    rng = np.random.default_rng(5)
    for day, (number, time) in itertools.product((FIRST, SECOND), enumerate(TIMES)):
        image = 60 + rng.integers(0, 2, (32, 32, 3), dtype=np.uint8)
        if day == SECOND:
            image[18:] += np.uint8(30 * (number % 2))
        tiny.put(day, time, frame_of(image))
    assert tiny.run().code == 0
    return load_campaign(tiny.file)


def tables(text):
    """The rows of each epoch's table."""
    parts = text.split("# camera epoch ")
    assert parts[0] == ""
    return [part.splitlines()[1:] for part in parts[1:]]


def test_each_epoch_is_swept_over_the_cells_that_it_sees(flickering):
    alone = [tables(sweep(flickering, "diff", [(d, f"{d}T23")])) for d in (FIRST, SECOND)]
    both = tables(sweep(flickering, "diff", [(FIRST, f"{SECOND}T23")]))
    assert both == [alone[0][0], alone[1][0]]
    at_10_dn = [float(table[2].split()[2 + 5].rstrip("%")) for table in both]
    assert at_10_dn[0] == 0
    assert at_10_dn[1] > 20


def test_a_day_that_an_orphan_marked_is_left_out(flickering):
    records = Records(open_objects(flickering.store))
    block = next(b for b in records.list() if b.stage == "evidence" and b.day == SECOND)
    records.delete_all(block)
    records.mark(block, OVERWRITTEN)
    span = [(FIRST, f"{SECOND}T23")]
    assert len(tables(sweep(flickering, "diff", span))) == 1
    found = measure_noise(flickering, "diff", span, per_cell=False)
    assert found.startswith(
        f"# camera epoch 20200101T000000Z: {len(TIMES) - 1} frames observed of 24, "
    )


def test_a_time_without_frames_is_refused(flickering):
    for verb in (sweep, lambda *a: measure_noise(*a, per_cell=False)):
        with pytest.raises(ConfigurationError, match="evidence of diff: none is committed"):
            verb(flickering, "diff", [(f"{FIRST}T12", f"{FIRST}T13")])
