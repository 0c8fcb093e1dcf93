"""What the operations on people, books, prices and tokens are about, and what is sent to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from allauth.mfa.models import Authenticator

from catalog.importer import Slot
from catalog.models import LlmModel, PriceProposal
from catalog.proposals import Override
from catalog.services import override_price
from core import clock
from keys.models import ApiToken, PlannedActivity, ServiceAccount, Suspension
from keys.services import make_token, open_service_account, plan_activity, suspend
from teams.models import Department, Role, User
from teams.services import archive_team
from tests import factories
from tests.api.world import World
from tests.usage.books import overcharge, set_aside
from tests.walk.usage import differing, long_past
from usage.models import Discrepancy, ImportCursor, PeriodClose, PeriodState, Quarantine, Repricing
from usage.selectors.periods import organisation_today
from usage.services import propose_repricing

Body = Callable[[World], dict[str, Any]]
Id = Callable[[World], str]

WHY = "A test of the API."


def lost_a_phone(world: World) -> dict[str, Any]:
    """Give Ada a second factor, and say why it is taken away."""
    Authenticator.objects.create(user=world.cast.ada, type=Authenticator.Type.TOTP, data={})
    return {"reason": WHY}


def token_of(person: User) -> ApiToken:
    """Return a person's one token that waits for its reveal, made when it is first looked for."""
    return make_token(actor=person, name="ci", scopes=["keys:read"])


def suspended(world: World) -> Suspension:
    """Return the one suspension of Ada's key, suspended when it is first looked for."""
    there = Suspension.objects.filter(key=world.key, resumed_at__isnull=True).first()
    return there or suspend(actor=world.cast.ben, key=world.key, reason=WHY)


def planned_activity(world: World) -> PlannedActivity:
    """Return the one plan for Ada's key, made when it is first looked for."""
    now = clock.now()
    return PlannedActivity.objects.filter(key=world.key).first() or plan_activity(
        actor=world.cast.ben,
        key=world.key,
        starts_at=now,
        ends_at=now + timedelta(hours=2),
        most_usd_an_hour=Decimal(80),
        reason=WHY,
    )


def service_of(person: User) -> ServiceAccount:
    """Return the one service that a person answers for, opened when it is first looked for."""
    there = ServiceAccount.objects.filter(responsible=person).first()
    admin = User.objects.filter(role_assignments__role=Role.ADMIN).first()
    assert admin
    return there or open_service_account(actor=admin, name="Batch", responsible=person)


def emptied(world: World) -> Department:
    """Return the cast's department with nothing open in it any more."""
    for team in world.cast.product.teams.filter(archived_at__isnull=True):
        archive_team(actor=None, team=team, reason=WHY)
    return world.cast.product


def let_several(world: World) -> dict[str, Any]:
    """Let small requests of Tier 2 be approved together, and name Ada's."""
    factories.new_policy(world.cast.tier2, [("lead", 1)], together_cap_usd=Decimal(500))
    return {"requests": [{"id": world.request.public_id, "seen_revision": 1}]}


def contract_price(world: World) -> dict[str, Any]:
    """Return a contract's price of the large model, 4 % above the list."""
    return {
        "model": world.cast.large.public_id,
        "source": "contract",
        "unit": "input",
        "usd_per_unit": "0.0000026",
        "reason": WHY,
    }


def proposed_price(world: World) -> PriceProposal:
    """Return another administrator's one proposal to charge the large model far more."""
    there = PriceProposal.objects.first()
    if there:
        return there
    dearer = Override(
        slot=Slot(unit="input", context="standard", tier_start=0), usd_per_unit=Decimal("0.001"),
        source="contract", valid_from=None, valid_until=None,
    )  # fmt: skip
    admin = factories.RoleAssignmentFactory.create().user
    return override_price(actor=admin, model=world.cast.large, override=dearer, reason=WHY)


def unpriced(world: World) -> LlmModel:
    """Return the one model that nobody priced, added when it is first looked for."""
    there = LlmModel.objects.filter(name="mystery").first()
    return there or factories.LlmModelFactory.create(name="mystery", tier=world.cast.tier2)


def wrong_days(world: World) -> dict[str, Any]:
    """Have a call charged wrongly, and name the days to price again."""
    overcharge(world.cast.ranking, world.cast.large)
    today = organisation_today()
    days = {"first_day": (today - timedelta(days=1)).isoformat(), "last_day": today.isoformat()}
    return {"model": world.cast.large.public_id, **days, "reason": WHY}


def proposed_repricing(world: World) -> Repricing:
    """Return another administrator's one repricing of the larger model, which waits."""
    there = Repricing.objects.filter(model=world.cast.larger).first()
    if there:
        return there
    now = clock.now()
    overcharge(world.cast.ranking, world.cast.larger)
    admin = factories.RoleAssignmentFactory.create().user
    return propose_repricing(
        actor=admin, model=world.cast.larger, starts_at=now - timedelta(days=1), ends_at=now, reason=WHY
    )


def row_of_a_gateway() -> Quarantine:
    """Set a row of a registered gateway aside."""
    return set_aside(factories.GatewayFactory.create(name="log").public_id, "call-2")


def dearer(world: World) -> Discrepancy:
    """Find a model dearer at its provider than here, by less than 20 %."""
    started = clock.now().date() - timedelta(days=1)
    prices = {"input": {"before": "0.0000025", "after": "0.00000265"}}
    proposal = {"prices": prices, "from": started.isoformat()}
    model = world.cast.large.name
    return differing(world.cast, kind="price_change", model_name=model, proposal=proposal)


def softly_closed() -> PeriodClose:
    """Close a month softly that is over, and have every source read to its end."""
    ImportCursor.objects.update(last_success_at=clock.now())
    return PeriodClose.objects.create(month=long_past(), state=PeriodState.SOFT)


