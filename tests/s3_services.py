"""S3 services for tests: moto in this process, and Ceph's radosgw started from its packages.

moto answers in milliseconds but lets everybody in. radosgw is the real thing; its tests bear the
mark `s3` and are skipped, visibly, where its packages are not installed.
"""

import http.client
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
import s3fs

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
        """Kill a program, and see it gone."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                stat = Path(f"/proc/{pid}/stat").read_text()
            except OSError:
                return
            if stat.rpartition(")")[2].split()[0] in "ZX":
                return
            time.sleep(0.01)
        raise TimeoutError(f"{name} does not die")


class Request(NamedTuple):
    """What a proxy's fault looks at."""

    number: int
    method: str
    path: str
    headers: dict


@dataclass
class Fault:
    """What a proxy does to a request, in this order.

    Attributes
    ----------
    delay_s : wait before anything
    strip : headers that the service does not get
    reset : break the connection, the request is never sent on
    status : answer this, with `body`, instead of the service
    drop : let the service do it, and break the connection instead of answering
    cut : send half of the answer's body, and break the connection
    """

    delay_s: float = 0.0
    strip: tuple = ()
    reset: bool = False
    status: int | None = None
    body: bytes = b""
    drop: bool = False
    cut: bool = False


class Proxy:
    """An HTTP proxy before a service, that remembers every request and spoils some.

    `fault` is asked about each request and returns a `Fault`, or None to leave it alone. The Host
    header goes on as it came, so signatures hold.
    """

    def __init__(self, service: Service | None) -> None:
        self.requests: list[Request] = []
        self.fault: Callable = lambda _request: None
        self._lock = threading.Lock()
        backend = None if service is None else service.endpoint.removeprefix("http://")
        proxy = self

        class Relay(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_args):
                pass

            def relay(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = proxy._note(self.command, self.path, dict(self.headers))
                fault = proxy.fault(request) or Fault()
                time.sleep(fault.delay_s)
                if fault.reset:
                    return self._break()
                if fault.status is not None:
                    return self._answer(fault.status, [], fault.body)
                try:
                    status, headers, answer = self._forward(body, fault.strip)
                except OSError:
                    return self._break()
                if fault.drop:
                    return self._break()
                if fault.cut:
                    headers = [h for h in headers if h[0].lower() != "content-length"]
                    headers.append(("Content-Length", str(len(answer))))
                    self._answer(status, headers, answer[: len(answer) // 2])
                    return self._break()
                self._answer(status, headers, answer)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = relay

            def _forward(self, body, strip):
                connection = http.client.HTTPConnection(backend, timeout=120)
                try:
                    kept = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
                    kept = {k: v for k, v in kept.items() if k.lower() not in strip}
                    connection.request(self.command, self.path, body, kept)
                    answer = connection.getresponse()
                    headers = [h for h in answer.getheaders() if h[0].lower() != "connection"]
                    return answer.status, headers, answer.read()
                finally:
                    connection.close()

            def _answer(self, status, headers, body):
                named = {name.lower() for name, _ in headers}
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() != "transfer-encoding":
                        self.send_header(name, value)
                if "content-length" not in named:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def _break(self):
                self.wfile.flush()
                linger = struct.pack("ii", 1, 0)  # closed with RST, as a dead host's would be
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_args):
                pass  # clients hang up in the middle; that is what is tested

        self._server = Server(("127.0.0.1", 0), Relay)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _note(self, method, path, headers):
        with self._lock:
            lowered = {key.lower(): value for key, value in headers.items()}
            request = Request(len(self.requests), method, path, lowered)
            self.requests.append(request)
            return request

    def first(self, n, fault, matching=lambda _request: True):
        """Spoil the first n requests that match."""
        left = iter(range(n))

        def decide(request):
            hit = matching(request) and next(left, None) is not None
            return fault if hit else None

        self.fault = decide


def _enter(patch, service):
    """Make a service the one that AWS's environment leads to, and no other."""
    for key in [key for key in os.environ if key.startswith("AWS_")]:
        patch.delenv(key)
    for key, value in service.environment.items():
        patch.setenv(key, value)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # Plain fsspec and xarray keep clients of another service that was entered before.
    s3fs.S3FileSystem.clear_instance_cache()


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


@pytest.fixture
def proxied(moto_s3, monkeypatch):
    """A proxy before moto, entered."""
    proxy = Proxy(moto_s3)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    yield proxy
    proxy.close()


@pytest.fixture
def radosgw_proxied(radosgw, monkeypatch):
    """A proxy before radosgw, entered."""
    proxy = Proxy(radosgw)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    yield proxy
    proxy.close()
