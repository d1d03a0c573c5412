"""Read ahead: a bounded number of results under way, taken in order."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ahead(
    function: Callable[[_Item], _Result], items: Iterable[_Item], number: int
) -> Iterator[tuple[_Item, _Result]]:
    """Yield each item with its result, in order, while `number` more are being made in threads.

    An exception comes up at its item; what is under way then is finished, the rest never begun.
    """
    waiting = iter(items)
    with ThreadPoolExecutor(number, thread_name_prefix="ahead") as pool:
        under_way: deque[tuple[_Item, Future[_Result]]] = deque(
            (item, pool.submit(function, item)) for item in itertools.islice(waiting, number)
        )
        while under_way:
            item, future = under_way.popleft()
            result = future.result()
            for following in itertools.islice(waiting, 1):
                under_way.append((following, pool.submit(function, following)))
            yield item, result
