"""Makes up sixty days of calls: the same for the same moment, priced as the ledger prices them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import exp, log
from random import Random

from django.utils import timezone

from catalog.models import LlmModel, Mode
from catalog.pricing import PriceRow, Rates, TokenUsage, charge, rates
from core.money import ZERO
from keys.models import ApiKey
from portal.demo.story import ProjectStory

SEED = 20_261_123
SETTLES_WITHIN = timedelta(seconds=40)
LONGEST_INPUT = 600_000
LONGEST_OUTPUT = 30_000
CACHE_HIT_SHARE = 0.015
CUT_OFF_SHARE = 0.02
SPREAD = 0.7  # of the logarithm of tokens: one call in six is twice the usual size


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One finished call, with its cost in US dollars and the prices behind it."""

    at: datetime
    day: date
    key: ApiKey
    model: LlmModel
    tokens: TokenUsage
    cost_usd: Decimal
    price_ids: tuple[int, ...]
    finish: str
    cache_hit: bool


class Pricer:
    """Prices calls; the rates of a model change at most once a day and at its long-context steps."""

    def __init__(self, rows: Mapping[int, Sequence[PriceRow]]) -> None:
        self._rows = rows
        self._steps = {model: sorted({row.tier_start for row in prices}) for model, prices in rows.items()}
        self._known: dict[tuple[int, date, int], Rates] = {}

    def rates(self, model_id: int, at: datetime, input_tokens: int) -> Rates:
        """Return what a call of this model costs per token."""
        step = max(start for start in self._steps[model_id] if start <= input_tokens)
        place = (model_id, at.date(), step)
        if place not in self._known:
            self._known[place] = rates(self._rows[model_id], at=at, input_tokens=input_tokens)
        return self._known[place]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls what in a project."""

    story: ProjectStory
    keys: Sequence[ApiKey]
    models: Mapping[str, LlmModel]
    pricer: Pricer


def make_calls(caller: Caller, *, until: datetime) -> list[Call]:
    """Return the calls of a project up to a moment, in the order of time."""
    story = caller.story
    random = Random(f"{SEED} {story.code}")  # noqa: S311  a story, not a secret
    zone = timezone.get_default_timezone()
    today = timezone.localtime(until, zone).date()
    first = today - timedelta(days=story.days)
    calls: list[Call] = []
    for number in range(story.days + 1):
        day = first + timedelta(days=number)
        midnight = datetime.combine(day, datetime.min.time(), tzinfo=zone)
        moments = [midnight + timedelta(seconds=at) for at in _seconds(random, story, day, number)]
        for at in moments:
            call = _call(random, caller, at, day)
            if at <= until - SETTLES_WITHIN:
                calls.append(call)
    month = datetime.combine(today.replace(day=1), datetime.min.time(), tzinfo=zone)
    if calls and calls[-1].at < month < until - 2 * SETTLES_WITHIN:
        # Nobody has called in the first hours of a month, of which budgets are to show something.
        calls.append(_call(random, caller, month + (until - month) / 2, today))
    return calls


def _seconds(random: Random, story: ProjectStory, day: date, number: int) -> Iterator[float]:
    """Give the seconds of a day at which calls are made, in order."""
    usual = story.calls_per_day * story.weekdays[day.weekday()] * (1 + story.growth_per_day) ** number
    count = max(0, round(random.gauss(usual, usual**0.5)))
    hours = random.choices(range(24), weights=story.hours, k=count)
    yield from sorted(hour * 3_600 + random.random() * 3_600 for hour in hours)


def _call(random: Random, caller: Caller, at: datetime, day: date) -> Call:
    story = caller.story
    names, shares = zip(*story.models, strict=True)
    model = caller.models[random.choices(names, weights=shares)[0]]
    key = random.choices(caller.keys, weights=[one.share for one in story.keys])[0]
    tokens = _tokens(random, story, model)
    rate = caller.pricer.rates(model.pk, at, tokens.input_tokens)
    chance = random.random()
    cache_hit = chance < CACHE_HIT_SHARE
    return Call(
        at=at,
        day=day,
        key=key,
        model=model,
        tokens=tokens,
        cost_usd=ZERO if cache_hit else charge(tokens, rate),
        price_ids=rate.price_ids,
        finish="length" if chance > 1 - CUT_OFF_SHARE else "stop",
        cache_hit=cache_hit,
    )


def _tokens(random: Random, story: ProjectStory, model: LlmModel) -> TokenUsage:
    most = min(LONGEST_INPUT, model.context_window_tokens)
    total = min(int(_around(random, story.input_tokens)), most)
    is_cached = random.random() < story.cached_share * 1.3
    output = (
        0 if model.mode == Mode.EMBEDDING else min(int(_around(random, story.output_tokens)), LONGEST_OUTPUT)
    )
    return TokenUsage(
        input_tokens=total,
        cached_tokens=int(total * random.uniform(0.5, 0.95)) if is_cached else 0,
        output_tokens=output,
        reasoning_tokens=int(output * random.uniform(0, 0.4)),
    )


def _around(random: Random, usual: int) -> float:
    return 1 + exp(random.gauss(log(usual), SPREAD))
