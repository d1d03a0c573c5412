"""S3 services for tests: moto in this process, and Ceph's radosgw started from its packages.

moto answers in milliseconds but lets everybody in. radosgw is the real thing; its tests bear the
mark `s3` and are skipped, visibly, where its packages are not installed.
"""

import os
import shutil
import signal
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "cluster" / "s3-here.sh"
PROGRAMS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph")


@dataclass
class Service:
    """An S3 service, and the environment that leads to it."""

    environment: dict
    directory: Path | None = None
    _clients: dict = field(default_factory=dict)

    @property
    def endpoint(self):
        return self.environment["AWS_ENDPOINT_URL"]

    def client(self):
        """A plain boto3 client, so that nothing of the package under test is trusted."""
        import boto3

        if "s3" not in self._clients:
            self._clients["s3"] = boto3.client(
                "s3",
                endpoint_url=self.endpoint,
                region_name=self.environment["AWS_DEFAULT_REGION"],
                aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            )
        return self._clients["s3"]

    def make_bucket(self):
        """A fresh bucket; returns its URL."""
        name = f"b-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}"

    def contents(self, url):
        """Every object below a URL, by key."""
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        pages = (
            self.client()
            .get_paginator("list_objects_v2")
            .paginate(Bucket=bucket, Prefix=f"{prefix}/" if prefix else "")
        )
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        cut = len(prefix) + 1 if prefix else 0
        return {
            key[cut:]: self.client().get_object(Bucket=bucket, Key=key)["Body"].read()
            for key in keys
        }

    def fill(self, url, files):
        """Put bytes under keys below a URL."""
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        for key, data in files.items():
            full = f"{prefix}/{key}" if prefix else key
            self.client().put_object(Bucket=bucket, Key=full, Body=data)

    def upload(self, url, directory):
        """Copy a directory's files."""
        paths = [path for path in Path(directory).rglob("*") if path.is_file()]
        self.fill(url, {p.relative_to(directory).as_posix(): p.read_bytes() for p in paths})

    # --- radosgw only ---------------------------------------------------------------

    def pid(self, name):
        """Process id of `rgw`, `osd` or `mon`."""
        return int((self.directory / "run" / f"{name}.pid").read_text())

    def script(self, verb):
        """`osd` and `rgw` start those again; returns when they answer."""
        subprocess.run([SCRIPT, verb, self.directory], check=True, stdout=subprocess.DEVNULL)

    def kill(self, name):
        os.kill(self.pid(name), signal.SIGKILL)


def _enter(patch, service):
    """Make a service the one that AWS's environment leads to, and no other."""
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        patch.delenv(key)
    for key, value in service.environment.items():
        patch.setenv(key, value)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def moto_service():
    """moto, in a thread of this process."""
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
    host, port = server.get_host_and_port()
    yield Service(
        {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }
    )
    server.stop()


@pytest.fixture(scope="session")
def radosgw_service(tmp_path_factory):
    """A real S3 service on loopback, stopped at the end."""
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    if lacking:
        pytest.skip(f"s3: {', '.join(lacking)} not installed (radosgw ceph-mon ceph-osd)")
    if os.geteuid():
        pytest.skip("s3: the daemons of Ceph are started as root")
    directory = tmp_path_factory.mktemp("radosgw")
    try:
        subprocess.run([SCRIPT, "start", directory], check=True, stdout=subprocess.DEVNULL)
        lines = (directory / "env").read_text().splitlines()
        yield Service(dict(line.split("=", 1) for line in lines), directory)
    finally:
        subprocess.run([SCRIPT, "stop", directory], check=True)


@pytest.fixture
def moto_s3(moto_service, monkeypatch):
    """moto, entered."""
    _enter(monkeypatch, moto_service)
    return moto_service


@pytest.fixture
def radosgw(radosgw_service, monkeypatch):
    """radosgw, entered."""
    _enter(monkeypatch, radosgw_service)
    return radosgw_service
