"""S3 through s3fs: one request at a time, tried again until a deadline, told apart when it fails.

The libraries' own retries are off. They count attempts, not time, so an outage
of a minute ends them; they do not cover a reply that breaks off; and a
conditional PUT that they repeat finds its own object and reports a conflict.
Here one loop covers every request, and `put` knows its own write by a token.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

from reprocess.campaign import S3Access
from reprocess.credentials import WHERE_SECRETS_BELONG, redacted
from reprocess.errors import ConfigurationError, ServiceUnavailable

PROTOCOLS = ("s3://", "s3a://")
REQUESTS_MAX = 32
"""Requests of one process under way at one time."""

CONNECT_TIMEOUT_S = 10.0
BACKOFF_S = (0.2, 10.0)
"""First and longest pause between two attempts; doubled each time, times 0.5 to 1 at random."""

DOWN_PATIENCE_S = 5.0
"""How long a service is waited for that has just used up its whole patience."""

NEWS_S = 5.0
PART_BYTES = 50 * 2**20
"""Objects of twice this size or more go up in parts."""

TOKEN = "reprocess-attempt"
"""Object metadata that tells which call created an object."""

_Result = TypeVar("_Result")
_log = logging.getLogger("reprocess")


def is_s3(url: str) -> bool:
    """Tell whether a URL is of an S3 bucket."""
    return url.startswith(PROTOCOLS)


class S3Object(NamedTuple):
    """One object of a listing; `key` is relative to the URL, `tag` its ETag without quotes."""

    key: str
    size: int
    tag: str


class AlreadyThere(Exception):
    """A conditional PUT found an object under its key."""


class _Again(NamedTuple):
    """Nothing was wrong with the request: the same one may be answered later."""

    reason: str
    pause_s: float = 0.0


class S3Bucket:
    """The objects below one `s3://bucket/prefix`; shared between threads, pickled, forked safely.

    Every method raises `ConfigurationError` at once where trying again cannot help
    (credentials, permission, bucket, region), and `ServiceUnavailable` when the
    service has not answered within `access.retry_for_s`.

    Parameters
    ----------
    url : `s3://bucket/prefix`
    access : how the service is reached
    what : `store` or `archive`, for messages
    """

    def __init__(self, url: str, access: S3Access, what: str) -> None:
        self.url = url.rstrip("/")
        self.access = access
        self.what = what
        self.bucket, _, prefix = self.url.partition("://")[2].partition("/")
        self._root = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        if not self.bucket:
            raise ConfigurationError(f"{what} {url}: expected s3://BUCKET or s3://BUCKET/PREFIX")

    def get(self, key: str) -> bytes:
        """Return an object's bytes; raises `FileNotFoundError` where there is none."""
        path = self._path(key)
        # max_concurrency=1: one GET, instead of a HEAD before each to decide on ranges.
        return bytes(self._request(key, lambda fs: fs.cat_file(path, max_concurrency=1)))

    def put(self, key: str, data: bytes) -> None:
        """Replace an object whole; a large one goes up in parts and appears at the end."""
        path = self._path(key)
        self._request(key, lambda fs: fs.pipe_file(path, data, chunksize=PART_BYTES))

    def create(self, key: str, data: bytes) -> None:
        """Create an object in one request.

        Raises
        ------
        AlreadyThere
            If there is one that this call did not write.
        """
        if len(data) >= 2 * PART_BYTES:
            raise ValueError(f"{key}: {len(data)} bytes are too many for one conditional request")
        path, token = self._path(key), uuid.uuid4().hex
        try:
            self._request(
                key,
                lambda fs: fs.pipe_file(
                    path, data, chunksize=PART_BYTES, mode="create", Metadata={TOKEN: token}
                ),
            )
        except AlreadyThere:
            # The reply to our own PUT may have been lost after it had succeeded. aiohttp repeats
            # a PUT by itself when a kept connection breaks, so a first refusal proves nothing.
            if self._token(key) != token:
                raise

    def remove(self, key: str) -> None:
        """Delete an object; nothing happens where there is none."""
        path = self._path(key)
        with contextlib.suppress(FileNotFoundError):
            self._request(key, lambda fs: fs.rm_file(path))

    def has(self, key: str) -> bool:
        """Tell whether an object is there, by a listing: a HEAD cannot tell a missing bucket."""
        page = self._page(Prefix=self._root + key, MaxKeys=1)
        return any(item["Key"] == self._root + key for item in page.get("Contents", ()))

    def pages(
        self, prefix: str, *, by_directory: bool = False
    ) -> Iterator[tuple[list[S3Object], list[str]]]:
        """List what begins with a prefix, 1000 names a request; nothing is cached.

        Parameters
        ----------
        prefix : of keys, not of directories: `2021/12` also finds `2021/123`
        by_directory : stop at the next `/` after the prefix

        Yields
        ------
        objects, directories
            Of one page; directories end in `/` and come only with `by_directory`.
        """
        more: dict[str, Any] = {"Delimiter": "/"} if by_directory else {}
        cut = len(self._root)
        while True:
            page = self._page(Prefix=self._root + prefix, **more)
            yield (
                [
                    S3Object(item["Key"][cut:], int(item["Size"]), item.get("ETag", "").strip('"'))
                    for item in page.get("Contents", ())
                    if not item["Key"].endswith("/")
                ],
                [item["Prefix"][cut:] for item in page.get("CommonPrefixes", ())],
            )
            if not page.get("IsTruncated"):
                return
            more["ContinuationToken"] = page["NextContinuationToken"]

    def _page(self, **arguments: Any) -> dict[str, Any]:
        def call(fs: Any) -> dict[str, Any]:
            answer: dict[str, Any] = fs.call_s3("list_objects_v2", Bucket=self.bucket, **arguments)
            return answer

        try:
            return self._request("", call)
        except FileNotFoundError as error:  # a listing is never absent: nothing there speaks S3
            raise self._refused("NoSuchBucket", "not found") from error

    def _token(self, key: str) -> str | None:
        def call(fs: Any) -> dict[str, Any]:
            answer: dict[str, Any] = fs.call_s3(
                "head_object", Bucket=self.bucket, Key=self._root + key
            )
            return answer

        try:
            return str(self._request(key, call).get("Metadata", {}).get(TOKEN))
        except FileNotFoundError:
            return None

    def _path(self, key: str) -> str:
        return f"{self.bucket}/{self._root}{key}"

    # --- one request -----------------------------------------------------------------

    def _request(self, key: str, call: Callable[[Any], _Result]) -> _Result:
        """Send one request until it is answered; raises what its answer means."""
        try:
            connection = _connection(self.access)
        except Exception as error:
            self._judge(key, error)
            raise
        started = time.monotonic()
        patience_s = self.access.retry_for_s
        if connection.down:
            patience_s = min(patience_s, DOWN_PATIENCE_S)
        told, pause_s = NEWS_S, BACKOFF_S[0]
        while True:
            try:
                with connection.slots:
                    answer = call(connection.fs)
                connection.down = False
                return answer
            except Exception as error:
                again = self._judge(key, error)
                if again is None:
                    raise
                cause = error
            wait_s = max(again.pause_s, pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, BACKOFF_S[1])
            passed_s = time.monotonic() - started
            if passed_s + wait_s > patience_s:
                connection.down = True
                raise ServiceUnavailable(
                    f"{self._where(key)}: no useful answer for {passed_s:.0f} s ({again.reason}); "
                    f"expected the service at {self._endpoint()} to answer. What is committed "
                    f"stays: run again when it does"
                ) from cause
            if passed_s + wait_s > told:
                told = 2 * told
                _log.warning(
                    "%s: %s; trying again for up to %.0f s",
                    self._where(key), again.reason, patience_s - passed_s,
                )  # fmt: skip
            time.sleep(wait_s)

    def _judge(self, key: str, error: Exception) -> _Again | None:
        """Raise what a failed request means, or return why to send it again; None: unknown."""
        import aiohttp
        from botocore import exceptions as boto
        from botocore.parsers import ResponseParserError

        for cause in _causes(error):
            if isinstance(cause, boto.ClientError):
                return self._judge_answer(key, error, cause.response)
        if isinstance(error, RecursionError):  # botocore follows a redirect that leads to itself
            raise self._refused("PermanentRedirect", "redirects without end") from error
        if isinstance(error, boto.SSLError) and "CERTIFICATE" in str(error).upper():
            raise self._refused("certificate", _brief(error)) from error
        passing = (
            boto.HTTPClientError, boto.ConnectionError, ResponseParserError, aiohttp.ClientError,
            ConnectionError, TimeoutError, EOFError,
        )  # fmt: skip
        if isinstance(error, passing):
            return _Again(_brief(error))
        if isinstance(error, boto.BotoCoreError):
            raise self._refused(type(error).__name__, _brief(error)) from error
        if isinstance(error, ValueError) and "endpoint" in str(error).lower():
            raise self._refused("endpoint", redacted(_brief(error))) from error
        return None

    def _judge_answer(self, key: str, error: Exception, response: dict[str, Any]) -> _Again:
        code = str(response.get("Error", {}).get("Code", ""))
        meta = response.get("ResponseMetadata", {})
        status = int(meta.get("HTTPStatusCode", 0))
        said = f"HTTP {status} {code}".rstrip()
        if code != "NoSuchBucket" and status == HTTPStatus.NOT_FOUND:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), key) from error
        if status == HTTPStatus.PRECONDITION_FAILED:
            raise AlreadyThere(key) from error
        passing = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in (
            HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.CONFLICT, HTTPStatus.REQUEST_TIMEOUT,
        )  # fmt: skip
        if status == HTTPStatus.NOT_IMPLEMENTED:
            raise self._refused(code, said) from error
        if passing or code in ("RequestTimeout", "SlowDown", "IncompleteBody", "BadDigest"):
            asked = str(meta.get("HTTPHeaders", {}).get("retry-after", ""))
            return _Again(said, min(float(asked), 60.0) if asked.isdigit() else 0.0)
        raise self._refused(code, said) from error

    def _refused(self, code: str, said: str) -> ConfigurationError:
        """The error of a request that will never be granted: what to look at, never a key."""
        if code == "NoSuchBucket":
            hint = f"there is no bucket {self.bucket}: make it, or correct the URL"
        elif code in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"):
            hint = f"{WHERE_SECRETS_BELONG}; a public bucket needs anonymous: true"
        elif code == "InvalidObjectState":
            hint = "the object lies in cold storage: restore it first"
        elif "403" in said or "401" in said or "Token" in code or "AccessKey" in code:
            hint = (
                "expected credentials that may list, read and write here: check the profile, its "
                "secret key, its expiry, this machine's clock and the bucket's policy"
            )
        else:
            hint = "check the URL, endpoint_url and region"
        return ConfigurationError(f"{self._where('')}: {said} from {self._endpoint()}; {hint}")

    def _where(self, key: str) -> str:
        return f"{self.what} {self.url}{f'/{key}' if key else ''}"

    def _endpoint(self) -> str:
        named = self.access.endpoint_url or next(
            (v for k in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") if (v := os.environ.get(k))), ""
        )
        return redacted(named) if named else "AWS, or what the profile names"


class _Connection:
    """A process's client of one service; s3fs runs it in its own event loop's thread."""

    def __init__(self, access: S3Access) -> None:
        import s3fs

        options: dict[str, Any] = {"profile": access.profile} if access.profile else {}
        # Not from fsspec's cache of instances: users' own options and retries stay theirs.
        self.fs = s3fs.S3FileSystem(
            anon=access.anonymous,
            endpoint_url=access.endpoint_url,
            client_kwargs={"region_name": access.region} if access.region else None,
            config_kwargs={
                "connect_timeout": min(CONNECT_TIMEOUT_S, access.timeout_s),
                "read_timeout": access.timeout_s,
                "max_pool_connections": REQUESTS_MAX,
                "retries": {"total_max_attempts": 1, "mode": "standard"},
                # SHA-256 of the body in the signature: every service checks it. The newer CRC
                # trailers are stored as data by some.
                "s3": {"payload_signing_enabled": True},
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            },
            use_listings_cache=False,
            skip_instance_cache=True,
            **options,
        )
        self.fs.retries = 1
        self.fs.connect()
        self.slots = threading.BoundedSemaphore(REQUESTS_MAX)
        self.down = False


_connections: dict[tuple[object, ...], _Connection] = {}
_opening = threading.Lock()


def _connection(access: S3Access) -> _Connection:
    """The client for some settings, made once a process: its loop does not survive a fork."""
    named = {k: v for k, v in os.environ.items() if k.startswith("AWS_")}
    environment = hashlib.sha256(repr(sorted(named.items())).encode()).hexdigest()
    settings = (access.endpoint_url, access.profile, access.region, access.anonymous)
    key = (os.getpid(), *settings, access.timeout_s, environment)
    with _opening:
        if key not in _connections:
            _connections[key] = _Connection(access)
        return _connections[key]


def _renew_lock() -> None:
    global _opening
    _opening = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def _causes(error: BaseException) -> Iterator[BaseException]:
    step: BaseException | None = error
    while step is not None:
        yield step
        step = step.__cause__


def _brief(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"
