import copy
from datetime import date, timedelta

import pytest

from reprocess import stages
from reprocess.archive.catalogue import Entry
from reprocess.archive.seen import Known
from reprocess.campaign import campaign_from_mapping
from reprocess.errors import ConfigurationError
from reprocess.plan import Plan, Reason, build_plan, dependencies
from reprocess.stores.records import OVERWRITTEN, UNFINISHED, Block, day_block

FIRST = date(2020, 6, 1)
SECOND = FIRST + timedelta(days=1)
THIRD = FIRST + timedelta(days=2)
OTHER_YEAR = date(2021, 6, 1)


def entry(day, hour):
    acquired_us = ((day - date(1970, 1, 1)).days * 24 + hour) * 3_600_000_000
    return Entry(f"{day}_{hour:02d}.jpg", acquired_us, 100, "1")


class World:
    """An archive, what it hashes to, and a store that a first run left complete."""

    def __init__(self, campaign, days):
        self.campaign = campaign
        self.catalogue = {day: [entry(day, hour) for hour in range(24)] for day in days}
        self.known = {}
        for day in days:
            for around in (day - timedelta(days=1), day):
                self.known[around] = Known(
                    f"inputs of {around}" if around in self.catalogue else None,
                    {
                        stages.context_s(campaign, label): self._tail(around, label)
                        for label in campaign.detectors
                    },
                )
        self.listing = {}

    def _tail(self, day, label):
        held = day in self.catalogue
        return f"tail of {day} for {label}" if held else "no frames"

    def wanted(self, day, label=None, stage="frames", campaign=None):
        campaign = campaign or self.campaign
        frames = stages.frames_fingerprint(campaign, day, self.known[day].inputs)
        if stage == "frames":
            return frames
        tail = self.known[day - timedelta(days=1)].tails[stages.context_s(campaign, label)]
        evidence = stages.evidence_fingerprint(campaign, label, day, frames, tail)
        if stage == "evidence":
            return evidence
        return stages.detections_fingerprint(campaign, label, day, evidence)

    def commit(self):
        for day in self.catalogue:
            self.listing[day_block("frames", "", day)] = [self.wanted(day)]
            for label in self.campaign.detectors:
                for stage in ("evidence", "detections"):
                    self.listing[day_block(stage, label, day)] = [self.wanted(day, label, stage)]
        return self

    def plan(self, *, campaign=None, years=(2020,), labels=None, recompute=()):
        campaign = campaign or self.campaign
        chosen = {
            day: e for day, e in self.catalogue.items()
            if day.year in years or (day + timedelta(days=1)).year in years
        }  # fmt: skip
        before = copy.deepcopy((chosen, self.known, self.listing))
        plan = build_plan(
            campaign,
            years,
            tuple(campaign.detectors) if labels is None else labels,
            chosen,
            self.known,
            self.listing,
            recompute,
        )
        assert (chosen, self.known, self.listing) == before
        return plan


@pytest.fixture
def world(small_campaign):
    return World(small_campaign(), [FIRST, SECOND, THIRD]).commit()


def reasons(plan):
    """Day → stale block → reason, the blocks as short names."""
    return {
        task.day: {" ".join(p for p in b[:2] if p): reason for b, reason in task.todo.items()}
        for task in plan.tasks
    }


def all_blocks(first, following, labels=("diff", "fast")):
    return {
        "frames": first,
        **{f"{stage} {label}": following for stage in ("evidence", "detections")
           for label in labels},
    }  # fmt: skip


def every_day(blocks):
    return dict.fromkeys((FIRST, SECOND, THIRD), blocks)


def test_everything_is_new_in_an_empty_store(world):
    world.listing = {}
    world.known = {}
    plan = world.plan()
    assert reasons(plan) == every_day(all_blocks(Reason.NEW, Reason.NEW))
    assert plan.skipped == ()
    assert plan.committed == {}
    assert plan.years == (2020,)
    assert plan.by_reason(2020) == {"new": 3}


