from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from reprocess.campaign import CameraEpoch, Cells
from reprocess.geometry.cells import CellFlag, beckers_rings, map_cells, ring_cells
from reprocess.geometry.layer import central_angle_deg
from reprocess.geometry.skymap import build_skymap

Layout = Literal["rings-10", "rings-20"]
Area = Literal["solid-angle", "image"]
LAYOUTS: list[Layout] = ["rings-10", "rings-20"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_layouts_have_400_cells_of_equal_solid_angle(layout: Layout) -> None:
    """To zenith angle 80 the cap is 2 pi (1 - cos 80), a 400th of it a cell."""
    cells = ring_cells(Cells(layout=layout, area="solid-angle"), 0.0)
    assert cells.n_cells == 400
    expected = 2 * np.pi * (1 - np.cos(np.radians(80))) / 400
    assert np.allclose(cells.solid_angle_sr, expected, rtol=1e-12)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_layouts_have_400_cells_of_equal_image_area(layout: Layout) -> None:
    cells = ring_cells(Cells(layout=layout, area="image"), 0.0)
    area = (cells.zenith_max_deg**2 - cells.zenith_min_deg**2) * (
        cells.azimuth_max_deg - cells.azimuth_min_deg
    )
    assert cells.n_cells == 400
    assert np.allclose(area, 80.0**2 * 360.0 / 400, rtol=1e-12)


def test_cells_in_the_rings() -> None:
    """10 rings of 4(2k-1), 20 rings of 2k-1; image area: rings 8 and 4 degrees wide."""
    ten = ring_cells(Cells(layout="rings-10", area="image"), 0.0)
    edges, counts = np.unique(ten.zenith_min_deg, return_counts=True)
    assert counts.tolist() == [4, 12, 20, 28, 36, 44, 52, 60, 68, 76]
    assert np.allclose(edges, np.arange(0, 80, 8))
    twenty = ring_cells(Cells(layout="rings-20", area="image"), 0.0)
    edges, counts = np.unique(twenty.zenith_min_deg, return_counts=True)
    assert counts.tolist() == list(range(1, 40, 2))
    assert np.allclose(edges, np.arange(0, 80, 4))


def test_cells_are_numbered_outward_then_eastward() -> None:
    cells = ring_cells(Cells(layout="rings-10"), 0.0)
    assert (np.diff(cells.zenith_deg) >= 0).all()
    assert cells.azimuth_deg[:4].tolist() == [45.0, 135.0, 225.0, 315.0]
    # By hand: elevation 89, just east of north, is cell 0; just west of it cell 3.
    assert cells.index([1.0, 91.0, 181.0, 359.0], np.full(4, 89.0)).tolist() == [0, 1, 2, 3]


def test_azimuth_counts_from_magnetic_north() -> None:
    """JBS: AACGM north at azimuth 71; a direction 1 degree east of it is in cell 0."""
    cells = ring_cells(Cells(azimuth="magnetic"), 71.0)
    assert cells.index([72.0, 70.0, 71.0 + 360.0, 72.0 - 720.0], 89.0).tolist() == [0, 3, 0, 0]
    geographic = ring_cells(Cells(azimuth="geographic"), 71.0)
    assert geographic.north_azimuth_deg == 0.0
    assert geographic.index([72.0, 1.0], 89.0).tolist() == [0, 0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("area", ["solid-angle", "image"])
def test_centres_lie_in_their_cells(layout: Layout, area: Area) -> None:
    cells = ring_cells(Cells(layout=layout, area=area), 71.4)
    found = cells.index(cells.azimuth_deg + 71.4, 90.0 - cells.zenith_deg)
    assert found.tolist() == list(range(400))
    assert found.dtype == np.int16


@pytest.mark.parametrize("layout", LAYOUTS)
def test_lower_edges_belong_to_the_cell(layout: Layout) -> None:
    """Image area makes whole-degree ring edges, so that 90 - elevation is exact."""
    cells = ring_cells(Cells(layout=layout, area="image"), 0.0)
    assert cells.index(cells.azimuth_min_deg, 90.0 - cells.zenith_min_deg).tolist() == list(
        range(400)
    )


def test_outside_is_minus_one() -> None:
    cells = ring_cells(Cells(elevation_min_deg=10), 0.0)
    elevation = [10.0, 10.001, 9.999, -5.0, np.nan, 45.0, 90.0]
    azimuth = [0.0, 0.0, 0.0, 0.0, 0.0, np.nan, 0.0]
    found = cells.index(azimuth, elevation)
    assert found.tolist() == [-1, 324, -1, -1, -1, -1, 0]


@given(
    azimuth=st.floats(-720, 720),
    elevation=st.floats(10.01, 90),
    north=st.floats(0, 360),
    layout=st.sampled_from(LAYOUTS),
    area=st.sampled_from(["solid-angle", "image"]),
)
def test_every_direction_above_the_edge_is_in_the_cell_whose_bounds_hold_it(
    azimuth: float, elevation: float, north: float, layout: Layout, area: Area
) -> None:
    cells = ring_cells(Cells(layout=layout, area=area), north)
    cell = int(cells.index(azimuth, elevation))
    turned = (azimuth - north) % 360.0
    assert cell >= 0
    assert cells.zenith_min_deg[cell] <= 90.0 - elevation < cells.zenith_max_deg[cell]
    assert cells.azimuth_min_deg[cell] <= turned % 360.0 <= cells.azimuth_max_deg[cell]


def test_rings_touch_without_gaps() -> None:
    cells = ring_cells(Cells(), 0.0)
    edges = sorted(set(cells.zenith_min_deg) | set(cells.zenith_max_deg))
    assert len(edges) == 11
    assert all(a < b for a, b in pairwise(edges))
    assert edges[0] == 0.0
    assert edges[-1] == 80.0


def test_the_pixels_of_an_open_sky_fill_every_cell(make_epoch: Callable[..., CameraEpoch]) -> None:
    skymap = build_skymap(make_epoch(), 200)
    cells = ring_cells(Cells(), 71.0)
    found = map_cells(skymap, cells, 0.5)
    assert found.observed.all()
    assert found.visible_share.min() > 0.9
    assert found.visible_share.max() <= 1.0
    assert found.n_pixels.sum() == (found.cell >= 0).sum()
    cap = 2 * np.pi * (1 - np.cos(np.radians(80)))
    assert found.weight.sum(dtype=np.float64) == pytest.approx(cap, rel=2e-3)
    assert (found.weight[found.cell < 0] == 0).all()
    # Equidistant: up to z / sin z = 1.42 times more pixels at zenith angle 80 than overhead.
    outer, inner = found.n_pixels[-76:].mean(), found.n_pixels[:4].mean()
    assert outer / inner == pytest.approx(1.38, abs=0.08)


def test_a_cell_half_hidden_is_observed_only_if_half_is_enough(
    make_epoch: Callable[..., CameraEpoch],
) -> None:
    """Image cut 0.5 px right of the zenith pixel, north up, east left: west is not seen."""
    skymap = build_skymap(make_epoch(image_width_px=160), 200)
    cells = ring_cells(Cells(layout="rings-20", azimuth="geographic"), 0.0)
    found = map_cells(skymap, cells, 0.45)
    assert found.visible_share[0] == pytest.approx(0.5, abs=0.05)
    assert found.observed[0]
    assert not map_cells(skymap, cells, 0.6).observed[0]
    west = cells.azimuth_min_deg >= 180.0
    assert not found.observed[west].any()
    assert found.n_pixels[west].max() == 0
    assert found.observed[cells.azimuth_max_deg <= 180.0].all()


def test_a_cell_without_pixels_is_not_observed(make_epoch: Callable[..., CameraEpoch]) -> None:
    """At 16 px across the sky many cells hold no pixel's centre."""
    found = map_cells(build_skymap(make_epoch(), 16), ring_cells(Cells(), 0.0), 1e-9)
    empty = found.n_pixels == 0
    assert empty.any()
    assert not found.observed[empty].any()
    assert (found.visible_share[empty] == 0).all()


@given(
    n=st.integers(1, 2000),
    area=st.sampled_from(["solid-angle", "image", "emission-layer"]),
    lowest=st.floats(0, 60),
)
def test_beckers_gives_any_total_in_cells_of_equal_area(n: int, area: Any, lowest: float) -> None:
    settings = Cells(layout="beckers", n=n, area=area, elevation_min_deg=lowest)
    cells = ring_cells(settings, 0.0)
    assert cells.n_cells == settings.total == n
    assert cells.zenith_min_deg[0] == 0.0
    assert cells.zenith_max_deg[-1] == 90.0 - lowest
    width = cells.azimuth_max_deg - cells.azimuth_min_deg
    if area == "solid-angle":
        size = cells.solid_angle_sr
    elif area == "image":
        size = (cells.zenith_max_deg**2 - cells.zenith_min_deg**2) * width
    else:
        inner, outer = (
            np.radians(central_angle_deg(90.0 - zenith, settings.emission_height_km))
            for zenith in (cells.zenith_min_deg, cells.zenith_max_deg)
        )
        size = (np.cos(inner) - np.cos(outer)) * width
    assert np.allclose(size, size[0], rtol=1e-6)


def test_beckers_rings_of_the_hemisphere() -> None:
    """By hand for 7 in the plane: 7 (1 - sqrt(pi / 7))^2 = 0.76 cells fit inside: 1, and 6 around.
    For 10: 10 (1 - sqrt(pi / 10))^2 = 1.93, so 2 halves inside 8."""
    assert beckers_rings(Cells(layout="beckers", n=7, area="image")) == (1, 6)
    assert beckers_rings(Cells(layout="beckers", n=10, area="image")) == (2, 8)
    for n in (50, 145, 400, 1000):
        cells = ring_cells(Cells(layout="beckers", n=n, elevation_min_deg=0.0), 0.0)
        outer = cells.zenith_min_deg > 20.0
        height = (cells.zenith_max_deg - cells.zenith_min_deg)[outer]
        width = (cells.azimuth_max_deg - cells.azimuth_min_deg)[outer]
        shape = height / (width * np.sin(np.radians(cells.zenith_deg[outer])))
        assert np.all((shape > 0.7) & (shape < 1.4)), n  # about as high as wide


def test_a_total_belongs_to_beckers_alone() -> None:
    with pytest.raises(
        ValidationError, match="n: found 300, expected a total of cells with layout: beckers"
    ):
        Cells(layout="rings-10", n=300)
    with pytest.raises(
        ValidationError, match="n: found None, expected a total of cells with layout: beckers"
    ):
        Cells(layout="beckers")


def test_cells_with_few_pixels_are_flagged_and_not_observed(
    make_epoch: Callable[..., CameraEpoch],
) -> None:
    """At 1 px a degree the cells of 400 near the zenith hold about 48 pixels, at the rim more."""
    skymap = build_skymap(make_epoch(hide=[[[60, 20], [159, 220]]]), 200)
    cells = ring_cells(Cells(), 0.0)
    free = map_cells(skymap, cells, 0.5)
    limit = int(np.median(free.n_pixels[free.observed]))
    strict = map_cells(skymap, cells, 0.5, limit)
    few = (strict.flags & CellFlag.FEW_PIXELS) != 0
    hidden = (strict.flags & CellFlag.HIDDEN) != 0
    assert np.array_equal(few, strict.n_pixels < limit)
    assert np.array_equal(hidden, strict.visible_share < 0.5)
    assert np.array_equal(strict.observed, ~few & ~hidden)
    assert (few & ~hidden).any()
    assert (hidden & few).any()
    assert np.array_equal(free.observed, (free.visible_share >= 0.5) & (free.n_pixels > 0))
