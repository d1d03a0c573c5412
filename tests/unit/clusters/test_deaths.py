"""What the Dask executor makes of a task that no worker survives."""

from datetime import date
from types import SimpleNamespace

from distributed import KilledWorker

from reprocess.clusters.executors import DaskExecutor
from reprocess.errors import ClusterError


class Killed:
    """A future of a task whose workers died."""

    status = "error"

    def exception(self):
        return KilledWorker("2021-06-12-1-17", SimpleNamespace(address="tcp://x"), 7)

    def add_done_callback(self, call):
        call(self)

    def release(self):
        pass


def test_a_day_that_no_worker_survives_is_named_with_the_likely_reason():
    client = SimpleNamespace(
        submit=lambda *_args, **_options: Killed(),
        scheduler_info=lambda **_options: {"workers": {}},
    )
    task = SimpleNamespace(day=date(2021, 6, 12))

    [(done, error)] = DaskExecutor(client, threads=1).run(lambda *_: None, [task])

    assert done is task
    assert isinstance(error, ClusterError)
    assert str(error).startswith("2021-06-12: each worker that did it died")
    assert "memory" in str(error)
    assert "2021-06-12-1-17" not in str(error)