def test_stages_come_in_their_order(world):
    world.listing = {}
    for task in world.plan().tasks:
        order = [stages.STAGES.index(block.stage) for block in task.todo]
        assert order == sorted(order)
        assert task.labels("evidence") == ("diff", "fast")
        assert task.labels("frames") == ("",)


def test_nothing_is_done_twice(world):
    plan = world.plan()
    assert plan.tasks == ()
    assert plan.skipped == (FIRST, SECOND, THIRD)
    assert {block: [f] for block, f in plan.committed.items()} == {
        block: found for block, found in world.listing.items() if block.stage != "evidence"
    }


def test_a_year_that_was_not_chosen_is_left_alone(world):
    assert world.plan(years=(2021,)).tasks == ()
    assert world.plan(years=(2021,)).skipped == ()


def test_a_new_day_is_new_and_the_next_looks_back_at_it(world):
    del world.listing[day_block("frames", "", SECOND)]
    for label in ("diff", "fast"):
        for stage in ("evidence", "detections"):
            del world.listing[day_block(stage, label, SECOND)]
    assert reasons(world.plan()) == {SECOND: all_blocks(Reason.NEW, Reason.NEW)}


def test_changed_frames_are_changed_inputs_of_their_day(world):
    world.known[SECOND] = Known("other", world.known[SECOND].tails)
    plan = world.plan()
    assert reasons(plan) == {SECOND: all_blocks(Reason.INPUTS, Reason.PARENT)}
    assert plan.tasks[0].reason is Reason.INPUTS
    assert plan.skipped == (FIRST, THIRD)
    assert plan.tasks[0].committed == {}


def test_inputs_that_are_not_known_are_changed(world):
    world.known[SECOND] = Known(None, world.known[SECOND].tails)
    assert reasons(world.plan()) == {SECOND: all_blocks(Reason.INPUTS, Reason.PARENT)}


def test_changed_frame_settings_are_changed_settings(world, small_campaign):
    plan = world.plan(campaign=small_campaign(phase_s=30))
    assert reasons(plan) == every_day(all_blocks(Reason.SETTINGS, Reason.PARENT))


def test_another_reading_of_frames_before_settings_says_inputs(world, small_campaign):
    world.known[SECOND] = Known("other", world.known[SECOND].tails)
    plan = world.plan(campaign=small_campaign(phase_s=30))
    assert reasons(plan)[SECOND]["frames"] is Reason.INPUTS
    assert reasons(plan)[FIRST]["frames"] is Reason.SETTINGS


def test_a_threshold_redoes_the_detections_of_its_label_only(world, small_campaign):
    plan = world.plan(campaign=small_campaign(detectors__diff__threshold_dn=7.0))
    assert reasons(plan) == every_day({"detections diff": Reason.SETTINGS})
    task = plan.tasks[0]
    assert task.committed[day_block("evidence", "diff", FIRST)]
    assert day_block("detections", "fast", FIRST) in plan.committed
    assert day_block("detections", "diff", FIRST) not in plan.committed


def test_an_evidence_setting_redoes_its_label_only(world, small_campaign):
    plan = world.plan(campaign=small_campaign(detectors__fast__sky_shift_max_dn=9.0))
    assert reasons(plan) == every_day(
        {"evidence fast": Reason.SETTINGS, "detections fast": Reason.PARENT},
    )
    assert plan.tasks[0].committed[day_block("frames", "", FIRST)]


def test_what_never_changes_a_number_redoes_nothing(world, small_campaign):
    for changes in ({"store": "elsewhere"}, {"archive__url": "moved"}, {"name": "renamed"},
                    {"years": [2019, 2020]}, {"cube": {"mlt_bins": 48}}):  # fmt: skip
        assert world.plan(campaign=small_campaign(**changes)).tasks == ()


