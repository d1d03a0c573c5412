"""What a run has to do: every block whose wanted fingerprint is not committed.

`build_plan` is pure: the catalogue, what its days hash to and the listing of
records go in, a `Plan` comes out, and nothing is read or written. `plan_archive`
first finds what the days hash to. Printing the plan is `--dry-run`; executing
it is `reprocess.execute`.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from reprocess import stages
from reprocess.archive.catalogue import Entry
from reprocess.archive.seen import Known, SeenDays, tail
from reprocess.archive.uncollected import uncollected
from reprocess.campaign import Campaign
from reprocess.detectors.runtimes import available_cores
from reprocess.errors import ConfigurationError
from reprocess.stores.records import HALF, MARKS, Block, Listing, day_block, only_fingerprint


class Reason(enum.StrEnum):
    """Why a block is done."""

    NEW = "new"
    INPUTS = "inputs changed"
    SETTINGS = "settings changed"
    PARENT = "parent redone"
    RECOMPUTE = "recompute asked"
    INTERRUPTED = "interrupted"
    REMOVED = "frames removed"


@dataclass(frozen=True)
class Task:
    """One UTC day and its stale stages: the unit that a worker is given.

    Attributes
    ----------
    entries : catalogued frames of the day; empty for a task that only derives or erases
    context : catalogued frames before midnight that a detector may look back at
    todo : stale blocks and why, in the order of the stages
    committed : fingerprint of each block that is up to date and may be read
    erase : the day's frames are gone from the archive: leave nothing of it
    withdrawn : committed blocks that rest on frames which are redone, but are not redone with
        them: their records are taken back
    """

    day: date
    entries: tuple[Entry, ...]
    context: tuple[Entry, ...]
    todo: Mapping[Block, Reason]
    committed: Mapping[Block, str]
    erase: bool = False
    withdrawn: tuple[Block, ...] = ()

    @property
    def reason(self) -> Reason:
        """The first stale stage's reason, which is why the day runs at all."""
        return next(iter(self.todo.values()))

    @property
    def reads_frames(self) -> bool:
        """Whether its frames are looked at, out of the archive or out of the store."""
        return not self.erase and any(b.stage in ("frames", "evidence") for b in self.todo)

    def labels(self, stage: str) -> tuple[str, ...]:
        """Labels whose block of a stage is stale."""
        return tuple(block.label for block in self.todo if block.stage == stage)


@dataclass(frozen=True)
class Plan:
    """Tasks, and what is already committed.

    Attributes
    ----------
    tasks : in order of day
    skipped : days with nothing to do
    committed : up-to-date frames and detections blocks, by block
    years : years selected, then the others whose derived stages are redone
    """

    tasks: tuple[Task, ...]
    skipped: tuple[date, ...]
    committed: Mapping[Block, str]
    years: tuple[int, ...]

    def of_year(self, year: int) -> tuple[Task, ...]:
        return tuple(task for task in self.tasks if task.day.year == year)

    def frames_to_read(self, year: int | None = None) -> int:
        """Catalogued frames of the tasks, of one year or of all, that look at them."""
        tasks = self.tasks if year is None else self.of_year(year)
        return sum(len(task.entries) for task in tasks if task.reads_frames)

    def by_reason(self, year: int) -> dict[str, int]:
        """Number of tasks for each reason."""
        return dict(sorted(Counter(str(t.reason) for t in self.of_year(year)).items()))


@uncollected()
def plan_archive(
    campaign: Campaign,
    years: Sequence[int],
    labels: Sequence[str],
    catalogue: Mapping[date, Sequence[Entry]],
    seen: SeenDays,
    listing: Listing,
    recompute: Collection[str] = (),
) -> Plan:
    """`build_plan`, which see, with what the days hash to from `seen`.

    Files that `seen` does not know are read where a committed block depends on them, and it
    learns them.
    """
    days, tails = dependencies(campaign, years, catalogue, listing, recompute)
    known = seen.resolve(catalogue, days, tails, available_cores(), listing)
    return build_plan(campaign, years, labels, catalogue, known, listing, recompute)


