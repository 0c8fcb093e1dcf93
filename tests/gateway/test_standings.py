"""A standing answers what looking up would answer: after every change, at every moment, in every order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from threading import Event, Thread
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import DateTimeField, Func

from budgets.models import Balance, Budget, BudgetLimit, LimitKind, RateLimit, ScopeKind
from catalog.models import Alias, LlmModel, Price, Tier
from core import clock
from gateway.models import Standing, StandingChange
from gateway.services import forget_standings
from keys.models import ApiKey, Grant
from teams.models import Department, Project, Team, User
from tests.gateway.conftest import World, build_world, make_model
from tests.ledger.clockwork import move_to, moved_clock

NOBODY_LOOKS_UP = """
CREATE OR REPLACE FUNCTION public.gateway_look_up(p_calls jsonb, p_used int[], p_now timestamptz,
  OUT calls gateway_call[], OUT refused gateway_refusal[]) LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'somebody looked up'; END $$
"""
# What nobody asks of a standing: names, and what says why something is as it is.
UNWATCHED = {
    "budgets_balance": {
        "window_start",
        "window_end",
        "spent_usd",
        "reserved_usd",
        "budget_id",
        "mean_call_seconds",
    },
    "budgets_ratelimit": {
        "id",
        "public_id",
        "requests_per_minute",
        "tokens_per_minute",
        "parallel_calls",
        "requests_tat",
        "tokens_tat",
        "in_flight",
    },
    "keys_apikey": {
        "id",
        "name",
        "pepper_id",
        "prefix",
        "last4",
        "rotation_asked_at",
        "rotation_overlap_hours",
        "previous_pepper_id",
        "previous_masked",
        "created_at",
        "revealed_at",
        "suspended_reason",
        "revoked_by_id",
        "revoked_reason",
    },
    "teams_project": {"id", "public_id", "name", "owner_id", "cost_centre", "created_at"},
    "teams_team": {"id", "public_id", "name", "archived_at"},
    "teams_user": {
        "id",
        "password",
        "last_login",
        "is_superuser",
        "public_id",
        "email",
        "name",
        "external_id",
        "removed_at",
        "is_staff",
        "date_joined",
    },
}


class UndoneError(Exception):
    """Ends a block whose writes are not wanted."""


@contextmanager
def undone() -> Iterator[None]:
    """Take back whatever the block writes."""
    try:
        with transaction.atomic():
            yield
            raise UndoneError
    except UndoneError:
        pass


def decided(world: World, **changes: Any) -> tuple[int, dict[str, Any]]:
    """Return what one call is answered, apart from the names that are new each time. Nothing is held."""
    with undone():
        answer = world.gus.authorize(world.token, **changes)
    body = {name: value for name, value in answer.json().items() if name not in ("reservation", "expires_at")}
    return answer.status_code, body


def decided_anew(world: World, **changes: Any) -> tuple[int, dict[str, Any]]:
    """Return what the call is answered when nothing is remembered."""
    with undone():
        Standing.objects.all().delete()
        return decided(world, **changes)


def decided_by_heart(world: World, **changes: Any) -> tuple[int, dict[str, Any]]:
    """Return what the call is answered when nobody can look up: 503 where something has to be."""
    with undone():
        with connection.cursor() as cursor:
            cursor.execute(NOBODY_LOOKS_UP)
        try:
            return decided(world, **changes)
        except transaction.TransactionManagementError:
            return 503, {}
    raise AssertionError


@pytest.fixture
def ready(world: World) -> World:
    """Return an organisation with a budget, a rate limit and a grant, whose key has called both models."""
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    world.budget("team", kind=ScopeKind.TEAM, limit="7")
    RateLimit.objects.create(scope_kind="key", scope_id=world.key.pk, requests_per_minute=600)
    world.grant(tier=2)
    for model in ("small", "large"):
        assert world.gus.authorize(world.token, model=model).status_code == 200
    return world


def test_a_call_is_decided_without_looking_up_what_the_last_one_looked_up(ready: World) -> None:
    assert Standing.objects.count() == 2
    for model in ("small", "large"):
        assert decided_by_heart(ready, model=model) == decided_anew(ready, model=model)
        assert decided_by_heart(ready, model=model)[0] == 200


def _other_team(world: World) -> Team:
    department = Department.objects.create(code="other", name="Other")
    return Team.objects.create(code="other", name="Other", department=department)


def _project_moves(world: World) -> None:
    Project.objects.filter(pk=world.project.pk).update(team=_other_team(world))


def _team_moves(world: World) -> None:
    Team.objects.filter(pk=world.team.pk).update(department=_other_team(world).department)


def _key_changes(**fields: Any) -> Callable[[World], None]:
    return lambda world: _update(ApiKey.objects.filter(pk=world.key.pk), **fields)


def _update(rows: Any, **fields: Any) -> None:
    assert rows.update(**fields)


def _rotate(world: World, overlaps_until: datetime) -> None:
    key = ApiKey.objects.get(pk=world.key.pk)
    _update(ApiKey.objects.filter(pk=key.pk), rotation_asked_at=clock.now(), rotation_overlap_hours=1)
    _update(
        ApiKey.objects.filter(pk=key.pk),
        rotation_asked_at=None,
        rotation_overlap_hours=None,
        previous_hmac=key.secret_hmac,
        previous_pepper_id=key.pepper_id,
        previous_masked="psr_live_...",
        previous_until=overlaps_until,
        secret_hmac=b"y" * 32,
    )


def _tier(**fields: Any) -> Callable[[World], None]:
    return lambda _: _update(Tier.objects.filter(number=1), **fields)


def _small(**fields: Any) -> Callable[[World], None]:
    return lambda world: _update(LlmModel.objects.filter(pk=world.small.pk), **fields)


def _renamed_and_replaced(world: World) -> None:
    """Give the name to another model by way of an alias."""
    _update(LlmModel.objects.filter(pk=world.small.pk), name="former")
    other = make_model("other", tier=1)
    for unit in ("input", "output"):
        world.price(other, unit, "0.000007")
    Alias.objects.create(name="small", model=other)


def _price_ends(world: World) -> None:
    now = Func(function="clock_timestamp", output_field=DateTimeField())
    _update(Price.objects.filter(model=world.small, unit="output"), valid_until=now)


def _grant_ends(world: World) -> None:
    _update(
        Grant.objects.filter(key=world.key),
        revoked_at=clock.now(),
        revoked_reason="a test",
        revoked_by=world.ada,
    )


def _rate_limit_moves(world: World) -> None:
    RateLimit.objects.create(
        scope_kind="team", scope_id=world.team.pk, tokens_per_minute=1, requests_per_minute=None
    )


# What is changed, and whether one more call of the cheap and of the dear model is answered otherwise.
CHANGES: dict[str, tuple[Callable[[World], Any], bool, bool]] = {
    "key revoked": (_key_changes(revoked_at=clock.now(), revoked_reason="leaked"), True, True),
    "key suspended": (_key_changes(suspended_at=clock.now(), suspended_reason="runaway"), True, True),
    "key gets another secret": (lambda w: _rotate(w, clock.now() + timedelta(days=1)), False, False),
    "key's former secret ends": (lambda w: _rotate(w, clock.now() - timedelta(seconds=1)), True, True),
    "owner leaves": (lambda w: _update(User.objects.filter(pk=w.ada.pk), is_active=False), True, True),
    "project archived": (
        lambda w: _update(Project.objects.filter(pk=w.project.pk), archived_at=clock.now()),
        True,
        True,
    ),
    "project renamed": (
        lambda w: _update(Project.objects.filter(pk=w.project.pk), code="renamed"),
        True,
        True,
    ),
    "project moved": (_project_moves, True, True),
    "team renamed": (lambda w: _update(Team.objects.filter(pk=w.team.pk), code="renamed"), True, True),
    "team moved": (_team_moves, False, False),
    "grant revoked": (_grant_ends, False, True),
    "tier gives fewer tokens": (
        _tier(default_max_output_tokens=7, floor_max_output_tokens=7),
        False,
        False,
    ),
    "model moved to a tier without a grant": (_small(tier_id=3), True, False),
    "model retired": (_small(retired_at=clock.now()), True, False),
    "model writes less": (_small(max_output_tokens=50), True, False),
    "model takes less": (_small(context_window_tokens=500), True, False),
    "model is of another mode": (_small(mode="embedding", max_output_tokens=None), True, False),
    "name given to another model": (_renamed_and_replaced, True, False),
    "price of a request": (lambda w: w.price(w.small, "request", "0.5"), True, False),
    "price ends": (_price_ends, True, False),
    "limit lowered": (lambda w: w.limit(w.budgets["key"], "0.0001"), True, True),
    "limit lifted": (lambda w: w.limit(w.budgets["key"], None), False, False),
    "budget closed": (
        lambda w: _update(Budget.objects.filter(pk=w.budgets["key"].pk), closed_at=clock.now()),
        False,
        False,
    ),
    "budget opened": (lambda w: w.budget("project", kind=ScopeKind.PROJECT, limit="0.0001"), True, True),
    "budget of one model opened": (
        lambda w: w.budget("small", kind=ScopeKind.TEAM, limit="0.0001", only_model=w.small),
        True,
        False,
    ),
    "rate limit opened": (_rate_limit_moves, True, True),
    "rate limit removed": (lambda _: RateLimit.objects.all().delete(), False, False),
}


@pytest.mark.usefixtures("at")  # a refusal says in how many seconds its window ends
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_in_force_on_the_next_call(ready: World, change: str) -> None:
    act, cheap_differs, dear_differs = CHANGES[change]
    for model, differs in (("small", cheap_differs), ("large", dear_differs)):
        with undone():
            before = decided(ready, model=model)
            act(ready)
            after = decided(ready, model=model)
            assert after == decided_anew(ready, model=model)
            assert (after != before) == differs


def test_a_team_that_moves_counts_on_its_new_department_from_the_next_call(world: World) -> None:
    poor = Department.objects.create(code="poor", name="Poor")
    budget = Budget.objects.create(
        scope_kind=ScopeKind.DEPARTMENT, scope_id=poor.pk, department=poor, window="day", mode="hard"
    )
    world.limit(budget, "0")
    for _ in range(2):
        assert world.gus.authorize(world.token).status_code == 200
    assert decided_by_heart(world)[0] == 200

    Team.objects.filter(pk=world.team.pk).update(department=poor)

    status, body = decided(world)
    assert (status, body["budget"]["id"]) == (429, budget.public_id)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_is_taken_back_is_forgotten(ready: World, change: str) -> None:
    before = decided(ready)
    with undone():
        CHANGES[change][0](ready)
        decided(ready)
        ready.gus.authorize(ready.token)
    assert decided(ready) == before == decided_anew(ready)


def test_a_balance_that_is_gone_is_made_again(ready: World) -> None:
    with undone():
        Balance.objects.filter(budget=ready.budgets["team"]).delete()
        assert ready.gus.authorize(ready.token).status_code == 200
        assert Balance.objects.filter(budget=ready.budgets["team"], reserved_usd__gt=0).exists()


@pytest.mark.django_db
def test_every_column_that_a_standing_is_made_of_is_watched() -> None:
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT t.tgrelid::regclass::text, array_agg(a.attname::text) FILTER (
              WHERE a.attnum <> ALL (t.tgattr) AND (t.tgtype & 16 = 0 OR cardinality(t.tgattr::int2[]) > 0))
            FROM pg_trigger t JOIN pg_attribute a ON a.attrelid = t.tgrelid
            WHERE t.tgname = 'standings_are_forgotten' AND a.attnum > 0 AND NOT a.attisdropped GROUP BY 1
        """)
        watched = {table: set(columns or ()) for table, columns in cursor.fetchall()}
    assert {table: columns for table, columns in watched.items() if columns} == UNWATCHED
    assert set(watched) - set(UNWATCHED) == {
        "budgets_budget",
        "budgets_budgetlimit",
        "catalog_alias",
        "catalog_llmmodel",
        "catalog_price",
        "catalog_tier",
        "keys_grant",
    }


