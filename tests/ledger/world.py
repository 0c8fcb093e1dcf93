"""The organisation of the ledger's machine, once in the database and once in the model.

The team Search has the project `ranking` with the keys of ada and ben; the team Cards, of another department,
has the project `fraud` with dan's key. Prices have more decimals than the ledger, so that roundings show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.conf import settings
from django.db import connection, transaction
from django.test import RequestFactory

from budgets.models import Budget, BudgetLimit, LimitKind, RateLimit
from catalog.models import LlmModel, Price, Tier
from catalog.pricing import PriceRow
from core import clock
from gateway import views
from gateway.auth import credential_of, signed_headers
from gateway.hot.credentials import CredentialCache
from gateway.models import Gateway
from keys import secrets
from keys.models import ApiKey, Grant
from teams.models import Project, Team, User
from tests import factories
from tests.gateway.together import Given, ask_together
from tests.ledger import facts
from tests.ledger.clockwork import move_to
from tests.ledger.lending import Lending
from usage.services import expire_holds, ingest_page, reclaim_leases

# An hour before a day of 23 hours in Berlin, three days before a month and a quarter end.
START = datetime(2027, 3, 27, 22, 30, tzinfo=UTC)
LONG_AGO = START - timedelta(days=400)
YEARS = timedelta(days=800)


class Line(NamedTuple):
    """One price."""

    unit: str
    usd: str
    context: str = "standard"
    tier_start: int = 0
    source: str = "manual"


class Kind(NamedTuple):
    """One model."""

    name: str
    lines: Sequence[Line] = ()
    mode: str = "chat"
    tier: int = 1
    is_free: bool = False
    hold_units: Mapping[str, int] = {}


KINDS = (
    Kind(
        "small",
        (
            Line("input", "0.000001000000333"),
            Line("output", "0.000002000000777"),
            Line("cached", "0.000000100000033"),
            Line("reasoning", "0.000003000000111"),
        ),
    ),
    Kind(
        "large",
        (
            Line("input", "0.000010000000001"),
            Line("input", "0.000020000000001", tier_start=1_500),
            Line("input", "0.000005000000001", context="batch"),
            Line("output", "0.000040000000009"),
            Line("output", "0.000030000000009", source="contract"),
            Line("cache_write", "0.000012500000001"),
            Line("request", "0.0001"),
        ),
        tier=2,
    ),
    Kind("free", is_free=True),
    Kind("zero", (Line("input", "0"), Line("output", "0"))),
    Kind("unpriced", (Line("input", "0.000001"),)),
    Kind("vectors", (Line("input", "0.00000002"),), mode="embedding"),
    Kind("hearing", (Line("second", "0.000100000000005"),), mode="transcription"),
    Kind(
        "painting",
        (Line("image", "0.0005"), Line("request", "0.00001")),
        mode="image",
        hold_units={"image": 2},
    ),
    Kind("speaking", (Line("character", "0.000000015000001"),), mode="speech"),
)
ROUTES = {
    "chat": "/v1/chat/completions",
    "embedding": "/v1/embeddings",
    "transcription": "/v1/audio/transcriptions",
    "speech": "/v1/audio/speech",
    "image": "/v1/images/generations",
}


@dataclass(slots=True, kw_only=True)
class World:
    """The database's side of the story, with `books` for the model's side. Every act is done to both."""

    gateway: Gateway
    books: Lending
    tokens: dict[str, str]
    keys: dict[str, ApiKey]
    projects: dict[str, Project]
    teams: dict[str, Team]
    requests: RequestFactory = field(default_factory=RequestFactory)
    stranger: str = field(default_factory=secrets.new_token)

    # ----------------------------------------------------------------------------------- the wire

    def send(self, path: str, raw: bytes) -> Given:
        """Send one signed request through the view."""
        credential = credential_of(self.gateway)
        at = clock.now().timestamp()
        headers = signed_headers(credential=credential, method="POST", target=path, body=raw, now_seconds=at)
        request = self.requests.post(path, raw, content_type="application/json", headers=headers)
        response = views.decide(request)
        return Given(
            status=response.status_code,
            body=json.loads(response.content, parse_float=Decimal),
            headers=dict(response.headers),
        )

    def ask_together(self, asked: Sequence[tuple[str, bytes]]) -> list[Given]:
        """Ask all of it in one statement."""
        return ask_together(self.gateway, asked)

    def expire(self) -> int:
        """Sweep what was never settled."""
        return expire_holds()

    def reclaim(self) -> int:
        """Take back what ended leases still hold."""
        return reclaim_leases()

    def pull(self, rows: Sequence[dict[str, Any]]) -> None:
        """Read lines of the gateway's journal."""
        ingest_page(source=self.gateway.public_id, rows=rows)

    # -------------------------------------------------------------------------- the organisation

    def pass_time(self, amount: timedelta) -> None:
        assert amount >= timedelta(0), "time does not run back"
        self.books.now += amount
        move_to(self.books.now)

    def scope(self, kind: str, name: str) -> tuple[str, int]:
        """Return a scope by its name; a department has the name of its team."""
        ids: dict[str, int] = {
            **{f"key {name}": key.pk for name, key in self.keys.items()},
            **{f"project {name}": project.pk for name, project in self.projects.items()},
            **{f"team {name}": team.pk for name, team in self.teams.items()},
            **{f"department {name}": team.department_id for name, team in self.teams.items()},
        }
        return kind, ids.get(f"{kind} {name}", 0)

    def open_budget(
        self, *, scope: tuple[str, int], limit: str | None, since: timedelta, **fields: Any
    ) -> facts.Budget:
        """Open a budget that is `since` old, with a limit in force from its first moment."""
        at = self.books.now - since
        made = Budget.objects.create(
            scope_kind=scope[0],
            scope_id=scope[1],
            department_id=self._department_of(*scope),
            created_at=at,
            **fields,
        )
        budget = facts.Budget(
            id=made.pk,
            public_id=made.public_id,
            scope=scope,
            window=made.window,
            anchor=made.window_anchor,
            zone=made.time_zone,
            mode=made.mode,
            only_tier=made.only_tier_id,
            only_model=made.only_model_id,
            roll_over=made.roll_over,
            created_at=at,
        )
        self.books.budgets.append(budget)
        self.set_limit(budget, limit, valid_from=at)
        return budget

    def set_limit(
        self,
        budget: facts.Budget,
        amount: str | None,
        *,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
    ) -> None:
        """Put a limit in force, now or later; with an end it is a top-up."""
        usd = None if amount is None else Decimal(amount)
        since = valid_from or self.books.now
        BudgetLimit.objects.create(
            budget_id=budget.id,
            kind=LimitKind.TOP_UP if valid_until else LimitKind.BASE,
            amount_usd=usd,
            valid_from=since,
            valid_until=valid_until,
            reason="a test",
        )
        budget.limits.append(facts.Limit(amount=usd, valid_from=since, valid_until=valid_until))

    def set_mode(self, budget: facts.Budget, mode: str) -> None:
        Budget.objects.filter(pk=budget.id).update(mode=mode)
        budget.mode = mode

    def close_budget(self, budget: facts.Budget) -> None:
        Budget.objects.filter(pk=budget.id).update(closed_at=self.books.now)
        budget.is_closed = True

    def set_rate(
        self, scope: tuple[str, int], *, requests: int | None, tokens: int | None, parallel: int | None
    ) -> None:
        """Set how fast a scope may call, keeping what its buckets hold."""
        made, _ = RateLimit.objects.update_or_create(
            scope_kind=scope[0],
            scope_id=scope[1],
            defaults={
                "requests_per_minute": requests,
                "tokens_per_minute": tokens,
                "parallel_calls": parallel,
            },
        )
        known = next((rate for rate in self.books.rates if rate.id == made.pk), None)
        if known is None:
            known = facts.Rate(id=made.pk, scope=scope)
            self.books.rates.append(known)
        known.requests, known.tokens, known.parallel = requests, tokens, parallel

    def revoke(self, name: str) -> None:
        ApiKey.objects.filter(pk=self.keys[name].pk, revoked_at=None).update(
            revoked_at=self.books.now, revoked_reason="a test"
        )
        self.books.keys[self.tokens[name]].is_revoked = True

    def suspend_or_resume(self, name: str) -> None:
        key = self.books.keys[self.tokens[name]]
        key.is_suspended = not key.is_suspended
        at, why = (self.books.now, "a test") if key.is_suspended else (None, "")
        ApiKey.objects.filter(pk=key.id).update(suspended_at=at, suspended_reason=why)

    def leave_or_return(self, name: str) -> None:
        """Let the owner of a key leave the company, or come back."""
        owner_id = self.keys[name].owner_id
        self.books.inactive ^= {owner_id}
        User.objects.filter(pk=owner_id).update(is_active=owner_id not in self.books.inactive)

    def archive_or_reopen(self, name: str) -> None:
        project = self.books.projects[self.projects[name].pk]
        project.is_archived = not project.is_archived
        at = self.books.now if project.is_archived else None
        Project.objects.filter(pk=project.id).update(archived_at=at)

    def move_project(self, name: str) -> None:
        """Give a project to the other team, and so to the other department."""
        project = self.books.projects[self.projects[name].pk]
        project.team_id = next(team for team in self.books.teams if team != project.team_id)
        Project.objects.filter(pk=project.id).update(team_id=project.team_id)

    def move_team(self, name: str) -> None:
        """Give a team to the other of the two departments, where both may end up."""
        team = self.teams[name]
        departments = {each.department_id for each in self.teams.values()}
        (home,) = departments - {self.books.teams[team.pk]}
        self.books.teams[team.pk] = home
        Team.objects.filter(pk=team.pk).update(department_id=home)

    def grant(self, name: str, *, models: Sequence[str] = (), lasts: timedelta = timedelta(days=2)) -> None:
        """Let a key call Tier 2 from now on."""
        ids = [self.books.models[model].id for model in models]
        starts, ends = self.books.now, self.books.now + lasts
        with transaction.atomic():
            made = factories.approved_grant(
                self.keys[name], tier_number=2, model_ids=ids, starts_at=starts, expires_at=ends
            )
        self.books.grants.append(
            facts.Grant(key_id=made.key_id, tier=2, model_ids=ids, starts_at=starts, expires_at=ends)
        )

    def end_grants(self) -> None:
        Grant.objects.filter(revoked_at=None).update(revoked_at=self.books.now, revoked_reason="a test")
        for grant in self.books.grants:
            grant.is_revoked = True

    def retire_or_restore(self, name: str) -> None:
        model = self.books.models[name]
        model.is_retired = not model.is_retired
        at = self.books.now if model.is_retired else None
        LlmModel.objects.filter(pk=model.id).update(retired_at=at)

    def reprice(self, name: str, *, factor: int) -> None:
        """End the prices of a model now, and let others follow at once."""
        model, now = self.books.models[name], self.books.now
        live = [row for row in model.prices if row.valid_until is None and row.valid_from < now]
        Price.objects.filter(pk__in=[row.id for row in live]).update(valid_until=now)
        model.prices = [replace(row, valid_until=now) if row in live else row for row in model.prices]
        for row in live:
            line = Line(row.unit, str(row.usd_per_unit * factor), row.context, row.tier_start, row.source)
            self.add_price(model, line, valid_from=now)

    def add_price(self, model: facts.Model, line: Line, *, valid_from: datetime) -> None:
        """Price one unit of a model."""
        made = Price.objects.create(
            model_id=model.id,
            unit=line.unit,
            usd_per_unit=Decimal(line.usd),
            context=line.context,
            tier_start=line.tier_start,
            source=line.source,
            source_version="test",
            valid_from=valid_from,
        )
        row = PriceRow(
            id=made.pk,
            unit=line.unit,
            context=line.context,
            tier_start=line.tier_start,
            usd_per_unit=made.usd_per_unit,
            source=line.source,
            valid_from=valid_from,
        )
        model.prices.append(row)

    def _department_of(self, kind: str, scope_id: int) -> int | None:
        if kind == "organisation":
            return None
        if kind == "key":
            key = next(key for key in self.books.keys.values() if key.id == scope_id)
            kind, scope_id = "project", key.project_id
        if kind == "project":
            kind, scope_id = "team", self.books.projects[scope_id].team_id
        return self.books.teams[scope_id] if kind == "team" else scope_id


