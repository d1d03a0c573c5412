"""One request to S3: tried again where that helps, refused at once where it does not."""

import logging
import multiprocessing
import pickle
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from s3_services import Fault

from reprocess.campaign import S3Access, StoreAccess
from reprocess.errors import ConfigurationError, ServiceUnavailable
from reprocess.stores import s3 as module
from reprocess.stores.objects import S3Objects, open_objects
from reprocess.stores.s3 import S3Bucket

IMPATIENT = StoreAccess(timeout_s=0.5, retry_for_s=0.5)
PATIENT = StoreAccess(timeout_s=0.5, retry_for_s=60)
SLOW_DOWN = Fault(status=503, body=b"<Error><Code>SlowDown</Code></Error>")
RESET = Fault(reset=True)


def refusal(status, code, more=b""):
    """An answer of the service that is an error."""
    return Fault(status=status, body=b"<Error><Code>%b</Code>%b</Error>" % (code.encode(), more))


@pytest.fixture(autouse=True)
def brisk(monkeypatch):
    monkeypatch.setattr(module, "BACKOFF_S", (0.01, 0.05))


@pytest.fixture
def url(moto_s3):
    return f"{moto_s3.make_bucket()}/store"


@pytest.fixture
def objects(url, proxied):  # noqa: ARG001
    return S3Objects(url, PATIENT)


def is_put(request):
    return request.method == "PUT"


def is_creation(request):
    return "if-none-match" in request.headers


# --- tried again ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        SLOW_DOWN,
        refusal(500, "InternalError"),
        Fault(status=502, body=b"<html>Bad Gateway</html>"),
        Fault(status=503),
        refusal(429, "TooManyRequests"),
        refusal(400, "RequestTimeout"),
        RESET,
        Fault(drop=True),
        Fault(delay_s=1.0),
        Fault(cut=True),
    ],
    ids=["slowdown", "500", "502", "503", "429", "timeout", "reset", "lost", "slow", "cut"],
)
def test_every_request_outlives_trouble_that_passes(objects, proxied, fault):
    for call, wanted in [
        (lambda: objects.write("a/b", b"data"), None),
        (lambda: objects.read("a/b"), b"data"),
        (lambda: list(objects.keys("a")), ["a/b"]),
        (lambda: objects.exists("a/b"), True),
        (lambda: objects.create("a/c", b"new"), True),
        (lambda: objects.delete("a/b"), None),
        (lambda: list(objects.keys("a")), ["a/c"]),
    ]:
        proxied.first(2, fault)
        assert call() == wanted


def test_a_creation_whose_reply_was_lost_is_known_as_ours(objects, proxied):
    objects.create("probe", b"")
    proxied.first(3, Fault(drop=True), is_creation)
    assert objects.create("locks/1", b"mine") is True
    assert objects.read("locks/1") == b"mine"
    proxied.first(3, Fault(drop=True), is_creation)
    assert objects.create("locks/1", b"mine") is False


def test_a_creation_that_lost_to_another_while_it_was_repeated_is_not_ours(
    objects, proxied, moto_s3, url
):
    objects.create("probe", b"")

    def another_first(request):
        if is_creation(request) and not done:
            done.append(request)
            moto_s3.fill(url, {"locks/1": b"mine"})  # even with the same bytes
            return RESET
        return None

    done = []
    proxied.fault = another_first
    assert objects.create("locks/1", b"mine") is False
    assert done


@pytest.mark.parametrize("more", [b"", b"<Condition>If-None-Match</Condition>"])
def test_a_412_is_understood_in_both_its_forms(objects, proxied, more):
    objects.create("probe", b"")
    objects.write("locks/1", b"theirs")
    proxied.fault = lambda request: (
        refusal(412, "PreconditionFailed", more) if is_creation(request) else None
    )
    assert objects.create("locks/1", b"mine") is False


def test_a_409_says_that_the_service_could_not_decide_and_is_repeated(objects, proxied):
    objects.create("probe", b"")
    proxied.first(2, refusal(409, "ConditionalRequestConflict"), is_creation)
    assert objects.create("locks/1", b"mine") is True


def test_the_services_own_pause_is_kept(objects, monkeypatch):
    clock = [0.0]

    def sleep(seconds):
        clock.append(clock[-1] + seconds)

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[-1], sleep=sleep))
    monkeypatch.setattr(module.S3Bucket, "_judge", lambda *_args: module._Again("busy", 7.0))
    with pytest.raises(ServiceUnavailable, match="for 56 s"):
        objects.read("absent")
    assert clock == [7.0 * n for n in range(9)]


def test_waiting_is_told(objects, proxied, monkeypatch, caplog):
    monkeypatch.setattr(module, "NEWS_S", 0.0)
    proxied.first(3, SLOW_DOWN)
    with caplog.at_level(logging.WARNING, "reprocess"):
        objects.write("k", b"")
    assert "HTTP 503 SlowDown; trying again for up to" in caplog.text


# --- given up ------------------------------------------------------------------------------