# ------------------------------------------------------------------------------------------ time alone


@pytest.fixture
def at(db: None) -> Iterator[datetime]:
    start = clock.now().replace(minute=30, second=0, microsecond=0) + timedelta(
        hours=1
    )  # no day ends near it
    with moved_clock(start):
        yield start


def _key_expires(world: World, moment: datetime) -> None:
    _update(ApiKey.objects.filter(pk=world.key.pk), expires_at=moment)


def _grant_expires(world: World, moment: datetime) -> None:
    _update(Grant.objects.filter(key=world.key), expires_at=moment)


def _price_rises(world: World, moment: datetime) -> None:
    _update(Price.objects.filter(model=world.large, unit="output"), valid_until=moment)
    world.price(world.large, "output", "0.000080", valid_from=moment)


def _limit_is_planned(world: World, moment: datetime) -> None:
    BudgetLimit.objects.create(
        budget=world.budgets["key"], amount_usd=Decimal("0.0001"), valid_from=moment, reason="a test"
    )


def _top_up_ends(world: World, moment: datetime) -> None:
    world.limit(world.budgets["key"], "0.0001")
    BudgetLimit.objects.create(
        budget=world.budgets["key"],
        kind=LimitKind.TOP_UP,
        amount_usd=Decimal(4),
        valid_from=moment - timedelta(hours=3),
        valid_until=moment,
        reason="a test",
    )


