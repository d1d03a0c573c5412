"""Limits of exposure and gain: whoever counts, counts the same."""

from __future__ import annotations

import pytest

import reprocess
from reprocess.cube.groups import count_occurrence
from reprocess.errors import StoreError
from reprocess.plot.groups import count_groups
from reprocess.stores.objects import open_objects
from reprocess.stores.records import Records, only_fingerprint
from reprocess.verification.verify import verify_store

DAY = "2021-06-10"


@pytest.fixture
def limited(tiny):
    """Six frames, three of them of a gain that does not count."""
    tiny.document["archive"]["pattern"] = "%Y/%m%d/%Y%m%d_%H%M%S_g{gain}.npy"
    tiny.document["cube"]["gain_range"] = [0, 5]
    tiny.document["detectors"].pop("fcn")
    for i in range(6):
        tiny.put(DAY, f"00:{i}0", suffix="_g1" if i < 3 else "_g9")
    assert tiny.run().code == 0
    return tiny


def test_a_recount_and_maps_by_group_hold_the_same_limits(limited):
    store = str(limited.store)
    cube = reprocess.open_cube(store)
    observed = int(cube.n_observed.sum())
    assert observed > 0
    assert verify_store(store).sound
    by_month = count_groups(store, "month", like=cube)
    assert int(by_month.n_observed.sum()) == observed
    assert by_month.attrs["gain_range"] == cube.attrs["gain_range"] == [0.0, 5.0]
    everything = count_occurrence(store, sun_elevation_max_deg=90)
    assert int(everything.n_observed.sum()) == 2 * observed
    assert everything.attrs["gain_range"] == "none"


def test_without_the_frames_a_limit_of_gain_is_refused(limited):
    records = Records(open_objects(str(limited.store)))
    block = next(b for b in records.list() if b.stage == "frames")
    records.delete_all(block)
    count_occurrence(str(limited.store), sun_elevation_max_deg=90)
    with pytest.raises(StoreError, match="frames of 2021-06-10: found no record"):
        count_occurrence(str(limited.store), sun_elevation_max_deg=90, gain_range=(0, 5))


def test_frames_that_are_not_those_of_the_detections_are_refused(limited):
    """The frames were made again, the detections not yet: their slots hold other frames."""
    objects = open_objects(str(limited.store))
    records = Records(objects)
    listing = records.list()
    block = next(b for b in listing if b.stage == "detections")
    kept = records.read(block, only_fingerprint(listing[block]))
    old = {key: objects.read(key) for key in kept.objects}
    for i in range(6):
        limited.path(DAY, f"00:{i}0", "_g1" if i < 3 else "_g9").unlink()
        limited.put(DAY, f"00:{i}1", suffix="_g1")
    assert limited.run().code == 0
    records.delete_all(block)
    for key, data in old.items():
        objects.write(key, data)
    records.write(kept)
    with pytest.raises(StoreError, match="found other times than its detections have"):
        count_occurrence(str(limited.store), sun_elevation_max_deg=90, gain_range=(0, 5))
