"""Small values that pages share: a state with its colour, a tab, a column, something that happened."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tone:
    """A state in words, with a colour that is never its only sign: ok, warn, bad, info or empty."""

    tone: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """One of several views of a page; `count` is shown behind the label unless it is None."""

    label: str
    url: str
    current: bool = False
    count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The head of a column; `url` sorts by it, `sorted` is ascending, descending or empty.

    One that is `quiet` is read out and not shown.
    """

    label: str
    url: str = ""
    numeric: bool = False
    sorted: str = ""
    quiet: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened."""

    text: str
    at: datetime