MOMENTS = {
    "key expires": _key_expires,
    "grant expires": _grant_expires,
    "price rises": _price_rises,
    "limit is planned": _limit_is_planned,
    "top-up ends": _top_up_ends,
    "former secret ends": _rotate,
}


@pytest.mark.parametrize("change", MOMENTS)
def test_what_time_alone_changes_is_in_force_at_its_moment(at: datetime, ready: World, change: str) -> None:
    moment = at + timedelta(seconds=10)
    MOMENTS[change](ready, moment)
    before = decided(ready, model="large")
    assert before[0] == 200
    ready.gus.authorize(ready.token, model="large")
    move_to(moment - timedelta(microseconds=1))
    assert decided_by_heart(ready, model="large")[0] == 200
    move_to(moment)
    assert decided(ready, model="large") != before
    assert decided(ready, model="large") == decided_anew(ready, model="large")


def test_a_window_that_ends_is_left(at: datetime, ready: World) -> None:
    move_to(at + timedelta(days=2))
    ready.gus.authorize(ready.token)
    assert Balance.objects.filter(budget=ready.budgets["key"], reserved_usd__gt=0).count() == 2


def test_a_clock_that_is_set_back_leaves_nothing_remembered(at: datetime, ready: World) -> None:
    move_to(at - timedelta(seconds=1))
    with pytest.raises(AssertionError):
        assert decided_by_heart(ready)[0] == 200
    assert decided(ready)[0] == 200


