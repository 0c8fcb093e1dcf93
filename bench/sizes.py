"""How long a measurement takes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Rounds that count, after one that warms up. A quick one shows that it works and judges no speed."""

    rounds: int
    seconds: float
    judged: bool


FULL = Size(rounds=7, seconds=1.0, judged=True)
QUICK = Size(rounds=1, seconds=0.3, judged=False)
