"""Where images and stores are, and how images tell their times."""

from __future__ import annotations

import re
import zoneinfo
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from reprocess.campaign.section import Settings
from reprocess.credentials import WHERE_SECRETS_BELONG, holds_secret


class S3Access(Settings):
    """How an S3 service is reached. Who may enter is told by AWS's own files and environment."""

    endpoint_url: str | None = Field(
        default=None, description="of a service other than AWS; default AWS_ENDPOINT_URL"
    )
    profile: str | None = Field(
        default=None, description="of ~/.aws/config and ~/.aws/credentials; default AWS_PROFILE"
    )
    region: str | None = None
    anonymous: bool = Field(default=False, description="unsigned requests, for public buckets")
    timeout_s: float = Field(default=30.0, gt=0, description="longest silence of one request")
    retry_for_s: float = Field(default=120.0, ge=0, description="longest outage that is sat out")

    @field_validator("endpoint_url")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        return None if value is None else without_secret(value)


class StoreAccess(S3Access):
    """How the S3 service that keeps the stores is reached."""

    single_writer: bool = Field(
        default=False,
        description="only for a service without conditional writes: you see to it that no two "
        "runs write the store at one time",
    )


class Archive(Settings):
    """Where the raw images are, and how their times are told."""

    url: str
    time: Literal["name", "header", "exif"] = Field(
        default="name", description="where a frame's time is: in the file's name or in the file"
    )
    pattern: str = Field(
        description="strptime directives and * wildcards; matched against the path relative to "
        "url, or against the file name alone when it holds no /"
    )
    reader: str = "still"
    timezone: str = Field(
        default="UTC", description="zone of the clock that wrote the times: UTC, +01:00, or IANA"
    )
    bits: Literal[8, 16] = Field(default=8, description="depth of the stored images")
    channels: Literal["rgb", "mono"] | None = Field(
        default=None, description="what the camera has; null: what the reader's format usually has"
    )
    access: S3Access = S3Access()

    @field_validator("url")
    @classmethod
    def _no_secret(cls, value: str) -> str:
        return without_secret(value)

    @field_validator("pattern")
    @classmethod
    def _has_a_date(cls, value: str, info: ValidationInfo) -> str:
        found = set(re.findall(r"%(.)", value.replace("%%", "")))
        missing = [
            text
            for text, ways in (
                ("%Y or %y", ({"Y"}, {"y"})),
                ("%m and %d (or %b and %d, or %j)", ({"m", "d"}, {"b", "d"}, {"j"})),
                ("%H", ({"H"},)),
                ("%M", ({"M"},)),
            )
            if not any(way <= found for way in ways)
        ]
        if missing and info.data.get("time") == "name":
            raise ValueError(
                f"a pattern with {', '.join(missing)} in it, or time: header or exif where the "
                f"files themselves tell their time"
            )
        if ".." in value.split("/"):
            raise ValueError("a pattern that stays inside the archive (no ..)")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value == "UTC" or re.fullmatch(r"[+-](0\d|1[0-4]):[0-5]\d", value):
            return value
        try:
            zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                "UTC, an offset such as +01:00, or a zone's name such as Europe/Oslo"
            ) from error
        return value


def without_secret(url: str) -> str:
    """The URL, if it holds no secret; else the ValueError that a validator raises."""
    if holds_secret(url):
        raise ValueError(f"a URL without credentials: {WHERE_SECRETS_BELONG}")
    return url