def test_an_outage_ends_in_an_error_that_names_everything(url, proxied):
    objects = S3Objects(url, IMPATIENT)
    proxied.fault = lambda _request: SLOW_DOWN
    with pytest.raises(ServiceUnavailable, match="no useful answer for") as stopped:
        objects.write("a/b", b"")
    said = str(stopped.value)
    for part in (f"{url}/a/b", "503 SlowDown", proxied.endpoint, "run again"):
        assert part in said
    assert isinstance(stopped.value, OSError)


def test_after_an_outage_the_next_request_is_not_waited_for_as_long(url, proxied, monkeypatch):
    objects = S3Objects(url, StoreAccess(timeout_s=0.5, retry_for_s=0.6))
    monkeypatch.setattr(module, "DOWN_PATIENCE_S", 0.0)
    proxied.fault = lambda _request: SLOW_DOWN
    with pytest.raises(ServiceUnavailable):
        objects.read("k")
    before = len(proxied.requests)
    with pytest.raises(ServiceUnavailable):
        objects.read("k")
    assert len(proxied.requests) == before + 1
    proxied.fault = lambda _request: None
    objects.write("k", b"x")
    proxied.first(3, SLOW_DOWN)
    assert objects.read("k") == b"x"


def test_nothing_listens_at_the_endpoint(url):
    access = StoreAccess(endpoint_url="http://127.0.0.1:9", retry_for_s=0.2)
    with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:9"):
        S3Objects(url, access).read("k")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (refusal(403, "SignatureDoesNotMatch"), "secret key"),
        (refusal(403, "InvalidAccessKeyId"), "secret key"),
        (refusal(403, "AccessDenied"), "policy"),
        (refusal(400, "ExpiredToken"), "expiry"),
        (refusal(403, "RequestTimeTooSkewed"), "clock"),
        (refusal(404, "NoSuchBucket"), "there is no bucket"),
        (refusal(301, "PermanentRedirect"), "region"),
        (refusal(501, "NotImplemented"), "NotImplemented"),
        (refusal(403, "InvalidObjectState"), "restore"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.body.decode()[13:30],
)
def test_what_trying_again_cannot_mend_is_refused_at_once(objects, proxied, fault, said):
    objects.write("k", b"x")
    for call in (
        lambda: objects.read("k"),
        lambda: objects.write("k", b""),
        lambda: list(objects.keys("")),
        lambda: objects.delete("k"),
        lambda: objects.exists("k"),
    ):
        before = len(proxied.requests)
        proxied.fault = lambda _request: fault
        with pytest.raises(ConfigurationError, match=said):
            call()
        asked = proxied.requests[before:]
        assert len([request for request in asked if request.method != "HEAD"]) == 1


def test_a_missing_bucket_is_no_missing_object(moto_s3):  # noqa: ARG001
    objects = S3Objects("s3://nowhere-at-all/store", PATIENT)
    for call in (
        lambda: objects.read("k"),
        lambda: objects.exists("k"),
        lambda: list(objects.keys("")),
        lambda: objects.write("k", b""),
        lambda: objects.create("k", b""),
        lambda: objects.delete("k"),
    ):
        with pytest.raises(ConfigurationError, match="there is no bucket nowhere-at-all"):
            call()


def test_a_profile_that_does_not_exist_is_said(url, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match=r"profile \(polar\).*aws/credentials"):
        S3Objects(url, StoreAccess(profile="polar")).read("k")


# --- conditional writes --------------------------------------------------------------------


def test_a_service_that_ignores_conditions_is_found_out_and_refused(objects, proxied):
    proxied.fault = lambda _request: Fault(strip=("if-none-match",))
    with pytest.raises(ConfigurationError, match=r"ignores conditional writes.*single_writer"):
        objects.create("locks/1", b"")
    assert list(objects.keys("")) == []


def test_a_service_that_knows_no_conditions_is_refused(objects, proxied):
    proxied.fault = lambda request: refusal(501, "NotImplemented") if is_creation(request) else None
    with pytest.raises(ConfigurationError, match="NotImplemented"):
        objects.create("locks/1", b"")


def test_a_single_writer_may_do_without(url, proxied):
    proxied.fault = lambda _request: Fault(strip=("if-none-match",))
    objects = S3Objects(url, StoreAccess(single_writer=True))
    assert objects.create("locks/1", b"first") is True
    assert objects.create("locks/1", b"second") is False
    assert objects.read("locks/1") == b"first"
    assert not any(is_creation(request) for request in proxied.requests)


def test_the_service_is_probed_once(objects, proxied):
    for number in range(5):
        assert objects.create(f"locks/{number}", b"")
    assert sum(is_creation(request) for request in proxied.requests) == 2 + 5
    assert len([key for key in objects.keys("") if not key.startswith("locks/")]) == 0


# --- requests ------------------------------------------------------------------------------


def test_each_call_is_one_request(objects, proxied):
    def cost(call):
        before = len(proxied.requests)
        call()
        return len(proxied.requests) - before

    assert cost(lambda: objects.write("a/b", b"x" * 1000)) == 1
    assert cost(lambda: objects.read("a/b")) == 1
    assert cost(lambda: objects.exists("a/b")) == 1
    assert cost(lambda: objects.exists("a/absent")) == 1
    assert cost(lambda: list(objects.keys("a"))) == 1
    assert cost(lambda: list(objects.keys("absent"))) == 1
    assert cost(lambda: objects.delete("a/b")) == 1


