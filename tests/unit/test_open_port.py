"""A scheduler's port lets whoever reaches it run code: ours listens here only, others are told."""

import pytest

from reprocess.request import open_port_warning


@pytest.mark.parametrize(
    "cluster",
    ["local", "serial", "slurm", "tls://login1:8786", "tcp://127.0.0.1:8786", "tcp://[::1]:8786",
     "tcp://localhost:8786", "wss://login1:8786"],
)  # fmt: skip
def test_nothing_is_said_of_what_strangers_cannot_reach(cluster):
    assert open_port_warning(cluster) is None


@pytest.mark.parametrize(
    "cluster",
    ["tcp://login1:8786", "tcp://10.0.0.1:8786", "tcp://0.0.0.0:8786", "ws://[2001:db8::1]:8786",
     "tcp://127.evil.example:8786", "ucx://node7:8786"],
)  # fmt: skip
def test_an_open_port_is_told_as_what_it_is(cluster):
    said = open_port_warning(cluster)
    assert said is not None
    assert cluster in said
    assert "can run code as you" in said
    assert "tls://" in said
