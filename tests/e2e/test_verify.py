"""`reprocess verify` finds one changed bit anywhere in a store, and `--repair` mends just that."""

import contextlib
import io
import json
import os
import random
import shutil
from dataclasses import dataclass

import pytest

from reprocess import cli
from reprocess.cube.open import open_cube
from reprocess.stores.sealed import seal, unseal
from reprocess.verification.reconcile import reconcile
from reprocess.verification.verify import verify_store

DAYS = ("2021-12-30", "2021-12-31", "2022-01-01")
EVERY = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
"""All objects of the store instead of a sample of each kind."""


@dataclass
class Verdict:
    """What the command returned and said."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out.splitlines()[-1])

    @property
    def findings(self):
        return self.document["verification"]["findings"]


def verify(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(["verify", *map(str, arguments), "--json"])
    return Verdict(code, out.getvalue(), err.getvalue())


def repair(tiny, *arguments):
    return verify(tiny.store, "--repair", tiny.file, "--cluster", "serial", *arguments)


def flip(path, bit=None):
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    bit = len(data) * 4 if bit is None else bit
    data[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(data)


def a_chunk(store, path, name, first=-1):
    """One chunk of a variable, by default that of the year's last day."""
    root = store / path / name / "c"
    chunks = sorted((p for p in root.rglob("*") if p.is_file()),
                    key=lambda p: int(p.relative_to(root).parts[0]))  # fmt: skip
    return chunks[first]


@pytest.fixture(scope="module")
def committed(tmp_path_factory, make_tiny):
    """A campaign that was run once; not to be changed."""
    tiny = make_tiny(tmp_path_factory.mktemp("verify") / "tiny")
    tiny.put_days(*DAYS)
    outcome = tiny.run()
    assert outcome.code == 0, outcome.err
    return tiny


@pytest.fixture
def copy(committed, tmp_path, make_tiny, unsynced):  # noqa: ARG001
    """The same campaign with a store and an archive of its own."""
    tiny = make_tiny(tmp_path / "tiny")
    shutil.copytree(committed.archive, tiny.archive, dirs_exist_ok=True)
    shutil.copytree(committed.store, tiny.store)
    return tiny


def kind_of(key):
    """Objects of one kind: the same array or the same kind of record."""
    parts = [p for p in key.split("/") if not any(c.isdigit() for c in p)]
    return "/".join(parts)


def test_a_sound_store_is_sound(committed):
    verdict = verify(committed.store)

    assert verdict.code == 0, verdict.out
    assert "nothing wrong was found" in verdict.out
    checked = verdict.document["verification"]["checked"]
    on_disk = [k for k in sorted(committed.keys()) if not k.startswith("records/")]
    assert checked["objects"] == len(on_disk)
    assert checked["archive frames"] == 12
    assert checked["cube-years recounted"] == 2
    assert not verdict.document["verification"]["not_checked"]


def test_verifying_writes_nothing(committed):
    before = {p: p.stat().st_mtime_ns for p in committed.store.rglob("*")}
    verify(committed.store, "--years", "2021")
    assert {p: p.stat().st_mtime_ns for p in committed.store.rglob("*")} == before


def test_one_changed_bit_anywhere_is_found_and_its_block_is_named(copy):
    """Each object of the store in turn; in CI some of each kind. One random bit of each."""
    rng = random.Random(20211230)
    kinds = {}
    for path in sorted(p for p in copy.store.rglob("*") if p.is_file()):
        key = path.relative_to(copy.store).as_posix()
        # Locks, logs and pages tell about runs, and nothing vouches for them.
        if not key.startswith("locks/") and not key.endswith((".jsonl", ".html")):
            kinds.setdefault(kind_of(key), []).append((key, path))
    assert len(kinds) > 40
    tried = 0
    for members in kinds.values():
        sample = members if EVERY else rng.sample(members, 1)
        for key, path in sample:
            whole = path.read_bytes()
            flip(path, rng.randrange(8 * len(whole)))
            found = verify_store(str(copy.store))
            reconcile(found)
            path.write_bytes(whole)
            named = [f for f in found.findings if f.key == key]
            assert named, f"{key}: one bit changed, found {[str(f) for f in found.findings]}"
            assert block_named(named[0], key), named[0]
            tried += 1
    assert tried >= len(kinds)
    assert verify_store(str(copy.store)).sound