def test_geometry_redoes_evidence_and_not_frames(world, small_campaign):
    plan = world.plan(campaign=small_campaign(camera__0__lens__north_deg=25))
    assert set(reasons(plan)) == {FIRST, SECOND, THIRD}
    for found in reasons(plan).values():
        assert found == {
            "evidence diff": Reason.SETTINGS, "evidence fast": Reason.SETTINGS,
            "detections diff": Reason.PARENT, "detections fast": Reason.PARENT,
        }  # fmt: skip


def test_a_later_epoch_changes_no_day_before_it(world, campaign_document):
    document = campaign_document()
    moved = {**document["camera"][0], "valid_from": f"{SECOND}T12:00:00Z"}
    moved["lens"] = {**moved["lens"], "north_deg": 25}
    document["camera"].append(moved)
    plan = world.plan(campaign=campaign_from_mapping(document))
    assert set(reasons(plan)) == {SECOND, THIRD}
    assert reasons(plan)[SECOND]["frames"] is Reason.SETTINGS
    assert "frames" not in reasons(plan)[THIRD]


def test_two_records_of_a_block_are_an_interrupted_write(world):
    world.listing[day_block("evidence", "diff", SECOND)].append("0" * 48)
    assert reasons(world.plan()) == {
        SECOND: {"evidence diff": Reason.INTERRUPTED, "detections diff": Reason.PARENT}
    }
    world.listing[day_block("frames", "", FIRST)].append("0" * 48)
    assert reasons(world.plan())[FIRST] == all_blocks(Reason.INTERRUPTED, Reason.PARENT)


def test_a_lost_record_is_a_new_block_and_its_child_follows(world):
    del world.listing[day_block("evidence", "diff", SECOND)]
    assert reasons(world.plan()) == {
        SECOND: {"evidence diff": Reason.NEW, "detections diff": Reason.PARENT}
    }
    del world.listing[day_block("detections", "diff", SECOND)]
    assert reasons(world.plan())[SECOND]["detections diff"] is Reason.NEW


@pytest.mark.parametrize(
    ("recompute", "expected"),
    [
        ("frames", all_blocks(Reason.RECOMPUTE, Reason.PARENT)),
        ("evidence", {"evidence diff": Reason.RECOMPUTE, "evidence fast": Reason.RECOMPUTE,
                      "detections diff": Reason.PARENT, "detections fast": Reason.PARENT}),
        ("detections", {"detections diff": Reason.RECOMPUTE,
                        "detections fast": Reason.RECOMPUTE}),
        ("fast", {"evidence fast": Reason.RECOMPUTE, "detections fast": Reason.PARENT}),
    ],
)  # fmt: skip
def test_recompute_redoes_what_was_asked_and_what_follows(world, recompute, expected):
    plan = world.plan(recompute=[recompute])
    assert reasons(plan) == every_day(expected)


def test_recompute_leaves_a_label_alone_that_is_not_run(world):
    plan = world.plan(recompute=["evidence"], labels=("diff",))
    assert reasons(plan) == every_day(
        {"evidence diff": Reason.RECOMPUTE, "detections diff": Reason.PARENT},
    )


def test_a_day_whose_frames_are_gone_is_erased(world):
    del world.catalogue[SECOND]
    world.known[SECOND] = Known(None, world.known[SECOND].tails)
    plan = world.plan()
    (task,) = plan.tasks
    assert (task.day, task.erase, task.entries, task.context) == (SECOND, True, (), ())
    assert set(task.todo) == {block for block in world.listing if block.day == str(SECOND)}
    assert set(task.todo.values()) == {Reason.REMOVED}
    assert task.committed == {}
    assert not any(block.day == str(SECOND) for block in plan.committed)


def test_a_day_listed_without_frames_is_erased_too(world):
    world.catalogue[SECOND] = []
    assert [task.erase for task in world.plan().tasks] == [True]


def test_erasure_takes_labels_that_the_campaign_no_longer_has(world):
    stale = day_block("evidence", "old", SECOND)
    world.listing[stale] = ["0" * 48]
    assert world.plan().tasks == ()
    del world.catalogue[SECOND]
    assert stale in world.plan().tasks[0].todo


