from datetime import date

import numpy as np
import pytest

from reprocess import stages
from reprocess.campaign import campaign_from_mapping
from reprocess.cube.count import OUTCOMES
from reprocess.cube.open import open_cube
from reprocess.cube.publish import publish_year
from reprocess.cube.shape import shape_cube
from reprocess.errors import LockLost
from reprocess.stores.days import DayWriter
from reprocess.stores.layout import NOT_ACQUIRED_US
from reprocess.stores.metadata import lay_out
from reprocess.stores.objects import LocalObjects
from reprocess.stores.records import (
    MARKS,
    UNFINISHED,
    Block,
    Record,
    Records,
    day_block,
    fingerprint,
)
from reprocess.stores.zarrview import digest

JUNE, JULY, NEXT_YEAR = date(2018, 6, 1), date(2018, 7, 1), date(2019, 6, 1)
CUBE_2018 = Block("cube", "", "2018")


@pytest.fixture
def make(campaign_document):
    def make(labels=("diff", "fast"), **changes):
        document = campaign_document(**changes)
        document["detectors"] = {
            label: {"kind": "difference", "threshold_dn": 5.0} for label in labels
        }
        document["years"] = [2018, 2019]
        return campaign_from_mapping(document)

    return make


@pytest.fixture
def objects(tmp_path):
    return LocalObjects(tmp_path / "store")


def commit(objects, campaign, label, day, fraction=254, slots=(0, 1, 2), sun=-40.0):
    """Commit a day of detections with one fraction in every cell of some slots."""
    n = campaign.slots_per_day
    lay_out(objects, stages.detections_layout(campaign, label, day.year))
    values = {
        "fraction": np.full((n, 400), 255, np.uint8),
        "acquired": np.full(n, NOT_ACQUIRED_US),
        "status": np.zeros(n, np.uint8),
        **{name: np.full(n, np.nan, np.float32)
           for name in ("mlt", "sun_elevation", "moon_elevation")},
    }  # fmt: skip
    start_us = (day - date(1970, 1, 1)).days * 86_400_000_000
    for slot in slots:
        values["fraction"][slot] = fraction
        values["acquired"][slot] = start_us + slot * 3_600_000_000
        values["status"][slot] = 1
        values["mlt"][slot] = slot + 0.5
        values["sun_elevation"][slot] = sun
        values["moon_elevation"][slot] = 10.0
    path = stages.detections_path(label, day.year)
    writing = DayWriter(objects, path, day, n, lambda: None)
    for name, array in values.items():
        writing.write(name, 0, array)
    block = day_block("detections", label, day)
    found = fingerprint([label, str(day), fraction], 1)
    Records(objects).write(Record(block, found, writing.finish(stages.DETECTIONS_VARIABLES)))
    return found


def publish(objects, campaign, year, days, guard=lambda: None, facts=None):
    shaped = shape_cube(objects, campaign, max(year, 2018))
    return shaped, publish_year(objects, campaign, year, days, facts or {}, guard)


def cube_objects(objects):
    return {key: objects.read(key) for key in objects.keys("occurrence.zarr")}


def counts(objects):
    return open_cube(objects.url)


@pytest.fixture
def june(objects, make):
    """A campaign and one committed day of both its labels."""
    campaign = make()
    days = {
        str(JUNE): {
            "diff": commit(objects, campaign, "diff", JUNE, 254, (0, 1, 2)),
            "fast": commit(objects, campaign, "fast", JUNE, 0, (1, 2, 3)),
        }
    }
    return campaign, days


def test_a_year_is_counted_exactly(objects, june):
    campaign, days = june
    shaped, published = publish(objects, campaign, 2018, days)
    assert shaped is False
    assert (published.year, published.n_days, published.damaged) == (2018, 1, ())
    cube = counts(objects)
    assert cube["counts"].shape == (len(OUTCOMES), 12, 2, 24, 400)
    june_counts = cube["counts"].isel(time=5, cell=7).to_numpy()
    expected = np.zeros((4, 2, 24), int)
    expected[0, 0, :3] = expected[1, 0, :3] = expected[0, 1, 1:4] = 1
    expected[2, :, 1:3] = expected[3, 0, 1:3] = 1
    assert np.array_equal(june_counts, expected)
    assert cube["counts"].sum() == june_counts.sum() * 400
    assert cube["n_days_committed"].to_numpy().tolist() == [0] * 5 + [1] + [0] * 6