def block_named(finding, key):
    """Whether a finding names the stage, label and day (or year) that a key belongs to."""
    parts = key.split("/")
    if parts[0] in ("frames", "evidence", "detections"):
        label = parts[1] if parts[0] != "frames" else ""
        year = next(p for p in parts if p.endswith(".zarr"))[:4]
        return all(text in finding.where for text in (parts[0], label, year))
    if parts[0] == "records" and parts[1].isdigit():
        return str(finding.block) == " ".join([*parts[2:-1], parts[-1].split(".")[0]])
    return True


@pytest.mark.parametrize(
    ("path", "name", "first", "where"),
    [
        ("frames/2021.zarr", "image", 0, "frames 2021-12-30"),
        ("frames/2021.zarr", "status", -1, "frames 2021-12-31"),
        ("evidence/fcn/2021.zarr", "logit", 0, "evidence fcn 2021-12-30"),
        ("detections/diff/2022.zarr", "fraction", 0, "detections diff 2022-01-01"),
    ],
)
def test_a_damaged_chunk_is_named_and_only_its_day_is_made_again(copy, path, name, first, where):
    before = copy.keys()
    flip(a_chunk(copy.store, path, name, first))

    verdict = verify(copy.store)
    assert verdict.code == 1
    assert [f["where"] for f in verdict.findings] == [where]
    assert [f["kind"] for f in verdict.findings] == ["damaged"]

    verdict = repair(copy)
    assert verdict.code == 0, verdict.out + verdict.err
    assert verdict.document["repair"]["days"] == [where[-10:]]
    assert copy.keys() == before


def test_a_missing_chunk_is_found_and_made_again(copy):
    before = copy.keys()
    a_chunk(copy.store, "detections/fcn/2021.zarr", "fraction").unlink()

    verdict = verify(copy.store)
    assert [(f["kind"], f["where"]) for f in verdict.findings] == [
        ("missing", "detections fcn 2021-12-31")
    ]

    assert repair(copy).code == 0
    assert copy.keys() == before


METADATA = (
    "frames/2021.zarr/zarr.json", "frames/2021.zarr/image/zarr.json",
    "frames/2021.zarr/time/c/0", "detections/diff/2021.zarr/fraction/zarr.json",
    "detections/diff/2021.zarr/cell_zenith_deg/c/0", "evidence/fcn/2021.zarr/zarr.json",
    "occurrence.zarr/zarr.json", "occurrence.zarr/mlt/c/0",
    "records/layout/frames/2022.zarr.json", "records/layout/cube/occurrence.zarr.json",
)  # fmt: skip


@pytest.mark.parametrize("damage", ["bit", "gone", "garbage"])
def test_damaged_metadata_is_written_again_without_making_a_block(copy, damage):
    before = copy.keys()
    for key in METADATA:
        path = copy.store / key
        if damage == "bit":
            flip(path)
        elif damage == "gone":
            path.unlink()
        else:
            path.write_bytes(b'{"shape": [1e999999], "node_type": ["array"], "attributes": 3}')
    in_the_cube = {k for k in METADATA if k.startswith("occurrence.zarr")}

    verdict = verify(copy.store)
    assert verdict.code == 1
    assert {f["kind"] for f in verdict.findings} == {"metadata"}
    # What a hierarchy was laid out as being damaged, its metadata has nothing to be held against.
    assert {f["key"] for f in verdict.findings} == set(METADATA) - in_the_cube

    verdict = repair(copy)
    assert verdict.code == 0, verdict.out + verdict.err
    assert verdict.document["repair"]["days"] == []
    assert copy.keys() == before


@pytest.mark.parametrize("name", ["frames", "diff"])
def test_damaged_settings_are_found_and_written_again(copy, name):
    before = copy.keys()
    flip(copy.store / f"records/settings/{name}.json")

    assert [f["kind"] for f in verify(copy.store).findings] == ["settings"]
    # A run with other settings says so, and does not take damaged settings for its own.
    section = copy.document if name == "frames" else copy.document["detectors"][name]
    key, value = ("phase_s", 60.0) if name == "frames" else ("lag_s", 1200)
    kept = {k: section[k] for k in [key] if k in section}
    section[key] = value
    outcome = copy.run()
    assert outcome.code == 1, outcome.err
    assert "expected the settings that" in outcome.err
    assert "verify STORE --repair" in outcome.err
    section.pop(key)
    section.update(kept)

    assert repair(copy).code == 0
    assert copy.keys() == before