# ----------------------------------------------------------------------------------------- the wire


def test_a_step_of_a_price_list_is_looked_up(ready: World) -> None:
    ready.price(ready.small, "input", "0.000009", tier_start=400)
    below, above = decided(ready, input_bytes=300), decided(ready, input_bytes=4_000)
    ready.gus.authorize(ready.token, input_bytes=300)
    ready.gus.authorize(ready.token, input_bytes=4_000)
    assert decided_by_heart(ready, input_bytes=10) == decided_anew(ready, input_bytes=10)
    assert (decided(ready, input_bytes=300), decided(ready, input_bytes=4_000)) == (below, above)


def test_a_project_that_the_key_is_not_of_is_refused(ready: World) -> None:
    assert decided_by_heart(ready, project_id="search-rank")[0] == 200
    assert decided(ready, project_id="another") == decided_anew(ready, project_id="another")
    assert decided(ready, project_id="another")[0] == 403


def test_a_route_of_another_mode_is_refused(ready: World) -> None:
    assert decided(ready, route="/v1/embeddings")[0] == 404


def test_a_request_that_was_asked_before_gets_its_answer(ready: World) -> None:
    body = {"request_id": "asked-before", "model": "small"}
    first = ready.gus.authorize(ready.token, **body).json()
    assert ready.gus.authorize(ready.token, **body).json() == first
    assert ready.gus.authorize(ready.token, **body, input_bytes=999).status_code == 409


def test_a_model_that_is_paid_by_open_units_is_not_remembered(ready: World) -> None:
    images = LlmModel.objects.create(
        name="images", provider="openai", provider_model="images", mode="image", tier_id=1,
        context_window_tokens=1_000, hold_units={"image": 2},
    )  # fmt: skip
    ready.price(images, "image", "0.01")
    asked = {"model": "images", "route": "/v1/images/generations"}
    assert ready.gus.authorize(ready.token, **asked).json()["held_usd"] == "0.020000000000"
    assert ready.gus.authorize(ready.token, **asked).json()["held_usd"] == "0.020000000000"
    assert not Standing.objects.filter(asked_model="images").exists()