def test_frames_are_counted_under_each_cells_own_mlt(objects, june):
    """The same committed detections, no image: a cell's frames move by its own offset, exactly."""
    campaign, days = june
    own = campaign.model_copy(
        update={"cube": campaign.cube.model_copy(
            update={"mlt": "cell", "mlt_elevation_min_deg": 20.0})}
    )  # fmt: skip
    publish(objects, own, 2018, days)
    cube = counts(objects)
    assert "cell's centre" in cube.attrs["mlt"]
    offset = cube["cell_mlt_offset_h"].to_numpy()
    assert np.abs(offset).max() > 1.0
    high = cube["cell_zenith_deg"].to_numpy() <= 70.0
    observed = cube["counts"].isel(time=5).sel(outcome="observed", detector="diff").to_numpy()
    expected = np.zeros((24, 400), int)
    for cell in np.flatnonzero(high):
        for slot in (0, 1, 2):  # `commit` says that the station is at slot + 0.5 h
            expected[int((slot + 0.5 + offset[cell]) % 24), cell] += 1
    assert np.array_equal(observed, expected)
    assert (~high).any()
    assert (observed.sum(axis=1) > 0).sum() > 3  # the station alone would fill three bins


def test_frames_in_daylight_are_not_counted(objects, make):
    campaign = make(("diff",))
    found = commit(objects, campaign, "diff", JUNE, sun=-14.9)
    publish(objects, campaign, 2018, {str(JUNE): {"diff": found}})
    cube = counts(objects)
    assert cube["counts"].sum() == 0
    assert cube["n_days_committed"].sum() == 1


def test_the_record_names_what_was_counted_and_every_object(objects, june):
    campaign, days = june
    _, published = publish(
        objects, campaign, 2018, days, facts={str(JUNE): {"ledger": {"ok": 3}}, "2018-06-09": {}}
    )
    assert published.fingerprint == stages.cube_fingerprint(campaign, days)
    record = Records(objects).read(CUBE_2018, published.fingerprint)
    assert record.facts == {
        "days": {str(JUNE): {"detections": days[str(JUNE)], "ledger": {"ok": 3}}}
    }
    assert record.objects
    assert all(digest(objects.read(key)) == value for key, value in record.objects.items())
    chunks = {key for key in cube_objects(objects) if "/c/" in key}
    year_chunks = {k for k in chunks if k.split("/")[1] in ("counts", "n_days", "n_days_committed")}
    assert set(record.objects) == year_chunks


def test_publishing_again_changes_no_byte(objects, june):
    campaign, days = june
    first = publish(objects, campaign, 2018, days)
    before = {key: objects.read(key) for key in objects.keys("")}
    assert publish(objects, campaign, 2018, days) == first
    assert {key: objects.read(key) for key in objects.keys("")} == before


def test_a_label_without_a_day_was_not_observed_on_it(objects, june):
    campaign, days = june
    publish(objects, campaign, 2018, {str(JUNE): {"diff": days[str(JUNE)]["diff"]}})
    cube = counts(objects)
    assert cube["counts"].sel(outcome="observed", detector="diff").sum() == 3 * 400
    assert cube["counts"].sel(detector="fast").sum() == 0
    assert cube["counts"].sel(outcome="observed_common").sum() == 0
    assert cube["n_days_committed"].sum() == 0


def test_fewer_days_leave_nothing_of_the_others(objects, june):
    campaign, days = june
    more = {**days, str(JULY): {"diff": commit(objects, campaign, "diff", JULY)}}
    publish(objects, campaign, 2018, days)
    alone = cube_objects(objects)
    publish(objects, campaign, 2018, more)
    assert counts(objects)["counts"].isel(time=6).sum() > 0
    publish(objects, campaign, 2018, days)
    assert cube_objects(objects) == alone
    publish(objects, campaign, 2018, {})
    assert counts(objects)["counts"].sum() == 0