@pytest.mark.parametrize("name", ["frames", "diff"])
def test_settings_that_were_cut_off_are_bound_again_by_a_run_that_agrees(copy, name, caplog):
    caplog.set_level("INFO", "reprocess")
    before = copy.keys()
    path = copy.store / f"records/settings/{name}.json"
    path.write_bytes(path.read_bytes()[:100])

    outcome = copy.run()

    assert (outcome.code, outcome.done) == (0, 0), outcome.err
    assert f"settings of {name} were damaged: written again" in caplog.text
    assert copy.keys() == before


RECORDS = ("records/2021/frames/*30*", "records/2021/detections/fcn/*30*", "records/2022/cube/*")


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"objects": 3}'])
def test_a_record_of_garbage_is_found_and_its_block_is_made_again(copy, text):
    before = copy.keys()
    paths = [path for pattern in RECORDS for path in copy.store.glob(pattern)]
    for path in paths:
        path.write_bytes(text)

    verdict = verify(copy.store)
    assert verdict.code == 1
    assert {(f["kind"], f["key"].rpartition("/")[2]) for f in verdict.findings} == {
        ("record", path.name) for path in paths
    }

    assert repair(copy).code == 0
    assert copy.keys() == before


def test_a_record_that_was_edited_is_found(copy):
    """A ledger made nicer, with or without a new seal."""
    [path] = copy.store.glob("records/2021/frames/*30*")
    document = unseal(path.read_bytes())
    document["facts"]["ledger"] = {"ok": 3, "unreadable": 1}
    path.write_bytes(json.dumps(document).encode())
    assert [f["kind"] for f in verify(copy.store).findings] == ["record"]

    path.write_bytes(seal(document))
    assert {f["kind"] for f in verify(copy.store).findings} == {"ledger"}


def test_a_digest_that_was_swapped_in_a_record_is_found_by_the_archive(copy):
    [path] = copy.store.glob("records/2021/frames/*30*")
    document = unseal(path.read_bytes())
    document["facts"]["frames"][0][1] = "0" * 32
    path.write_bytes(seal(document))

    [finding] = verify(copy.store).findings
    assert (finding["kind"], finding["where"]) == ("ledger", "frames 2021-12-30")


def test_a_chunk_without_a_record_is_a_stray(copy):
    [path] = copy.store.glob("records/2021/detections/fcn/*30*")
    path.unlink()
    verdict = verify(copy.store)
    kinds = {(f["kind"], f["where"]) for f in verdict.findings}
    assert ("stray", "detections fcn 2021-12-30") in kinds
    assert ("count", "cube 2021") in kinds  # it counts a day that nothing vouches for


def test_unknown_keys(copy):
    (copy.store / "frames/2021.zarr/image/notes.txt").write_text("clear sky")
    (copy.store / "records/2021/frames/2021-02-31.abc.json").write_text("{}")
    (copy.store / "README").write_text("about this store")

    verdict = verify(copy.store)

    assert sorted(f["key"] for f in verdict.findings) == [
        "frames/2021.zarr/image/notes.txt", "records/2021/frames/2021-02-31.abc.json",
    ]  # fmt: skip
    assert verdict.document["verification"]["notes"] == ["README: is not of this package"]
    # Nothing that is not ours is removed.
    assert repair(copy).code == 1
    assert (copy.store / "frames/2021.zarr/image/notes.txt").exists()


def test_counts_that_the_detections_do_not_give_are_found_and_counted_again(copy):
    """A number changed together with all its digests: only counting again can tell."""
    import zarr

    before = copy.keys()
    cube = zarr.open_group(str(copy.store / "occurrence.zarr"), mode="r+", zarr_format=3)
    cube["counts"][1, 23, 0, 3, 7] += 1
    reseal_cube(copy.store, 2021)

    [finding] = verify(copy.store).findings
    assert (finding["kind"], finding["where"]) == ("count", "cube 2021")
    assert "counts of diff: 1 numbers" in finding["problem"]
    assert "aurora, month 12" in finding["problem"]

    assert repair(copy).code == 0
    assert copy.keys() == before


