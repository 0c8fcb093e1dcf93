"""Makes budgets around what was spent: most on track, one near its limit, one over it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings

from budgets.models import Budget, BudgetLimit, Mode, ScopeKind, Window
from budgets.services.limits import change_limit
from core.money import ZERO
from keys.models import ApiKey
from portal.demo.access import approver_of
from portal.demo.amounts import round_down, round_up
from portal.demo.calls import Call, total_usd
from portal.demo.people import Organisation
from portal.demo.story import DIRECTORS, PROJECTS, TEAMS, ProjectStory
from teams.models import Department, User
from usage.forecast import PACE_DAYS
from usage.selectors.periods import day_starts_at, organisation_today, this_month

SINCE = timedelta(days=80)
# A budget that is lowered below what is spent is over its limit without any call having slipped through.
LOWERED_BEFORE = timedelta(hours=3)
NEAR, LOWERED_TO, ROOM = Decimal("0.88"), Decimal("0.96"), Decimal("1.4")
RAISED_PROJECT, RAISED_TO_USD = "query-help", Decimal(200)
SAFE_PROJECT = "support-bot"
WATCHED_TEAM = "search"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The scope of a budget."""

    kind: ScopeKind
    id: int
    department: Department | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A limit in US dollars from a moment on, who set it and why."""

    amount_usd: Decimal
    since: datetime
    actor: User
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a project or key spent this month, would in thirty days at its pace, and on its dearest day."""

    spent_usd: Decimal
    pace_usd: Decimal
    largest_day_usd: Decimal

    @property
    def on_track_usd(self) -> Decimal:
        """Return a limit that leaves room."""
        return round_up(max(self.pace_usd, self.spent_usd) * ROOM)


class Planner:
    """Opens the demo's budgets and remembers their monthly limits, so that the wider hold the narrower."""

    def __init__(
        self,
        made: Organisation,
        *,
        keys: Mapping[str, Sequence[ApiKey]],
        calls: Mapping[str, Sequence[Call]],
        now: datetime,
    ) -> None:
        self.made, self.keys, self.calls, self.now = made, keys, calls, now
        self.today = organisation_today(now)
        self.month = this_month(self.today)
        # What a wider budget must have room for, at any time; and what a project has now.
        self.month_usd: dict[str, Decimal] = {}
        self.limit_usd: dict[str, Decimal] = {}
        self.caps_usd: dict[int, Decimal] = {}

    def open_all(self) -> dict[int, Decimal]:
        """Open every budget and return the monthly cap of each key that gets a grant, by key id."""
        for story in PROJECTS:
            if story.code in PLANS:
                self._project(story)
            self._keys(story)
        for code in TEAMS:
            self._team(code)
        for code in DIRECTORS:
            self._department(code)
        total = sum((self.month_usd[code] for code in DIRECTORS), ZERO)
        everything = Place(kind=ScopeKind.ORGANISATION, id=0, department=None)
        _open(everything, Window.MONTH, Mode.HARD, [self.plan(round_up(total), self.made.people["fay"])])
        return self.caps_usd

    def plan(self, amount_usd: Decimal, actor: User, reason: str = "The yearly plan.") -> Step:
        """Return a limit that has been in force since before all usage."""
        return Step(amount_usd=amount_usd, since=self.now - SINCE, actor=actor, reason=reason)

    def _use(self, code: str, key: ApiKey | None = None) -> Use:
        by_day = dict.fromkeys((self.today - timedelta(days=back) for back in range(1, PACE_DAYS + 1)), ZERO)
        for call in self.calls[code]:
            if call.day in by_day and key in {None, call.key}:
                by_day[call.day] += call.cost_usd
        return Use(
            spent_usd=total_usd(self.calls[code], since=self.month.first_day, key=key),
            pace_usd=sum(by_day.values(), ZERO) / PACE_DAYS * 30,
            largest_day_usd=max(by_day.values()),
        )

    def _project(self, story: ProjectStory) -> None:
        project, lead = self.made.projects[story.code], self.made.people[TEAMS[story.team][2]]
        place = Place(kind=ScopeKind.PROJECT, id=project.pk, department=project.team.department)
        use = self._use(story.code)
        mode, steps = PLANS[story.code](self, use, lead)
        _open(place, Window.MONTH, mode, steps)
        self.limit_usd[story.code] = steps[-1].amount_usd
        later = [RAISED_TO_USD] if story.code == RAISED_PROJECT else []
        self.month_usd[story.code] = max([step.amount_usd for step in steps] + later)
        if story.code == SAFE_PROJECT:
            step = self.plan(round_up(use.largest_day_usd * 3), lead, "No single day may eat the month.")
            _open(place, Window.DAY, Mode.HARD, [step])

    def _keys(self, story: ProjectStory) -> None:
        for one, key in zip(story.keys, self.keys[story.code], strict=True):
            if one.tier == 1:
                continue
            use = self._use(story.code, key)
            wanted = round_up(max(use.spent_usd * Decimal("1.3"), use.pace_usd * Decimal("1.2")))
            self.caps_usd[key.pk] = min(wanted, self.limit_usd.get(story.code, wanted))
            step = Step(
                amount_usd=self.caps_usd[key.pk],
                since=key.created_at,
                actor=approver_of(self.made, story, one.tier, key.owner),
                reason="The cap of the approved request.",
            )
            place = Place(kind=ScopeKind.KEY, id=key.pk, department=key.project.team.department)
            _open(place, Window.MONTH, Mode.HARD, [step], tier=one.tier)

    def _team(self, code: str) -> None:
        team, director = self.made.teams[code], self.made.people[DIRECTORS[TEAMS[code][1]]]
        place = Place(kind=ScopeKind.TEAM, id=team.pk, department=team.department)
        stories = [story.code for story in PROJECTS if story.team == code]
        total = sum((self.month_usd.get(story, ZERO) for story in stories), ZERO)
        self.month_usd[code] = round_up(total * Decimal("1.15"))
        _open(place, Window.MONTH, Mode.HARD, [self.plan(self.month_usd[code], director)])
        if code == WATCHED_TEAM:
            largest = sum((self._use(story).largest_day_usd for story in stories), ZERO)
            step = self.plan(round_up(largest * 2), director, "Tell us when a day is twice as dear as usual.")
            _open(place, Window.DAY, Mode.SOFT, [step])

    def _department(self, code: str) -> None:
        department = self.made.departments[code]
        place = Place(kind=ScopeKind.DEPARTMENT, id=department.pk, department=department)
        total = sum((self.month_usd[team] for team, (_, home, _, _) in TEAMS.items() if home == code), ZERO)
        self.month_usd[code] = round_up(total * Decimal("1.1"))
        _open(place, Window.MONTH, Mode.HARD, [self.plan(self.month_usd[code], self.made.people["fay"])])


