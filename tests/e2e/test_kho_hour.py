"""The real hour: KHO, 4 December 2013, through the command line."""

import json
from pathlib import Path

import numpy as np
import pytest

from reprocess import cli, open_cube, run

ROOT = Path(__file__).parents[2]
FRAMES = ROOT.parent / "shared" / "data" / "kho_20131204" / "frames"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not FRAMES.is_dir(), reason="the KHO frames are not beside the checkout"),
]


@pytest.fixture(scope="module")
def hour(tmp_path_factory):
    """The store of the hour, run once."""
    store = tmp_path_factory.mktemp("kho") / "store"
    code = run.main(
        [
            str(ROOT / "workflows" / "kho_2013.yaml"),
            "--set",
            f"archive.url={FRAMES}",
            "--store",
            str(store),
            "--cluster",
            "serial",
        ]
    )
    assert code == run.EXIT_COMPLETE
    return store


def test_every_second_frame_stands_in_a_minute_of_its_own(hour):
    record = next((hour / "records" / "2013" / "frames").glob("2013-12-04.*.json"))
    facts = json.loads(record.read_text())["facts"]
    assert facts["ledger"] == {"ok": 61, "surplus": 60}
    assert len(facts["frames"]) == 121


def test_fcn_finds_the_aurora_that_stood_there_all_hour(hour):
    cube = open_cube(str(hour))
    fcn = cube.sel(detector="fcn")
    assert float(fcn.n_observed.sum()) == 61 * 400
    assert float(fcn.n_aurora.sum() / fcn.n_observed.sum()) > 0.15


def test_difference_is_not_observed_without_its_earlier_frame(hour):
    observed = open_cube(str(hour)).n_observed.sum(("time", "mlt"))
    difference = observed.sel(detector="diff").values
    assert np.all(difference < observed.sel(detector="fcn").values)
    assert np.all(difference > 0)


def test_the_flagged_share_is_a_sweep(hour, capsys):
    code = cli.main(
        [
            "sweep",
            str(ROOT / "workflows" / "kho_2013.yaml"),
            "diff",
            "--store",
            str(hour),
            "--between",
            "2013-12-04T18:00",
            "2013-12-04T20:00",
        ]
    )
    assert code == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 6
    assert rows[0].startswith("# camera epoch ")
    for row in rows[2:]:
        shares = [float(text.rstrip("%")) for text in row.split()[2:]]
        assert shares == sorted(shares, reverse=True)
        assert shares[0] > 2 * shares[-1]
