"""Plant known faults in a copy of this tree, one at a time, and see that the tests tell.

    python workflows/mutants.py                 # each on the test that is to tell of it
    python workflows/mutants.py lock            # only those whose name holds `lock`
    python workflows/mutants.py --machine 60    # each on 60 histories of the state machine

Exit code 0 if every fault was told of. `docs/reliability.md` keeps the last result.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
INCREMENTAL, HISTORIES = "tests/e2e/test_incremental.py", "tests/properties/test_state_machine.py"
ORPHANS, PLAN = "tests/chaos/test_orphans.py", "tests/unit/test_plan.py"
TAKEN_BACK = (
    "tests/chaos/test_taken_back.py::test_a_change_that_is_taken_back_after_a_death_leaves_nothing"
)


@dataclass(frozen=True)
class Mutant:
    """A fault: in each file, the first text becomes the second; and the test that is to tell."""

    name: str
    told_by: str
    edits: tuple[tuple[str, str, str], ...]


MUTANTS = (
    Mutant(
        "no mark on a day that is being made",
        f"{INCREMENTAL}::test_a_day_that_failed_half_way_and_then_left_the_archive",
        (("stores/records.py", "        self.mark(block, UNFINISHED)\n", ""),),
    ),
    Mutant(
        "the old record stays until the new one",
        f"{HISTORIES}::test_a_history[taken_back_half_way]",
        (
            ("worker.py", "                self.records.begin(block)", "                pass"),
            (
                "worker.py",
                "            else:\n                self.records.delete_all(block)\n",
                "",
            ),
        ),
    ),
    Mutant(
        "the cube's record comes before its data",
        f"{HISTORIES}::test_a_history[killed_while_it_counted]",
        (
            (
                "cube/publish.py",
                "    try:\n        digests = _write_year(",
                "    records.write(Record(block, fingerprint, {}, {'days': {}}))\n"
                "    records.finish(block)\n"
                "    try:\n        digests = _write_year(",
            ),
        ),
    ),
    Mutant(
        "evidence is left out of the detections' fingerprint",
        f"{INCREMENTAL}::test_a_replaced_frame_redoes_its_day",
        (
            (
                "stages.py",
                "return fingerprint(evidence, _detections_settings_of",
                "return fingerprint(None, _detections_settings_of",
            ),
        ),
    ),
    Mutant(
        "frames before midnight are left out of the evidence's fingerprint",
        f"{PLAN}::test_the_end_of_a_day_reaches_only_the_evidence_of_the_next",
        (
            (
                "stages.py",
                "return fingerprint([frames, context], _evidence_settings_key",
                "return fingerprint([frames], _evidence_settings_key",
            ),
        ),
    ),
    Mutant(
        "the lock is not looked at again",
        "tests/unit/stores/test_lock.py",
        (("stores/lock.py", "if highest != self.number:", "if False:"),),
    ),
    Mutant(
        "chunks of an erased day stay",
        f"{INCREMENTAL}::test_a_removed_day_is_erased",
        (
            (
                "worker.py",
                "            erase_day(\n"
                "                self.objects, path, self.day, self.slots, "
                "lambda: self.lock.check(self.objects)\n"
                "            )\n",
                "",
            ),
        ),
    ),
    Mutant(
        "a counted year is not counted again",
        f"{INCREMENTAL}::test_a_replaced_frame_redoes_its_day",
        (
            (
                "cube_years.py",
                "if found[0] != wanted:",
                "if not found:",
            ),
        ),
    ),
    Mutant(
        "an orphaned worker leaves no mark",
        f"{ORPHANS}::test_a_run_taken_over_at_a_write_that_differs_leaves_nothing_wrong",
        (
            (
                "worker.py",
                "            self.records.mark(self.writing, OVERWRITTEN)",
                "            pass",
            ),
        ),
    ),
    Mutant(
        "an orphaned driver leaves no mark",
        f"{ORPHANS}::test_a_driver_taken_over_while_it_lays_years_out_leaves_nothing_wrong",
        (("stores/metadata.py", "        mark_layout(objects, path, OVERWRITTEN)\n", ""),),
    ),
    Mutant(
        "the cache of hashes is trusted unseen",
        "tests/unit/archive/test_seen.py",
        (
            (
                "archive/seen.py",
                "            return Known()\n        tails = {float(",
                "            pass\n        tails = {float(",
            ),
        ),
    ),
    Mutant(
        "the cache of hashes is not kept",
        "tests/unit/archive/test_seen.py",
        (
            (
                "archive/seen.py",
                "            self._objects.write(_key(year), seal(self._years[year]))",
                "            pass",
            ),
        ),
    ),
    Mutant(
        "the look back is shorter than what frames may move",
        PLAN,
        (
            (
                "stages.py",
                "return lag_s + 2 * campaign.cadence_s if lag_s > 0 else 0.0",
                "return lag_s if lag_s > 0 else 0.0",
            ),
        ),
    ),
    Mutant(
        "two records of a block count as one",
        PLAN,
        (
            (
                "plan.py",
                "elif len(found) > 1 or found[0] in MARKS:",
                "elif wanted not in found and found[0] in MARKS:",
            ),
            ("plan.py", "elif found[0] != wanted:", "elif wanted not in found:"),
        ),
    ),
    Mutant(
        "a year that lost its frames before it was begun stays laid out",
        f"{INCREMENTAL}::test_a_year_that_was_laid_out_and_then_left_the_archive",
        (("stores/metadata.py", "    mark_layout(objects, layout.path, UNFINISHED)\n", ""),),
    ),
    Mutant(
        "a year that is half removed stays so",
        f"{INCREMENTAL}::test_a_year_that_was_half_removed",
        (("years.py", "        mark_layout(objects, frames, UNFINISHED)\n", ""),),
    ),
    Mutant(
        "a year whose count was begun before it lost its frames stays in the cube",
        f"{INCREMENTAL}::test_a_year_whose_count_was_begun_and_then_left_the_archive",
        (("stores/records.py", "        self.mark(block, UNFINISHED)\n", ""),),
    ),
    Mutant(
        "no mark on a year that is being laid out",
        f"{TAKEN_BACK}[lens]",
        (("stores/metadata.py", "    mark_layout(objects, layout.path, UNFINISHED)\n", ""),),
    ),
    Mutant(
        "the mark on a year goes before its days are done",
        f"{TAKEN_BACK}[lens]",
        (
            (
                "job.py",
                "            if tasks:\n",
                "            finish_years(job, objects, locks, [], laid_out)\n"
                "            if tasks:\n",
            ),
        ),
    ),
    Mutant(
        "the cube is laid out before the years that it is laid out for are taken back",
        f"{TAKEN_BACK}[a lost last year]",
        (("cube_years.py", "            records.begin(cube_block(year))\n", "            pass\n"),),
    ),
    Mutant(
        "counting again makes the detections again",
        f"{HISTORIES}::test_a_history[counted_again]",
        (
            (
                "plan.py",
                "            committed[block] = wanted\n            if block.stage",
                "            committed[block] = wanted\n"
                '            if self.recompute >= {"cube"}:\n'
                "                todo[block] = Reason.PARENT\n"
                "            if block.stage",
            ),
        ),
    ),
    Mutant(
        "a day left half way is read to compare it, too",
        PLAN,
        (
            (
                "plan.py",
                'and only_fingerprint(listing.get(day_block("frames", "", day), ()))',
                'and listing.get(day_block("frames", "", day), ())',
            ),
        ),
    ),
    Mutant(
        "settings that were cut off stop every run",
        "tests/e2e/test_verify.py::"
        "test_settings_that_were_cut_off_are_bound_again_by_a_run_that_agrees",
        (("request.py", "        if any(f[HALF:] != wanted", "        if any(f[:HALF] != wanted"),),
    ),
    Mutant(
        "objects are not synced",
        "tests/chaos/test_power_loss.py::test_after_a_power_loss_the_next_run_sets_it_right",
        (
            (
                "stores/objects.py",
                "                os.fsync(file.fileno())\n        except OSError:",
                "        except OSError:",
            ),
        ),
    ),
)


def planted(mutant: Mutant, tree: Path) -> None:
    """Plant a fault; each text must be found once, so that no fault is planted in vain."""
    for name, old, new in mutant.edits:
        path = tree / "reprocess" / name
        text = path.read_text()
        if text.count(old) != 1:
            raise ValueError(f"{mutant.name}: found {text.count(old)} times in {name}: {old}")
        path.write_text(text.replace(old, new))


def tried(mutant: Mutant, scratch: Path, machine: int) -> tuple[bool, str]:
    """Whether the tests told of a fault, and what they said."""
    tree = scratch / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    skipped = shutil.ignore_patterns(".git", ".hypothesis", "__pycache__", "docs")
    shutil.copytree(TREE, tree, ignore=skipped)
    planted(mutant, tree)
    told_by = [f"{HISTORIES}::test_every_history_ends_in_the_bytes_of_a_first_run"]
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
         f"--basetemp={scratch / 'pytest'}", *(told_by if machine else [mutant.told_by])],
        cwd=tree, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(tree), "HYPOTHESIS_PROFILE": "mutants",
             "REPROCESS_EXAMPLES": str(machine or 1)},
    )  # fmt: skip
    if found.returncode not in (0, 1):
        raise RuntimeError(f"{mutant.name}: {found.stdout}{found.stderr}")
    said = re.search(r"^E\s+(.*)", found.stdout, re.MULTILINE)
    return found.returncode == 1, said[1][:100] if said else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pattern", nargs="?", default="", help="only faults whose name holds this")
    parser.add_argument("--machine", type=int, default=0, metavar="EXAMPLES",
                        help="try each on so many histories of the state machine")  # fmt: skip
    arguments = parser.parse_args()
    survived = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        for mutant in MUTANTS:
            if not re.search(arguments.pattern, mutant.name):
                continue
            started = time.monotonic()
            told, said = tried(mutant, Path(scratch), arguments.machine)
            seconds = time.monotonic() - started
            print(f"{'told' if told else 'SURVIVED'} | {mutant.name} | {seconds:.0f} s | {said}",
                  flush=True)  # fmt: skip
            survived += [] if told else [mutant.name]
    return bool(survived)


if __name__ == "__main__":
    sys.exit(main())
