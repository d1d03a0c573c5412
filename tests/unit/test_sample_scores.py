"""Tables of several networks, side by side."""

from __future__ import annotations

import pytest

from reprocess.evaluate.text import Table


@pytest.fixture(scope="module")
def workflow(load_workflow):
    return load_workflow("sample_scores")


def test_a_column_of_the_network_becomes_one_for_each(workflow):
    def table(recall):
        return Table(
            "t", "n", ("by", "frames", "network", "colour"), (("arc", "9", recall, "0.5"),)
        )

    found = workflow.beside({"small": table("0.7"), "large": table("0.9")})
    assert found.head == ("by", "frames", "small", "large", "colour")
    assert found.rows == (("arc", "9", "0.7", "0.9", "0.5"),)


def test_a_row_of_the_network_becomes_one_for_each_and_others_stand_once(workflow):
    def table(f1):
        rows = (("pixel", "network", f1), ("pixel", "colour", "0.5"), ("cell", "network", f1))
        return Table("t", "n", ("by", "method", "F1"), rows, 2)

    found = workflow.beside({"small": table("0.7"), "large": table("0.9")})
    assert found.rows == (
        ("pixel", "small", "0.7"), ("pixel", "large", "0.9"), ("pixel", "colour", "0.5"),
        ("cell", "small", "0.7"), ("cell", "large", "0.9"),
    )  # fmt: skip


def test_a_table_of_the_network_alone_names_it_in_each_row_and_note(workflow):
    def table(note, *rows):
        return Table("t", note, ("probability", "true share"), rows)

    found = workflow.beside(
        {
            "small": table("error 1", ("0", "0.1"), ("1", "0.8")),
            "large": table("error 2", ("0", "0")),
        }
    )
    assert found.head == ("network", "probability", "true share")
    assert found.rows == (("small", "0", "0.1"), ("small", "1", "0.8"), ("large", "0", "0"))
    assert found.note == "`small`: error 1 `large`: error 2"
    assert found.left == 2


def test_one_network_keeps_its_tables(workflow):
    table = Table("t", "n", ("by", "network"), (("arc", "0.7"),))
    assert workflow.beside({"small": table}).rows == table.rows
