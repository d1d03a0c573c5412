"""Addresses of schedulers that could never answer are refused before anything is done."""

import dask
import distributed  # noqa: F401 - sets Dask's defaults, which would replace ours
import pytest

from reprocess.clusters.open import check_cluster
from reprocess.errors import ConfigurationError


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://x", "--cluster http://x: found no scheduler's address; expected tcp://HOST:PORT"),
        ("tcp://localhost", "--cluster tcp://localhost: expected tcp://HOST:PORT"),
        ("tcp://localhost:port", "--cluster tcp://localhost:port: expected tcp://HOST:PORT"),
    ],
)
def test_what_is_no_address(address, says):
    with pytest.raises(ConfigurationError) as error:
        check_cluster(address)
    assert says in str(error.value)


@pytest.mark.parametrize("file", [None, "/no/such/file.pem"])
def test_tls_that_dask_has_no_certificates_for(file):
    keys = ("ca-file", "client.cert", "client.key")
    with (
        dask.config.set({f"distributed.comm.tls.{key}": file for key in keys}),
        pytest.raises(ConfigurationError, match=r"tls://h:1: .*distributed\.comm\.tls\.ca-file"),
    ):
        check_cluster("tls://h:1")


def test_addresses_that_may_answer():
    check_cluster("tcp://localhost:8786")
    check_cluster("tcp://[::1]:8786")
