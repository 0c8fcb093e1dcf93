"""How the machine is run: on a fresh copy of one organisation for each example, at a given size."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, Phase, settings

from tests.ledger.clockwork import moved_clock
from tests.ledger.machine import Ledger
from tests.ledger.world import START, World, build_world

# While bugs are seeded, one failure is enough and nobody reads its shortest form.
WHILE_SEEDED: Any = {"phases": [Phase.generate], "database": None, "print_blob": False}
seeded_sizes: list[tuple[int, int]] = []


@contextmanager
def machines() -> Iterator[Any]:
    """Give what makes a machine, in place of its class, while the clock stands at START."""
    with moved_clock(START):
        built = build_world()

        def fresh() -> World:
            return replace(built, books=copy.deepcopy(built.books))

        yield lambda: Ledger(fresh)


def usual() -> settings:
    """Return the settings of a test run, smaller while bugs are seeded."""
    if seeded_sizes:
        return sized(*seeded_sizes[-1], derandomize=True, **WHILE_SEEDED)
    return sized(200, 40, derandomize=True)


def sized(examples: int, steps: int, **more: Any) -> settings:
    """Return the settings of a run of so many examples of so many steps."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        **more,
    )