def closed_by(person: User) -> PeriodClose:
    """Have a month closed by somebody."""
    return PeriodClose.objects.create(
        month=long_past(), state=PeriodState.CLOSED, closed_at=clock.now(), closed_by=person
    )


IDS: Mapping[str, Id] = {
    "suspensions": lambda world: suspended(world).public_id,
    "planned_activities": lambda world: planned_activity(world).public_id,
    "roles": lambda world: world.cast.ben.role_assignments.get().public_id,
    "api_tokens": lambda world: token_of(world.cast.ada).public_id,
    "service_accounts": lambda world: service_of(world.cast.ada).user.public_id,
    "unpriced_models": lambda world: unpriced(world).public_id,
    "repricings": lambda world: proposed_repricing(world).public_id,
    "price_list": lambda _: "",
    "price_proposals": lambda world: proposed_price(world).public_id,
}
# Of another object than the noun's other acts.
SPECIAL_IDS: Mapping[str, Id] = {
    "departments_archive": lambda world: emptied(world).public_id,
    "keys_suspend": lambda world: world.key.public_id,
    "keys_resume": lambda world: suspended(world).key.public_id,
    "models_enter_prices": lambda world: unpriced(world).public_id,
    "models_declare_free": lambda world: unpriced(world).public_id,
    "prices_end": lambda _: factories.PriceFactory.create(model=factories.LlmModelFactory.create()).public_id,
    "quarantine_book": lambda _: row_of_a_gateway().public_id,
    "discrepancies_correct": lambda world: differing(world.cast).public_id,
    "discrepancies_confirm_price": lambda world: dearer(world).public_id,
    "periods_close": lambda _: softly_closed().public_id,
    "periods_reopen": lambda world: closed_by(world.cast.cleo).public_id,
    "people_come_back": lambda _: factories.UserFactory.create(is_active=False).public_id,
}
BODIES: Mapping[str, Body] = {
    "departments_create": lambda _: {"code": "new", "name": "New"},
    "departments_rename": lambda _: {"name": "Products", "reason": WHY},
    "departments_archive": lambda _: {"reason": WHY},
    "teams_create": lambda world: {
        "department": world.cast.product.public_id,
        "code": "new",
        "name": "New",
    },
    "teams_rename": lambda _: {"name": "Find", "reason": WHY},
    "teams_archive": lambda _: {"reason": WHY},
    "teams_add_member": lambda world: {"person": world.cast.dan.email},
    "teams_end_member": lambda world: {"person": world.cast.ada.public_id, "reason": WHY},
    "projects_create": lambda world: {
        "team": world.cast.search.public_id,
        "code": "new",
        "name": "New",
        "owner": world.cast.ben.public_id,
        "cost_centre": "CC-9",
    },
    "projects_rename": lambda _: {"name": "Order", "reason": WHY},
    "projects_archive": lambda _: {"reason": WHY},
    "projects_hand_over": lambda world: {"owner": world.cast.ada.public_id, "reason": WHY},
    "people_create": lambda _: {"name": "Nia Obi", "email": "nia@example.com"},
    "people_rename": lambda _: {"name": "Ada Lindt", "reason": WHY},
    "people_leave": lambda _: {"reason": WHY},
    "people_come_back": lambda _: {"reason": WHY},
    "people_reset_factors": lost_a_phone,
    "roles_create": lambda world: {
        "person": world.cast.ada.public_id,
        "role": "lead",
        "team": world.cast.search.public_id,
    },
    "roles_end": lambda _: {"reason": WHY},
    "quarantine_book": lambda world: {
        "key": world.key.public_id,
        "at": clock.now().isoformat(),
        "reason": WHY,
    },
    "quarantine_dismiss": lambda _: {"reason": WHY},
    "requests_approve_together": let_several,
    "keys_suspend": lambda _: {"reason": WHY},
    "keys_resume": lambda _: {},
    "planned_activities_create": lambda world: {
        "key": world.key.public_id,
        "starts_at": clock.now().isoformat(),
        "ends_at": (clock.now() + timedelta(hours=2)).isoformat(),
        "most_usd_an_hour": "80",
        "reason": WHY,
    },
    "planned_activities_cancel": lambda _: {},
    "api_tokens_create": lambda _: {"name": "laptop", "scopes": ["keys:read"]},
    "api_tokens_reveal": lambda _: {},
    "api_tokens_revoke": lambda _: {"reason": WHY},
    "service_accounts_create": lambda world: {"name": "Nightly", "responsible": world.cast.ben.email},
    "service_accounts_hand_over": lambda world: {"responsible": world.cast.ben.email},
    "models_enter_prices": lambda _: {"input": "0.000001", "output": "0.000002", "reason": WHY},
    "models_declare_free": lambda _: {"reason": WHY},
    "price_list_follow": lambda _: {},
    "repricings_create": wrong_days,
    "repricings_approve": lambda _: {},
    "repricings_reject": lambda _: {"reason": WHY},
    "prices_create": contract_price,
    "prices_end": lambda _: {"reason": WHY},
    "price_proposals_approve": lambda _: {},
    "price_proposals_reject": lambda _: {"reason": WHY},
    "discrepancies_assign": lambda world: {"owner": world.cast.fay.public_id},
    "discrepancies_explain": lambda _: {"reason": WHY},
    "discrepancies_accept": lambda _: {"reason": WHY},
    "discrepancies_correct": lambda _: {"reason": WHY},
    "discrepancies_confirm_price": lambda _: {"reason": WHY},
    "periods_create": lambda _: {"month": f"{long_past():%Y-%m}"},
    "periods_close": lambda _: {},
    "periods_reopen": lambda _: {"reason": WHY},
}