def reseal_cube(store, year):
    from reprocess.stores.zarrview import digest

    [path] = store.glob(f"records/{year}/cube/*")
    document = unseal(path.read_bytes())
    document["objects"] = {key: digest((store / key).read_bytes()) for key in document["objects"]}
    path.write_bytes(seal(document))


def test_the_archive_and_the_ledger(copy):
    copy.put("2021-12-30", "12:00")
    copy.put("2022-06-01", "12:00")
    copy.path("2021-12-31", "00:10").unlink()

    verdict = verify(copy.store, "--campaign", copy.file)

    assert verdict.code == 0  # an archive may grow and change: a run tells what to do
    notes = " ".join(verdict.document["verification"]["notes"])
    assert "2021-12-30: 1 frames more, 0 fewer" in notes
    assert "2021-12-31: 0 frames more, 1 fewer" in notes
    assert "2022-06-01: 1 frames" in notes


def test_an_archive_out_of_reach_is_said_to_be_unchecked(copy):
    # The copied store tells of the other campaign's archive.
    verdict = verify(copy.store, "--campaign", copy.file, "--set", "archive.url=/no/such/place")
    assert verdict.code == 0
    assert "/no/such/place" in " ".join(verdict.document["verification"]["not_checked"])
    shutil.rmtree(copy.store / "runs")
    assert "does not tell its campaign" in verify(copy.store).out


@pytest.mark.parametrize("option", ["--campaign", "--repair"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("site.latitude_deg=60", "frames.site.latitude_deg: found 60.0, committed 78.148"),
        ("detectors.diff.lag_s=1200", "diff.lag_s: found 1200.0, committed 600.0"),
        ("name=other", "name: found other, that of the last run tiny"),
    ],
)
def test_another_campaign_than_the_store_s_is_refused(committed, option, change, says):
    verdict = verify(committed.store, option, committed.file, "--set", change)
    assert (verdict.code, verdict.out) == (2, "")
    assert says in verdict.err


def test_a_repair_of_a_sound_store_refuses_other_thresholds(committed):
    change = ["--set", "detectors.diff.threshold_dn=6"]
    assert verify(committed.store, "--campaign", committed.file, *change).code == 0
    verdict = repair(committed, *change)
    assert verdict.code == 2
    assert "detections diff that were made with other settings" in verdict.err


def test_an_archive_with_none_of_the_frames_is_refused(copy, tmp_path):
    (tmp_path / "other").mkdir()
    elsewhere = ["--set", f"archive.url={tmp_path / 'other'}"]

    verdict = verify(copy.store, "--campaign", copy.file, *elsewhere)

    assert verdict.code == 2
    assert "found none of the 12 frames" in verdict.err
    assert repair(copy, *elsewhere).code == 0  # nothing is damaged, and nothing is touched


@pytest.mark.parametrize("how", ["gone", "unmounted", "other days", "changed"])
def test_repair_never_gives_up_what_the_archive_cannot_give_again(copy, how):
    """Data beside the damage stays, record and all, and the command says so."""
    flip(a_chunk(copy.store, "frames/2021.zarr", "image", 0))
    before = copy.keys()
    if how == "gone":
        shutil.rmtree(copy.archive)
    elif how == "unmounted":
        shutil.rmtree(copy.archive)
        copy.archive.mkdir()
    elif how == "other days":
        shutil.rmtree(copy.path("2021-12-30", "00:00").parent)
    else:
        copy.put("2021-12-30", "00:10", b"")

    verdict = repair(copy)

    assert verdict.code == 1
    assert copy.keys() == before
    assert list(verdict.document["repair"]["not_repaired"]) == ["frames 2021-12-30"]
    assert "stays as it is" in str(verdict.document["repair"]["not_repaired"])


def test_repair_makes_detections_again_without_an_archive(copy):
    before = copy.keys()
    flip(a_chunk(copy.store, "detections/fcn/2021.zarr", "fraction"))
    shutil.rmtree(copy.archive)

    verdict = repair(copy)

    assert verdict.document["repair"]["complete"], verdict.out + verdict.err
    assert copy.keys() == before


