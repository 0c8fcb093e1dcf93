"""The text format in which Prometheus reads metrics. Pure.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Number = Decimal | int | float


class Kind(StrEnum):
    """What a metric's numbers do: a counter never falls."""

    COUNTER = "counter"
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One number with its labels; a label without a value is left out."""

    labels: Mapping[str, str]
    value: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric with all its samples, no two of which have the same labels."""

    name: str
    kind: Kind
    help: str
    samples: Sequence[Sample]


def exposition(metrics: Iterable[Metric]) -> str:
    """Return metrics as text. One without samples keeps its help, so that its reader knows it exists."""
    return "".join(f"{line}\n" for metric in metrics for line in _lines(metric))


def _lines(metric: Metric) -> Iterator[str]:
    yield f"# HELP {metric.name} {_escaped(metric.help)}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for sample in metric.samples:
        yield f"{metric.name}{_labels(sample.labels)} {_number(sample.value)}"


def _labels(labels: Mapping[str, str]) -> str:
    quote = '\\"'
    pairs = [f'{name}="{_escaped(text).replace(chr(34), quote)}"' for name, text in labels.items() if text]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: Number) -> str:
    """Write a number without an exponent; amounts to their last digit."""
    match value:
        case Decimal():
            return f"{value:f}"
        case float() if value == float("inf"):
            return "+Inf"
        case _:
            return str(value)