def test_old_standings_and_changes_are_forgotten(at: datetime, ready: World) -> None:
    move_to(at + timedelta(hours=1))
    ready.gus.authorize(ready.token, input_bytes=10_000, model="large")
    StandingChange.objects.all().delete()
    seen_before = Standing.objects.values_list("seen_before", flat=True)[0]
    long_ago = clock.now() - timedelta(days=2)
    for xid, moment in ((seen_before - 2, long_ago), (seen_before - 1, clock.now()), (seen_before, long_ago)):
        StandingChange.objects.create(xid=xid, turn=1, at=moment)
    assert forget_standings() == 0
    assert set(StandingChange.objects.values_list("xid", flat=True)) == {seen_before - 1, seen_before}
    Standing.objects.filter(asked_model="small").update(known_at=long_ago)
    assert forget_standings() == 1
    Standing.objects.update(known_at=long_ago)
    assert forget_standings() == 1
    assert set(StandingChange.objects.values_list("xid", flat=True)) == {seen_before - 1}


# ---------------------------------------------------------------------------- several transactions


@pytest.fixture
def committed(transactional_db: None) -> World:
    world = build_world()
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    return world


@contextmanager
def elsewhere(act: Callable[[], Any]) -> Iterator[Callable[[], None]]:
    """Do something in a transaction of another connection; it commits when the yielded function is called."""
    done, go = Event(), Event()

    def run() -> None:
        try:
            with transaction.atomic():
                act()
                done.set()
                go.wait(timeout=20)
        finally:
            connections.close_all()

    thread = Thread(target=run)
    thread.start()
    assert done.wait(timeout=20)

    def commit() -> None:
        go.set()
        thread.join(timeout=20)

    try:
        yield commit
    finally:
        commit()


@pytest.mark.django_db(transaction=True)
def test_a_change_under_way_when_a_standing_is_made_is_in_force_once_committed(committed: World) -> None:
    with elsewhere(
        lambda: ApiKey.objects.filter(pk=committed.key.pk).update(revoked_at=clock.now(), revoked_reason="x")
    ) as commit:
        assert committed.gus.authorize(committed.token).status_code == 200
        assert committed.gus.authorize(committed.token).status_code == 200
        commit()
    assert committed.gus.authorize(committed.token).status_code == 401


@pytest.mark.django_db(transaction=True)
def test_a_change_of_an_older_transaction_is_in_force_after_a_younger_one(committed: World) -> None:
    """The older number commits last: the latest change has not grown, and counts all the same."""
    with elsewhere(lambda: committed.limit(committed.budgets["key"], "0.0001")) as commit_older:
        Tier.objects.filter(number=3).update(description="a younger change")
        assert committed.gus.authorize(committed.token).status_code == 200
        assert committed.gus.authorize(committed.token).status_code == 200
        commit_older()
    assert committed.gus.authorize(committed.token).status_code == 429


@pytest.mark.django_db(transaction=True)
def test_a_long_transaction_elsewhere_leaves_what_was_seen_remembered(committed: World) -> None:
    with elsewhere(lambda: User.objects.filter(pk=committed.ada.pk).update(name="Ada E.")):
        Tier.objects.filter(number=3).update(description="a change after it began")
        assert committed.gus.authorize(committed.token).status_code == 200
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(NOBODY_LOOKS_UP)
            assert committed.gus.authorize(committed.token).status_code == 200
            transaction.set_rollback(True)


@pytest.mark.django_db(transaction=True)
def test_standings_of_another_start_of_the_server_are_not_believed(committed: World) -> None:
    assert committed.gus.authorize(committed.token).status_code == 200
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(NOBODY_LOOKS_UP)
        assert committed.gus.authorize(committed.token).status_code == 200
        Standing.objects.update(server_started_at=clock.now() - timedelta(days=1))
        assert committed.gus.authorize(committed.token).status_code == 503
        transaction.set_rollback(True)
