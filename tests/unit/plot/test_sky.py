"""The key of a page of sky maps."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from reprocess.plot.page import Page
from reprocess.plot.sky import Sky


@pytest.mark.parametrize("north_deg", [None, *range(0, 360, 15), 331.5, 22.0])
@pytest.mark.parametrize("east", ["left", "right"])
def test_the_elevations_can_be_read_wherever_north_is(north_deg, east):
    sky = Sky([], 80.0, east, "magnetic", north_deg)
    page = Page(175.0, 40.0)
    sky.key(page, 2.0, 2.0, 22.0)
    canvas = FigureCanvasAgg(page.figure)
    canvas.draw()
    (axes,) = page.figure.axes
    named = [text for text in axes.texts if text.get_text().endswith("°")]
    assert [text.get_text() for text in named] == ["20°", "40°", "60°"]
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in named]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    if north_deg is not None:
        # Geographic north, where the arrow points, along its whole length.
        tip = np.array(sky.place(-north_deg, 80.0))
        for along in np.linspace(0, 1, 50):
            x, y = axes.transData.transform(along * tip)
            assert not any(box.contains(x, y) for box in boxes)
