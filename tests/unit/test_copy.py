"""`reprocess copy`: what arrives, in which order, and what a run then has left to do."""

import json

import pytest

from reprocess import cli
from reprocess.copy import copy_store
from reprocess.errors import ConfigurationError, LockHeld
from reprocess.stores.lock import acquire
from reprocess.stores.objects import LocalObjects, MemoryObjects, S3Objects

DAYS = ("2021-01-01", "2021-03-05", "2022-01-01")


@pytest.fixture
def campaign(tiny):
    """A tiny campaign that was run on disk."""
    tiny.put_days(*DAYS)
    assert tiny.run().code == 0
    return tiny


def kept(objects):
    """Objects in which two equal stores agree."""
    free = ("runs/", "failures/", "locks/")
    return {key: objects.read(key) for key in objects.keys("") if not key.startswith(free)}


class Recording(MemoryObjects):
    """Remembers the order of what is written and deleted; can break off."""

    def __init__(self, breaks_at=None):
        super().__init__()
        self.log = []
        self.breaks_at = breaks_at

    def write(self, key, data):
        if len(self.log) == self.breaks_at:
            raise OSError("the line went dead")
        self.log.append(key)
        super().write(key, data)

    def delete(self, key):
        self.log.append(f"-{key}")
        super().delete(key)


def copy(campaign, target, years=None):
    return copy_store(LocalObjects(campaign.store), target, years, lambda _line: None)


def test_a_copy_holds_the_same_bytes_and_nothing_of_locks_and_unfinished_writes(
    campaign, same_keys
):
    (campaign.store / "runs/tmp").mkdir(exist_ok=True)
    (campaign.store / "runs/tmp/torn").write_bytes(b"x")
    target = MemoryObjects()
    copied = copy(campaign, target)
    same_keys(kept(target), campaign.keys())
    assert copied.blocks == 3 * 5 + 2
    assert copied.left == {}
    assert [key for key in target.keys("runs") if key.startswith("runs/tmp")] == []
    assert set(target.keys("runs")) >= {"runs/seen/2021.json", "runs/seen/2022.json"}


def test_each_record_comes_after_its_objects_and_the_cubes_last(campaign):
    target = Recording()
    copy(campaign, target)
    order = {key: number for number, key in enumerate(target.log)}
    records = [key for key in order if key.startswith("records/2")]
    for key in records:
        objects = json.loads(target.read(key))["objects"]
        assert all(order[name] < order[key] for name in objects)
    cube = [order[key] for key in records if "/cube/" in key]
    assert min(cube) > max(order[key] for key in records if "/cube/" not in key)


def test_nothing_runs_again_on_the_copy(campaign, tmp_path):
    target = tmp_path / "moved"
    assert cli.main(["copy", str(campaign.store), str(target)]) == 0
    outcome = campaign.run(store=target)
    assert (outcome.code, outcome.done) == (0, 0)
    assert outcome.report["complete"]


def test_a_second_copy_moves_nothing(campaign):
    target = Recording()
    copy(campaign, target)
    target.log.clear()
    again = copy(campaign, target)
    assert (again.blocks, again.there) == (0, 17)
    assert [key for key in target.log if not key.startswith("locks/")] == []


def test_a_copy_that_breaks_off_anywhere_goes_on_from_there(campaign, same_keys):
    whole = Recording()
    copy(campaign, whole)
    given_back = next(i for i, key in enumerate(whole.log) if key.endswith(".released"))
    for point in range(0, given_back, 23):
        target = Recording(breaks_at=point)
        with pytest.raises(OSError, match="line went dead"):
            copy(campaign, target)
        target.breaks_at = None
        for key in list(target.keys("locks")):
            target.delete(key)  # its process would be gone; this one is not
        # Whatever has a record is whole already.
        for key in [key for key in target.keys("records/2021") if "/cube/" not in key]:
            assert all(target.exists(name) for name in json.loads(target.read(key))["objects"])
        assert copy(campaign, target).left == {}
        same_keys(kept(target), campaign.keys())


