"""How numbers, times and texts are shown to one reader: in their language and time zone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from markupsafe import Markup

from pipedrive_pipeline.connect.pages import texts
from pipedrive_pipeline.connectors import registry

UNKNOWN: Final = Markup("–")
SEPARATORS: Final = {"en": (",", "."), "de": (".", ",")}  # of thousands, of decimals


@dataclass(frozen=True)
class Display:
    """The language and zone of one page, and the instant it is made."""

    language: str
    zone: ZoneInfo
    now: datetime

    def text(self, key: str, **values: object) -> Markup:
        """The text of a key; ``count`` chooses the plural, and numbers are grouped."""
        count = values.get("count")
        shown = {name: self._value(value) for name, value in values.items()}
        return texts.filled(self.language, key, shown, count if isinstance(count, int) else None)

    def number(self, number: float | None, digits: int = 0) -> str:
        """A number with its thousands grouped; a dash if it is not known."""
        if number is None:
            return UNKNOWN
        thousands, decimals = SEPARATORS[self.language]
        plain = f"{number:,.{digits}f}"
        return plain.translate(str.maketrans(",.", thousands + decimals))

    def compact(self, number: float | None) -> str:
        """A number in at most four characters and a unit: 940, 1.2k, 35k, 1.2M."""
        if number is None or number < 1_000:
            return self.number(number)
        size, unit = (number / 1e6, "M") if number >= 999_500 else (number / 1e3, "k")
        return f"{self.number(size, 1 if size < 9.95 else 0)}{unit}"

    def percent(self, share: float | None) -> str:
        """A share of one in whole percent; never 100 or 0 for what is only nearly so."""
        if share is None:
            return UNKNOWN
        whole = round(share * 100)
        if whole == 100 and share < 1:
            whole = 99
        elif whole == 0 and share > 0:
            whole = 1
        return f"{whole} %" if self.language == "de" else f"{whole}%"

    def duration(self, seconds: float | None) -> str:
        """A time span with its two largest units: 0.4 s, 48 s, 4 min 51 s, 2 h 5 min, 3 d 4 h."""
        if seconds is None:
            return UNKNOWN
        if seconds < 9.95:
            return f"{self.number(seconds, 1)} s"
        whole = round(seconds)
        if whole < 60:
            return f"{whole} s"
        for size, unit, part, part_unit in (
            (86_400, self._unit("day"), 3_600, "h"),
            (3_600, "h", 60, "min"),
            (60, "min", 1, "s"),
        ):
            if whole >= size:
                more = whole % size // part
                return f"{whole // size} {unit}" + (f" {more} {part_unit}" if more else "")
        raise AssertionError  # every whole number of at least a minute has a unit

    def when(self, at: datetime | None) -> Markup:
        """An instant in the reader's zone, as short as it stays clear; its title has UTC."""
        return self._time(at, self._nearly) if at else UNKNOWN

    def since(self, at: datetime | None) -> Markup:
        """As `when`, but never as an age: for the start of something that lasts."""
        return self._time(at, self._near_day) if at else UNKNOWN

    def moment(self, at: datetime | None) -> Markup:
        """An instant with date and time, as in a list; its title has UTC."""
        return self._time(at, self._exact) if at else UNKNOWN

    def day(self, on: date | datetime | None) -> str:
        """A date; with the year if it is another than today's."""
        if on is None:
            return UNKNOWN
        shown = on.astimezone(self.zone).date() if isinstance(on, datetime) else on
        pattern = "day" if shown.year == self._today.year else "day_of_year"
        return str(
            self.text(
                f"common.time.{pattern}",
                day=str(shown.day),
                month=self._month(shown.month),
                year=str(shown.year),
            )
        )

    def clock(self, at: datetime | None) -> str:
        """The time of day in the reader's zone."""
        return f"{at.astimezone(self.zone):%H:%M}" if at else UNKNOWN

    def records(self, system: str, entity: str) -> str:
        """The name of a kind of records; as the system declares it, if the catalogue has none."""
        key = f"records.{entity}"
        if key in texts.catalogue(self.language):
            return texts.text(self.language, key)
        known = registry.system(system).entities
        for defined in known:
            if defined.defined_by == entity:
                return self.text("records.fields_of", records=self.records(system, defined.name))
        return next((known_as.label for known_as in known if known_as.name == entity), entity)

    def table(self, mart: str) -> str:
        """The name of one of our tables; its own, as words, if the catalogue has none."""
        key = f"table.{mart}"
        if key in texts.catalogue(self.language):
            return texts.text(self.language, key)
        return mart.replace("_", " ").capitalize()

    def failure(self, code: str | None, part: str) -> Markup:
        """A failure in plain words, by its code: its `title`, a `text`, and what to `do`."""
        known = f"failure.{code}.{part}" in texts.catalogue(self.language)
        return self.text(f"failure.{code if known else 'unknown'}.{part}")

    def misfit(self, reason: str) -> Markup:
        """Why a value does not fit its column; in English if the catalogue has no text for it."""
        key = f"misfit.{reason.replace(' ', '_')}"
        if key in texts.catalogue(self.language):
            return self.text(key)
        return Markup('<span lang="en">{}</span>').format(reason)

    @property
    def zone_name(self) -> str:
        """The zone with its present offset: Berlin (UTC+1)."""
        offset = self.now.astimezone(self.zone).utcoffset() or timedelta()
        minutes = int(offset.total_seconds() // 60)
        if not minutes:
            return str(self.zone).rpartition("/")[2].replace("_", " ")
        hours, rest = divmod(abs(minutes), 60)
        sign = "+" if minutes > 0 else "−"
        city = str(self.zone).rpartition("/")[2].replace("_", " ")
        return f"{city} (UTC{sign}{hours}{f':{rest:02}' if rest else ''})"

    @property
    def _today(self) -> date:
        return self.now.astimezone(self.zone).date()

    def _value(self, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int):
            return value
        return self.number(value)

    def _time(self, at: datetime, shown: Callable[[datetime], str]) -> Markup:
        in_utc = at.astimezone(UTC)
        title = f"{in_utc.day} {self._month(in_utc.month)} {in_utc.year}, {in_utc:%H:%M} UTC"
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            f"{in_utc:%Y-%m-%dT%H:%M:%SZ}", title, shown(at)
        )

    def _nearly(self, at: datetime) -> str:
        age = self.now - at
        if timedelta() <= age < timedelta(minutes=1):
            return str(self.text("common.time.now"))
        if timedelta() <= age < timedelta(hours=1):
            return str(self.text("common.time.minutes_ago", minutes=int(age.total_seconds() // 60)))
        return self._near_day(at)

    def _near_day(self, at: datetime) -> str:
        local = at.astimezone(self.zone)
        days = (local.date() - self._today).days
        names = {0: "today", -1: "yesterday", 1: "tomorrow"}
        if days in names:
            return str(self.text(f"common.time.{names[days]}", clock=f"{local:%H:%M}"))
        if abs(days) < 7:
            weekday = self.text(f"common.weekday.{local.isoweekday()}")
            return f"{weekday} {local:%H:%M}"
        return self._exact(at)

    def _exact(self, at: datetime) -> str:
        local = at.astimezone(self.zone)
        return f"{self.day(at)} {local:%H:%M}"

    def _month(self, number: int) -> str:
        return str(self.text(f"common.month.{number}"))

    def _unit(self, name: str) -> str:
        return str(self.text(f"common.unit.{name}"))
