"""A file name's time: strptime directives as a regular expression, checked by the calendar."""

from __future__ import annotations

import math
import re
from datetime import date, timedelta

from reprocess.errors import ConfigurationError

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DIRECTIVES = {
    "Y": "[0-9]{4}", "m": "[0-9]{2}", "d": "[0-9]{2}", "H": "[0-9]{2}", "M": "[0-9]{2}",
    "S": "[0-9]{2}", "f": "[0-9]{1,6}", "j": "[0-9]{3}", "y": "[0-9]{2}", "b": "|".join(MONTHS),
}  # fmt: skip
_DAY_DIRECTIVES = "Yymbdj"
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
NAME_FIELDS = ("exposure_ms", "exposure_s", "gain")
"""What a name may tell beside its time, written `{exposure_ms}` in a pattern."""
_TOKENS = r"(%.?|\*+|\{(?:" + "|".join(NAME_FIELDS) + r")\})"
_EPOCH = date(1970, 1, 1).toordinal()
_US_PER_DAY = 86_400_000_000


class NamePattern:
    """What an archive's file names look like.

    Parameters
    ----------
    text : str
        Literal text, `*` (anything but `/`), and the directives %Y %m %d %H %M
        %S %f %j %y %b %% with all their digits (%f: 1 to 6), and the numbers
        {exposure_ms}, {exposure_s}, {gain}. Case counts. A directive that occurs
        again must have the same value. With a `/` it is matched against the path
        in the archive, else against the file's name.

    Raises
    ------
    ConfigurationError
        If it holds an unknown directive.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._on_path = "/" in text
        expression, self._fields = _compile(text)
        self._matcher = re.compile(expression)
        self._apart, _ = _compile(text, agree=False)
        self._date_fields = [d for d in _DAY_DIRECTIVES if d in self._fields]
        self._date_groups = [self._fields[d] for d in self._date_fields]
        self._clock_fields = [d for d in "HMSf" if d in self._fields]
        self._clock_groups = [self._fields[d] for d in self._clock_fields]
        self._clocks: dict[object, int | str] = {}
        self._days: dict[object, tuple[date, int] | str] = {}
        self._directories = [_compile(part) for part in text.split("/")[:-1]]

    @property
    def prunes(self) -> bool:
        """Whether the first directory of the pattern tells the year."""
        return bool(self._directories) and not {"Y", "y"}.isdisjoint(self._directories[0][1])

    @property
    def name_fields(self) -> tuple[str, ...]:
        """Which of `NAME_FIELDS` the pattern has."""
        return tuple(name for name in NAME_FIELDS if name in self._fields)

    def told(self, name: str) -> tuple[float, float]:
        """Exposure in seconds and gain that a name tells; NaN for what it does not."""
        match = self._match(name) if self.name_fields else None
        exposure_s = gain = math.nan
        if match is not None:
            values = {n: float(match.group(self._fields[n])) for n in self.name_fields}
            exposure_s = values.get("exposure_s", values.get("exposure_ms", math.nan) / 1000)
            gain = values.get("gain", math.nan)
        return exposure_s, gain

    def partial_date(self, name: str) -> tuple[int | None, int | None, int | None] | str:
        """Year, month and day as far as a name tells them, or why it is no frame's name."""
        match = self._match(name)
        if match is None:
            return self._why_no_match(name)
        known = {d: match.group(self._fields[d]) for d in self._date_fields}
        return _known_date(known)

    def _match(self, name: str) -> re.Match[str] | None:
        return self._matcher.fullmatch(self._told_by(name))

    def _told_by(self, name: str) -> str:
        return name if self._on_path else name.rpartition("/")[2]

    def _why_no_match(self, name: str) -> str:
        # What two directories, or a directory and the name, tell differently is a misfiled frame.
        if re.fullmatch(self._apart, self._told_by(name)):
            return f"tells two different times by the pattern {self.text}"
        return f"does not match the pattern {self.text}"

    def parse(self, name: str) -> tuple[date, int] | str:
        """Read the time in a name.

        Parameters
        ----------
        name : path relative to the archive, `/`-separated

        Returns
        -------
        (UTC day, microseconds since 1970), or the reason why it is no frame
        """
        match = self._match(name)
        if match is None:
            return self._why_no_match(name)
        key = match.group(*self._date_groups)
        day = self._days.get(key)
        if day is None:
            values = (key,) if isinstance(key, str) else key
            day = _calendar_day(dict(zip(self._date_fields, values, strict=True)))
            self._days[key] = day
        if isinstance(day, str):
            return day
        key = match.group(*self._clock_groups)
        clock = self._clocks.get(key)
        if clock is None:
            values = (key,) if isinstance(key, str) else key
            clock = _clock_us(dict(zip(self._clock_fields, values, strict=True)))
            if "f" not in self._fields:
                self._clocks[key] = clock
        if isinstance(clock, str):
            return clock
        return day[0], day[1] + clock

    @property
    def n_directories(self) -> int:
        """Directories above a frame; 0 where the pattern is matched against the name alone."""
        return len(self._directories)

    def prefix(self, year: int, day: date | None = None) -> str:
        """Return what the path of every frame of a year, or of a day, begins with.

        Empty where the paths do not tell the year from their beginning on.
        """
        if not self._on_path:
            return ""
        known = {"Y": f"{year:04d}", "y": f"{year % 100:02d}"}
        if day is not None:
            known |= {"m": f"{day.month:02d}", "d": f"{day.day:02d}", "j": f"{day:%j}"}
            known["b"] = MONTHS[day.month - 1]
        parts: list[str] = []
        tells_year = False
        for token in re.split(_TOKENS, self.text, flags=re.DOTALL):
            if token == "%%" or not re.fullmatch(_TOKENS, token):
                parts.append(token.replace("%%", "%"))
            elif token[1:] in known:
                tells_year = tells_year or token == "%Y"
                parts.append(known[token[1:]])
            else:
                break
        return "".join(parts) if tells_year else ""

    def may_lead_to_frames(self, directory: str) -> bool:
        """Tell whether a directory's path matches the beginning of the pattern."""
        parts = directory.split("/")
        return len(parts) <= len(self._directories) and all(
            re.fullmatch(expression, part)
            for part, (expression, _) in zip(parts, self._directories, strict=False)
        )

    def directory_date(self, directory: str) -> tuple[int | None, int | None, int | None]:
        """Read the year, month and day that a directory's path tells; None where it does not.

        Parameters
        ----------
        directory : path relative to the archive, `/`-separated
        """
        known: dict[str, str] = {}
        for part, (expression, fields) in zip(
            directory.split("/"), self._directories, strict=False
        ):
            match = re.fullmatch(expression, part)
            if match is None:
                break
            known.update({d: match[group] for d, group in fields.items()})
        return _known_date(known)


