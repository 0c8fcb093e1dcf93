"""What an authorisation answers, check by check, in the order of the checks."""

from __future__ import annotations

import secrets as random
from datetime import timedelta
from decimal import Decimal

import pytest
from django.conf import settings

from budgets.models import Balance, Mode, RateLimit, Reservation, ScopeKind, Window
from catalog.models import Alias
from core import clock
from keys import secrets
from keys.models import ApiKey
from teams.models import Role
from tests import factories
from tests.gateway.conftest import World, make_model
from usage.models import BlockedHour

# 1,000 bytes at 1 µ$ and 100 tokens at 2 µ$
HOLD = Decimal("0.0012")


def test_an_allowed_call_holds_its_worst_case_on_every_budget(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    world.budget("team", kind=ScopeKind.TEAM, limit="100", window=Window.MONTH)
    answer = world.gus.authorize(world.token)
    assert answer.status_code == 200
    body = answer.json()
    assert body["decision"] == "allow"
    assert body["held_usd"] == "0.001200000000"
    assert (body["tier"], body["project"], body["team"], body["max_output_tokens"]) == (
        1,
        "search-rank",
        "search",
        100,
    )
    assert set(Balance.objects.values_list("reserved_usd", "spent_usd")) == {(HOLD, Decimal(0))}
    assert Balance.objects.count() == 2


def test_a_call_without_budgets_is_allowed_and_held_nowhere(world: World) -> None:
    assert world.gus.authorize(world.token).status_code == 200
    assert Balance.objects.count() == 0
    assert Reservation.objects.get().held_usd == HOLD


@pytest.mark.parametrize(
    "change",
    [
        {"revoked_at": clock.now(), "revoked_reason": "leaked"},
        {"expires_at": clock.now() - timedelta(seconds=1), "created_at": clock.now() - timedelta(days=9)},
    ],
)
def test_revoked_and_expired_keys_get_the_same_body_as_an_unknown_one(
    world: World, change: dict[str, object]
) -> None:
    unknown = world.gus.authorize(secrets.new_token())
    malformed = world.gus.authorize("psr_live_typo")
    if "created_at" in change:  # a key cannot be made expired; this one is made anew in the past
        key = ApiKey.objects.create(name="old", project=world.project, owner=world.ada, **change)
        token = factories.revealed(key)
    else:
        ApiKey.objects.filter(pk=world.key.pk).update(**change)
        token = world.token
    refused = world.gus.authorize(token)
    assert refused.status_code == unknown.status_code == malformed.status_code == 401
    assert refused.json() == unknown.json() == malformed.json()
    assert refused.json()["code"] == "invalid_api_key"
    assert Reservation.objects.count() == 0


def test_a_key_of_somebody_who_left_is_invalid(world: World) -> None:
    world.ada.is_active = False
    world.ada.save()
    assert world.gus.authorize(world.token).json()["code"] == "invalid_api_key"


def link_of(world: World) -> str:
    return f"{settings.BASE_URL}/keys/{world.key.public_id}/"


def test_a_suspended_key_says_why_and_who_can_resume_it(world: World) -> None:
    ApiKey.objects.filter(pk=world.key.pk).update(suspended_at=clock.now(), suspended_reason="a runaway loop")
    answer = world.gus.authorize(world.token)
    assert (answer.status_code, answer.json()["code"]) == (403, "key_suspended")
    assert "a runaway loop" in answer.json()["detail"]
    link = link_of(world)
    assert f"An administrator can resume it at {link}" in answer.json()["detail"]


def test_a_suspended_key_names_the_leads_of_its_team(world: World) -> None:
    ApiKey.objects.filter(pk=world.key.pk).update(suspended_at=clock.now(), suspended_reason="a runaway loop")
    for name, is_active in (("Ben Okafor", True), ("Abe Cole", True), ("Old Lead", False)):
        lead = factories.UserFactory.create(name=name, is_active=is_active)
        factories.RoleAssignmentFactory.create(user=lead, role=Role.LEAD, team=world.team)
    wish = {"node": "one", "key": world.token, "model": "small", "route": "/v1/chat/completions"}
    asked = world.gus.post("/gateway/v1/leases", {**wish, "want_usd": "1"})
    for answer in (world.gus.authorize(world.token), asked):
        assert (answer.status_code, answer.json()["code"]) == (403, "key_suspended")
        assert f". Abe Cole or Ben Okafor can resume it at {link_of(world)}." in answer.json()["detail"]


def test_a_refused_call_is_an_answer_and_no_line_of_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0")
    assert world.gus.authorize(world.token).status_code == 429
    assert world.gus.authorize("psr_live_nothing").status_code == 401
    assert [record for record in caplog.records if record.name.startswith("django")] == []


def test_a_project_id_of_another_project_is_refused(world: World) -> None:
    answer = world.gus.authorize(world.token, project_id="billing")
    assert (answer.status_code, answer.json()["code"]) == (403, "project_mismatch")
    assert world.gus.authorize(world.token, project_id="search-rank").status_code == 200


def test_an_unmetered_route_is_refused(world: World) -> None:
    answer = world.gus.authorize(world.token, route="/v1/realtime")
    assert (answer.status_code, answer.json()["code"]) == (403, "route_not_allowed")


@pytest.mark.parametrize("name", ["nothing-like-it", "text-embedding"])
def test_an_unknown_model_or_one_of_another_route_is_refused(world: World, name: str) -> None:
    make_model("text-embedding", tier=1, mode="embedding", max_output_tokens=None)
    answer = world.gus.authorize(world.token, model=name)
    assert (answer.status_code, answer.json()["code"]) == (404, "model_unknown")


def test_a_model_without_a_price_is_refused_whatever_the_budget(world: World) -> None:
    model = make_model("nameless", tier=1)
    world.price(model, "input", "0.000001")
    answer = world.gus.authorize(world.token, model="nameless")
    assert (answer.status_code, answer.json()["code"]) == (403, "model_unpriced")


def test_a_price_that_starts_tomorrow_does_not_price_today(world: World) -> None:
    model = make_model("soon", tier=1)
    for unit in ("input", "output"):
        world.price(model, unit, "0.000001", valid_from=clock.now() + timedelta(days=1))
    assert world.gus.authorize(world.token, model="soon").json()["code"] == "model_unpriced"


def test_a_declared_free_model_passes_when_the_budget_is_gone(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0")
    make_model("free", tier=1, declared_free=True)
    assert world.gus.authorize(world.token, model="free").status_code == 200
    assert world.gus.authorize(world.token).status_code == 429


def test_tier_2_needs_a_grant_and_the_refusal_links_to_the_question(world: World) -> None:
    answer = world.gus.authorize(world.token, model="large")
    assert (answer.status_code, answer.json()["code"]) == (403, "tier_not_granted")
    assert "/approvals/ask/?project=search-rank&tier=2" in answer.json()["ask"]
    world.grant(tier=2)
    assert world.gus.authorize(world.token, model="large").status_code == 200


def test_the_refusal_of_a_tier_names_who_decides(world: World) -> None:
    refused = world.gus.authorize(world.token, model="large").json()
    assert (refused["tier"], refused["decided_by"]) == (2, ["lead"])
    assert refused["detail"].endswith("the lead decides on it.")
    factories.new_policy(world.large.tier, [("lead", 1), ("director", 1)])
    refused = world.gus.authorize(world.token, model="large").json()
    assert refused["decided_by"] == ["lead", "director"]
    assert refused["detail"].endswith("the lead, then the director decides on it.")


def test_a_grant_lapses_by_the_database_clock_and_the_key_keeps_tier_1(world: World) -> None:
    world.grant(tier=2, ends_in=timedelta(seconds=-1))
    assert world.gus.authorize(world.token, model="large").json()["code"] == "tier_not_granted"
    assert world.gus.authorize(world.token, model="small").status_code == 200


def test_a_grant_for_some_models_opens_only_those(world: World) -> None:
    other = make_model("other-large", tier=2)
    for unit in ("input", "output"):
        world.price(other, unit, "0.00001")
    world.grant(tier=2, model_ids=[other.pk])
    assert world.gus.authorize(world.token, model="other-large").status_code == 200
    assert world.gus.authorize(world.token, model="large").json()["code"] == "tier_not_granted"


def test_an_alias_calls_its_model(world: World) -> None:
    Alias.objects.create(name="cheap", model=world.small)
    assert world.gus.authorize(world.token, model="cheap").status_code == 200
    assert Reservation.objects.get().model == world.small


def test_a_spent_budget_is_a_429_that_is_not_worth_retrying(world: World) -> None:
    budget = world.budget("key", kind=ScopeKind.KEY, limit="0.0005")
    answer = world.gus.authorize(world.token)
    body = answer.json()
    assert (answer.status_code, body["code"]) == (429, "budget_exhausted")
    assert answer["x-should-retry"] == "false"
    assert 1 <= int(answer["Retry-After"]) <= 86_400
    assert body["retry_after_seconds"] == int(answer["Retry-After"])
    assert body["error"] == {
        "message": body["detail"],
        "type": "budget_exhausted",
        "param": None,
        "code": "budget_exhausted",
    }
    assert body["budget"]["id"] == budget.public_id
    assert (body["budget"]["scope"], body["budget"]["window"], body["budget"]["limit_usd"]) == (
        "key",
        "day",
        "0.000500000000",
    )
    assert answer["Content-Type"] == "application/problem+json"


def test_a_budget_held_by_calls_in_flight_is_a_429_worth_retrying_soon(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.0015")
    assert world.gus.authorize(world.token).status_code == 200
    answer = world.gus.authorize(world.token)
    assert (answer.status_code, answer.json()["code"]) == (429, "budget_held")
    assert answer["x-should-retry"] == "true"
    assert 1 <= int(answer["Retry-After"]) <= 30


def test_a_settled_call_gives_back_what_it_did_not_use(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.0015")
    first = world.gus.authorize(world.token).json()["reservation"]
    assert world.gus.authorize(world.token).status_code == 429
    world.gus.settle(first, input_tokens=100, output_tokens=10)
    assert world.gus.authorize(world.token).status_code == 200


def test_the_output_is_clamped_before_the_call_is_refused(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.0012")
    answer = world.gus.authorize(world.token, max_output_tokens=5_000)
    assert answer.status_code == 200
    assert answer.json()["max_output_tokens"] == 100
    assert answer.json()["held_usd"] == "0.001200000000"


def test_nothing_below_the_tiers_floor_is_worth_a_call(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="0.001100")  # 50 output tokens; the floor is 64
    assert world.gus.authorize(world.token, max_output_tokens=5_000).status_code == 429
    assert world.gus.authorize(world.token, max_output_tokens=50).status_code == 200


def test_a_call_without_a_limit_gets_the_tiers_default_and_exactly_that_is_held(world: World) -> None:
    answer = world.gus.authorize(world.token, max_output_tokens=...)
    assert answer.json()["max_output_tokens"] == 4_096
    assert Reservation.objects.get().held_usd == Decimal("0.001") + 4_096 * Decimal("0.000002")


def test_n_choices_hold_n_outputs(world: World) -> None:
    answer = world.gus.authorize(world.token, n=3)
    assert answer.json()["held_usd"] == "0.001600000000"


def test_a_long_input_is_held_at_the_step_it_may_reach(world: World) -> None:
    world.price(world.small, "input", "0.000003", tier_start=50_000)
    assert world.gus.authorize(world.token, input_bytes=49_999).json()["held_usd"] == "0.050199000000"
    assert world.gus.authorize(world.token, input_bytes=50_000).json()["held_usd"] == "0.150200000000"


def test_the_input_is_bounded_by_the_models_window(world: World) -> None:
    world.gus.authorize(world.token, input_bytes=90_000_000)
    assert Reservation.objects.get().input_bound_tokens == 100_000


def test_a_soft_budget_lets_through_with_a_warning(world: World) -> None:
    budget = world.budget("soft", kind=ScopeKind.PROJECT, limit="0.0001", mode=Mode.SOFT)
    answer = world.gus.authorize(world.token)
    assert answer.status_code == 200
    assert answer.json()["warnings"] == [{"budget": budget.public_id, "code": "soft_exceeded"}]


def test_a_limit_of_null_binds_nobody_and_0_refuses_everything(world: World) -> None:
    budget = world.budget("key", kind=ScopeKind.KEY, limit=None)
    assert world.gus.authorize(world.token).status_code == 200
    world.limit(budget, "0")
    assert world.gus.authorize(world.token).status_code == 429


def test_every_scope_on_the_path_binds(world: World) -> None:
    for kind in ScopeKind:
        budget = world.budget(kind, kind=kind, limit="0.0001", window=Window.MONTH)
        answer = world.gus.authorize(world.token)
        assert answer.json()["budget"]["scope"] == kind
        world.limit(budget, "10")
    assert world.gus.authorize(world.token).status_code == 200


def test_a_budget_for_one_tier_leaves_the_others_alone(world: World) -> None:
    world.grant(tier=2)
    world.budget("cap", kind=ScopeKind.KEY, limit="0", only_tier_id=2)
    assert world.gus.authorize(world.token, model="large").status_code == 429
    assert world.gus.authorize(world.token, model="small").status_code == 200


def test_the_budget_that_stays_shut_longest_is_named(world: World) -> None:
    world.budget("day", kind=ScopeKind.KEY, limit="0.0001")
    month = world.budget("month", kind=ScopeKind.TEAM, limit="0.0001", window=Window.QUARTER)
    assert world.gus.authorize(world.token).json()["budget"]["id"] == month.public_id


def test_a_raised_limit_is_in_force_on_the_next_call(world: World) -> None:
    budget = world.budget("key", kind=ScopeKind.KEY, limit="0.0001")
    assert world.gus.authorize(world.token).status_code == 429
    world.limit(budget, "1")
    assert world.gus.authorize(world.token).status_code == 200


def test_the_same_request_twice_holds_once_and_answers_the_same(world: World) -> None:
    world.budget("key", kind=ScopeKind.KEY, limit="5")
    request_id = random.token_hex(8)
    first = world.gus.authorize(world.token, request_id=request_id)
    again = world.gus.authorize(world.token, request_id=request_id)
    assert again.status_code == 200
    assert first.json() == again.json()
    assert Reservation.objects.count() == 1
    assert Balance.objects.get().reserved_usd == HOLD


def test_a_request_id_used_for_another_call_is_a_conflict(world: World) -> None:
    request_id = random.token_hex(8)
    world.gus.authorize(world.token, request_id=request_id)
    answer = world.gus.authorize(world.token, request_id=request_id, max_output_tokens=99)
    assert (answer.status_code, answer.json()["code"]) == (409, "request_id_reused")


def test_refusals_of_a_known_key_are_counted_by_reason(world: World) -> None:
    world.gus.authorize(world.token, model="large")
    world.gus.authorize(world.token, model="large")
    world.gus.authorize(secrets.new_token())
    blocked = BlockedHour.objects.get()
    assert (blocked.code, blocked.calls, blocked.project_id) == ("tier_not_granted", 2, world.project.pk)


def test_refusals_are_counted_by_the_budget_or_the_rate_that_refused(world: World) -> None:
    narrow = world.budget("key", kind=ScopeKind.KEY, limit="0.000001")
    assert world.gus.authorize(world.token).json()["code"] == "budget_exhausted"
    world.limit(narrow, "9")
    wide = world.budget("team", kind=ScopeKind.TEAM, limit="0.000001")
    for _ in range(2):
        assert world.gus.authorize(world.token).json()["budget"]["id"] == wide.public_id
    rate = RateLimit.objects.create(scope_kind="team", scope_id=world.team.pk, parallel_calls=1)
    RateLimit.objects.filter(pk=rate.pk).update(in_flight=1)
    assert world.gus.authorize(world.token).json()["code"] == "rate_limited"

    counted = BlockedHour.objects.order_by("pk")

    assert list(counted.values_list("code", "budget_id", "rate_scope", "rate_limit", "calls")) == [
        ("budget_exhausted", narrow.pk, "", "", 1),
        ("budget_exhausted", wide.pk, "", "", 2),
        ("rate_limited", None, "team", "parallel_calls", 1),
    ]
