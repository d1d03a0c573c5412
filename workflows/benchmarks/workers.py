"""Workers 1, 2, 4: tasks that sleep, so that this machine's cores do not limit."""

from __future__ import annotations

import functools
import time
from datetime import date, timedelta

from sidebyside import figure, save

from reprocess.clusters.executors import DaskExecutor
from reprocess.plan import Reason, Task
from reprocess.stores.records import day_block

TASKS, SECONDS = 64, 0.5


def sleep(_task: Task, _threads: int, *, seconds: float) -> None:
    time.sleep(seconds)


def main() -> None:
    from distributed import Client, LocalCluster

    days = [date(2021, 1, 1) + timedelta(days=i) for i in range(TASKS)]
    tasks = [Task(day, (), (), {day_block("frames", "", day): Reason.NEW}, {}) for day in days]
    call = functools.partial(sleep, seconds=SECONDS)
    rows = []
    for n in (1, 2, 4):
        with (
            LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            client.wait_for_workers(n)
            executor = DaskExecutor(client, 1)
            list(executor.run(call, tasks[: 2 * n]))
            raw = []
            for _ in range(3):
                started = time.perf_counter()
                assert len(list(executor.run(call, tasks))) == TASKS
                raw.append(TASKS * SECONDS / n / (time.perf_counter() - started))
        rows.append(figure(f"{n} workers, share of ideal", raw, "", ">= 0.9"))
    save("workers", rows, {"tasks": TASKS, "task_s": SECONDS})


if __name__ == "__main__":
    main()
