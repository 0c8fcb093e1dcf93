"""Makes budgets around what was spent: most on track, one near its limit, one over it.

Budgets are opened first, so that calls can be booked on them, and get their limits when the spend is known.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from portal.demo.people import Organisation
from portal.demo.spend import ROOM, Spend, Use
from portal.demo.story import DIRECTORS, PROJECTS, TEAMS, ProjectStory
from teams.models import Department, User
from usage.selectors.periods import day_starts_at, organisation_today, this_month

LEAD_TIME = timedelta(days=20)  # how long before the first call the plan was made
# A budget that is lowered below what is spent is over its limit without any call having slipped through.
LOWERED_BEFORE = timedelta(hours=3)
NEAR, LOWERED_TO = Decimal("0.88"), Decimal("0.96")
RAISED_PROJECT, RAISED_TO_USD = "query-help", Decimal(200)
SAFE_PROJECT = "support-bot"
WATCHED_TEAM = "search"
LEAST_CAP_USD = Decimal(20)  # of a key that hardly anybody calls with


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The scope of a budget."""

    kind: ScopeKind
    id: int
    department: Department | None


EVERYTHING = Place(kind=ScopeKind.ORGANISATION, id=0, department=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A budget without its limit; `tier` is the one that it is for alone."""

    place: Place
    window: Window
    mode: Mode
    since: datetime
    tier: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A limit in US dollars from a moment on, who set it and why."""

    amount_usd: Decimal
    since: datetime
    actor: User
    reason: str


class Planner:
    """Opens the demo's budgets and remembers their monthly limits, so that the wider hold the narrower."""

    def __init__(
        self, made: Organisation, *, keys: Mapping[str, Sequence[ApiKey]], days: int, now: datetime
    ) -> None:
        self.made, self.keys, self.now = made, keys, now
        self.since = now - timedelta(days=days) - LEAD_TIME
        self.month = this_month(organisation_today(now))
        self.budgets: dict[tuple[Place, Window], Budget] = {}
        # What a wider budget must have room for, at any time; and what a project has now.
        self.month_usd: dict[str, Decimal] = {}
        self.limit_usd: dict[str, Decimal] = {}
        self.caps_usd: dict[int, Decimal] = {}

    def open_all(self) -> None:
        """Open every budget, without a limit yet."""
        for frame in self._frames():
            self.budgets[frame.place, frame.window] = Budget.objects.create(
                scope_kind=frame.place.kind,
                scope_id=frame.place.id,
                department=frame.place.department,
                window=frame.window,
                mode=frame.mode,
                time_zone=settings.TIME_ZONE,
                only_tier_id=frame.tier,
                created_at=frame.since,
            )

    def limit_all(self, spend: Spend) -> dict[int, Decimal]:
        """Limit every budget and return the monthly cap of each key that gets a grant, by key id."""
        for story in PROJECTS:
            if story.code in PLANS:
                self._project(story, spend)
            self._keys(story, spend)
        for code in TEAMS:
            self._team(code, spend)
        for code in DIRECTORS:
            self._department(code)
        total = sum((self.month_usd[code] for code in DIRECTORS), ZERO)
        self._limit(EVERYTHING, Window.MONTH, [self.plan(round_up(total), self.made.people["fay"])])
        return self.caps_usd

    def plan(self, amount_usd: Decimal, actor: User, reason: str = "The yearly plan.") -> Step:
        """Return a limit that has been in force since before all usage."""
        return Step(amount_usd=amount_usd, since=self.since, actor=actor, reason=reason)

    def _frames(self) -> Iterator[Frame]:
        """Give each budget there is."""
        for story in PROJECTS:
            if story.code in PLANS:
                yield self._frame(self._place_of(story), mode=PLANS[story.code][0])
            if story.code == SAFE_PROJECT:
                yield self._frame(self._place_of(story), window=Window.DAY)
            for one, key in zip(story.keys, self.keys[story.code], strict=True):
                if one.tier > 1:
                    yield self._frame(_place_of_key(key), since=key.created_at, tier=one.tier)
        for code in TEAMS:
            yield self._frame(self._place_of_team(code))
        yield self._frame(self._place_of_team(WATCHED_TEAM), window=Window.DAY, mode=Mode.SOFT)
        for code in DIRECTORS:
            yield self._frame(self._place_of_department(code))
        yield self._frame(EVERYTHING)

    def _frame(
        self,
        place: Place,
        *,
        window: Window = Window.MONTH,
        mode: Mode = Mode.HARD,
        since: datetime | None = None,
        tier: int | None = None,
    ) -> Frame:
        return Frame(place=place, window=window, mode=mode, since=since or self.since, tier=tier)

    def _place_of(self, story: ProjectStory) -> Place:
        project = self.made.projects[story.code]
        return Place(kind=ScopeKind.PROJECT, id=project.pk, department=project.team.department)

    def _place_of_team(self, code: str) -> Place:
        team = self.made.teams[code]
        return Place(kind=ScopeKind.TEAM, id=team.pk, department=team.department)

    def _place_of_department(self, code: str) -> Place:
        department = self.made.departments[code]
        return Place(kind=ScopeKind.DEPARTMENT, id=department.pk, department=department)

    def _project(self, story: ProjectStory, spend: Spend) -> None:
        lead, place = self.made.people[TEAMS[story.team][2]], self._place_of(story)
        use = spend.use(story.code)
        steps = PLANS[story.code][1](self, use, lead)
        self._limit(place, Window.MONTH, steps)
        self.limit_usd[story.code] = steps[-1].amount_usd
        later = [RAISED_TO_USD] if story.code == RAISED_PROJECT else []
        self.month_usd[story.code] = max([step.amount_usd for step in steps] + later)
        if story.code == SAFE_PROJECT:
            step = self.plan(round_up(use.largest_day_usd * 3), lead, "No single day may eat the month.")
            self._limit(place, Window.DAY, [step])

    def _keys(self, story: ProjectStory, spend: Spend) -> None:
        for one, key in zip(story.keys, self.keys[story.code], strict=True):
            if one.tier == 1:
                continue
            use = spend.use(story.code, key)
            wanted = round_up(
                max(use.spent_usd * Decimal("1.3"), use.pace_usd * Decimal("1.2"), LEAST_CAP_USD)
            )
            self.caps_usd[key.pk] = min(wanted, self.limit_usd.get(story.code, wanted))
            step = Step(
                amount_usd=self.caps_usd[key.pk],
                since=key.created_at,
                actor=approver_of(self.made, story, one.tier, key.owner),
                reason="The cap of the approved request.",
            )
            self._limit(_place_of_key(key), Window.MONTH, [step])

    def _team(self, code: str, spend: Spend) -> None:
        director, place = self.made.people[DIRECTORS[TEAMS[code][1]]], self._place_of_team(code)
        stories = [story.code for story in PROJECTS if story.team == code]
        total = sum((self.month_usd.get(story, ZERO) for story in stories), ZERO)
        self.month_usd[code] = round_up(total * Decimal("1.15"))
        self._limit(place, Window.MONTH, [self.plan(self.month_usd[code], director)])
        if code == WATCHED_TEAM:
            largest = sum((spend.use(story).largest_day_usd for story in stories), ZERO)
            step = self.plan(round_up(largest * 2), director, "Tell us when a day is twice as dear as usual.")
            self._limit(place, Window.DAY, [step])

    def _department(self, code: str) -> None:
        total = sum((self.month_usd[team] for team, (_, home, _, _) in TEAMS.items() if home == code), ZERO)
        self.month_usd[code] = round_up(total * Decimal("1.1"))
        step = self.plan(self.month_usd[code], self.made.people["fay"])
        self._limit(self._place_of_department(code), Window.MONTH, [step])

    def _limit(self, place: Place, window: Window, steps: Sequence[Step]) -> None:
        BudgetLimit.objects.bulk_create(
            BudgetLimit(
                budget=self.budgets[place, window],
                amount_usd=step.amount_usd,
                valid_from=step.since,
                actor=step.actor,
                reason=step.reason,
                recorded_at=step.since,
            )
            for step in steps
        )


def raise_one_today(made: Organisation) -> None:
    """Let ben raise a limit within his team's head-room, now and through the front door."""
    budget = Budget.objects.get(scope_kind=ScopeKind.PROJECT, scope_id=made.projects[RAISED_PROJECT].pk)
    change_limit(
        actor=made.people["ben"], budget=budget, amount_usd=RAISED_TO_USD, reason="Room for the Tier 2 trial."
    )


def _place_of_key(key: ApiKey) -> Place:
    return Place(kind=ScopeKind.KEY, id=key.pk, department=key.project.team.department)


def _on_track(planner: Planner, use: Use, lead: User) -> list[Step]:
    return [planner.plan(use.on_track_usd, lead)]


def _near(planner: Planner, use: Use, lead: User) -> list[Step]:
    limit_usd = round_up(use.spent_usd / NEAR)
    started = min(
        day_starts_at(planner.month.first_day) + timedelta(hours=9), planner.now - timedelta(hours=2)
    )
    return [
        planner.plan(round_up(max(use.pace_usd, limit_usd) * ROOM), lead),
        Step(amount_usd=limit_usd, since=started, actor=lead, reason="The plan for this month."),
    ]


def lowered_at(now: datetime) -> datetime:
    """Return when the budget was lowered that is over its limit now; some of this month was before."""
    begin = day_starts_at(this_month(organisation_today(now)).first_day)
    return max(now - LOWERED_BEFORE, begin + (now - begin) / 2)


def _over(planner: Planner, use: Use, lead: User) -> list[Step]:
    lowered = lowered_at(planner.now)
    reason = "The backfill costs more than planned: nothing more until we have met."
    return [
        planner.plan(round_up(use.spent_usd * ROOM), lead, "The backfill of last year's invoices."),
        Step(amount_usd=round_down(use.spent_usd * LOWERED_TO), since=lowered, actor=lead, reason=reason),
    ]


def _fixed(planner: Planner, _use: Use, lead: User) -> list[Step]:
    return [planner.plan(Decimal(150), lead)]


Plan = Callable[[Planner, Use, User], list[Step]]
# catalogue-tags has none, to show what that looks like.
PLANS: dict[str, tuple[Mode, Plan]] = {
    "search-rank": (Mode.HARD, _near),
    "invoice-ocr": (Mode.HARD, _over),
    SAFE_PROJECT: (Mode.HARD, _on_track),
    "sql-assistant": (Mode.HARD, _on_track),
    RAISED_PROJECT: (Mode.HARD, _fixed),
    "fraud-notes": (Mode.HARD, _fixed),
    "ticket-triage": (Mode.SOFT, _on_track),
    "docs-summaries": (Mode.NOTIFY, _on_track),
}
