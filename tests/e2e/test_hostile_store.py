"""A store whose objects are garbage, huge or of a wrong type: a clear error, or mended.

And never a number that is silently wrong: after the next runs the store is a first run's, or the
command says what stands in the way.
"""

import json
import os
import shutil

import pytest

from reprocess import cli
from reprocess.stores.sealed import seal

DAY = "2021-12-31"
DEEP = b"[" * 200_000
GARBAGE = {
    "empty": b"",
    "text": b"hello",
    "not utf-8": b"\xff\xfe\x00",
    "list": b"[1, 2]",
    "number": b"1e9999",
    "mapping": b'{"a": 1}',
    "deep": DEEP,
    "types": b'{"run": [], "pid": "x", "host": 3, "alive": {}, "taken": "z", "frames_per_s": "q", '
    b'"attributes": 7, "objects": 1, "facts": 2, "node_type": [], "settings": 3, "days": [4]}',
}


@pytest.fixture(scope="module")
def committed(tmp_path_factory, make_tiny):
    """A campaign that was run once; not to be changed."""
    tiny = make_tiny(tmp_path_factory.mktemp("hostile") / "tiny")
    tiny.put_days(DAY, times=("00:00", "00:10"))
    tiny.document["years"] = [2021]
    outcome = tiny.run()
    assert outcome.code == 0, outcome.err
    return tiny


@pytest.fixture
def copy(committed, tmp_path, make_tiny, unsynced):  # noqa: ARG001
    tiny = make_tiny(tmp_path / "tiny")
    tiny.document["years"] = [2021]
    shutil.copytree(committed.archive, tiny.archive, dirs_exist_ok=True)
    shutil.copytree(committed.store, tiny.store)
    return tiny


def verify(tiny, *arguments):
    return cli.main(["verify", str(tiny.store), *map(str, arguments)])


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_beside_the_result_stops_nothing(copy, what):
    """Caches, locks and the tales of runs decide nothing."""
    before = copy.keys()
    for path in (*copy.store.glob("runs/*/run.json"), copy.store / "runs/seen/2021.json",
                 *copy.store.glob("locks/*/1*")):  # fmt: skip
        path.write_bytes(GARBAGE[what])
    (copy.store / "locks/2021/²").write_bytes(b"")
    (copy.store / "locks/2021/9x").write_bytes(b"")
    failure = copy.store / f"failures/2021/{DAY}.json"
    failure.parent.mkdir(parents=True, exist_ok=True)
    failure.write_bytes(GARBAGE[what])

    outcome = copy.run("--recompute", "detections")

    assert outcome.code == 0, outcome.err + outcome.out
    assert "Traceback" not in outcome.err
    assert copy.keys() == before


@pytest.mark.parametrize("what", ["empty", "deep", "types"])
def test_garbage_in_metadata_is_mended_by_the_run_that_reads_it(copy, what):
    before = copy.keys()
    for key in copy.keys():  # noqa: SIM118
        if key.endswith("/zarr.json"):
            (copy.store / key).write_bytes(GARBAGE[what])

    outcome = copy.run("--recompute", "evidence")

    assert outcome.code == 0, outcome.err + outcome.out
    assert copy.keys() == before


@pytest.mark.parametrize("what", ["empty", "deep", "types", "mapping"])
def test_garbage_in_records_is_said_and_repaired(copy, what, capsys):
    before = copy.keys()
    for path in copy.store.glob("records/2021/**/*.json"):
        path.write_bytes(GARBAGE[what])

    outcome = copy.run()
    assert "Traceback" not in outcome.err
    assert verify(copy, "--repair", copy.file, "--cluster", "serial") == 0, capsys.readouterr().out
    assert copy.keys() == before


