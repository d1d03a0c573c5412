"""The faults that `workflows/mutants.py` plants can still be planted."""

from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def mutants(load_workflow):
    return load_workflow("mutants")


def test_every_fault_finds_its_place_and_its_test(mutants, tmp_path):
    names = {name for mutant in mutants.MUTANTS for name, _, _ in mutant.edits}
    for name in names:
        (tmp_path / "reprocess" / name).parent.mkdir(parents=True, exist_ok=True)
    for mutant in mutants.MUTANTS:
        for name in names:
            (tmp_path / "reprocess" / name).write_text((TREE / "reprocess" / name).read_text())
        mutants.planted(mutant, tmp_path)
        path, _, test = mutant.told_by.partition("::")
        name = test.partition("[")[0]
        assert not name or f"def {name}(" in (TREE / path).read_text()


def test_a_fault_without_a_place_is_an_error(mutants, tmp_path):
    (tmp_path / "reprocess").mkdir()
    (tmp_path / "reprocess" / "plan.py").write_text("nothing of the kind")
    with pytest.raises(ValueError, match="found 0 times"):
        mutants.planted(mutants.Mutant("gone", "", (("plan.py", "old", "new"),)), tmp_path)


def test_every_fault_is_in_the_documentation(mutants):
    page = (TREE / "docs" / "reliability.md").read_text()
    assert [m.name for m in mutants.MUTANTS if f"| {m.name} |" not in page] == []