def build_plan(
    campaign: Campaign,
    years: Sequence[int],
    labels: Sequence[str],
    catalogue: Mapping[date, Sequence[Entry]],
    known: Mapping[date, Known],
    listing: Listing,
    recompute: Iterable[str] = (),
) -> Plan:
    """Find the stale blocks.

    Parameters
    ----------
    years : selected years; other committed years only have derived stages redone
    labels : detectors to run; the others keep what they have
    catalogue : frames by UTC day, sorted, for the selected years and the day before each
    known : what those days hash to, where a committed block depends on it
    listing : committed records of all years
    recompute : `frames`, `evidence`, `detections` or labels to do again in the selected years

    Raises
    ------
    ConfigurationError
        If a committed year that is not selected needs its archive: its cells or calibration
        changed, and one cube must not mix two.
    """
    planner = _Planner(campaign, tuple(labels), catalogue, known, listing, frozenset(recompute))
    selected = sorted(years)
    for year in selected:
        planner.plan_year(year)
    others = sorted({block.year for block in listing if block.stage == "evidence"} - set(selected))
    for year in others:
        planner.derive_year(year)
    if planner.need_archive:
        needed = ", ".join(str(year) for year in sorted(planner.need_archive))
        raise ConfigurationError(
            f"cells, calibration or a recomputed detector changed, and {needed} are committed with "
            f"the old settings: found --years {', '.join(map(str, selected))}, expected {needed} "
            f"among them, because one cube must not mix two"
        )
    derived = {task.day.year for task in planner.tasks} - set(selected)
    return Plan(
        tasks=tuple(sorted(planner.tasks, key=lambda task: task.day)),
        skipped=tuple(sorted(planner.skipped)),
        committed=planner.committed,
        years=(*selected, *sorted(derived)),
    )


def only_days(plan: Plan, days: Container[date], listing: Listing) -> Plan:
    """A plan of some days alone; the others stay as they are committed, and are counted so."""
    left = {task.day for task in plan.tasks if task.day not in days}
    kept = {
        block: one
        for block, found in listing.items()
        if block.stage in ("frames", "detections")
        and date.fromisoformat(block.day) in left
        and (one := only_fingerprint(found)) is not None
    }
    return replace(
        plan,
        tasks=tuple(task for task in plan.tasks if task.day not in left),
        committed={**plan.committed, **kept},
    )


def dependencies(
    campaign: Campaign,
    years: Sequence[int],
    catalogue: Mapping[date, Sequence[Entry]],
    listing: Listing,
    recompute: Iterable[str] = (),
) -> tuple[set[date], set[tuple[date, float]]]:
    """Days, and tails of days, whose hashes a plan compares with committed blocks.

    What is stale whatever its files hold is left to its task, which reads them once: frames
    that a run left half way or that are asked for again, evidence made with other settings.
    """
    chosen = set() if "frames" in set(recompute) else set(years)
    days = {
        day
        for day in catalogue
        if day.year in chosen and only_fingerprint(listing.get(day_block("frames", "", day), ()))
    }
    tails = {
        (day - timedelta(days=1), window_s)
        for label in campaign.detectors
        if (window_s := stages.context_s(campaign, label))
        for day in days
        if _has_settings(campaign, label, day, listing.get(day_block("evidence", label, day), ()))
    }
    return days, tails


def _has_settings(campaign: Campaign, label: str, day: date, found: Sequence[str]) -> bool:
    """Tell whether evidence is committed, and with the campaign's settings."""
    one = only_fingerprint(found)
    return one is not None and one[HALF:] == stages.evidence_settings_half(campaign, label, day)


