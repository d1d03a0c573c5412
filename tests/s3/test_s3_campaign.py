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


def test_the_cube_opens_in_plain_xarray_and_by_url(campaign, radosgw, tmp_path):
    import xarray as xr

    import reprocess

    assert campaign.run().code == 0
    store = campaign.document["store"]
    plain = xr.open_zarr(f"{store}/occurrence.zarr", chunks=None)
    options = {"key": radosgw.environment["AWS_ACCESS_KEY_ID"]}
    options["secret"] = radosgw.environment["AWS_SECRET_ACCESS_KEY"]
    options["endpoint_url"] = radosgw.endpoint
    explicit = xr.open_zarr(f"{store}/occurrence.zarr", chunks=None, storage_options=options)
    for key, data in campaign.wanted.items():
        path = tmp_path / "disk" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    disk = reprocess.open_cube(str(tmp_path / "disk"))
    assert int(disk["counts"].sum()) > 0
    for opened in (plain, explicit, reprocess.open_cube(store)):
        assert (opened["counts"].values == disk["counts"].values).all()
    frames = xr.open_zarr(f"{store}/frames/2021.zarr", chunks=None)
    assert int((frames["status"] == 1).sum()) == 12


def test_a_store_copied_by_fsspec_alone_has_nothing_left_to_do(campaign, radosgw, tmp_path):
    import fsspec

    assert campaign.run().code == 0
    store = campaign.document["store"]
    fsspec.filesystem("s3", skip_instance_cache=True).get(
        f"{store}/", f"{tmp_path / 'down'}/", recursive=True
    )
    down = campaign.run(store=tmp_path / "down")
    assert (down.code, down.done) == (0, 0), down.err
    up = f"{radosgw.make_bucket()}/up"
    fsspec.filesystem("s3", skip_instance_cache=True).put(
        f"{tmp_path / 'down'}/", f"{up}/", recursive=True
    )
    again = campaign.run(store=up)
    assert (again.code, again.done) == (0, 0), again.err
    assert again.report["complete"]


def test_a_store_copied_by_the_copy_command_has_nothing_left_to_do(campaign, tmp_path, same_keys):
    from reprocess import cli

    assert campaign.run().code == 0
    down = tmp_path / "down"
    assert cli.main(["copy", campaign.document["store"], str(down)]) == 0
    files = [path for path in down.rglob("*") if path.is_file()]
    same_keys(
        kept({p.relative_to(down).as_posix(): p.read_bytes() for p in files}), campaign.wanted
    )
    outcome = campaign.run(store=down)
    assert (outcome.code, outcome.done) == (0, 0), outcome.err
