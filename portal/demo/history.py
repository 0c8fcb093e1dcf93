"""Makes up a long history of calls as a gateway's log tells them, one after the other in the order of time.

The same for the same moment, days, number and seed. Days and weeks have their shape, projects grow, some days
are busier than all others, and one script that nobody watches runs away. The log tells some calls twice, and
some of its rows cannot be booked.
"""

from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from math import exp, log
from random import Random
from typing import Any

from catalog.models import LlmModel, Mode
from keys.models import ApiKey
from portal.demo.calls import (
    CACHE_HIT_SHARE,
    CUT_OFF_SHARE,
    LONGEST_INPUT,
    LONGEST_OUTPUT,
    SETTLES_WITHIN,
    SPREAD,
)
from portal.demo.story import PROJECTS, ProjectStory

HOURS = 24
TOLD_TWICE_SHARE = 0.004
TELLS_AGAIN_AFTER = 3_000  # calls
# What a day costs stays what it is however many calls it has: more calls are smaller ones.
USUAL_CALLS_PER_DAY = 340

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spike:
    """Some hours of a project with many times the usual calls, so many days ago; `key` alone makes them."""

    days_ago: int
    project: str
    hour: int
    hours: int
    times: float
    key: int | None = None


LAUNCH = Spike(days_ago=61, project="query-help", hour=15, hours=4, times=6)
MONTH_REPORT = Spike(days_ago=40, project="docs-summaries", hour=2, hours=5, times=9)
QUEUE = Spike(days_ago=12, project="ticket-triage", hour=8, hours=3, times=7)
RUNAWAY = Spike(days_ago=23, project="sql-assistant", hour=17, hours=12, times=40, key=1)
SPIKES = (LAUNCH, MONTH_REPORT, QUEUE, RUNAWAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How much there is to tell: so many calls in so many days up to `until`."""

    until: datetime
    days: int
    calls: int
    seed: int

    def first_day(self) -> date:
        """Return the UTC day of the first calls."""
        return self.until.astimezone(UTC).date() - timedelta(days=self.days)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """An hour of a project, and how many calls it has."""

    story: ProjectStory
    start: datetime
    seconds: float
    calls: int
    key: int | None


class _Teller:
    """Makes up the calls of one project."""

    def __init__(
        self,
        story: ProjectStory,
        keys: Sequence[ApiKey],
        models: Mapping[str, LlmModel],
        *,
        random: Random,
        size: float,
    ) -> None:
        self._random = random
        self._keys = [key.public_id for key in keys]
        self._key_shares = list(accumulate(one.share for one in story.keys))
        self._models = [
            (
                name,
                min(LONGEST_INPUT, models[name].context_window_tokens),
                models[name].mode == Mode.EMBEDDING,
            )
            for name, _ in story.models
        ]
        self._model_shares = list(accumulate(share for _, share in story.models))
        self._input, self._output = log(story.input_tokens * size), log(max(story.output_tokens * size, 8))
        self._cached_share = story.cached_share * 1.3

    def tell(self, number: int, at: datetime, key: int | None) -> Row:
        """Return one call."""
        chance, random = self._random.random, self._random
        name, most, is_embedding = self._models[self._pick(self._model_shares)]
        total = min(1 + int(exp(random.gauss(self._input, SPREAD))), most)
        output = 0 if is_embedding else min(1 + int(exp(random.gauss(self._output, SPREAD))), LONGEST_OUTPUT)
        fate = chance()
        return {
            "external_id": f"history-{number:09d}",
            "at": at,
            "key": self._keys[self._pick(self._key_shares) if key is None else key],
            "model": name,
            "input_tokens": total,
            "cached_tokens": int(total * (0.5 + 0.45 * chance())) if chance() < self._cached_share else 0,
            "output_tokens": output,
            "reasoning_tokens": int(output * 0.4 * chance()),
            "finish": "length" if fate > 1 - CUT_OFF_SHARE else "stop",
            "cache_hit": fate < CACHE_HIT_SHARE,
            "provider_call_id": f"call-{number:x}",
        }

    def _pick(self, shares: Sequence[float]) -> int:
        return min(bisect(shares, self._random.random() * shares[-1]), len(shares) - 1)


def tell(
    history: History, *, keys: Mapping[str, Sequence[ApiKey]], models: Mapping[str, LlmModel]
) -> Iterator[Row]:
    """Give every row of the log: exactly so many calls, those told twice, and those that cannot be booked."""
    random = Random(f"{history.seed} {history.days}")  # noqa: S311  a story, not a secret
    size = min(USUAL_CALLS_PER_DAY * history.days / max(history.calls, 1), 1.0)
    tellers = {
        story.code: _Teller(story, keys[story.code], models, random=random, size=size) for story in PROJECTS
    }
    number = 0
    again: list[Row] = []
    for cell in _cells(history, random):
        teller = tellers[cell.story.code]
        for second in sorted(random.random() * cell.seconds for _ in range(cell.calls)):
            number += 1
            row = teller.tell(number, cell.start + timedelta(seconds=second), cell.key)
            yield row
            if random.random() < TOLD_TWICE_SHARE:
                again.append(row)
            if number % TELLS_AGAIN_AFTER == 0:
                yield from again
                again.clear()
    yield from again
    yield from _poison(history, keys)


def _cells(history: History, random: Random) -> Iterator[_Cell]:
    """Share the calls out among hours and projects, so that they are so many in all."""
    weighted = list(_weights(history, random))
    total = sum(weight for *_, weight in weighted)
    reached, told = 0.0, 0
    for story, start, seconds, key, weight in weighted:
        reached += weight
        upto = round(reached / total * history.calls)
        if upto > told:
            yield _Cell(story=story, start=start, seconds=seconds, calls=upto - told, key=key)
        told = upto


def _weights(
    history: History, random: Random
) -> Iterator[tuple[ProjectStory, datetime, float, int | None, float]]:
    until = history.until.astimezone(UTC) - SETTLES_WITHIN
    spikes = {(history.days - spike.days_ago, spike.project): spike for spike in SPIKES}
    for number in range(history.days + 1):
        day = history.first_day() + timedelta(days=number)
        mood = {story.code: random.gammavariate(30, 1 / 30) for story in PROJECTS}
        for hour in range(HOURS):
            start = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
            seconds = min((until - start).total_seconds(), 3_600.0)
            if seconds <= 0:
                return
            for story in PROJECTS:
                usual = _usual(story, history, number, day, hour) * mood[story.code] * seconds / 3_600
                spike = spikes.get((number, story.code))
                is_spike = spike is not None and spike.hour <= hour < spike.hour + spike.hours
                yield (
                    story,
                    start,
                    seconds,
                    spike.key if spike and is_spike else None,
                    usual * (spike.times if spike and is_spike else 1),
                )


def _usual(story: ProjectStory, history: History, number: int, day: date, hour: int) -> float:
    """Return how many calls an hour has in the story, as a project that began when it began grows."""
    age = number - (history.days - story.days_of(history.days))
    if age < 0:
        return 0.0
    share = story.hours[hour] / sum(story.hours)
    return story.calls_per_day * story.weekdays[day.weekday()] * (1 + story.growth_per_day) ** age * share


def _poison(history: History, keys: Mapping[str, Sequence[ApiKey]]) -> Iterator[Row]:
    """Give rows that cannot be booked, each for a reason of its own."""
    at = history.until.astimezone(UTC) - timedelta(hours=5)
    good = {
        "at": at,
        "key": keys["query-help"][0].public_id,
        "model": "gpt-5.4-mini",
        "input_tokens": 1_840,
        "output_tokens": 122,
    }
    wrong: tuple[Row, ...] = (
        {"key": "key_0fMadeUpByAPilot0"},
        {"key": "key_0fMadeUpByAPilot0", "input_tokens": 2_210},
        {"model": "gpt-4-turbo-2024-04-09"},
        {"model": "internal-finetune-7"},
        {"input_tokens": -4},
        {"output_tokens": 4_000_000_000},
        {"cached_tokens": 5_000},
        {"at": at + timedelta(days=300)},
    )
    for number, changes in enumerate(wrong, 1):
        yield {"external_id": f"history-odd-{number}", **good, **changes}
