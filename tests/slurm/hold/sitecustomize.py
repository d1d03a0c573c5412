"""Makes a block wait in its middle, where a test asks for it; loaded through PYTHONPATH.

With `REPROCESS_TEST_HOLD=DIR`, the first process that is about to commit the evidence of a day
`DAY` for which DIR/DAY.hold exists says so (DIR/DAY.held), and then waits for the lock that the
test has on DIR/DAY.hold. The product knows nothing of it.
"""

import fcntl
import importlib.abc
import importlib.util
import os
import pathlib
import sys


def hold(day):
    directory = pathlib.Path(os.environ["REPROCESS_TEST_HOLD"])
    gate = directory / f"{day}.hold"
    try:
        gate.rename(directory / f"{day}.closed")  # the first only
    except FileNotFoundError:
        return
    facts = " ".join([os.environ.get("SLURM_JOB_ID", "0"), str(os.getpid())])
    scratch = directory / f"{day}.writing"
    scratch.write_text(facts)
    with open(directory / f"{day}.closed") as file:
        scratch.rename(directory / f"{day}.held")
        fcntl.flock(file, fcntl.LOCK_SH)  # until the test lets go


def patch(module):
    commit = module._DayBlock._commit

    def held_commit(self, block, *arguments, **keywords):
        if block.stage == "evidence":
            hold(self.day)
        return commit(self, block, *arguments, **keywords)

    module._DayBlock._commit = held_commit


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):  # noqa: ARG002
        if name != "reprocess.worker":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec


if "REPROCESS_TEST_HOLD" in os.environ:
    sys.meta_path.insert(0, Finder())
