"""Small values that many pages show; templates name their members."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Tone:
    """A state in words, with the tone of its colour: ok, warn, bad, info or nothing."""

    tone: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """One of several views of a page; `count` says how much is behind it, None when that does not matter."""

    label: str
    url: str
    current: bool
    count: int | None = None
