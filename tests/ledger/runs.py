"""What the machine is run on: a fresh copy of one organisation for each example."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

from django.test import override_settings

from tests.ledger.clockwork import moved_clock
from tests.ledger.leasing import LeasingLedger
from tests.ledger.world import START, World, build_world


@contextmanager
def machines() -> Iterator[Any]:
    """Give what makes a machine, in place of its class, while the clock stands at START."""
    # A floor as small as the budgets, so that nodes have to share.
    with override_settings(LEASE_FLOOR_USD=Decimal("0.0003")), moved_clock(START):
        built = build_world()

        def fresh() -> World:
            return replace(built, books=copy.deepcopy(built.books))

        yield lambda: LeasingLedger(fresh)
