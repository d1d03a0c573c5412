"""A campaign on a real Slurm leaves what a serial run leaves, whatever happens to its jobs."""

import pytest

from .conftest import DAYS

pytestmark = pytest.mark.slurm


def test_slurm_equals_the_serial_run_and_a_second_run_does_nothing(
    campaign, serial_keys, same_keys
):
    code, report, log = campaign.run()
    assert code == 0, log
    assert sum(year["done"] for year in report["years"].values()) == len(DAYS)
    same_keys(campaign.tiny.keys(), serial_keys)
