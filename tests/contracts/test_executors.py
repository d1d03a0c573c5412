"""What every executor promises, tested on all of them."""

import threading
import time
from datetime import date, timedelta
from types import SimpleNamespace

import pytest

from reprocess.clusters import executors, local
from reprocess.clusters.executors import ATTEMPTS, DaskExecutor, SerialExecutor, is_transient
from reprocess.clusters.node import WorkerLeaving
from reprocess.clusters.open import open_executor
from reprocess.errors import ClusterError, ConfigurationError, LockLost, StoreError
from reprocess.plan import Task
from reprocess.worker import TaskResult

N_WORKERS = 2


@pytest.fixture(scope="module")
def client():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=N_WORKERS,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(params=["serial", "dask"])
def executor(request):
    if request.param == "serial":
        return SerialExecutor()
    return DaskExecutor(request.getfixturevalue("client"), threads=1)


class Book:
    """Counts the calls for each day; not copied to where the task runs."""

    def __init__(self):
        self.lock = threading.Lock()
        self.calls = {}
        self.threads = []

    def add(self, task, threads):
        with self.lock:
            self.calls[task.day] = self.calls.get(task.day, 0) + 1
            self.threads.append(threads)
            return self.calls[task.day]

    def __reduce__(self):
        return _the_book, ()


BOOK = Book()


def _the_book():
    return BOOK


@pytest.fixture(autouse=True)
def book(monkeypatch):
    quick = SimpleNamespace(sleep=lambda _: None, time_ns=time.time_ns)
    monkeypatch.setattr(executors, "time", quick)
    BOOK.__init__()
    return BOOK


class Call:
    """Finishes every task, except that a day's first calls raise what is given for it."""

    def __init__(self, errors=None):
        self.errors = errors or {}

    def __call__(self, task, threads):
        number = _the_book().add(task, threads)
        errors = self.errors.get(task.day, [])
        if number <= len(errors):
            raise errors[number - 1]
        return TaskResult(task.day, {})


def make_tasks(n):
    first = date(2021, 6, 1)
    return [Task(first + timedelta(days=i), (), (), {}, {}) for i in range(n)]


def outcomes(executor, tasks, errors=None):
    found = {}
    for task, outcome in executor.run(Call(errors), iter(tasks)):
        assert task.day not in found
        found[task.day] = outcome
    return found


@pytest.mark.parametrize("n", [0, 1, 3, 25])
def test_every_task_comes_back_once_with_its_own_result(executor, book, n):
    tasks = make_tasks(n)
    found = outcomes(executor, tasks)
    assert set(found) == {task.day for task in tasks}
    assert all(isinstance(o, TaskResult) and o.day == day for day, o in found.items())
    assert set(book.calls.values()) <= {1}
    assert all(threads >= 1 for threads in book.threads)


def test_an_exception_is_an_outcome_and_stops_no_other_task(executor):
    tasks = make_tasks(8)
    bad = tasks[3].day
    found = outcomes(executor, tasks, {bad: [StoreError("a/key: stale")] * 9})
    assert isinstance(found[bad], StoreError)
    assert str(found[bad]) == "a/key: stale"
    assert sum(isinstance(o, TaskResult) for o in found.values()) == 7


def test_trouble_with_files_is_tried_again_and_then_forgotten(executor, book):
    tasks = make_tasks(4)
    errors = {tasks[1].day: [OSError("disk")], tasks[2].day: [OSError("a"), ConnectionError("b")]}
    found = outcomes(executor, tasks, errors)
    assert all(isinstance(outcome, TaskResult) for outcome in found.values())
    assert [book.calls[task.day] for task in tasks] == [1, 2, 3, 1]


def test_trouble_that_stays_is_tried_so_often_and_no_more(executor, book):
    tasks = make_tasks(3)
    bad = tasks[0].day
    found = outcomes(executor, tasks, {bad: [OSError(str(i)) for i in range(1, 10)]})
    assert ATTEMPTS == 3
    assert book.calls[bad] == ATTEMPTS
    assert isinstance(found[bad], OSError)
    assert str(found[bad]) == str(ATTEMPTS)
    assert len(found) == 3


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyError("k"), StoreError("s")])
def test_a_wrong_value_is_not_tried_again(executor, book, error):
    tasks = make_tasks(2)
    found = outcomes(executor, tasks, {tasks[0].day: [error] * 9})
    assert book.calls[tasks[0].day] == 1
    assert type(found[tasks[0].day]) is type(error)


def test_trouble_followed_by_a_wrong_value_stops_there(executor, book):
    tasks = make_tasks(1)
    found = outcomes(executor, tasks, {tasks[0].day: [OSError("disk"), ValueError("wrong")] * 3})
    assert isinstance(found[tasks[0].day], ValueError)
    assert book.calls[tasks[0].day] == 2


def test_a_lost_lock_is_raised_and_nothing_more_is_begun(executor, book):
    tasks = make_tasks(40)
    run = executor.run(Call({tasks[0].day: [LockLost("lock 2021")] * 9}), iter(tasks))
    with pytest.raises(LockLost, match="lock 2021"):
        for _ in run:
            pass
    assert book.calls[tasks[0].day] == 1
    assert len(book.calls) < len(tasks)