def test_a_subset_of_labels_does_only_those(world):
    world.listing = {}
    plan = world.plan(labels=("fast",))
    assert reasons(plan) == every_day(all_blocks(Reason.NEW, Reason.NEW, ("fast",)))


def test_a_subset_keeps_what_the_other_labels_have(world):
    del world.listing[day_block("evidence", "fast", SECOND)]
    plan = world.plan(labels=("fast",))
    assert reasons(plan) == {SECOND: {"evidence fast": Reason.NEW,
                                      "detections fast": Reason.PARENT}}  # fmt: skip
    assert all(day_block("detections", "diff", day) in plan.committed for day in world.catalogue)


def test_a_subset_does_not_count_what_is_stale_of_the_others(world, small_campaign):
    changed = small_campaign(detectors__diff__threshold_dn=7.0)
    plan = world.plan(campaign=changed, labels=("fast",))
    assert plan.tasks == ()
    assert not any(block.label == "diff" for block in plan.committed)
    assert sum(block.label == "fast" for block in plan.committed) == 3


def test_frames_done_again_take_every_label_with_them(world):
    """A label that is not run would otherwise keep evidence of frames that are gone."""
    world.known[SECOND] = Known("other", world.known[SECOND].tails)
    plan = world.plan(labels=("fast",))
    assert "evidence fast" in reasons(plan)[SECOND]
    assert day_block("detections", "diff", SECOND) not in plan.committed


def test_the_end_of_a_day_reaches_only_the_evidence_of_the_next(world):
    tails = dict(world.known[FIRST].tails)
    tails[stages.context_s(world.campaign, "diff")] = "another end"
    world.known[FIRST] = Known(world.known[FIRST].inputs, tails)
    plan = world.plan()
    assert reasons(plan) == {
        SECOND: {"evidence diff": Reason.INPUTS, "detections diff": Reason.PARENT}
    }
    assert plan.tasks[0].committed[day_block("frames", "", SECOND)] == world.wanted(SECOND)


def test_a_task_is_given_the_frames_before_midnight_that_it_needs(world):
    world.listing = {}
    first, second, _ = world.plan().tasks
    assert first.context == ()
    window_s = max(stages.context_s(world.campaign, label) for label in world.campaign.detectors)
    assert window_s == 135 + 7200
    assert second.context == (entry(FIRST, 22), entry(FIRST, 23))
    assert second.entries == tuple(world.catalogue[SECOND])


def test_a_task_without_evidence_to_do_needs_no_context(world):
    assert all(task.context == () for task in world.plan(recompute=["detections"]).tasks)


# --- years that were not chosen --------------------------------------------------------------


@pytest.fixture
def two_years(small_campaign):
    return World(small_campaign(), [FIRST, OTHER_YEAR]).commit()


def test_a_committed_year_that_was_not_chosen_is_counted(two_years):
    plan = two_years.plan(years=(2021,))
    assert plan.tasks == ()
    assert plan.years == (2021,)
    assert {block.year for block in plan.committed} == {2020, 2021}


def test_a_new_threshold_reaches_the_committed_years_without_their_archive(
    two_years, small_campaign
):
    changed = small_campaign(detectors__diff__threshold_dn=7.0)
    two_years.known = {d: k for d, k in two_years.known.items() if d.year == 2021}
    plan = two_years.plan(campaign=changed, years=(2021,))
    assert plan.years == (2021, 2020)
    derived = plan.of_year(2020)
    assert reasons(plan)[FIRST] == {"detections diff": Reason.SETTINGS}
    assert (derived[0].entries, derived[0].context, derived[0].erase) == ((), (), False)
    evidence = day_block("evidence", "diff", FIRST)
    assert derived[0].committed[evidence] == two_years.listing[evidence][0]


