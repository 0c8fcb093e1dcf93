"""The people of every story, always the same.

Product: Cleo Hart directs it; Ben Okafor leads its team Search, in which Ada Moreno works.
Payments: Olga Brandt directs it; Eve Lind leads its team Cards, in which Dan Fischer works: the outsiders.
Fay Tanaka is finance, Audrey Novak auditor, Ann Keller administrator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from catalog.models import LlmModel, Tier
from teams.models import Department, Project, Role, Team, User
from tests import factories


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Who and what the tests talk about."""

    ada: User
    ben: User
    cleo: User
    dan: User
    eve: User
    olga: User
    fay: User
    audrey: User
    ann: User
    product: Department
    payments: Department
    search: Team
    cards: Team
    ranking: Project
    fraud: Project
    tier1: Tier
    tier2: Tier
    tier3: Tier
    small: LlmModel
    large: LlmModel
    larger: LlmModel
    frontier: LlmModel


@pytest.fixture
def cast(db: None) -> Cast:
    """Make the organisation, its tiers with policies, and four priced models."""
    return make_cast()


def make_cast() -> Cast:
    """Make the organisation, its tiers with policies, and four priced models."""
    return Cast(**_organisation(), **_catalogue())


def _organisation() -> dict[str, Any]:
    ada, ben, cleo, dan, eve, olga, fay, audrey, ann = (
        factories.UserFactory.create(name=name, email=f"{name.split()[0].lower()}@example.com")
        for name in (
            "Ada Moreno",
            "Ben Okafor",
            "Cleo Hart",
            "Dan Fischer",
            "Eve Lind",
            "Olga Brandt",
            "Fay Tanaka",
            "Audrey Novak",
            "Ann Keller",
        )
    )
    product = factories.DepartmentFactory.create(code="product", name="Product")
    payments = factories.DepartmentFactory.create(code="payments", name="Payments")
    search = factories.TeamFactory.create(code="search", name="Search", department=product)
    cards = factories.TeamFactory.create(code="cards", name="Cards", department=payments)
    ranking = factories.ProjectFactory.create(code="ranking", name="Ranking", team=search, owner=ben)
    fraud = factories.ProjectFactory.create(code="fraud", name="Fraud", team=cards, owner=eve)
    for team, people in ((search, (ada, ben)), (cards, (dan, eve))):
        for person in people:
            factories.MembershipFactory.create(user=person, team=team)
    for person, team in ((ben, search), (eve, cards)):
        factories.RoleAssignmentFactory.create(user=person, role=Role.LEAD, team=team)
    for person, department in ((cleo, product), (olga, payments)):
        factories.RoleAssignmentFactory.create(user=person, role=Role.DIRECTOR, department=department)
    for person, role in ((fay, Role.FINANCE), (audrey, Role.AUDITOR), (ann, Role.ADMIN)):
        factories.RoleAssignmentFactory.create(user=person, role=role)
    return {name: value for name, value in locals().items() if name in Cast.__slots__}


def _catalogue() -> dict[str, Any]:
    tiers = {f"tier{number}": factories.tier(number) for number in (1, 2, 3)}
    factories.policy_of(tiers["tier2"])
    factories.policy_of(tiers["tier3"])
    return {
        **tiers,
        "small": factories.priced_model("small", tier_number=1, input_usd="0.15", output_usd="0.60"),
        "large": factories.priced_model("large", tier_number=2, input_usd="2.50", output_usd="10"),
        "larger": factories.priced_model("larger", tier_number=2, input_usd="3", output_usd="15"),
        "frontier": factories.priced_model("frontier", tier_number=3, input_usd="15", output_usd="75"),
    }
