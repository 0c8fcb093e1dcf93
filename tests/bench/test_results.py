"""The line that a measurement prints."""

from __future__ import annotations

import pytest

from bench.results import Result


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (
            Result(name="authorize_vs_django_hello c=256", value=1.834, bar=1.5),
            "T1 authorize_vs_django_hello c=256 1.83 (>= 1.5) ok",
        ),
        (Result(name="pairs", value=0.9999, bar=1), "T1 pairs 0.9999 (>= 1) SHORT"),
        (Result(name="overspent", value=0, bar=0, at_least=False), "T1 overspent 0 (<= 0) ok"),
        (
            Result(name="overspent", value=0.0004, bar=0, at_least=False),
            "T1 overspent 0.0004 (<= 0) SHORT",
        ),
        (Result(name="pairs", value=0.5, bar=1, judged=False), "T1 pairs 0.50 (>= 1) not judged"),
        (
            Result(name="slowest_page_ms", value=1234.4, bar=150, at_least=False),
            "T1 slowest_page_ms 1234.40 (<= 150) SHORT",
        ),
    ],
)
def test_line_says_value_bar_and_verdict(result: Result, line: str) -> None:
    assert result.line("T1") == line
