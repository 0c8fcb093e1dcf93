"""A budget's limit over time, from its dated rows: the exact twin of `budgets_limit_at` in SQL."""

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from core.money import ZERO

NOT_WRITTEN_YET = 2**63  # comes after every row of the same moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One row: a base limit, or a top-up, which alone has an end. A null amount is no limit."""

    amount_usd: Decimal | None
    valid_from: datetime
    valid_until: datetime | None = None
    number: int = NOT_WRITTEN_YET


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """All rows of one budget; the newest base row and the top-ups in force add up."""

    steps: tuple[Step, ...] = ()

    def base_at(self, at: datetime) -> Step | None:
        """Return the base row that rules at a moment; of two from the same moment the later one."""
        begun = (step for step in self.steps if step.valid_until is None and step.valid_from <= at)
        return max(begun, key=lambda step: (step.valid_from, step.number), default=None)

    def limit_at(self, at: datetime) -> Decimal | None:
        """Return the limit at a moment, top-ups included, in US dollars; None is no limit."""
        base = self.base_at(at)
        return None if base is None or base.amount_usd is None else base.amount_usd + self.top_ups_at(at)

    def top_ups_at(self, at: datetime) -> Decimal:
        """Return what the top-ups in force add at a moment."""
        return sum(
            (
                step.amount_usd or ZERO
                for step in self.steps
                if step.valid_until is not None and step.valid_from <= at < step.valid_until
            ),
            ZERO,
        )

    def changes_after(self, at: datetime) -> set[datetime]:
        """Return the moments after `at` at which the limit may change."""
        edges = {edge for step in self.steps for edge in (step.valid_from, step.valid_until)}
        return {edge for edge in edges if edge is not None and edge > at}

    def plans_after(self, at: datetime) -> list[Step]:
        """Return the base rows that still rule from their moment on, after `at`, the earliest first."""
        moments = {step.valid_from for step in self.steps if step.valid_until is None}
        found = (self.base_at(moment) for moment in sorted(moments) if moment > at)
        return [step for step in found if step is not None]

    def plus(self, step: Step) -> "Schedule":
        """Return the schedule with one more row."""
        return replace(self, steps=(*self.steps, step))
