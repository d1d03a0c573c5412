"""From the time that a file tells to UTC at the middle of the exposure.

Three things may stand between them, all declared in the campaign and none
guessed: the zone of the camera's clock, how far that clock was wrong, and
which moment of the exposure it stamps.
"""

from __future__ import annotations

import bisect
import zoneinfo
from collections.abc import Sequence
from datetime import datetime, timedelta

from reprocess.campaign import CameraEpoch

_US = 1_000_000
_EPOCH = datetime(1970, 1, 1)


class Clock:
    """Corrects told times.

    Parameters
    ----------
    timezone : `UTC`, an offset such as `+01:00`, or an IANA name, as `archive.timezone`
    epochs : camera epochs in order; each holds from its `valid_from`, compared with the told
        time in UTC before clock offset and exposure are taken into account

    Notes
    -----
    acquired = told − zone + `clock_offset_s` + half of `exposure_s` if `time_stamps` is start,
    − half if it is end. Before the first epoch only the zone counts. Exact integer microseconds.
    """

    def __init__(self, timezone: str, epochs: Sequence[CameraEpoch] = ()) -> None:
        self.timezone = timezone
        self._zone: zoneinfo.ZoneInfo | None = None
        self._offset_us: int | None = 0
        if timezone != "UTC" and timezone[0] in "+-":
            sign = -1 if timezone[0] == "-" else 1
            self._offset_us = sign * (60 * int(timezone[1:3]) + int(timezone[4:6])) * 60 * _US
        elif timezone != "UTC":
            self._offset_us = None
            self._zone = zoneinfo.ZoneInfo(timezone)
        self._starts = [round(epoch.valid_from.timestamp()) * _US for epoch in epochs]
        self._shifts = [_shift_us(epoch) for epoch in epochs]

    @property
    def is_plain(self) -> bool:
        """Whether every told time is already the one wanted."""
        return self._offset_us == 0 and not any(self._shifts)

    @property
    def reach_days(self) -> int:
        """By how many days a told date may differ from the UTC day of the frame."""
        return 0 if self.is_plain else 2

    def utc_us(self, told_us: int, header_offset_s: float | None = None) -> int | str:
        """Correct one time.

        Parameters
        ----------
        told_us : microseconds since 1970-01-01 by the camera's clock
        header_offset_s : seconds that the file itself says this clock is ahead of UTC

        Returns
        -------
        Microseconds since 1970, UTC; or the reason why it cannot be told.
        """
        offset_us = self._offset_us
        if offset_us is None:
            found = self._zone_offset_us(told_us)
            if isinstance(found, str):
                return found
            offset_us = found
        if header_offset_s is not None and round(header_offset_s * _US) != offset_us:
            return (
                f"the file says that its clock is {_hours(round(header_offset_s * _US))} of UTC, "
                f"archive.timezone {self.timezone} says {_hours(offset_us)}"
            )
        utc_us = told_us - offset_us
        epoch = bisect.bisect_right(self._starts, utc_us) - 1
        return utc_us if epoch < 0 else utc_us + self._shifts[epoch]

    def _zone_offset_us(self, told_us: int) -> int | str:
        told = _EPOCH + timedelta(microseconds=told_us)
        offsets = []
        for fold in (0, 1):
            offset = told.replace(tzinfo=self._zone, fold=fold).utcoffset()
            assert offset is not None
            offsets.append(round(offset.total_seconds()) * _US)
        if offsets[0] > offsets[1]:
            return f"{told:%Y-%m-%d %H:%M:%S} occurs twice in {self.timezone}: clocks go back"
        if offsets[0] < offsets[1]:
            return f"there is no {told:%Y-%m-%d %H:%M:%S} in {self.timezone}: clocks go forward"
        return offsets[0]


def _shift_us(epoch: CameraEpoch) -> int:
    half_s = (epoch.exposure_s or 0.0) / 2
    sign = {"start": 1, "middle": 0, "end": -1}[epoch.time_stamps]
    return round((epoch.clock_offset_s + sign * half_s) * _US)


def _hours(offset_us: int) -> str:
    minutes = abs(offset_us) // (60 * _US)
    side = "ahead" if offset_us >= 0 else "behind"
    return f"{minutes // 60:02d}:{minutes % 60:02d} {side}"