def build_world() -> World:
    """Write the organisation into the database and into the model; the clock has to stand at START."""
    views._credentials = CredentialCache()
    books = Lending(
        now=START,
        hold_seconds=settings.HOLD_SECONDS,
        hold_seconds_for=settings.HOLD_SECONDS_FOR,
        grace_seconds=settings.HOLD_GRACE_SECONDS,
        lease_seconds=settings.LEASE_SECONDS,
        lease_floor=settings.LEASE_FLOOR_USD,
    )
    for number in (1, 2):
        tier = factories.tier(number)
        Tier.objects.filter(pk=tier.pk).update(default_max_output_tokens=200, floor_max_output_tokens=40)
        books.tiers[number] = facts.Tier(default_output=200, floor_output=40)
    world = World(
        gateway=factories.GatewayFactory.create(), books=books, tokens={}, keys={}, projects={}, teams={}
    )
    for team_code, project_code, people in (
        ("search", "ranking", ("ada", "ben")),
        ("cards", "fraud", ("dan",)),
    ):
        _add_team(world, team_code, project_code, people)
    for kind in KINDS:
        _add_model(world, kind)
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_make_partitions(%s, %s)", [START.date(), START.date() + YEARS])
    return world


def _add_team(world: World, team_code: str, project_code: str, people: Sequence[str]) -> None:
    team = factories.TeamFactory.create(code=team_code)
    project = factories.ProjectFactory.create(code=project_code, team=team)
    world.teams[team_code], world.projects[project_code] = team, project
    world.books.teams[team.pk] = team.department_id
    world.books.projects[project.pk] = facts.Project(id=project.pk, code=project_code, team_id=team.pk)
    for name in people:
        key = factories.ApiKeyFactory.create(
            name=name, project=project, created_at=LONG_AGO, expires_at=START + YEARS
        )
        token = factories.revealed(key)
        world.keys[name], world.tokens[name] = key, token
        world.books.keys[token] = facts.Key(
            id=key.pk,
            public_id=key.public_id,
            project_id=project.pk,
            owner_id=key.owner_id,
            expires_at=key.expires_at,
        )


def _add_model(world: World, kind: Kind) -> None:
    max_output = 600 if kind.mode == "chat" else None
    made = factories.LlmModelFactory.create(
        name=kind.name,
        mode=kind.mode,
        tier=factories.tier(kind.tier),
        declared_free=kind.is_free,
        hold_units=kind.hold_units,
        context_window_tokens=5_000,
        max_output_tokens=max_output,
    )
    model = facts.Model(
        id=made.pk,
        name=kind.name,
        mode=kind.mode,
        tier=kind.tier,
        window_tokens=5_000,
        max_output=max_output or 0,
        is_free=kind.is_free,
        hold_units={unit: Decimal(count) for unit, count in kind.hold_units.items()},
    )
    world.books.models[kind.name] = model
    for line in kind.lines:
        world.add_price(model, line, valid_from=LONG_AGO)