@pytest.mark.parametrize("damage", ["flipped", "missing", "no record"])
def test_a_damaged_block_is_left_out_and_its_record_taken_back(objects, june, damage):
    campaign, days = june
    days = {**days, str(JULY): {"diff": commit(objects, campaign, "diff", JULY)}}
    block = day_block("detections", "diff", JUNE)
    record = Records(objects).read(block, days[str(JUNE)]["diff"])
    key = next(key for key in record.objects if "/fraction/" in key)
    if damage == "flipped":
        data = bytearray(objects.read(key))
        data[len(data) // 2] ^= 1
        objects.write(key, bytes(data))
    elif damage == "missing":
        objects.delete(key)
    else:
        Records(objects).delete_all(block)
    _, published = publish(objects, campaign, 2018, days)
    ((damaged, text),) = published.damaged
    assert damaged == block
    assert ("no such record" in text) if damage == "no record" else (key in text)
    listing = Records(objects).list()
    assert block not in listing
    assert day_block("detections", "fast", JUNE) in listing
    kept = {str(JUNE): {"fast": days[str(JUNE)]["fast"]}, str(JULY): days[str(JULY)]}
    assert published.fingerprint == stages.cube_fingerprint(campaign, kept)
    assert listing[CUBE_2018] == [published.fingerprint]
    cube = counts(objects)
    assert cube["counts"].isel(time=5).sel(detector="diff").sum() == 0
    assert cube["counts"].isel(time=5).sel(detector="fast", outcome="observed").sum() == 1200
    assert cube["counts"].isel(time=6).sel(detector="diff", outcome="observed").sum() == 1200
    assert cube["n_days_committed"].sum() == 0


def test_the_cube_grows_at_its_end_only(objects, june):
    campaign, days = june
    publish(objects, campaign, 2018, days)
    before = cube_objects(objects)
    later = {str(NEXT_YEAR): {"diff": commit(objects, campaign, "diff", NEXT_YEAR)}}
    shaped, _ = publish(objects, campaign, 2019, later)
    assert shaped is False
    after = cube_objects(objects)
    arrays = ("counts", "n_days", "n_days_committed")
    chunks = [k for k in before if "/c/" in k and k.split("/")[1] in arrays]
    assert chunks
    assert all(after[key] == before[key] for key in chunks)
    cube = counts(objects)
    assert cube.sizes["time"] == 24
    assert str(cube["time"].values[0])[:7] == "2018-01"
    assert cube["counts"].isel(time=5).sum() > 0
    assert cube["counts"].isel(time=17).sum() > 0
    assert len([b for b in Records(objects).list() if b.stage == "cube"]) == 2


def test_a_cube_of_fewer_years_leaves_no_chunk_behind(objects, june):
    campaign, days = june
    publish(objects, campaign, 2018, days)
    short = cube_objects(objects)
    publish(objects, campaign, 2019, {str(NEXT_YEAR): {
        "diff": commit(objects, campaign, "diff", NEXT_YEAR)}})  # fmt: skip
    shape_cube(objects, campaign, 2018)
    assert cube_objects(objects) == short


def test_the_order_of_the_years_does_not_matter(objects, june):
    campaign, days = june
    later = {str(NEXT_YEAR): {"diff": commit(objects, campaign, "diff", NEXT_YEAR)}}
    shape_cube(objects, campaign, 2019)
    publish_year(objects, campaign, 2019, later, {}, lambda: None)
    publish_year(objects, campaign, 2018, days, {}, lambda: None)
    backwards = cube_objects(objects)
    objects.delete_tree("occurrence.zarr")
    publish(objects, campaign, 2018, days)
    publish(objects, campaign, 2019, later)
    assert cube_objects(objects) == backwards


def other_cube(make, what):
    if what == "labels":
        return make(("diff", "fast", "third"))
    if what == "order":
        return make(("fast", "diff"))
    return make(cube={"mlt_bins": 12} if what == "bins" else {"sun_elevation_max_deg": -18})


@pytest.mark.parametrize("what", ["labels", "order", "bins", "selection"])
def test_another_cube_replaces_the_first_whole(objects, june, make, what):
    campaign, days = june
    publish(objects, campaign, 2018, days)
    other = other_cube(make, what)
    assert shape_cube(objects, other, 2018) is True
    assert Records(objects).list()[CUBE_2018] == [UNFINISHED]
    assert not any("/counts/c/" in key for key in cube_objects(objects))
    publish_year(objects, other, 2018, days, {}, lambda: None)
    assert counts(objects)["detector"].values.tolist() == list(other.detectors)
    assert shape_cube(objects, other, 2018) is False
    expected = 3 * 400
    assert counts(objects)["counts"].sel(outcome="observed", detector="diff").sum() == expected


def test_records_go_before_what_they_name(objects, june, make, monkeypatch):
    campaign, days = june
    publish(objects, campaign, 2018, days)

    delete = objects.delete

    def crash(key):
        if key.startswith("occurrence.zarr"):
            raise OSError(key)
        delete(key)

    monkeypatch.setattr(objects, "delete", crash)
    with pytest.raises(OSError, match=r"occurrence\.zarr"):
        shape_cube(objects, make(("diff",)), 2018)
    assert Records(objects).list()[CUBE_2018] == [UNFINISHED]


def test_a_lost_lock_stops_before_the_record(objects, june):
    campaign, days = june
    shape_cube(objects, campaign, 2018)
    for allowed in range(5):
        left = [allowed]

        def guard(left=left):
            left[0] -= 1
            if left[0] < 0:
                raise LockLost("cube")

        with pytest.raises(LockLost):
            publish_year(objects, campaign, 2018, days, {}, guard)
        assert set(Records(objects).list().get(CUBE_2018, [])) <= MARKS
    publish_year(objects, campaign, 2018, days, {}, lambda: None)
    assert CUBE_2018 in Records(objects).list()
