"""A change, a run over it that is killed, and the change is taken back.

The next run finds the archive and the settings that the stores were made from, so nothing is to
be done for them; it must tell from the stores alone what the dead run has left there. Runs die
before the last change of each kind of object; with REPROCESS_CHAOS=all before every change.
"""

import contextlib
import logging
import pickle
import shutil

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * 3600)]


def setting(*path, value):
    def change(tiny):
        section = tiny.document
        for name in path[:-1]:
            section = section[name]
        assert section.get(path[-1]) != value
        section[path[-1]] = value

    return change


CHANGES = {
    "a later year": lambda tiny: tiny.put_days("2023-01-01", times=("00:00", "12:00")),
    "a day": lambda tiny: tiny.put_days("2021-12-30", times=("12:00", "23:50")),
    "a late frame": lambda tiny: tiny.put("2021-12-31", "23:34"),
    "another frame": lambda tiny: tiny.put("2021-12-29", "00:00", b"not an image"),
    "a lost frame": lambda tiny: tiny.path("2021-12-29", "00:00").unlink(),
    "a lost day": lambda tiny: shutil.rmtree(tiny.path("2021-12-29", "00:00").parent),
    "a lost first year": lambda tiny: shutil.rmtree(tiny.archive / "2021"),
    "a lost last year": lambda tiny: shutil.rmtree(tiny.archive / "2022"),
    "bins": setting("cube", "mlt_bins", value=24),
    "selection": setting("cube", "sun_elevation_max_deg", value=-20),
    "threshold": setting("detectors", "fcn", "threshold", value=0.4),
    "evidence": setting("detectors", "diff", "threshold_dn", value=9.0),
    "lens": setting("camera", 0, "lens", "north_deg", value=40.0),
}


class Killed(BaseException):
    """The process is gone: nothing may catch this."""


class Death:
    """Kills before change number `number` of a store, and lets nothing through from then on."""

    def __init__(self, number=None):
        self.number = number
        self.changes = []

    def wrap(self, objects):
        return Mortal(objects, self)

    def before(self, name, key):
        if len(self.changes) == self.number:
            raise Killed(key)
        self.changes.append((name, key))


class Mortal:
    """An object store that a death is waiting for."""

    def __init__(self, inner, death):
        self._inner, self._death, self.url = inner, death, inner.url

    def __getattr__(self, name):
        method = getattr(self._inner, name)
        if name not in ("write", "create", "delete"):
            return method

        def change(key, *arguments):
            self._death.before(name, key)
            return method(key, *arguments)

        return change

    def delete_tree(self, prefix):
        for key in list(self._inner.keys(prefix)):
            self.delete(key)


def last_of_each_kind(changes):
    """Numbers of the changes that are the last on their kind of object."""
    kinds = {}
    for number, (name, key) in enumerate(changes):
        top, *below = key.split("/")
        place = tuple(below[:2]) if top == "records" else "/c/" in key
        kinds[name, top, place, "0" * 48 in key] = number
    return sorted(kinds.values())


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_is_taken_back_after_a_death_leaves_nothing(
    change, make_scenario, in_memory, tmp_path, chaos_all
):
    scenario = make_scenario("two years", str(in_memory / "store"))
    tiny = scenario.tiny
    before = tmp_path / "before"
    shutil.copytree(tiny.archive, before)
    document = pickle.dumps(tiny.document)

    def die(number):
        """A run over the change, and the change is taken back; how the run's death went."""
        scenario.fill()
        CHANGES[change](tiny)
        death = Death(number)
        with contextlib.suppress(Killed):
            assert scenario.run(wrap=death.wrap).code == 0
        left = scenario.keys()
        shutil.rmtree(tiny.archive)
        shutil.copytree(before, tiny.archive)
        tiny.document.clear()
        tiny.document.update(pickle.loads(document))
        return death, left

    undisturbed, left = die(None)
    assert left != scenario.wanted, "the change does nothing"
    changes = undisturbed.changes
    numbers = range(len(changes)) if chaos_all else last_of_each_kind(changes)
    for number in numbers:
        death, _ = die(number)
        told = f"killed before change {number} of {len(changes)}, {changes[number]}"
        assert len(death.changes) == number, told
        scenario.check_next_run(told)
    text = "%s, taken back: %d changes of the store, killed before %d"
    logging.getLogger("chaos").info(text, change, len(changes), len(numbers))
