"""What the machine is run on: a fresh copy of one organisation for each example."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tests.ledger.clockwork import moved_clock
from tests.ledger.machine import Ledger
from tests.ledger.world import START, World, build_world


@contextmanager
def machines() -> Iterator[Any]:
    """Give what makes a machine, in place of its class, while the clock stands at START."""
    with moved_clock(START):
        built = build_world()

        def fresh() -> World:
            return replace(built, books=copy.deepcopy(built.books))

        yield lambda: Ledger(fresh)