def test_a_changed_fill_value_never_becomes_a_number(copy):
    """One bit of metadata would turn 'not observed' into 'aurora': it is refused, then mended."""
    import reprocess

    before = copy.keys()
    for name in ("zarr.json", "fraction/zarr.json"):
        path = copy.store / "detections/diff/2021.zarr" / name
        path.write_bytes(path.read_bytes().replace(b'"fill_value": 255', b'"fill_value": 254'))
    assert copy.keys() != before

    with pytest.raises(reprocess.errors.LayoutDamaged, match=r"detections/diff/2021\.zarr"):
        reprocess.count_occurrence(str(copy.store))
    outcome = copy.run("--recompute", "cube")

    assert outcome.code == 0, outcome.err
    assert copy.keys() == before


def test_a_changed_bit_in_the_cubes_settings_does_not_remove_its_other_years(copy):
    path = copy.store / "occurrence.zarr/zarr.json"
    before = copy.keys()
    text = json.loads(path.read_bytes())
    text["attributes"]["settings_digest"] = "0" * 24
    path.write_bytes(json.dumps(text).encode())

    outcome = copy.run("--recompute", "cube")

    assert outcome.code == 0
    assert "another shape" not in outcome.err
    assert copy.keys() == before


@pytest.mark.parametrize("name", ["counts/zarr.json", "zarr.json", "counts/c/0/1/0/0/0"])
def test_a_cube_that_cannot_be_read_says_what_to_do(copy, name, capsys):
    (copy.store / "occurrence.zarr" / name).write_bytes(b"{")

    assert cli.main(["plot", "occurrence", str(copy.store), str(copy.root / "map.png")]) == 1
    said = capsys.readouterr().err
    assert "reprocess verify" in said
    assert "Traceback" not in said


@pytest.mark.timeout(60)
def test_pipes_and_huge_files_in_the_place_of_objects(copy):
    [record] = copy.store.glob("records/2021/cube/*.json")
    with record.open("r+b") as file:
        file.truncate(1 << 40)
    chunk = copy.store / "detections/diff/2021.zarr/fraction/c/364/0"
    chunk.unlink()
    os.mkfifo(chunk)

    assert verify(copy) == 1
    assert verify(copy, "--repair", copy.file, "--cluster", "serial") == 0
    assert verify(copy) == 0


@pytest.mark.parametrize("name", ["frames", "frames/2021.zarr/image", "records"])
def test_a_link_that_leads_out_of_the_store_is_refused(copy, name, capsys):
    """Nothing outside is read as part of the store, changed or removed."""
    outside = copy.root / "outside"
    (copy.store / name).rename(outside)
    (copy.store / name).symlink_to(outside)
    before = {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()}

    outcome = copy.run("--recompute", "frames")
    assert outcome.code == 1
    assert "link to a directory" in outcome.err + outcome.out
    assert verify(copy) == 1
    assert "link to a directory" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()} == before


def test_a_store_may_itself_be_a_link(copy):
    real = copy.root / "real"
    copy.store.rename(real)
    copy.store.symlink_to(real)

    assert copy.run().done == 0
    assert verify(copy) == 0


def test_records_that_name_what_is_not_theirs_reach_nothing(copy, capsys):
    """A record is a list of names: those that climb or belong to others are findings."""
    [path] = copy.store.glob("records/2021/frames/*.json")
    document = json.loads(path.read_bytes())
    document["objects"] |= {"../../secret": "0" * 64, "/etc/passwd": "1" * 64}
    path.write_bytes(seal(document))

    assert verify(copy) == 1
    said = capsys.readouterr().out
    assert "not of its store" in said
    assert "expected a relative path" in said


def test_dates_that_are_none_and_foreign_records_are_ignored_by_a_run(copy):
    before = copy.keys()
    fingerprint = "a" * 48
    for key in (f"records/2021/frames/2021-02-31.{fingerprint}.json",
                f"records/2020/frames/2021-12-31.{fingerprint}.json",
                f"records/2021/frames/diff/2021-12-31.{fingerprint}.json",
                f"records/0000/cube/0000.{fingerprint}.json"):  # fmt: skip
        path = copy.store / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")

    outcome = copy.run()

    assert outcome.code == 0, outcome.err
    assert outcome.done == 0
    assert {k: v for k, v in copy.keys().items() if k in before} == before
