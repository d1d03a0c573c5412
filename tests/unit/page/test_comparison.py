"""Factors on the common denominator, against counts that were written down by hand."""

import numpy as np
import pytest
import xarray as xr

from reprocess.cube.open import with_rates
from reprocess.page.comparison import Row, compare, totals
from reprocess.page.write import _factor
from reprocess.plot.contrast import contrast_figure

KINDS = {"diff": "difference", "net": "fcn"}


def cube(counts, labels=("diff", "net"), compared=None):
    """A cube of one month, 2 MLT bins and 3 cells (rings of 1 and 2 cells).

    `counts`: outcome → label → (mlt, cell)
    """
    outcomes = ("observed", "aurora", "observed_common", "aurora_common")
    data = np.array([[[counts[o][label]] for label in labels] for o in outcomes], np.int32)
    dataset = xr.Dataset(
        {"counts": (("outcome", "detector", "time", "mlt", "cell"), data)},
        coords={
            "outcome": list(outcomes),
            "detector": list(labels),
            "time": np.array(["2021-06"], "datetime64[s]"),
            "mlt_bounds": (("mlt", "bound"), [[0.0, 12.0], [12.0, 24.0]]),
            "cell_zenith_bounds": (("cell", "bound"), [[0.0, 40.0], [40.0, 80.0], [40.0, 80.0]]),
        },
        attrs={"compare": list(labels if compared is None else compared)},
    )
    return with_rates(dataset)


COUNTS = {
    "observed": {"diff": [[100, 100, 100], [0, 0, 0]], "net": [[120, 110, 110], [0, 0, 0]]},
    "aurora": {"diff": [[12, 14, 16], [0, 0, 0]], "net": [[70, 60, 50], [0, 0, 0]]},
    "observed_common": {"diff": [[90, 80, 80], [0, 0, 0]], "net": [[90, 80, 80], [0, 0, 0]]},
    "aurora_common": {"diff": [[10, 12, 13], [0, 0, 0]], "net": [[60, 50, 40], [0, 0, 0]]},
}


def test_by_mlt_by_ring_and_over_all():
    (found,) = compare(cube(COUNTS), KINDS)
    assert (found.label, found.reference) == ("net", "diff")
    assert found.by_mlt == (Row("00–12", 250, 150, 35, None, 150 / 35), Row("12–24", 0, 0, 0))
    assert found.by_ring == (
        Row("50–90°", 90, 60, 10, None, 6.0), Row("10–50°", 160, 90, 25, None, 90 / 25),
    )  # fmt: skip
    assert found.total == Row("all", 250, 150, 35, None, 150 / 35)


@pytest.mark.parametrize(
    ("observed", "diff", "net", "factor"),
    [
        ([90, 80, 80], [10, 12, 13], [60, 50, 40], "4.29"),
        ([90, 80, 80], [10, 4, 4], [60, 90, 40], "10.6"),  # one cell is enough
        ([90, 80, 80], [4, 4, 4], [60, 50, 40], None),  # 12 cell-frames, but of the same 4 frames
        ([90, 80, 80], [60, 50, 40], [0, 0, 0], None),  # not 0.00
        ([19, 19, 19], [10, 10, 10], [12, 12, 12], None),
        ([90, 80, 80], [60, 50, 40], [61, 52, 42], "1.03"),  # not 1
    ],
)
def test_page_and_ratio_map_give_the_same_number_by_the_same_rule(observed, diff, net, factor):
    nothing = [0, 0, 0]
    counted = {
        "observed_common": {name: [observed, nothing] for name in ("diff", "net")},
        "aurora_common": {"diff": [diff, nothing], "net": [net, nothing]},
    }
    counted |= {name.removesuffix("_common"): counts for name, counts in counted.items()}
    made = cube(counted)
    quarters = [[0.0, 360.0], [0.0, 180.0], [180.0, 360.0]]
    made = made.assign_coords(cell_azimuth_bounds=(("cell", "bound"), quarters))
    (found,) = compare(made, KINDS)
    for row in (found.by_mlt[0], found.total):
        assert _factor(row.factor) == (factor or "—")
    below = [text.get_text() for text in contrast_figure(made, "ratio").texts]
    assert f"{max(observed)} · × {factor or '?'}" in below


def test_the_share_of_nothing_is_not_zero():
    assert Row("", 0, 0, 0).share(0) is None
    assert Row("", 200, 50, 10).share(50) == 0.25


def test_the_reference_is_the_difference_method_wherever_it_stands():
    turned = {o: {"net": by["net"], "diff": by["diff"]} for o, by in COUNTS.items()}
    (found,) = compare(cube(turned, ("net", "diff")), KINDS)
    assert (found.label, found.reference) == ("net", "diff")


def test_without_a_difference_method_the_first_compared_is_the_reference():
    (found,) = compare(cube(COUNTS), {"diff": "fcn", "net": "fcn"})
    assert (found.label, found.reference) == ("net", "diff")


def test_a_label_that_is_not_compared_is_left_out_and_one_alone_has_its_own_counts():
    (first, second) = compare(cube(COUNTS, compared=["diff"]), KINDS)
    assert (first.label, first.reference) == ("diff", None)
    assert first.total == Row("all", 300, 42)
    assert second.total == Row("all", 340, 180)
    assert second.total.factor is None


def test_totals_are_those_of_each_detector():
    diff, net = totals(cube(COUNTS))
    assert (diff.observed, diff.aurora, diff.observed_common, diff.aurora_common) == (
        300, 42, 250, 35,
    )  # fmt: skip
    assert (net.observed, net.aurora) == (340, 180)


def test_frames_are_those_of_the_cell_that_has_most_over_all_bins():
    # Counts of a cube by the cell's MLT: the cells have their frames in different bins.
    observed = [[100, 40, 0], [0, 70, 90]]
    diff, net = totals(cube({**COUNTS, "observed": {"diff": observed, "net": observed}}))
    assert (diff.frames, net.frames) == (110, 110)
    assert (diff.frames_common, net.frames_common) == (90, 90)


def test_a_bin_has_the_most_days_of_one_cell_and_no_sum_of_bins_has_any():
    counted = cube(COUNTS)
    days = counted["counts"].copy(data=np.minimum(counted["counts"], 3))
    days.loc[{"outcome": "observed_common", "cell": 1}] += 2
    (found,) = compare(counted.assign(n_days=days), KINDS)
    assert [row.days for row in found.by_mlt] == [5, 2]
    assert {row.days for row in (*found.by_ring, found.total)} == {None}