def raise_one_today(made: Organisation) -> None:
    """Let ben raise a limit within his team's head-room, now and through the front door."""
    budget = Budget.objects.get(scope_kind=ScopeKind.PROJECT, scope_id=made.projects[RAISED_PROJECT].pk)
    change_limit(
        actor=made.people["ben"], budget=budget, amount_usd=RAISED_TO_USD, reason="Room for the Tier 2 trial."
    )


def _open(
    place: Place, window: Window, mode: Mode, steps: Sequence[Step], *, tier: int | None = None
) -> None:
    budget = Budget.objects.create(
        scope_kind=place.kind,
        scope_id=place.id,
        department=place.department,
        window=window,
        mode=mode,
        time_zone=settings.TIME_ZONE,
        only_tier_id=tier,
        created_at=steps[0].since,
    )
    BudgetLimit.objects.bulk_create(
        BudgetLimit(
            budget=budget,
            amount_usd=step.amount_usd,
            valid_from=step.since,
            actor=step.actor,
            reason=step.reason,
            recorded_at=step.since,
        )
        for step in steps
    )


def _on_track(planner: Planner, use: Use, lead: User) -> tuple[Mode, list[Step]]:
    return Mode.HARD, [planner.plan(use.on_track_usd, lead)]


def _near(planner: Planner, use: Use, lead: User) -> tuple[Mode, list[Step]]:
    limit_usd = round_up(use.spent_usd / NEAR)
    started = min(
        day_starts_at(planner.month.first_day) + timedelta(hours=9), planner.now - timedelta(hours=2)
    )
    return Mode.HARD, [
        planner.plan(round_up(max(use.pace_usd, limit_usd) * ROOM), lead),
        Step(amount_usd=limit_usd, since=started, actor=lead, reason="The plan for this month."),
    ]


def _over(planner: Planner, use: Use, lead: User) -> tuple[Mode, list[Step]]:
    lowered = planner.now - LOWERED_BEFORE
    reason = "The backfill costs more than planned: nothing more until we have met."
    return Mode.HARD, [
        planner.plan(round_up(use.spent_usd * ROOM), lead, "The backfill of last year's invoices."),
        Step(amount_usd=round_down(use.spent_usd * LOWERED_TO), since=lowered, actor=lead, reason=reason),
    ]


def _fixed(planner: Planner, _use: Use, lead: User) -> tuple[Mode, list[Step]]:
    return Mode.HARD, [planner.plan(Decimal(150), lead)]


def _soft(planner: Planner, use: Use, lead: User) -> tuple[Mode, list[Step]]:
    return Mode.SOFT, [planner.plan(use.on_track_usd, lead)]


def _notify(planner: Planner, use: Use, lead: User) -> tuple[Mode, list[Step]]:
    return Mode.NOTIFY, [planner.plan(use.on_track_usd, lead)]


Plan = Callable[[Planner, Use, User], tuple[Mode, list[Step]]]
# catalogue-tags has none, to show what that looks like.
PLANS: dict[str, Plan] = {
    "search-rank": _near,
    "invoice-ocr": _over,
    SAFE_PROJECT: _on_track,
    "sql-assistant": _on_track,
    RAISED_PROJECT: _fixed,
    "fraud-notes": _fixed,
    "ticket-triage": _soft,
    "docs-summaries": _notify,
}
