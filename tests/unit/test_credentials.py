"""What holds a secret, and how a campaign that holds one is refused without showing it."""

import pytest

from reprocess import stages
from reprocess.campaign import campaign_from_mapping, load_campaign, parse_store_access
from reprocess.credentials import holds_secret, is_secret_name, redacted
from reprocess.errors import ConfigurationError


@pytest.mark.parametrize(
    "name",
    ["key", "secret", "aws_secret_access_key", "token", "password", "X-Amz-Signature", "sig"],
)
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["profile", "endpoint_url", "region", "anonymous", "timeout_s"])
def test_names_of_other_settings(name):
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("s3://bucket/a", False),
        ("s3://me:pw@bucket/a", True),
        ("https://host/a?X-Amz-Credential=x&X-Amz-Signature=y", True),
        ("https://host/a?version=3", False),
        ("/data/me@home/a?token=b", False),
    ],
)
def test_urls_that_hold_a_secret(url, secret):
    assert holds_secret(url) is secret


def test_a_redacted_url_keeps_what_tells_where():
    assert redacted("https://me:pw@host:9000/a?token=b") == "https://host:9000/a?…"
    assert redacted("/data/a") == "/data/a"


@pytest.mark.parametrize(
    "changes",
    [
        {"store": "s3://me:hunter2@bucket/a"},
        {"archive__url": "s3://bucket/a?X-Amz-Signature=hunter2"},
        {"store_access": {"endpoint_url": "https://me:hunter2@host"}},
        {"store_access": {"secret": "hunter2"}},
        {"store_access": {"key": "hunter2"}},
        {"archive__access": {"aws_session_token": "hunter2"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_campaign_with_a_secret_is_refused_and_told_where_it_belongs(campaign_document, changes):
    with pytest.raises(ConfigurationError, match=r"~/\.aws/credentials") as refused:
        campaign_from_mapping(campaign_document(**changes))
    assert "hunter2" not in str(refused.value)


def test_an_override_with_a_secret_is_not_shown(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("name: x\n")
    for override in ("store_access.secret_key=hunter2", "name.secret_key=hunter2"):
        with pytest.raises(ConfigurationError) as refused:
            load_campaign(path, [override])
        assert "hunter2" not in str(refused.value)


def test_how_a_service_is_reached_enters_no_fingerprint(small_campaign):
    plain = small_campaign()
    elsewhere = small_campaign(
        store="s3://bucket/store",
        archive__url="s3://bucket/archive",
        archive__access={"profile": "polar", "anonymous": True},
        store_access={"endpoint_url": "https://host", "single_writer": True, "retry_for_s": 5},
    )
    for settings in (
        lambda c: stages.frames_settings(c),
        lambda c: stages.evidence_settings(c, "diff"),
        lambda c: stages.cube_settings(c),
    ):
        assert settings(plain) == settings(elsewhere)


def test_access_from_a_command_line():
    access = parse_store_access(["profile=polar", "single_writer=true", "retry_for_s=5"], "--x")
    assert (access.profile, access.single_writer, access.retry_for_s) == ("polar", True, 5.0)
    with pytest.raises(ConfigurationError, match="did you mean profile"):
        parse_store_access(["profle=polar"], "--x")
    with pytest.raises(ConfigurationError, match="KEY=VALUE"):
        parse_store_access(["polar"], "--x")
