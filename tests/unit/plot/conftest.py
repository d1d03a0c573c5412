"""Pictures compared with small baselines, and a small store to draw from.

The baselines are remade, all of them, by

    REPROCESS_BASELINES=write python -m pytest tests/unit/plot

Look at each before committing it: `git diff --stat tests/unit/plot/baselines`.
Text is left out of them, so that fonts and their versions do not matter; what
a picture says is tested by its words.
"""

import os
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from picture_comparison import RMS_MAX, WRONG_MAX, difference, render

BASELINES = Path(__file__).parent / "baselines"
WRITE = os.environ.get("REPROCESS_BASELINES") == "write"


@pytest.fixture
def check_picture(tmp_path):
    """Compare a figure with its baseline."""

    def check(figure, name):
        found = render(figure)
        path = BASELINES / f"{name}.png"
        if WRITE:
            BASELINES.mkdir(exist_ok=True)
            matplotlib.image.imsave(path, found.astype(np.uint8), pil_kwargs={"optimize": True})
        wanted = 255.0 * matplotlib.image.imread(path)[..., :3].astype(float)
        rms, wrong = difference(found, wanted)
        if rms > RMS_MAX or wrong > WRONG_MAX:
            kept = tmp_path / f"{name}.png"
            matplotlib.image.imsave(kept, found.astype(np.uint8))
            pytest.fail(
                f"{name}: differs from {path} (rms {rms:.1f}, expected {RMS_MAX} at most; wrong "
                f"pixels {wrong:.2%}, expected {WRONG_MAX:.2%} at most); found picture: {kept}"
            )

    return check


@pytest.fixture(scope="session")
def drawn_store(make_tiny, tmp_path_factory):
    """A campaign that was run: four days, one frame unreadable, one missing, one too many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        tiny = make_tiny(tmp_path_factory.mktemp("pictures") / "tiny")
        times = ("00:00", "00:10", "00:20", "00:30", "00:50", "01:00")
        tiny.put_days("2021-12-30", "2021-12-31", "2022-01-01", times=times)
        tiny.put("2021-12-30", "00:30", b"not an array")
        tiny.put("2021-12-30", "00:00", suffix="b")
        outcome = tiny.run()
        assert outcome.code == 0, outcome.err
    return tiny
