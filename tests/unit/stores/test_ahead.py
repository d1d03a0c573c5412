"""Results read ahead: in order, bounded, and gone at an error."""

import threading

import pytest

from reprocess.stores.ahead import ahead


def test_results_come_in_order_whichever_is_ready_first():
    first = threading.Event()

    def function(item):
        if item == 0:
            assert first.wait(30)
        elif item == 2:
            first.set()
        return -item

    assert list(ahead(function, range(5), 3)) == [(i, -i) for i in range(5)]


def test_no_more_are_begun_than_may_be_under_way():
    begun = []
    results = ahead(lambda item: begun.append(item), range(100), 4)
    for taken in range(10):
        next(results)
        assert len(begun) <= taken + 1 + 4
    results.close()
    assert len(begun) <= 15


def test_an_error_comes_up_at_its_item():
    def function(item):
        if item == 2:
            raise KeyError(item)
        return item

    results = ahead(function, range(50), 2)
    assert next(results) == (0, 0)
    assert next(results) == (1, 1)
    with pytest.raises(KeyError):
        next(results)


def test_nothing_to_do():
    assert list(ahead(lambda item: item, [], 3)) == []