def _known_date(known: dict[str, str]) -> tuple[int | None, int | None, int | None]:
    """Year, month and day of the directives that are there; None for what they do not tell."""
    has_year = "Y" in known or "y" in known
    if has_year and "j" in known:
        day = _calendar_day({d: v for d, v in known.items() if d in _DAY_DIRECTIVES})
        if not isinstance(day, str):
            return day[0].year, day[0].month, day[0].day
    month = MONTHS.index(known["b"]) + 1 if "b" in known else None
    if "m" in known:
        month = int(known["m"])
    return _year(known) if has_year else None, month, int(known["d"]) if "d" in known else None


def _year(fields: dict[str, str]) -> int:
    """The year; of two digits alone, one of 1969-2068."""
    return int(fields["Y"]) if "Y" in fields else (int(fields["y"]) + 31) % 100 + 1969


def _compile(text: str, *, agree: bool = True) -> tuple[str, dict[str, int]]:
    """Translate a pattern; returns the expression and the group of each directive.

    Directives that occur again have the same value, unless they need not `agree`.
    """
    fields: dict[str, int] = {}
    parts: list[str] = []
    tokens = iter(re.split(_TOKENS, text, flags=re.DOTALL))
    for token in tokens:
        if token.startswith("*"):
            parts.append("[^/]*")
        elif token[1:-1] in NAME_FIELDS and token == f"{{{token[1:-1]}}}":
            fields[token[1:-1]] = len(fields) + 1
            parts.append(f"({_NUMBER})")
        elif token == "%%" or not token.startswith("%"):
            parts.append(re.escape(token.replace("%%", "%")))
        elif (directive := token[1:]) not in _DIRECTIVES:
            known = " ".join(f"%{d}" for d in _DIRECTIVES)
            raise ConfigurationError(
                f"archive.pattern: {text}: found {token}, expected one of {known} %%"
            )
        elif directive in fields:
            parts.append(rf"(?:\{fields[directive]})" if agree else f"(?:{_DIRECTIVES[directive]})")
        else:
            fields[directive] = len(fields) + 1
            parts.append(f"({_DIRECTIVES[directive]})")
    return "".join(parts), fields


def _clock_us(fields: dict[str, str]) -> int | str:
    """Microseconds since midnight, what is not told being 0; or say why there is no such time."""
    hour, minute, second = (int(fields.get(d, 0)) for d in "HMS")
    if hour > 23 or minute > 59 or second > 59:
        return f"there is no time {hour:02}:{minute:02}:{second:02}"
    fraction = int(fields.get("f", "0").ljust(6, "0"))
    return ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction


def _calendar_day(fields: dict[str, str]) -> tuple[date, int] | str:
    """Find the day, all directives agreeing, and its first microsecond; or say why there is none.

    A two-digit year alone is of 1969-2068.
    """
    shown = " ".join(f"%{d}={v}" for d, v in fields.items())
    if "Y" not in fields and "y" not in fields:
        return f"no year in the name ({shown})"
    year = _year(fields)
    month = MONTHS.index(fields["b"]) + 1 if "b" in fields else int(fields.get("m", 0))
    try:
        if "j" in fields:
            day = date(year, 1, 1) + timedelta(days=int(fields["j"]) - 1)
        else:
            day = date(year, month, int(fields.get("d", 0)))
    except (ValueError, OverflowError):
        return f"there is no such date ({shown})"
    agrees = (
        day.year == year
        and ("y" not in fields or day.year % 100 == int(fields["y"]))
        and ("m" not in fields or day.month == int(fields["m"]))
        and ("b" not in fields or day.month == month)
        and ("d" not in fields or day.day == int(fields["d"]))
    )
    if not agrees:
        return f"there is no such date ({shown})"
    return day, (day.toordinal() - _EPOCH) * _US_PER_DAY