def test_detections_are_asked_for_again_in_the_selected_years_only(two_years, small_campaign):
    plan = two_years.plan(years=(2021,), recompute=["detections"])
    assert reasons(plan) == {
        OTHER_YEAR: {"detections diff": Reason.RECOMPUTE, "detections fast": Reason.RECOMPUTE}
    }
    assert day_block("detections", "diff", FIRST) in plan.committed
    changed = small_campaign(detectors__diff__threshold_dn=7.0)
    plan = two_years.plan(campaign=changed, years=(2021,), recompute=["detections"])
    assert reasons(plan)[FIRST] == {"detections diff": Reason.SETTINGS}


@pytest.mark.parametrize(
    "changes",
    [{"camera__0__lens__north_deg": 25}, {"detectors__diff__sky_shift_max_dn": 9.0},
     {"cells": {"layout": "rings-20"}}],
)  # fmt: skip
def test_evidence_of_a_year_that_was_not_chosen_must_not_go_stale(
    two_years, small_campaign, changes
):
    changed = small_campaign(**changes)
    with pytest.raises(ConfigurationError, match=r"found --years 2021, expected 2020 among them"):
        two_years.plan(campaign=changed, years=(2021,))
    assert len(two_years.plan(campaign=changed, years=(2020, 2021)).tasks) == 2


def test_an_interrupted_block_of_another_year_is_not_counted(two_years):
    two_years.listing[day_block("evidence", "diff", FIRST)].append("0" * 48)
    plan = two_years.plan(years=(2021,))
    assert plan.tasks == ()
    assert day_block("detections", "diff", FIRST) not in plan.committed
    assert day_block("detections", "fast", FIRST) in plan.committed


def test_cube_records_plan_nothing(world):
    world.listing[Block("cube", "", "2020")] = ["0" * 48]
    world.listing[Block("cube", "", "2019")] = ["0" * 48]
    assert world.plan().tasks == ()


# --- what must be hashed ---------------------------------------------------------------------


def test_only_committed_days_are_hashed(world):
    assert dependencies(world.campaign, (2020,), world.catalogue, {}) == (set(), set())
    days, tails = dependencies(world.campaign, (2020,), world.catalogue, world.listing)
    assert days == {FIRST, SECOND, THIRD}
    windows = {stages.context_s(world.campaign, label) for label in world.campaign.detectors}
    assert tails == {(day - timedelta(days=1), window) for day in days for window in windows}
    assert dependencies(world.campaign, (2021,), world.catalogue, world.listing)[0] == set()


@pytest.mark.parametrize(
    "found", [[UNFINISHED], ["1" * 48, UNFINISHED], ["1" * 48, OVERWRITTEN], ["1" * 48, "2" * 48]]
)
def test_a_day_that_was_left_half_way_is_not_hashed(world, found):
    listing = {day_block("frames", "", SECOND): found}
    assert dependencies(world.campaign, (2020,), world.catalogue, listing) == (set(), set())


def test_a_day_whose_frames_are_asked_for_again_is_not_hashed(world):
    asked = dependencies(world.campaign, (2020,), world.catalogue, world.listing, ["frames"])
    assert asked == (set(), set())


def test_the_tail_before_a_day_without_evidence_is_not_hashed(world):
    only = {day_block("frames", "", SECOND): ["1" * 48]}
    assert dependencies(world.campaign, (2020,), world.catalogue, only) == ({SECOND}, set())


def test_the_tail_before_evidence_of_other_settings_is_left_to_its_task(world, small_campaign):
    changed = small_campaign(detectors__fast__lag_s=world.campaign.detectors["fast"].lag_s * 3)
    windows = {label: stages.context_s(changed, label) for label in changed.detectors}
    assert windows["fast"] not in world.known[FIRST].tails

    _, tails = dependencies(changed, (2020,), world.catalogue, world.listing)

    assert {window for _, window in tails} == {windows["diff"]}
    assert reasons(world.plan(campaign=changed)) == every_day(
        {"evidence fast": Reason.SETTINGS, "detections fast": Reason.PARENT},
    )


def test_an_empty_plan_says_so():
    plan = Plan((), (), {}, (2020,))
    assert plan.of_year(2020) == ()
    assert plan.by_reason(2020) == {}