def test_no_more_tasks_are_drawn_than_the_window_holds(executor):
    n_drawn = 0

    def draw():
        nonlocal n_drawn
        for task in make_tasks(30):
            n_drawn += 1
            yield task

    window = 2 * N_WORKERS
    for n_done, _ in enumerate(executor.run(Call(), draw()), start=1):
        assert n_drawn <= n_done + window
    assert n_drawn == 30


def test_a_caller_that_stops_leaves_nothing_behind(executor, book):
    run = executor.run(Call(), iter(make_tasks(30)))
    next(run)
    run.close()
    assert len(book.calls) < 30
    assert len(outcomes(executor, make_tasks(3))) == 3


def test_equal_tasks_of_a_second_run_are_done_again(executor, book):
    tasks = make_tasks(2)
    outcomes(executor, tasks)
    outcomes(executor, tasks)
    assert set(book.calls.values()) == {2}


def test_the_dask_scheduler_keeps_no_result(client):
    before = set(client.futures)
    outcomes(DaskExecutor(client, threads=1), make_tasks(12))
    end = time.monotonic() + 10
    while not set(client.futures) <= before and time.monotonic() < end:
        time.sleep(0.01)  # a release reaches the client by its event loop
    assert set(client.futures) <= before


def test_a_killed_worker_is_tried_again(client, book):
    from distributed import KilledWorker

    tasks = make_tasks(1)
    killed = KilledWorker("key", SimpleNamespace(address="inproc://gone"), 1)
    found = outcomes(DaskExecutor(client, threads=1), tasks, {tasks[0].day: [killed]})
    assert isinstance(found[tasks[0].day], TaskResult)
    assert book.calls[tasks[0].day] == 2


def test_a_leaving_worker_costs_a_block_no_attempt(client, book):
    tasks = make_tasks(1)
    errors = {tasks[0].day: [WorkerLeaving("2021-06-01")] * 7 + [OSError("a"), OSError("b")]}
    found = outcomes(DaskExecutor(client, threads=1), tasks, errors)
    assert isinstance(found[tasks[0].day], TaskResult)
    assert book.calls[tasks[0].day] == 10


def test_the_pool_is_tended_while_blocks_are_awaited(client, monkeypatch):
    monkeypatch.setattr(executors, "TEND_S", 0.01)
    tended = threading.Event()
    tasks = make_tasks(1)
    run = DaskExecutor(client, threads=1, tend=tended.set).run(Wait(tended), iter(tasks))
    assert [task for task, _ in run] == tasks


def test_trouble_with_the_pool_ends_the_run(client, monkeypatch):
    monkeypatch.setattr(executors, "TEND_S", 0.01)
    over = threading.Event()

    def tend():
        over.set()
        raise ClusterError("no job can start")

    run = DaskExecutor(client, threads=1, tend=tend).run(Wait(over), iter(make_tasks(3)))
    with pytest.raises(ClusterError, match="no job can start"):
        list(run)


class Wait:
    """Finishes once an event of this process is set; not copied to where the task runs."""

    event = None

    def __init__(self, event=None):
        Wait.event = event or Wait.event

    def __call__(self, task, threads):  # noqa: ARG002
        assert Wait.event.wait(60)
        return TaskResult(task.day, {})

    def __reduce__(self):
        return Wait, ()


def test_a_dropped_task_is_cluster_trouble(client):
    class Future:
        status = "lost"
        key = "2021-06-01-1"

    with pytest.raises(ClusterError, match=r"2021-06-01-1 \(lost\).*run again"):
        DaskExecutor(client, threads=1)._error(Future())


def test_only_input_and_output_is_transient():
    assert is_transient(OSError())
    assert is_transient(TimeoutError())
    assert not is_transient(ValueError())
    assert not is_transient(StoreError())


def test_a_cluster_is_named_or_refused():
    with open_executor("serial", 3, lambda _: None) as executor:
        assert isinstance(executor, SerialExecutor)
    with (
        pytest.raises(ConfigurationError, match=r"--cluster slrm: .*expected serial, local, slurm"),
        open_executor("slrm", 3, lambda _: None),
    ):
        pass


def test_a_running_scheduler_is_found_by_its_address(monkeypatch):
    monkeypatch.setattr(local, "available_cores", lambda: 1)
    said = []
    from distributed import LocalCluster

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0",
            protocol="tcp://", host="127.0.0.1", silence_logs=50,
        ) as cluster,
        open_executor(cluster.scheduler_address, 3, said.append) as executor,
    ):  # fmt: skip
        assert len(outcomes(executor, make_tasks(3))) == 3
    assert "1 workers at tcp://" in said[0]


def test_no_scheduler_is_a_cluster_error(monkeypatch):
    import distributed

    def refuse(*args, **kwargs):  # noqa: ARG001
        raise OSError("Timed out")

    monkeypatch.setattr(distributed, "Client", refuse)
    with (
        pytest.raises(ClusterError, match=r"tcp://127.0.0.1:9: no scheduler answers"),
        open_executor("tcp://127.0.0.1:9", 3, lambda _: None),
    ):
        pass