def test_a_listing_takes_a_request_for_each_thousand_and_loses_no_page(url, proxied, moto_s3):
    moto_s3.fill(url, {f"d/{i:04d}": b"" for i in range(1005)})
    moto_s3.fill(url, {"dd/1": b"", "e": b""})
    objects = S3Objects(url)
    assert list(objects.keys("d")) == [f"d/{i:04d}" for i in range(1005)]
    assert len(proxied.requests) == 2
    proxied.fault = lambda request: RESET if request.number % 2 == 0 else None
    assert len(list(objects.keys("d"))) == 1005


def test_a_large_object_goes_up_in_parts(objects, proxied, monkeypatch):
    monkeypatch.setattr(module, "PART_BYTES", 5 * 2**20)
    data = bytes(range(256)) * (12 * 4096)
    proxied.first(2, SLOW_DOWN, lambda request: "partNumber=2" in request.path)
    objects.write("big", data)
    assert objects.read("big") == data
    assert sum("partNumber=3" in request.path for request in proxied.requests) >= 1
    with pytest.raises(ValueError, match="too many"):
        objects.create("big2", data)


def test_no_more_than_so_many_requests_are_under_way(objects, proxied, monkeypatch):
    monkeypatch.setattr(module, "REQUESTS_MAX", 3)
    monkeypatch.setattr(module, "_connections", {})
    objects.write("k", b"")
    under_way, most = [], []

    def watch(request):
        under_way.append(request)
        most.append(len(under_way))
        time.sleep(0.02)
        under_way.remove(request)

    proxied.fault = watch
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _n: objects.read("k"), range(40)))
    assert 1 < max(most) <= 3


def test_anonymous_requests_are_not_signed(url, proxied, moto_s3):
    bucket, prefix = url.removeprefix("s3://").split("/")
    public = {"Bucket": bucket, "Key": f"{prefix}/k", "ACL": "public-read"}
    moto_s3.client().put_object(Body=b"x", **public)
    assert S3Bucket(url, S3Access(anonymous=True), "archive").get("k") == b"x"
    assert S3Bucket(url, S3Access(), "archive").get("k") == b"x"
    assert ["authorization" in request.headers for request in proxied.requests] == [False, True]


def test_a_profile_brings_its_endpoint_and_keys(moto_s3, tmp_path, monkeypatch):
    url = moto_s3.make_bucket()
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(f"[profile polar]\nendpoint_url = {moto_s3.endpoint}\n")
    (tmp_path / "keys").write_text("[polar]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    objects = open_objects(url, StoreAccess(profile="polar"))
    objects.write("k", b"x")
    assert objects.read("k") == b"x"


# --- processes -----------------------------------------------------------------------------


def _read_in_child(objects, answers):
    try:
        answers.put(objects.read("k"))
    except BaseException:
        answers.put(traceback.format_exc())
        raise


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_objects_work_in_a_child_process_after_use_in_the_parent(url, moto_s3, method):  # noqa: ARG001
    objects = S3Objects(url)
    objects.write("k", b"from the parent")
    context = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    child = context.Process(target=_read_in_child, args=(objects, answers))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert answers.get() == b"from the parent"
    assert objects.read("k") == b"from the parent"


def test_errors_and_objects_can_be_pickled(url):
    objects = pickle.loads(pickle.dumps(S3Objects(url, PATIENT)))
    assert objects.url == url
    error = pickle.loads(pickle.dumps(ServiceUnavailable("store s3://b: no answer")))
    assert isinstance(error, ServiceUnavailable)
    assert str(error) == "store s3://b: no answer"


# --- secrets -------------------------------------------------------------------------------


def test_no_error_shows_a_key(url, proxied, monkeypatch, caplog):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAPLANTEDPLANTED")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted/secret/planted")
    monkeypatch.setattr(module, "NEWS_S", 0.0)
    objects = S3Objects(url, IMPATIENT)
    shown = []
    for fault in (SLOW_DOWN, RESET, refusal(403, "InvalidAccessKeyId"), Fault(status=403)):
        proxied.fault = lambda _request, fault=fault: fault
        for call in (lambda: objects.write("k", b""), lambda: list(objects.keys(""))):
            with pytest.raises((ServiceUnavailable, ConfigurationError)) as raised:
                call()
            shown.append("".join(traceback.format_exception(raised.value)))
    text = "".join(shown) + caplog.text
    assert "AKIAPLANTED" not in text
    assert "planted" not in text


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:hunter2@bucket/store",
        "s3://bucket/store?X-Amz-Signature=hunter2",
        "s3://bucket/store?secret=hunter2",
    ],
)
def test_a_url_with_a_secret_is_refused_without_showing_it(url):
    with pytest.raises(ConfigurationError, match="without credentials") as refused:
        open_objects(url)
    assert "hunter2" not in str(refused.value)


def test_a_url_without_a_bucket_is_refused():
    with pytest.raises(ConfigurationError, match="s3://BUCKET"):
        open_objects("s3://")