class _Planner:
    def __init__(
        self,
        campaign: Campaign,
        labels: tuple[str, ...],
        catalogue: Mapping[date, Sequence[Entry]],
        known: Mapping[date, Known],
        listing: Listing,
        recompute: frozenset[str],
    ) -> None:
        self.campaign = campaign
        self.labels = labels
        self.catalogue = catalogue
        self.known = known
        self.listing = listing
        self.recompute = recompute
        self.tasks: list[Task] = []
        self.skipped: list[date] = []
        self.committed: dict[Block, str] = {}
        self.need_archive: set[int] = set()
        self._labels = sorted({block.label for block in listing if block.label})
        self._days: dict[int, dict[date, None]] = {}
        for day in sorted({date.fromisoformat(b.day) for b in listing if b.stage != "cube"}):
            self._days.setdefault(day.year, {})[day] = None

    def plan_year(self, year: int) -> None:
        days = {day for day, entries in self.catalogue.items() if day.year == year and entries}
        for day in sorted(days | set(self._days.get(year, ()))):
            task = self._task(day) if day in days else self._erasure(day)
            if task is None:
                self.skipped.append(day)
            else:
                self.tasks.append(task)

    def derive_year(self, year: int) -> None:
        """Plan only what follows from committed evidence; the archive is not looked at."""
        for day in self._days.get(year, ()):
            todo: dict[Block, Reason] = {}
            committed: dict[Block, str] = {}
            frames = self._single(day_block("frames", "", day))
            if frames is not None:
                self.committed[day_block("frames", "", day)] = frames
            for label in self.campaign.detectors:
                block = day_block("evidence", label, day)
                evidence = self._single(block)
                if evidence is None:
                    continue
                wanted = stages.evidence_settings_half(self.campaign, label, day)
                if evidence[HALF:] != wanted:
                    self.need_archive.add(year)
                    continue
                committed[block] = evidence
                self._judge_detections(label, day, evidence, todo, committed, again=False)
            if todo:
                self.tasks.append(Task(day, (), (), todo, committed))

    def _erasure(self, day: date) -> Task:
        # Blocks without a record too: a killed run may have left their chunks.
        labels = sorted({*self._labels, *self.campaign.detectors})
        blocks = [
            day_block("frames", "", day),
            *(day_block("evidence", label, day) for label in labels),
            *(day_block("detections", label, day) for label in labels),
        ]
        return Task(day, (), (), dict.fromkeys(blocks, Reason.REMOVED), {}, erase=True)

    def _task(self, day: date) -> Task | None:
        todo: dict[Block, Reason] = {}
        committed: dict[Block, str] = {}
        frames = self._judge_frames(day, todo, committed)
        for label in self.campaign.detectors:
            if label in self.labels or frames is not None:
                self._judge_label(label, day, frames, todo, committed)
        if not todo:
            return None
        window_s = max(
            (stages.context_s(self.campaign, block.label)
             for block in todo if block.stage == "evidence"),
            default=0.0,
        )  # fmt: skip
        context = tail(self.catalogue.get(day - timedelta(days=1), ()), day, window_s)
        withdrawn = [
            block
            for label in self._labels
            for stage in ("detections", "evidence")
            if (block := day_block(stage, label, day)) in self.listing and block not in todo
        ]
        ordered = dict(sorted(todo.items(), key=lambda item: stages.STAGES.index(item[0].stage)))
        return Task(
            day,
            tuple(self.catalogue[day]),
            context,
            ordered,
            committed,
            withdrawn=tuple(withdrawn) if frames is None else (),
        )

    def _judge_frames(
        self, day: date, todo: dict[Block, Reason], committed: dict[Block, str]
    ) -> str | None:
        block = day_block("frames", "", day)
        inputs = self.known.get(day, Known()).inputs
        wanted = None if inputs is None else stages.frames_fingerprint(self.campaign, day, inputs)
        return self._judge(block, wanted, todo, committed, again=self.recompute >= {"frames"})

    def _judge_label(
        self,
        label: str,
        day: date,
        frames: str | None,
        todo: dict[Block, Reason],
        committed: dict[Block, str],
    ) -> None:
        block = day_block("evidence", label, day)
        if frames is None:
            for stage in ("evidence", "detections"):
                stale = day_block(stage, label, day)
                todo[stale] = Reason.PARENT if stale in self.listing else Reason.NEW
            return
        window_s = stages.context_s(self.campaign, label)
        context: str | None = ""
        if window_s:
            before = self.known.get(day - timedelta(days=1), Known())
            context = before.tails.get(window_s)
        wanted = (
            None
            if context is None
            else stages.evidence_fingerprint(self.campaign, label, day, frames, context)
        )
        mine = label in self.labels
        again = mine and not self.recompute.isdisjoint({"evidence", label})
        # A label that is not run now keeps what it has, if that is still right.
        collected = todo if mine else {}
        evidence = self._judge(block, wanted, collected, committed, again=again)
        if (
            wanted is None
            and collected.get(block) is Reason.INPUTS
            and not _has_settings(self.campaign, label, day, self.listing[block])
        ):
            collected[block] = Reason.SETTINGS
        if evidence is not None:
            again = mine and "detections" in self.recompute
            self._judge_detections(label, day, evidence, collected, committed, again=again)
        elif mine:
            stale = day_block("detections", label, day)
            todo[stale] = Reason.PARENT if stale in self.listing else Reason.NEW

    def _judge_detections(
        self,
        label: str,
        day: date,
        evidence: str,
        todo: dict[Block, Reason],
        committed: dict[Block, str],
        *,
        again: bool,
    ) -> None:
        block = day_block("detections", label, day)
        wanted = stages.detections_fingerprint(self.campaign, label, day, evidence)
        self._judge(block, wanted, todo, committed, again=again)

    def _judge(
        self,
        block: Block,
        wanted: str | None,
        todo: dict[Block, Reason],
        committed: dict[Block, str],
        *,
        again: bool,
    ) -> str | None:
        """The block's fingerprint if it is up to date; else None, with the reason in `todo`."""
        found = self.listing.get(block, [])
        if not found:
            todo[block] = Reason.NEW
        elif len(found) > 1 or found[0] in MARKS:
            todo[block] = Reason.INTERRUPTED
        elif again:
            todo[block] = Reason.RECOMPUTE
        elif wanted is None:
            todo[block] = Reason.INPUTS
        elif found[0] != wanted:
            same_inputs = found[0][:HALF] == wanted[:HALF]
            todo[block] = Reason.SETTINGS if same_inputs else Reason.INPUTS
        else:
            committed[block] = wanted
            if block.stage in ("frames", "detections"):
                self.committed[block] = wanted
            return wanted
        return None

    def _single(self, block: Block) -> str | None:
        return only_fingerprint(self.listing.get(block, ()))
