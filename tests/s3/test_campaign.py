"""A campaign whose archive and store are on a real S3 service equals the one on disk."""

import pytest

pytestmark = pytest.mark.s3


@pytest.fixture
def campaign(tiny, radosgw):
    """The tiny campaign, its archive on the service and on disk, its store on the service."""
    tiny.put_days("2020-12-31", "2021-01-01", "2021-03-05", "2021-12-31", "2022-01-01")
    tiny.put("2021-03-05", "12:00", data=b"not an image")
    tiny.wanted = tiny.from_scratch()
    bucket = radosgw.make_bucket()
    radosgw.upload(f"{bucket}/archive", tiny.archive)
    tiny.document["archive"]["url"] = f"{bucket}/archive"
    tiny.document["store"] = f"{bucket}/store"
    return tiny


def kept(contents):
    """Objects in which two equal runs agree."""
    free = ("runs/", "failures/", "locks/")
    return {key: data for key, data in contents.items() if not key.startswith(free)}


@pytest.mark.parametrize("cluster", ["serial", "local"])
def test_archive_and_store_on_s3_equal_the_disk_run_in_every_key(
    campaign, radosgw, same_keys, cluster
):
    done = campaign.run("--cluster", cluster)
    assert done.code == 0, done.err
    assert done.done == 4
    same_keys(kept(radosgw.contents(campaign.document["store"])), campaign.wanted)
    again = campaign.run("--cluster", cluster)
    assert (again.code, again.done) == (0, 0), again.err
