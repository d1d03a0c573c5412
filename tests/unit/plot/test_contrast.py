import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from picture_comparison import said
from plot_cubes import make_cube

from reprocess.cube.open import with_rates
from reprocess.errors import ConfigurationError
from reprocess.plot.contrast import contrast_figure, draw_contrast


def contrasting(aurora=(300, 600), observed=1000, **options):
    """Cell 0 of every MLT bin: as many frames with aurora as said, of each detector."""
    cube = make_cube(n_mlt=4, **options)
    counts = cube["counts"].copy()
    counts.values[:] = 0
    counts.values[2, :, :, :2, :2] = observed
    for detector, n in enumerate(aurora):
        counts.values[3, :, detector, :2, 0] = n
    # Counted apart from each other they would be equal: these must not enter.
    counts.values[:2] = 7
    return with_rates(cube.assign(counts=counts))


def values_of(figure):
    """Numbers drawn on each map, in order."""
    return [
        collection.get_array().tolist()
        for axes in figure.axes
        for collection in axes.collections
        if isinstance(collection, PolyCollection) and collection.get_zorder() == 1
    ]


def dotted_of(figure):
    """Number of dotted cells of each map that has any."""
    return [
        len(collection.get_paths())
        for axes in figure.axes
        for collection in axes.collections
        if isinstance(collection, PolyCollection) and collection.get_zorder() == 0.5
    ]


def test_a_difference_is_of_rates_on_common_frames_second_minus_first():
    figure = contrast_figure(contrasting(), "difference")
    assert values_of(figure) == [pytest.approx([0.3, 0.0])] * 2
    text = said(figure)
    assert "occurrence rate of fcn − that of difference" in text
    assert "percentage points" in text
    assert "2\N{NARROW NO-BREAK SPACE}000 · +15.0" in text
    assert text.count("not observed") == 2 + 1
    reverse = contrast_figure(contrasting(), "difference", detectors=["fcn", "difference"])
    assert values_of(reverse)[0] == pytest.approx([-0.3, 0.0])
    assert "· −15.0" in said(reverse)


def test_a_ratio_is_drawn_where_both_saw_enough_and_says_the_limits():
    figure = contrast_figure(contrasting(), "ratio", frames_min=1000, aurora_min=600)
    assert values_of(figure) == [[2.0]] * 2
    assert dotted_of(figure) == [1, 1]
    text = said(figure)
    assert "fewer than 1000 common frames, or fewer than 600 with aurora by either" in text
    assert "× 2" in text
    few = contrast_figure(contrasting(aurora=(2, 600)), "ratio", aurora_min=5)
    assert values_of(few) == []
    assert dotted_of(few) == [2, 2]
    assert "× ?" in said(few)


def test_few_frames_have_no_difference():
    figure = contrast_figure(contrasting(observed=10, aurora=(1, 2)), "difference", frames_min=21)
    assert values_of(figure) == []
    assert dotted_of(figure) == [2, 2]


def test_the_ratio_scale_is_symmetric_in_the_logarithm():
    figure = contrast_figure(contrasting(aurora=(50, 500)), "ratio")
    drawn = next(
        c for a in figure.axes for c in a.collections
        if isinstance(c, PolyCollection) and c.get_zorder() == 1
    )  # fmt: skip
    assert drawn.norm.vmin == pytest.approx(1 / drawn.norm.vmax)
    assert drawn.norm.vmax == 10.0
    assert float(drawn.norm(1.0)) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["difference", "ratio"])
def test_baselines(check_picture, kind):
    check_picture(contrast_figure(contrasting(), kind), f"contrast_{kind}")


def test_nothing_observed_by_both_is_all_hatched():
    figure = contrast_figure(make_cube(n_mlt=2, common=False), "ratio")
    assert values_of(figure) == []
    assert said(figure).count("not observed") == 2 + 1


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda c: c, {"detectors": ["fcn"]}, "found fcn, expected two of difference, fcn"),
        (lambda c: c, {"detectors": ["fcn", "fcn"]}, "need two detectors"),
        (lambda c: c, {"detectors": ["fcn", "other"]}, "found fcn, other"),
        (lambda c: c.assign_attrs(compare=["fcn"]), {}, "expected two of fcn"),
        (lambda c: c, {"limit": 2.0}, "found limit 2.0"),
    ],
)
def test_what_cannot_be_compared_says_why(tmp_path, change, options, message):
    with pytest.raises(ConfigurationError, match=message):
        draw_contrast(change(make_cube(n_mlt=2)), tmp_path / "map.png", "difference", **options)
    with pytest.raises(ConfigurationError, match="factor above 1"):
        contrast_figure(contrasting(), "ratio", limit=0.5)


def test_zero_rates_of_both_are_no_difference_and_no_ratio():
    cube = contrasting(aurora=(0, 0))
    assert np.allclose(values_of(contrast_figure(cube, "difference")), 0.0)
    assert values_of(contrast_figure(cube, "ratio")) == []
