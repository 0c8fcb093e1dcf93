"""Fields that take exactly what the schema says: one JSON type is never taken for another."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from core.ids import ALPHABET, LENGTH
from core.money import quantise, wire_usd

# Text that PostgreSQL can keep: everything but NUL.
TEXT_PATTERN = r"^[^\x00]*$"
LEDGER_PLACES = 12
USD_PATTERN = r"^[0-9]{1,15}(\.[0-9]{1,12})?$"
# RFC 3339 without leap seconds, in years that an offset can lead out of.
DATE_TIME = re.compile(r"[12]\d{3}-\d\d-\d\d[Tt ]\d\d:\d\d:[0-5]\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
MONTH_PATTERN = r"^[12][0-9]{3}-(0[1-9]|1[0-2])$"
TIME_PATTERN = r"([01][0-9]|2[0-3]):[0-5][0-9]"
DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def id_pattern(prefix: str) -> str:
    """Return the pattern of the public ids with this prefix, without anchors."""
    assert ALPHABET.isalnum()
    return f"{prefix}_[0-9A-Za-z]{{{LENGTH}}}"


class Text(serializers.Field[str, Any, str, Any]):
    """Text as it was sent: numbers are not taken for text, nothing is trimmed, an empty one is text too."""

    default_error_messages = {
        "invalid": "Send text.",
        "max_length": "Use at most {max_length:,} characters.",
        "nul": "NUL characters cannot be kept. Leave them out.",
    }

    def __init__(self, *, max_length: int, **kwargs: Any) -> None:
        self.max_length = max_length
        super().__init__(**kwargs)

    def to_internal_value(self, data: object) -> str:
        """Return the text. Raises ValidationError for anything else."""
        if not isinstance(data, str):
            self.fail("invalid")
        if len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        if "\0" in data:
            self.fail("nul")
        return data

    def to_representation(self, value: str) -> str:
        """Return the text."""
        return value


class PublicId(Text):
    """The public id of something, such as `prj_...`; whether it exists is decided later."""

    default_error_messages = {"pattern": "This is not such an id. It looks like {prefix}_ and 18 characters."}

    def __init__(self, prefix: str, **kwargs: Any) -> None:
        self.prefix = prefix
        super().__init__(max_length=32, **kwargs)

    def to_internal_value(self, data: object) -> str:
        """Return the id. Raises ValidationError for text of another shape."""
        text = super().to_internal_value(data)
        if not re.fullmatch(id_pattern(self.prefix), text):
            self.fail("pattern", prefix=self.prefix)
        return text


class WholeNumber(serializers.IntegerField):
    """A JSON integer within bounds; text, true and 1.5 are none."""

    def __init__(self, *, min_value: int, max_value: int, **kwargs: Any) -> None:
        super().__init__(min_value=min_value, max_value=max_value, **kwargs)

    def to_internal_value(self, data: object) -> int:
        """Return the number. Raises ValidationError for anything else."""
        # JSON has one kind of number, so 3.0 is 3; Python takes true for a number.
        if isinstance(data, bool) or not isinstance(data, int | float) or data != data // 1:
            self.fail("invalid")
        return int(data)


class QueryNumber(WholeNumber):
    """A whole number in a query string, in plain decimal digits."""

    def to_internal_value(self, data: object) -> int:
        """Return the number. Raises ValidationError for anything else."""
        text = str(data)
        return super().to_internal_value(int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text)


class Flag(serializers.BooleanField):
    """A JSON true or false; "yes" and 1 are neither."""

    def to_internal_value(self, data: object) -> bool:
        """Return the value. Raises ValidationError for anything else."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Usd(serializers.Field[Decimal, Any, str, Any]):
    """US dollars as a string, so that no float comes between; written with all `places` decimals.

    Read: up to 15 digits before the point and as many after it, never negative.
    """

    default_error_messages = {
        "invalid": 'Enter US dollars as a string such as "1250.00", with up to {places} decimals.'
    }

    def __init__(self, *, places: int = LEDGER_PLACES, **kwargs: Any) -> None:
        self.places = places
        self.pattern = USD_PATTERN.replace(str(LEDGER_PLACES), str(places))
        super().__init__(**kwargs)

    def to_internal_value(self, data: object) -> Decimal:
        """Return the amount. Raises ValidationError for what is not such a string."""
        if not isinstance(data, str) or not re.fullmatch(self.pattern, data):
            self.fail("invalid", places=self.places)
        return quantise(Decimal(data)) if self.places == LEDGER_PLACES else Decimal(data)

    def to_representation(self, value: Decimal) -> str:
        """Return the amount in plain notation."""
        return wire_usd(value) if self.places == LEDGER_PLACES else f"{value:.{self.places}f}"


class Moment(serializers.Field[datetime, Any, str, Any]):
    """A moment as RFC 3339, read with any offset and written in UTC."""

    default_error_messages = {"invalid": "Enter a moment with its offset, such as 2026-11-23T12:00:00Z."}

    def to_internal_value(self, data: object) -> datetime:
        """Return the moment. Raises ValidationError for other formats, and for days that there are not."""
        if not isinstance(data, str) or not DATE_TIME.fullmatch(data):
            self.fail("invalid")
        try:
            return datetime.fromisoformat(data.upper()).astimezone(UTC)
        except ValueError:
            self.fail("invalid")

    def to_representation(self, value: datetime) -> str:
        """Return the moment in UTC, with microseconds where there are any."""
        return value.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


class Day(serializers.Field[date, Any, str, Any]):
    """A day as RFC 3339: 2026-11-23."""

    default_error_messages = {"invalid": "Enter a day such as 2026-11-23."}

    def to_internal_value(self, data: object) -> date:
        """Return the day. Raises ValidationError for anything else."""
        if not isinstance(data, str) or not DATE.fullmatch(data):
            self.fail("invalid")
        try:
            return date.fromisoformat(data)
        except ValueError:
            self.fail("invalid")

    def to_representation(self, value: date) -> str:
        """Return the day."""
        return value.isoformat()


class TimeOfDay(serializers.Field[time, Any, str, Any]):
    """A time of the day by somebody's clock: 08:30."""

    default_error_messages = {"invalid": "Enter a time such as 08:30."}

    def to_internal_value(self, data: object) -> time:
        """Return the time. Raises ValidationError for anything else."""
        if not isinstance(data, str) or not re.fullmatch(TIME_PATTERN, data):
            self.fail("invalid")
        return time.fromisoformat(data)

    def to_representation(self, value: time) -> str:
        """Return the time."""
        return f"{value:%H:%M}"


def flat_errors(errors: Any, *, path: str = "") -> dict[str, list[str]]:
    """Return sentences by the path of their field: {"models.2": ["..."]}."""
    match errors:
        case Mapping():
            parts = [flat_errors(inner, path=_join(path, name)) for name, inner in errors.items()]
        case list() if all(isinstance(item, str) for item in errors):
            return {path or "body": [str(item) for item in errors]} if errors else {}
        case list():
            parts = [flat_errors(inner, path=_join(path, index)) for index, inner in enumerate(errors)]
        case _:
            return {path or "body": [str(errors)]}
    return {name: sentences for part in parts for name, sentences in part.items()}


def _join(path: str, name: object) -> str:
    own = "" if name == "non_field_errors" else str(name)
    return f"{path}.{own}" if path and own else path or own
