"""The statement of a team as a sheet."""

from collections.abc import Iterable, Iterator

from core.sheets import Line, Section
from usage.selectors.adjustments import Adjustment
from usage.selectors.statement import BudgetMonth, Share, Statement


def sheet(found: Statement) -> tuple[Section, ...]:
    """Return a statement as its page shows it, from top to bottom."""
    nothing = "No calls in this month."
    return (
        Section(id="sum", title="Summary", noun="Figure", lines=tuple(_summary(found))),
        Section(
            id="projects", title="By project", noun="Project", lines=_shares(found.by_project), empty=nothing
        ),
        Section(id="models", title="By model", noun="Model", lines=_shares(found.by_model), empty=nothing),
        Section(id="tiers", title="By tier", noun="Tier", lines=_shares(found.by_tier), empty=nothing),
        Section(id="keys", title="By key", noun="Key", lines=_shares(found.by_key), empty=nothing),
        Section(
            id="limits",
            title="Limits in force in the month",
            noun="Budget",
            lines=tuple(_limits(found.budgets)),
            empty="The team has no monthly budget.",
        ),
        Section(
            id="corrections",
            title="Late usage and corrections",
            noun="Entries",
            lines=tuple(_adjustment(each) for each in found.adjustments),
            empty="Nothing came late, and nothing was corrected.",
        ),
    )


def _summary(found: Statement) -> Iterator[Line]:
    yield Line(
        name="Spent",
        note="projects, models, tiers and keys each add up to it",
        calls=found.totals.calls,
        amount_usd=found.totals.cost_usd,
    )
    for month in found.budgets:
        yield Line(
            name="Carried in",
            note=f"{_budget(month)}, from the month before; less than nothing is a debt",
            amount_usd=month.carried_usd,
            unknown="nothing",
        )
    yield Line(
        name="Late and corrected, of this month",
        note="part of what was spent",
        amount_usd=found.corrected_usd,
    )
    yield Line(
        name="Prior-period adjustments",
        note="came in during this month and changed earlier ones",
        amount_usd=found.prior_usd,
    )
    yield from _beyond(found)


def _beyond(found: Statement) -> Iterator[Line]:
    """Give what is compared with the spend, and what falls to the team beside it."""
    yield Line(
        name="Share of unattributed cost",
        note="billed by providers and attributed to no team, by share of spend",
        amount_usd=found.unallocated_usd,
        unknown="no bill yet",
    )
    yield Line(
        name="Expected when the month began",
        note=f"forecast as of its first day, {found.expected.method}" if found.expected else "",
        amount_usd=found.expected_usd,
        unknown="no use before",
    )
    yield Line(
        name="Variance",
        note="spent above what was expected",
        amount_usd=found.variance_usd,
        percent=found.variance_percent,
    )
    premium = found.premium
    yield Line(name="Chat on Tier 3", calls=premium.calls, amount_usd=premium.cost_usd)
    yield Line(
        name="Tier 3 premium",
        note=f"above the price of {premium.reference_model or 'Tier 1'} for the same tokens",
        amount_usd=premium.premium_usd,
        unknown="Tier 1 had no price",
    )


def _shares(found: Iterable[Share]) -> tuple[Line, ...]:
    return tuple(
        Line(name=each.name, note=each.note, calls=each.calls, amount_usd=each.cost_usd, percent=each.percent)
        for each in found
    )


def _limits(budgets: Iterable[BudgetMonth]) -> Iterator[Line]:
    for month in budgets:
        for limit in month.limits:
            since = f"{limit.in_force_since:%-d %B %Y, %H:%M} UTC"
            yield Line(
                name=f"{_budget(month)}{f', {limit.kind.lower()}' if limit.kind else ''}",
                note=f"since {since}, set by {limit.actor}: {limit.reason}",
                amount_usd=limit.amount_usd,
                unknown="no limit",
            )


def _budget(month: BudgetMonth) -> str:
    row = month.budget
    only = f" for {row.only}" if row.only else ""
    return f"{row.mode.label} budget{only}"


def _adjustment(each: Adjustment) -> Line:
    note = f"{each.belongs_to:%B %Y}, {each.entries:,} entr{'y' if each.entries == 1 else 'ies'}"
    return Line(
        name=f"{each.kind}, {each.project}",
        note=f"{note}: {each.reason}" if each.reason else note,
        amount_usd=each.amount_usd,
    )
