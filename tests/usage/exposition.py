"""Reads the text format of Prometheus strictly: whatever the format does not allow is an error."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
VALUE = r'"(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}={VALUE}(?:,{LABEL}={VALUE})*)\}})? (\+Inf|-?\d+(?:\.\d+)?)")
PAIR = re.compile(rf"({LABEL})=({VALUE})")
HELP = re.compile(rf"# HELP ({NAME}) ((?:[^\\]|\\[\\n])+)")
TYPE = re.compile(rf"# TYPE ({NAME}) (counter|gauge)")
UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
Labels = frozenset[tuple[str, str]]


@dataclass
class Family:
    """One metric as it was read."""

    kind: str
    help: str
    samples: dict[Labels, Decimal] = field(default_factory=dict)

    def total(self, **labels: str) -> Decimal:
        """Return the sum of the samples that have these labels."""
        wanted = set(labels.items())
        return sum((value for found, value in self.samples.items() if wanted <= found), Decimal(0))


class BrokenExpositionError(AssertionError):
    """The text is not what the format allows."""


def parse(text: str) -> dict[str, Family]:
    """Return the metrics of a text. Raises BrokenExpositionError with the first line that is wrong."""
    if not text.endswith("\n") or "\r" in text:
        raise BrokenExpositionError("Lines end with a line feed, the last one too.")
    families: dict[str, Family] = {}
    told: dict[str, str] = {}
    current = ""
    for line in text.removesuffix("\n").split("\n"):
        if match := HELP.fullmatch(line):
            current, told[match[1]] = match[1], match[2]
            _unless(match[1] in families, line, "a metric stands in one place")
        elif match := TYPE.fullmatch(line):
            _unless(match[1] != current or match[1] in families, line, "a type follows its help, once")
            families[match[1]] = Family(kind=match[2], help=told[match[1]])
        elif match := SAMPLE.fullmatch(line):
            _unless(match[1] != current or current not in families, line, "samples follow their type")
            _add(families[current], match, line)
        else:
            raise BrokenExpositionError(f"{line!r} is no line of the format")
    return families


def _add(family: Family, match: re.Match[str], line: str) -> None:
    pairs = PAIR.findall(match[2] or "")
    names = [name for name, _ in pairs]
    labels = frozenset((name, _plain(value[1:-1])) for name, value in pairs)
    value = Decimal("Infinity") if match[3] == "+Inf" else Decimal(match[3])
    _unless(len(set(names)) != len(names), line, "a label stands once")
    _unless(labels in family.samples, line, "no two samples have the same labels")
    _unless(family.kind == "counter" and value < 0, line, "a counter is not negative")
    family.samples[labels] = value


def _plain(text: str) -> str:
    return re.sub(r'\\[\\"n]', lambda match: UNESCAPED[match[0]], text)


def _unless(broken: bool, line: str, rule: str) -> None:
    if broken:
        raise BrokenExpositionError(f"{line!r}: {rule}")
