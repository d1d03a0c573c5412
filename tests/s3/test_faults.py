"""What a real S3 service can do to a run: each ends in the same bytes, or in a clear error."""

import os
import signal
import threading

import pytest
from s3_services import Fault

from reprocess.stores import s3 as module

pytestmark = pytest.mark.s3

SECONDS_AWAY = 2.0
DAYS = ("2021-01-01", "2021-03-05")


@pytest.fixture
def campaign(tiny, radosgw, monkeypatch):
    """Two days, archive and store on radosgw, and what the disk run of them left."""
    monkeypatch.setattr(module, "BACKOFF_S", (0.05, 0.5))
    tiny.document["years"] = [2021]
    tiny.put_days(*DAYS)
    tiny.wanted = tiny.from_scratch()
    bucket = radosgw.make_bucket()
    radosgw.upload(f"{bucket}/archive", tiny.archive)
    tiny.document["archive"]["url"] = f"{bucket}/archive"
    tiny.document["store"] = f"{bucket}/store"
    patient = {"timeout_s": 5, "retry_for_s": 120}
    tiny.document["archive"]["access"] = tiny.document["store_access"] = patient
    return tiny


@pytest.fixture
def check(campaign, radosgw, same_keys):
    """Check that the store holds the disk run's bytes and that nothing is left to do."""

    def check():
        kept = radosgw.contents(campaign.document["store"])
        free = ("runs/", "failures/", "locks/")
        same_keys({k: v for k, v in kept.items() if not k.startswith(free)}, campaign.wanted)
        again = campaign.run()
        assert (again.code, again.done) == (0, 0), again.err

    return check


def at_chunk(proxy, number, act):
    """Call `act` in a thread of its own when a run writes its n-th chunk of images or counts."""
    threads = []
    seen = []

    def watch(request):
        if request.method == "PUT" and "/c/" in request.path:
            seen.append(request)
            if len(seen) == number:
                threads.append(threading.Thread(target=act))
                threads[0].start()

    proxy.fault = watch
    return lambda: [thread.join() for thread in threads] or pytest.fail("no such chunk")


@pytest.mark.parametrize("program", ["rgw", "osd"])
@pytest.mark.parametrize("cluster", ["serial", "local"])
def test_the_service_is_killed_mid_run_and_comes_back(
    campaign, radosgw, radosgw_proxied, check, program, cluster
):
    away = threading.Event()

    def kill_and_restart():
        radosgw.kill(program)
        away.wait(SECONDS_AWAY)
        radosgw.script(program)

    join = at_chunk(radosgw_proxied, 5, kill_and_restart)
    done = campaign.run("--cluster", cluster)
    join()
    assert done.code == 0, done.err
    check()


def test_the_service_is_stopped_mid_run_and_wakes_again(campaign, radosgw, radosgw_proxied, check):
    away = threading.Event()

    def stop_and_continue():
        os.kill(radosgw.pid("rgw"), signal.SIGSTOP)
        away.wait(SECONDS_AWAY)
        os.kill(radosgw.pid("rgw"), signal.SIGCONT)

    campaign.document["store_access"] = {"timeout_s": 1, "retry_for_s": 120}
    join = at_chunk(radosgw_proxied, 5, stop_and_continue)
    done = campaign.run()
    join()
    assert done.code == 0, done.err
    check()


def test_a_service_that_stays_away_ends_the_run_and_the_next_one_goes_on(
    campaign, radosgw, radosgw_proxied, check, monkeypatch
):
    monkeypatch.setattr(module, "DOWN_PATIENCE_S", 0.1)
    campaign.document["store_access"] = {"timeout_s": 30, "retry_for_s": 1}
    join = at_chunk(radosgw_proxied, 5, lambda: radosgw.kill("rgw"))
    stopped = campaign.run()
    join()
    radosgw.script("rgw")
    assert stopped.code == 1
    assert "no useful answer for" in stopped.err
    assert campaign.document["store"] in stopped.err
    assert "run again" in stopped.err
    radosgw_proxied.fault = lambda _request: None
    campaign.document["store_access"] = {}
    again = campaign.run()
    assert again.code == 0, again.err
    check()


def test_an_archive_that_stays_away_ends_the_run_and_calls_no_frame_unreadable(
    campaign, radosgw_proxied, check, monkeypatch
):
    monkeypatch.setattr(module, "DOWN_PATIENCE_S", 0.1)
    campaign.document["archive"]["access"] = {"timeout_s": 30, "retry_for_s": 0.5}
    radosgw_proxied.fault = lambda request: (
        Fault(status=503) if "/20210305_" in request.path else None
    )
    stopped = campaign.run()
    assert stopped.code == 1
    assert "archive s3://" in stopped.err
    radosgw_proxied.fault = lambda _request: None
    again = campaign.run()
    assert (again.code, again.done) == (0, 1), again.err
    check()


def test_a_run_through_a_bad_line_ends_in_the_same_bytes(campaign, radosgw_proxied, check):
    faults = [
        Fault(drop=True),
        Fault(status=503, body=b"<Error><Code>SlowDown</Code></Error>"),
        Fault(delay_s=0.2),
        Fault(reset=True),
        Fault(cut=True),
        Fault(status=500, body=b"<Error><Code>InternalError</Code></Error>"),
    ]

    def every_fourth(request):
        turn, rest = divmod(request.number, 4)
        return faults[turn % len(faults)] if rest == 3 else None

    radosgw_proxied.fault = every_fourth
    done = campaign.run()
    assert done.code == 0, done.err
    radosgw_proxied.fault = lambda _request: None
    check()


def test_a_wrong_secret_is_refused_before_anything_is_done(campaign, radosgw, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted" * 6)
    refused = campaign.run()
    assert refused.code == 2
    assert "SignatureDoesNotMatch" in refused.err
    assert "secret key" in refused.err
    assert "planted" not in refused.err + refused.out
    assert radosgw.contents(campaign.document["store"]) == {}


@pytest.mark.parametrize("which", ["archive", "store"])
def test_a_missing_bucket_is_refused_before_anything_is_done(campaign, radosgw, which):
    if which == "store":
        campaign.document["store"] = "s3://nowhere-at-all/store"
    else:
        campaign.document["archive"]["url"] = "s3://nowhere-at-all/archive"
    refused = campaign.run()
    assert refused.code == 2
    assert "there is no bucket nowhere-at-all: make it, or correct the URL" in refused.err
    if which == "archive":
        assert radosgw.contents(campaign.document["store"]) == {}


def test_no_secret_reaches_the_store_or_what_is_said(campaign, radosgw, caplog):
    done = campaign.run("--cluster", "local")
    assert done.code == 0, done.err
    secrets = [
        radosgw.environment[f"AWS_{name}"] for name in ("SECRET_ACCESS_KEY", "ACCESS_KEY_ID")
    ]
    stored = radosgw.contents(campaign.document["store"])
    assert [key for key in stored if key.startswith("runs/") and key.endswith("run.json")]
    for secret in secrets:
        assert secret not in done.out + done.err + caplog.text
        assert [key for key, data in stored.items() if secret.encode() in data] == []