def test_repair_leaves_other_stale_days_alone(copy):
    """Only the damaged day is made again, though a run would do another one, and remove a third."""
    flip(a_chunk(copy.store, "frames/2021.zarr", "image", 0))
    copy.put("2022-01-01", "12:00")
    counts = open_cube(str(copy.store))["counts"].to_numpy()

    verdict = repair(copy)

    assert verdict.code == 0, verdict.out + verdict.err
    assert verdict.document["repair"]["days"] == ["2021-12-30"]
    assert (open_cube(str(copy.store))["counts"].to_numpy() == counts).all()
    assert copy.run().done == 1


def test_repair_with_other_settings_is_refused(copy):
    flip(a_chunk(copy.store, "frames/2021.zarr", "image", 0))
    before = copy.keys()
    copy.document["detectors"]["diff"]["threshold_dn"] = 6.0

    verdict = repair_error(copy)

    assert verdict.code == 2
    assert "detections diff" in verdict.err
    assert "other settings" in verdict.err
    assert copy.keys() == before


def repair_error(tiny):
    out, err = io.StringIO(), io.StringIO()
    command = ["verify", str(tiny.store), "--repair", str(tiny.file), "--cluster", "serial"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(command)
    return Verdict(code, out.getvalue(), err.getvalue())


def test_everything_damaged_at_once(copy):
    before = copy.keys()
    for path in ("frames/2021.zarr/image", "evidence/fcn/2022.zarr/logit"):
        flip(a_chunk(copy.store, *path.rsplit("/", 1)))
    flip(copy.store / "detections/diff/2021.zarr/zarr.json")
    flip(a_chunk(copy.store, "occurrence.zarr", "counts"))
    next(copy.store.glob("records/2022/frames/*")).write_bytes(b"x")

    assert verify(copy.store).code == 1
    verdict = repair(copy)

    assert verdict.code == 0, verdict.out + verdict.err
    assert copy.keys() == before


@pytest.mark.parametrize("set_right", [lambda tiny: tiny.run(), repair], ids=["run", "repair"])
def test_a_run_that_died_in_the_middle_is_unfinished(copy, monkeypatch, set_right):
    from reprocess.stores.records import Records

    copy.put("2021-12-30", "12:00")
    write = Records.write

    def die(self, record):
        if record.block.stage == "evidence":
            raise KeyboardInterrupt
        write(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(Records, "write", die)
        copy.run()

    verdict = verify(copy.store)
    assert verdict.code == 1
    assert all("2021" in f["where"] for f in verdict.findings)
    assert set_right(copy).code == 0
    assert verify(copy.store).code == 0
    copy.check_identity()


def test_a_failed_day_is_told_with_its_error(copy):
    path = copy.store / "failures/2021/2021-12-30.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(seal({"error": "OSError: Input/output error"}))

    [finding] = verify(copy.store).findings

    assert (finding["kind"], finding["where"]) == ("failed", "2021-12-30")
    assert "Input/output error" in finding["problem"]


def test_a_year_that_is_being_written_is_not_checked(copy):
    from reprocess.stores.lock import acquire
    from reprocess.stores.objects import LocalObjects

    flip(a_chunk(copy.store, "frames/2021.zarr", "image", 0))
    lock = acquire(LocalObjects(copy.store), "2021", "other-run", lambda _text: None)

    verdict = verify(copy.store)
    assert verdict.code == 0
    assert "2021: run other-run on" in " ".join(verdict.document["verification"]["not_checked"])

    lock.release()
    assert verify(copy.store).code == 1


@pytest.mark.parametrize("arguments", [["--years", "1999"], ["--years", "x"]])
def test_wrong_years(committed, arguments):
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        assert cli.main(["verify", str(committed.store), *arguments]) == 2
    assert "--years" in err.getvalue()


def test_no_store(tmp_path):
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        assert cli.main(["verify", str(tmp_path)]) == 2
    assert "expected the store of a campaign" in err.getvalue()


def test_any_object_store(committed):
    """The checks need nothing but the seven methods: here, fsspec's memory."""
    import fsspec

    fs = fsspec.filesystem("memory")
    for key, data in committed.keys().items():
        fs.pipe_file(f"/verify-me/{key}", data)
    try:
        assert verify_store("memory://verify-me").sound
        fs.pipe_file("/verify-me/frames/2021.zarr/time/c/0", b"x")
        [finding] = verify_store("memory://verify-me").findings
        assert (finding.kind, finding.where) == ("metadata", "frames 2021")
    finally:
        fs.rm("/verify-me", recursive=True)
