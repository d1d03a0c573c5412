"""Whatever reads a store reaches one on S3 by what it is told, not by the environment alone."""

import pytest

import reprocess
from reprocess import cli
from reprocess.errors import ConfigurationError


@pytest.fixture
def stored(tiny, moto_s3, monkeypatch):
    """A store that was run on disk, put on a service that the environment does not name."""
    tiny.put_days("2021-03-05", times=("00:00", "00:10", "00:20"))
    outcome = tiny.run()
    assert outcome.code == 0, outcome.err
    url = f"{moto_s3.make_bucket()}/store"
    moto_s3.upload(url, tiny.store)
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    tiny.url, tiny.service = url, moto_s3
    tiny.access = ["--access", f"endpoint_url={moto_s3.endpoint}", "region=us-east-1"]
    return tiny


def test_python_opens_and_counts_by_the_access_it_is_given(stored):
    access = {"endpoint_url": stored.service.endpoint, "region": "us-east-1"}
    cube = reprocess.open_cube(stored.url, access=access)
    disk = reprocess.open_cube(str(stored.store))
    assert int(disk["counts"].sum()) > 0
    assert cube.identical(disk)
    counted = reprocess.count_occurrence(stored.url, access=access, sun_elevation_max_deg=90)
    assert int(counted["counts"].sum()) == int(disk["counts"].sum())


def test_every_verb_that_reads_a_store_takes_access(stored, tmp_path, capsys):
    calls = [
        ["plot", "occurrence", stored.url, str(tmp_path / "map.png")],
        ["plot", "occurrence", stored.url, str(tmp_path / "by.png"), "--by", "month"],
        ["plot", "coverage", stored.url, str(tmp_path / "coverage.png")],
        ["report", stored.url, str(tmp_path / "page.html")],
        ["verify", stored.url],
        ["run", str(stored.file), "--store", stored.url, "--dry-run"],
    ]
    for call in calls:
        code = cli.main([*call, *stored.access])
        said = capsys.readouterr()
        assert code == 0, (call, said.err)
    assert {path.name for path in tmp_path.glob("*.*")} >= {
        "map.png", "by.png", "coverage.png", "page.html",
    }  # fmt: skip


def test_verify_finds_and_repairs_there(stored, capsys):
    contents = stored.service.contents(stored.url)
    chunk = next(key for key in contents if key.startswith("detections/") and "/c/" in key)
    stored.service.fill(stored.url, {chunk: b"damage"})
    assert cli.main(["verify", stored.url, *stored.access]) == 1
    assert "damaged" in capsys.readouterr().out
    repair = ["--repair", str(stored.file), "--cluster", "serial"]
    assert cli.main(["verify", stored.url, *repair, *stored.access]) == 0, capsys.readouterr()
    assert stored.service.contents(stored.url)[chunk] == contents[chunk]


def test_a_pictures_cube_is_reached_as_its_campaign_says(stored, tmp_path):
    stored.document["store_access"] = {
        "endpoint_url": stored.service.endpoint, "region": "us-east-1",
    }  # fmt: skip
    picture = tmp_path / "map.png"
    call = ["plot", "occurrence", stored.url, str(picture), "--campaign", str(stored.file)]
    assert cli.main(call) == 0
    assert picture.stat().st_size > 10_000


def test_an_access_that_is_none_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigurationError, match="did you mean profile"):
        reprocess.open_cube("s3://bucket/store", access={"profle": "polar"})
    with pytest.raises(ConfigurationError, match="did you mean profile"):
        reprocess.count_occurrence(str(tmp_path), access={"profle": "polar"})
