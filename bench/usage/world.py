"""An organisation whose usage is measured: keys of several teams, models of three tiers, what they call."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from bench.world import World
from catalog.models import Unit
from core import clock
from keys.models import ApiKey
from tests import factories

TEAMS, PROJECTS, KEYS = 20, 2, 5
MODELS = 12
A_DAY = 300_000  # calls that are told of one day: ten million a month


class Callers:
    """200 keys in 40 projects of 20 teams, each on six budgets, and twelve priced models."""

    def __init__(self) -> None:
        self.world = World()
        self.group = self.world.add("usage", teams=TEAMS, projects=PROJECTS, keys=KEYS)
        self.keys: list[ApiKey] = list(self.group.keys)
        self.models = [_model(number) for number in range(MODELS)]
        self.source = self.world.gateway.public_id

    def rows(self, count: int, *, seed: int = 1) -> Iterator[dict[str, Any]]:
        """Tell `count` calls in the order of time, the same ones for the same seed."""
        chance = random.Random(seed)  # noqa: S311  nothing is protected by it
        keys = [key.public_id for key in self.keys]
        step = timedelta(days=1) / A_DAY
        start = clock.now() - count * step
        for number in range(count):
            yield self._row(chance, keys, start + number * step)

    def _row(self, chance: random.Random, keys: list[str], at: datetime) -> dict[str, Any]:
        tokens = chance.randrange(50, 4_000)
        return {
            "external_id": f"{chance.getrandbits(128):032x}",
            "at": at,
            "key": keys[int(len(keys) * chance.random() ** 2)],
            "model": f"usage-{chance.randrange(MODELS)}",
            "input_tokens": tokens,
            "cached_tokens": tokens // 4,
            "output_tokens": chance.randrange(1, 1_500),
        }


def _model(number: int) -> str:
    model = factories.LlmModelFactory.create(name=f"usage-{number}", tier=factories.tier(number % 3 + 1))
    for unit, usd in ((Unit.INPUT, "2.5"), (Unit.CACHED, "0.25"), (Unit.OUTPUT, "10")):
        factories.PriceFactory.create(model=model, unit=unit, usd_per_unit=Decimal(usd) / 1_000_000)
    return model.name
