"""The difference statistic against hand-computed values and a plain numpy oracle."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprocess.archive.frames import FrameBlock
from reprocess.campaign import CameraEpoch, Crop, Difference, EquidistantLens, Noise
from reprocess.detectors import change, difference
from reprocess.detectors.change import LONGEST, cell_spans, compare_frames
from reprocess.detectors.detector import Evidence, EvidenceStatus
from reprocess.detectors.difference import (
    DifferenceDetector,
    flag_cells,
    match_lag,
)
from reprocess.errors import ConfigurationError
from reprocess.geometry.calibration import EpochGeometry

N_CELLS = 4
SIZE = 16


def geometry_of(cell, visible=None, n_cells=N_CELLS, observed=None):
    cell = np.asarray(cell, np.int16)
    visible = cell >= 0 if visible is None else visible
    observed = np.ones(n_cells, bool) if observed is None else np.asarray(observed)
    return EpochGeometry(
        cells=SimpleNamespace(n_cells=n_cells),
        cellmap=SimpleNamespace(cell=cell, observed=observed),
        skymap=SimpleNamespace(visible=visible),
    )


def spans_of(geometry):
    return cell_spans(geometry.cellmap.cell, geometry.skymap.visible, geometry.cells.n_cells)


def four_cells():
    """Quadrants of a 16 px image as cells, a dark border, and visible sky outside every cell."""
    cell = np.zeros((SIZE, SIZE), np.int16)
    cell[:, SIZE // 2 :] += 1
    cell[SIZE // 2 :] += 2
    cell[0] = -1
    visible = cell >= 0
    cell[-1, :5] = -1
    return geometry_of(cell, visible)


def epoch_of(noise=None, day=1):
    return CameraEpoch(
        valid_from=datetime(2018, 1, day, tzinfo=UTC),
        lens=EquidistantLens(
            center_x_px=8, center_y_px=8, px_per_deg=0.1, north_deg=0, east="left"
        ),
        image_width_px=SIZE,
        image_height_px=SIZE,
        crop=Crop(left_px=0, top_px=0, size_px=SIZE),
        noise=noise,
    )


def detector_of(**keys):
    return DifferenceDetector("diff", Difference(kind="difference", **keys))


def compare(later, earlier, spans, *args):
    """The difference of one pair; None if the sky shifted."""
    delta, shifted = compare_frames([later], [earlier], spans, *args)
    assert delta.dtype == np.float16
    assert not shifted[0] or np.isnan(delta).all()
    return None if shifted[0] else delta[0]


def times(*seconds):
    start = np.datetime64("2018-06-01T00:00:00", "us")
    return start + np.array([round(s * 1e6) for s in seconds], "timedelta64[us]")


# --- the statistic ---------------------------------------------------------------


def test_mean_and_mean_magnitude_of_a_hand_made_pair():
    cell = np.zeros((2, 2), np.int16)
    earlier = np.full((2, 2, 3), 100, np.uint8)
    later = earlier.copy()
    later[..., 0] = [[103, 98], [100, 101]]  # +3 -2 0 +1
    later[..., 1] = [[0, 255], [100, 100]]  # -100 +155
    later[..., 2] = 7
    delta = compare(later, earlier, spans_of(geometry_of(cell, n_cells=1)), 255)
    assert delta.dtype == np.float16
    np.testing.assert_array_equal(delta[:, :, 0], [[0.5, 13.75], [1.5, 63.75]])


def test_mean_is_rounded_once():
    # 1/3 + 256: float32 on the way would round twice for some; float64 to float16 does not.
    cell = np.zeros((1, 3), np.int16)
    earlier = np.zeros((1, 3, 3), np.uint8)
    later = np.zeros((1, 3, 3), np.uint8)
    later[0, :, 0] = [171, 170, 171]
    delta = compare(later, earlier, spans_of(geometry_of(cell, n_cells=1)), 255)
    assert delta[0, 0, 0] == np.float16(512 / 3)


def oracle(later, earlier, geometry):
    d = later[..., :2].astype(int) - earlier[..., :2].astype(int)
    n_cells = geometry.cells.n_cells
    delta = np.full((2, 2, n_cells), np.nan)
    for c in range(n_cells):
        inside = geometry.cellmap.cell == c
        if inside.any():
            delta[0, :, c] = d[inside].mean(axis=0)
            delta[1, :, c] = np.abs(d[inside]).mean(axis=0)
    visible = d[geometry.skymap.visible]
    return np.clip(delta, -65504, 65504).astype(np.float16), visible


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), cells=st.integers(1, 40), extreme=st.booleans(),
    depth=st.sampled_from([np.uint8, np.uint16]),
)  # fmt: skip
def test_statistic_is_numpys(seed, cells, extreme, depth):
    rng = np.random.default_rng(seed)
    cell = rng.integers(-1, cells, (SIZE, SIZE)).astype(np.int16)
    geometry = geometry_of(cell, visible=(cell >= 0) | (rng.random(cell.shape) < 0.5), n_cells=40)
    most = np.iinfo(depth).max
    levels = [0, most] if extreme else np.arange(most + 1)
    later, earlier = rng.choice(levels, (2, SIZE, SIZE, 3)).astype(depth)
    expected, visible = oracle(later, earlier, geometry)
    found = compare(later, earlier, spans_of(geometry), most)
    np.testing.assert_array_equal(found, expected)
    if len(visible):
        median = np.abs(np.median(visible, axis=0)).max()
        for limit in (20, median, median - 0.25):
            shifted = compare(later, earlier, spans_of(geometry), limit) is None
            assert shifted == (median > limit)


def test_long_runs_do_not_overflow():
    cell = np.zeros((3000, 3000), np.int16)
    later = np.full((3000, 3000, 3), 255, np.uint8)
    delta = compare(later, np.zeros_like(later), spans_of(geometry_of(cell)), 255)
    np.testing.assert_array_equal(delta[..., 0], 255)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("width", [LONGEST - 1, LONGEST, LONGEST + 1, 1000])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_the_largest_change_of_a_long_row_does_not_overflow(depth, width, sign):
    cell = np.zeros((2, width), np.int16)
    cell[1, ::2] = -1  # runs of one pixel
    most = np.iinfo(depth).max
    ends = np.zeros((2, *cell.shape, 3), depth)
    ends[0] = most
    later, earlier = ends[::sign]
    delta = compare(later, earlier, spans_of(geometry_of(cell)), most, np.full(2, 0.25))
    np.testing.assert_array_equal(delta[0, :, 0], np.float16(sign * most / 4))
    np.testing.assert_array_equal(delta[1, :, 0], np.float16(most / 4))


def test_an_image_of_more_pixels_than_can_be_summed_is_refused(monkeypatch):
    monkeypatch.setattr(change, "MOST", 11)
    cell = np.zeros((3, 4), np.int16)
    with pytest.raises(ValueError, match="12 visible pixels; expected at most 11"):
        cell_spans(cell, cell == 0, 1)
    assert cell_spans(cell, np.arange(12).reshape(3, 4) > 0, 1).n_visible == 11


def test_long_runs_are_cut():
    cell = np.zeros((2, 2 * LONGEST + 1), np.int16)
    spans = cell_spans(cell, cell == 0, 1)
    assert (spans.stop - spans.start).tolist() == 2 * [LONGEST, LONGEST, 1]
    assert spans.stretch.tolist() == [0, 3, 6]


def test_pairs_are_compared_as_each_alone():
    geometry = four_cells()
    rng = np.random.default_rng(5)
    frames = rng.integers(0, 256, (5, SIZE, SIZE, 3)).astype(np.uint8)
    frames[2] = 0  # far below its neighbours
    later, earlier = list(frames[1:]), list(frames[:-1])
    delta, shifted = compare_frames(later, earlier, spans_of(geometry), 60)
    assert shifted.tolist() == [False, True, True, False]
    for pair in (0, 3):
        alone = compare(later[pair], earlier[pair], spans_of(geometry), 60)
        np.testing.assert_array_equal(delta[pair], alone)
    nothing, none = compare_frames([], [], spans_of(geometry), 60)
    assert nothing.shape == (0, 2, 2, N_CELLS)
    assert none.shape == (0,)


def test_runs_end_with_their_row_and_stretches_at_gaps():
    cell = np.array([[0, 0, 1, 1], [1, 1, -1, 0], [0, -1, -1, 1], [-1, 2, 2, -1]], np.int16)
    spans = cell_spans(cell, cell >= 0, 3)
    assert spans.start.tolist() == [0, 2, 4, 7, 8, 11, 13]
    assert spans.stop.tolist() == [2, 4, 6, 8, 9, 12, 15]
    assert spans.cell.tolist() == [0, 1, 1, 0, 0, 1, 2]
    assert spans.stretch.tolist() == [0, 2, 3, 4, 5, 6, 7]
    assert spans.n_pixels.tolist() == [4, 5, 2]
    nothing = cell_spans(cell, cell > 9, 3)
    assert nothing.stretch.tolist() == [0]


def test_cells_without_a_pixel_are_nan():
    geometry = geometry_of(np.zeros((4, 4)))
    frame = np.zeros((4, 4, 3), np.uint8)
    delta = compare(frame, frame, spans_of(geometry), 20)
    assert np.isnan(delta[..., 1:]).all()
    assert (delta[..., 0] == 0).all()


def test_where_nothing_is_visible_nothing_shifts():
    runs = spans_of(geometry_of(np.full((4, 4), -1)))
    frame = np.zeros((4, 4, 3), np.uint8)
    assert np.isnan(compare(frame + np.uint8(255), frame, runs, 0)).all()


def test_a_frame_of_another_size_or_depth_is_refused():
    runs = spans_of(four_cells())
    frame = np.zeros((SIZE, SIZE, 3), np.uint8)
    with pytest.raises(
        ValueError, match=r"\(8, 16, 3\) and \(16, 16, 3\), a sky map of \(16, 16\)"
    ):
        compare(frame[:8], frame, runs, 20)
    with pytest.raises(ValueError, match="16, 16, 2"):
        compare(frame[..., :2], frame[..., :2], runs, 20)
    for depth in (np.uint16, np.int8, np.float32):
        with pytest.raises(ValueError, match=f"uint8 and {np.dtype(depth)}; expected 8 or 16 bits"):
            compare(frame, frame.astype(depth), runs, 20)
    with pytest.raises(ValueError, match="float32 and float32"):
        compare(frame.astype(np.float32), frame.astype(np.float32), runs, 20)


@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_sky_shift_is_refused_above_the_limit_only(channel, sign):
    geometry = four_cells()
    runs = spans_of(geometry)
    base = np.full((SIZE, SIZE, 3), 100, np.uint8)

    def shifted_by(dn):
        later = base.copy()
        later[..., channel] = (later[..., channel].astype(int) + sign * dn).astype(np.uint8)
        return later

    assert compare(shifted_by(20), base, runs, 20.0) is not None
    assert compare(shifted_by(21), base, runs, 20.0) is None
    assert compare(shifted_by(20), base, runs, 19.5) is None
    assert compare(shifted_by(20), base, runs, 20.5) is not None


def test_sky_shift_counts_visible_pixels_outside_cells_and_takes_their_median():
    cell = np.full((1, 5), -1, np.int16)
    cell[0, 0] = 0
    runs = spans_of(geometry_of(cell, visible=np.array([[1, 1, 1, 1, 0]], bool)))
    earlier = np.zeros((1, 5, 3), np.uint8)
    later = earlier.copy()
    later[0, [1, 2, 4], 0] = 40  # two of four visible pixels (median 20), and an invisible one
    assert compare(later, earlier, runs, 20) is not None
    assert compare(later, earlier, runs, 19.9) is None
    later[0, 3, 0] = 40
    assert compare(later, earlier, runs, 20) is None


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("units", [1.0, 0.25])
def test_the_barest_majority_just_beyond_the_limit_is_a_shift(units, sign):
    # So few changed so little that a bound on the sum any higher would pass them.
    cell = np.zeros((1, 255), np.int16)
    runs = spans_of(geometry_of(cell, n_cells=1))
    later = np.full((1, 255, 3), 100, np.uint16)
    later[0, :128, 1] += np.uint16(20 / units + 1)
    earlier = np.full_like(later, 100)
    pair = (later, earlier)[::sign]
    assert compare(*pair, runs, 20.0, np.full(2, units)) is None
    later[0, 0, 1] -= 1
    assert compare(*pair, runs, 20.0, np.full(2, units)) is not None


def test_blue_alone_is_no_shift():
    runs = spans_of(four_cells())
    earlier = np.zeros((SIZE, SIZE, 3), np.uint8)
    later = earlier.copy()
    later[..., 2] = 255
    assert compare(later, earlier, runs, 20) is not None


# --- partners ----------------------------------------------------------------------


def test_partner_is_the_nearest_and_of_two_the_earlier():
    candidates = times(0, 60, 115, 125, 180, 240)
    assert match_lag(times(240), candidates, 120, 15).tolist() == [2]
    assert match_lag(times(241), candidates, 120, 15).tolist() == [3]
    assert match_lag(times(239), candidates, 120, 15).tolist() == [2]


def test_tolerance_includes_its_ends():
    assert match_lag(times(135, 105, 135.000001, 104.999999), times(0), 120, 15).tolist() == [
        0,
        0,
        -1,
        -1,
    ]


def test_no_frame_is_its_own_partner_nor_a_later_ones():
    same = times(0, 1, 5)
    assert match_lag(same, same, 3, 10).tolist() == [-1, 0, 1]


def test_no_candidates():
    assert match_lag(times(1, 2), times(), 120, 15).tolist() == [-1, -1]


@settings(max_examples=200, deadline=None)
@given(
    candidates=st.lists(st.integers(0, 60), max_size=12, unique=True).map(sorted),
    own=st.integers(0, 60),
    lag=st.integers(1, 30),
    tolerance=st.integers(0, 35),
)
def test_partner_is_what_a_search_through_all_finds(candidates, own, lag, tolerance):
    found = match_lag(times(own), times(*candidates), lag, tolerance)[0]
    allowed = [c for c in candidates if c < own and abs(own - lag - c) <= tolerance]
    if not allowed:
        assert found == -1
    else:
        assert candidates[found] == min(allowed, key=lambda c: (abs(own - lag - c), c))


# --- measure -------------------------------------------------------------------------


@pytest.fixture
def campaign(monkeypatch):
    geometry = four_cells()
    monkeypatch.setattr(difference, "epoch_geometry", lambda _campaign, _epoch: geometry)
    return SimpleNamespace(camera=(epoch_of(day=1), epoch_of(day=2)))


def block_of(seconds, levels, epochs=None, first_slot=0):
    image = np.zeros((len(seconds), SIZE, SIZE, 3), np.uint8)
    image[:] = np.asarray(levels, np.uint8)[:, None, None, None]
    return FrameBlock(
        slot=np.arange(first_slot, first_slot + len(seconds)),
        image=image,
        acquired=times(*seconds),
        epoch=np.asarray(epochs or [0] * len(seconds)),
    )


def test_result_belongs_to_the_later_frame(campaign):
    block = block_of([0, 60, 120, 180], [10, 20, 13, 18])
    evidence = detector_of().measure(block, None, campaign)
    assert evidence.status.tolist() == [
        EvidenceStatus.NO_PARTNER,
        EvidenceStatus.NO_PARTNER,
        EvidenceStatus.OBSERVED,
        EvidenceStatus.OBSERVED,
    ]
    delta = evidence.values["delta"]
    assert np.isnan(delta[:2]).all()
    assert (delta[2, 0] == 3).all()
    assert (delta[3, 0] == -2).all()
    assert (delta[3, 1] == 2).all()


def test_partner_may_lie_in_the_context(campaign):
    context = block_of([-120, -60], [1, 2], first_slot=1438)
    block = block_of([0, 60], [11, 13])
    delta = detector_of().measure(block, context, campaign).values["delta"]
    assert (delta[:, 0, 0, 0] == [10, 11]).all()


def test_frames_of_two_camera_epochs_are_not_compared(campaign):
    block = block_of([0, 120, 240], [1, 2, 3], epochs=[0, 1, 1])
    evidence = detector_of().measure(block, None, campaign)
    assert evidence.status.tolist() == [
        EvidenceStatus.NO_PARTNER,
        EvidenceStatus.EPOCH_CHANGED,
        EvidenceStatus.OBSERVED,
    ]
    assert np.isnan(evidence.values["delta"][1]).all()


def test_shifted_sky_is_not_observed(campaign):
    evidence = detector_of().measure(block_of([0, 120], [10, 90]), None, campaign)
    assert evidence.status[1] == EvidenceStatus.SKY_SHIFTED
    assert np.isnan(evidence.values["delta"][1]).all()


@pytest.mark.parametrize(
    ("exposure", "gain", "status"),
    [
        ([1.0, 1.0], [2.0, 2.0], EvidenceStatus.OBSERVED),
        ([0.985, 0.986], [2.0, 2.0], EvidenceStatus.OBSERVED),
        ([1.0, 1.5], [2.0, 2.0], EvidenceStatus.EXPOSURE_CHANGED),
        ([1.0, 1.0], [2.0, 4.0], EvidenceStatus.EXPOSURE_CHANGED),
        ([np.nan, np.nan], [np.nan, np.nan], EvidenceStatus.OBSERVED),
        ([np.nan, 1.0], [2.0, 2.0], EvidenceStatus.EXPOSURE_CHANGED),
        ([1.0, np.nan], [2.0, 2.0], EvidenceStatus.EXPOSURE_CHANGED),
    ],
)
def test_a_changed_exposure_or_gain_is_not_observed(campaign, exposure, gain, status):
    block = replace(
        block_of([0, 120], [10, 12]),
        exposure_s=np.array(exposure, np.float32),
        gain=np.array(gain, np.float32),
    )
    evidence = detector_of().measure(block, None, campaign)
    assert evidence.status[1] == status
    assert np.isnan(evidence.values["delta"][1]).all() == (status != EvidenceStatus.OBSERVED)


def test_exposures_are_compared_with_the_context_too(campaign):
    context = replace(block_of([-120], [1]), exposure_s=np.array([4], np.float32))
    block = replace(block_of([0, 60], [2, 3]), exposure_s=np.array([1, 4], np.float32))
    evidence = detector_of(lag_tolerance_s=60).measure(block, context, campaign)
    assert evidence.status[0] == EvidenceStatus.EXPOSURE_CHANGED


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_compared_before_they_are_reduced(campaign, channels):
    """3 counts of a camera whose 8-bit step is 100 counts: nothing in the 8-bit frame."""
    deep = np.full((2, SIZE, SIZE, channels), 12000, np.uint16)
    deep[1] += 3
    block = replace(block_of([0, 120], [7, 7]), image16=deep)
    update = {"black_level": 300.0, "white_level": 25800.0}
    campaign.camera = (campaign.camera[0].model_copy(update=update),)
    delta = detector_of().measure(block, None, campaign).values["delta"]
    assert np.allclose(delta[1], 0.03, rtol=1e-3)
    update["channel_response"] = (2.0, 0.5, 1.0)
    campaign.camera = (campaign.camera[0].model_copy(update=update),)
    delta = detector_of().measure(block, None, campaign).values["delta"]
    assert np.allclose(delta[1, :, 0], 0.015, rtol=1e-3)
    assert np.allclose(delta[1, :, 1], 0.06, rtol=1e-3)


def test_the_sky_shift_limit_is_in_counts_of_the_eight_bit_frame(campaign):
    update = {"black_level": 0.0, "white_level": 25500.0}
    campaign.camera = (campaign.camera[0].model_copy(update=update),)
    for step, status in [
        (2000, EvidenceStatus.OBSERVED),
        (2001, EvidenceStatus.SKY_SHIFTED),
    ]:
        deep = np.full((2, SIZE, SIZE, 1), 9000, np.uint16)
        deep[1] += step
        block = replace(block_of([0, 120], [7, 7]), image16=deep)
        found = detector_of(sky_shift_max_dn=20.0).measure(block, None, campaign)
        assert found.status[1] == status


def test_the_largest_possible_change_is_still_a_number():
    runs = spans_of(four_cells())
    earlier = np.zeros((SIZE, SIZE, 3), np.uint16)
    found = compare(earlier + np.uint16(65535), earlier, runs, 1e9, np.full(2, 10.0))
    assert np.isfinite(found).all()


# --- thresholds ------------------------------------------------------------------------


def evidence_of(delta, status=EvidenceStatus.OBSERVED):
    n = len(delta)
    return Evidence(
        acquired=times(*range(n)),
        slot=np.arange(n),
        status=np.full(n, status, np.uint8),
        values={"delta": np.asarray(delta, np.float16)},
    )


def delta_of(red, green, magnitude=0.0):
    """One frame: the signed mean in all four cells, and a mean magnitude."""
    delta = np.empty((1, 2, 2, N_CELLS))
    delta[:, 0, 0], delta[:, 0, 1], delta[:, 1] = red, green, magnitude
    return delta


@pytest.mark.parametrize(
    ("red", "green", "both", "either"),
    [(2, 2, 254, 254), (2.5, 1, 0, 254), (-2.5, -2.5, 254, 254), (1, 1, 0, 0), (1, -9, 0, 254)],
)
def test_red_and_or_green(campaign, red, green, both, either):
    for combine, expected in [("and", both), ("or", either)]:
        detector = detector_of(threshold_dn=1.5, combine=combine)
        fraction = detector.fractions(evidence_of(delta_of(red, green)), np.array([0]), campaign)
        assert fraction.dtype == np.uint8
        assert fraction.tolist() == [[expected] * N_CELLS]


def test_threshold_itself_does_not_flag(campaign):
    detector = detector_of(threshold_dn=2.0)
    fraction = detector.fractions(evidence_of(delta_of(2, 2)), np.array([0]), campaign)
    assert (fraction == 0).all()


def test_absolute_tests_the_mean_magnitude(campaign):
    evidence = evidence_of(delta_of(0, 0, magnitude=5))
    for statistic, expected in [("signed", 0), ("absolute", 254)]:
        detector = detector_of(threshold_dn=2.0, statistic=statistic)
        assert (detector.fractions(evidence, np.array([0]), campaign) == expected).all()


def test_k_sigma_uses_the_epochs_own_noise_by_cell(campaign):
    campaign.camera = (
        epoch_of(Noise(red_dn=1.0, green_dn=2.0)),
        epoch_of(Noise(red_dn=(1.0, 1.5, 2.0, 4.0), green_dn=0.5), day=2),
    )
    detector = detector_of(k_sigma=2.0)
    evidence = evidence_of(np.concatenate([delta_of(3.5, 4.5), delta_of(3.5, 4.5)]))
    fraction = detector.fractions(evidence, np.array([0, 1]), campaign)
    assert fraction.tolist() == [[254] * 4, [254, 254, 0, 0]]


@pytest.mark.parametrize("noise", [None, Noise(), Noise(red_dn=1.0)])
def test_missing_noise_names_the_key_and_the_command(campaign, noise):
    detector = detector_of()
    with pytest.raises(ConfigurationError, match=r"noise of .*20180101.*`reprocess noise`"):
        detector.detection_settings(epoch_of(noise))
    campaign.camera = (epoch_of(noise),)
    with pytest.raises(ConfigurationError, match="noise"):
        detector.fractions(evidence_of(delta_of(1, 1)), np.array([0]), campaign)


def test_threshold_in_counts_wins_over_noise():
    given_noise = epoch_of(Noise(red_dn=1.0, green_dn=2.0))
    settings = detector_of(threshold_dn=3.0).detection_settings(given_noise)
    assert settings == {"statistic": "signed", "combine": "and", "threshold_dn": 3.0}
    assert detector_of(threshold_dn=3.0).detection_settings(epoch_of()) == settings


def test_nan_is_never_flagged():
    delta = np.full((1, 2, 2, 1), np.nan, np.float16)
    assert not flag_cells(delta, np.float64(0.0), "signed", "or").any()


def test_what_is_not_observed_is_255(campaign, monkeypatch):
    geometry = geometry_of(np.zeros((SIZE, SIZE)), observed=[True, True, False, True])
    monkeypatch.setattr(difference, "epoch_geometry", lambda _campaign, _epoch: geometry)
    delta = delta_of(9, 9)
    delta[..., 1] = np.nan
    detector = detector_of(threshold_dn=2.0)
    assert detector.fractions(evidence_of(delta), np.array([0]), campaign).tolist() == [
        [254, 255, 255, 254]
    ]
    for status in set(EvidenceStatus) - {EvidenceStatus.OBSERVED}:
        found = detector.fractions(evidence_of(delta_of(9, 9), status), np.array([0]), campaign)
        assert (found == 255).all()