def test_an_older_copy_becomes_the_newer_and_keeps_no_chunk_of_before(campaign, same_keys):
    target = MemoryObjects()
    copy(campaign, target)
    campaign.path("2021-03-05", "00:00").unlink()
    campaign.path("2021-03-05", "00:10").unlink()
    campaign.put("2021-03-05", "13:00")
    assert campaign.run().code == 0
    assert copy(campaign, target).blocks == 6
    same_keys(kept(target), campaign.keys())


def test_years_may_be_copied_one_by_one(campaign, same_keys):
    target = MemoryObjects()
    assert copy(campaign, target, [2022]).blocks == 6
    assert not [key for key in target.keys("frames") if "2021" in key]
    assert copy(campaign, target, [2021]).blocks == 11
    same_keys(kept(target), campaign.keys())


def test_a_damaged_object_is_left_and_its_block_has_no_record(campaign):
    key = next(iter(sorted((campaign.store / "frames/2021.zarr/image/c").rglob("*/0"))))
    chunk = next(path for path in [key, *key.rglob("*")] if path.is_file())
    chunk.write_bytes(b"rot")
    target = MemoryObjects()
    copied = copy(campaign, target)
    assert len(copied.left) == 1
    ((block, why),) = copied.left.items()
    assert block.stage == "frames"
    assert "found content" in why
    assert not [key for key in target.keys("records/2021/frames") if block.day in key]


def test_another_campaigns_store_is_not_written_to(campaign):
    target = MemoryObjects()
    target.write("records/settings/frames.json", b"{}")
    with pytest.raises(ConfigurationError, match="differs"):
        copy(campaign, target)
    assert list(target.data) == ["records/settings/frames.json"]


def test_a_store_is_not_copied_into_itself(campaign):
    before = campaign.keys()
    for target in (campaign.store, campaign.store / "sub", campaign.root):
        with pytest.raises(ConfigurationError, match="expected two stores, neither in the other"):
            copy(campaign, LocalObjects(target))
    assert campaign.keys() == before
    assert not (campaign.store / "sub").exists()


def test_a_target_that_a_run_is_writing_is_left_alone(campaign):
    target = MemoryObjects()
    acquire(target, "2021", "a-run", lambda _line: None)
    with pytest.raises(LockHeld, match="a-run"):
        copy(campaign, target)
    assert not list(target.keys("records"))


def test_an_empty_source_is_an_error(tmp_path):
    with pytest.raises(ConfigurationError, match="no committed block"):
        copy_store(LocalObjects(tmp_path), MemoryObjects(), None, lambda _line: None)


def test_there_and_back_through_s3_changes_no_byte(campaign, moto_s3, tmp_path, same_keys):
    url = f"{moto_s3.make_bucket()}/a store"
    assert cli.main(["copy", str(campaign.store), url]) == 0
    same_keys(kept(S3Objects(url)), campaign.keys())
    assert cli.main(["copy", url, str(tmp_path / "back")]) == 0
    same_keys(kept(LocalObjects(tmp_path / "back")), campaign.keys())


def test_access_is_given_on_the_command_line_and_secrets_are_not(campaign, tmp_path, capsys):
    command = ["copy", str(campaign.store), str(tmp_path / "x")]
    assert cli.main([*command, "--target-access", "secret_key=hunter2"]) == 2
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert "aws/credentials" in said
    assert cli.main(["copy", "s3://me:hunter2@bucket/x", str(tmp_path / "x")]) == 2
    assert "hunter2" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(28, "No space left on device"), 1, "error: [Errno 28] No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted: what is committed stays"),
        (LockHeld("another run"), 3, "error: another run"),
    ],
)
def test_a_verb_that_is_stopped_ends_with_a_line_and_its_code(
    tmp_path, monkeypatch, capsys, error, code, said
):
    def stop(*_arguments):
        raise error

    monkeypatch.setattr("reprocess.copy.copy_store", stop)
    assert cli.main(["copy", str(tmp_path / "a"), str(tmp_path / "b")]) == code
    assert capsys.readouterr().err.startswith(said)
