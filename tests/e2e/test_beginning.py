"""How an installation begins: an administrator alone adds everything on pages, until somebody has access."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from approvals.models import AccessRequest
from budgets.models import Budget, ScopeKind
from keys.models import Grant
from teams.models import Project, Role, Team, User
from tests import factories
from tests.e2e.conftest import PASSWORD, with_password
from tests.e2e.ways import PHONE, WIDE, Traveller, Way
from tests.gateways.servers import Server

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.browser,
    pytest.mark.timeout(300),
]

Enter = Callable[[User], Traveller]


@pytest.fixture
def ann(clean_books: None) -> User:
    """Make the only person of an installation, and the models that it comes with."""
    factories.policy_of(factories.tier(2))
    factories.priced_model("large", tier_number=2, input_usd="2.50", output_usd="10")
    person = factories.UserFactory.create(name="Ann Keller", email="ann@example.com")
    factories.RoleAssignmentFactory.create(user=person, role=Role.ADMIN)
    with_password(person)
    return person


@pytest.fixture
def enter(request: pytest.FixtureRequest, ann: User, portal: Server, browser: Browser) -> Iterator[Enter]:
    """Return how a person signs in, going one way; at the end everybody leaves without a trouble."""
    way: Way = request.param
    inside: list[Traveller] = []

    def sign_in(user: User) -> Traveller:
        inside.append(Traveller(browser, user, way, base_url=portal.url, password=PASSWORD))
        return inside[-1]

    yield sign_in
    for each in inside:
        each.leave()


@pytest.mark.parametrize(
    "enter",
    [pytest.param(WIDE, id="wide"), pytest.param(PHONE, id="phone", marks=pytest.mark.full)],
    indirect=True,
)
def test_an_administrator_alone_leads_an_engineer_to_access(ann: User, enter: Enter) -> None:
    admin = enter(ann)
    admin.open("/")
    admin.press("link", "Go to Teams")
    admin.reads("Add a department first")
    admin.press("link", "Add a department")
    admin.write("Name", "Product")
    admin.reads("Left empty, it is made from the name.")
    admin.press("button", "Add the department")
    admin.reads("The department Product is there.", "No team yet")
    admin.press("link", "Add a team")
    admin.write("Name", "Search")
    admin.reads("Add a team")
    admin.press("button", "Add the team")
    admin.reads("Search team is there.", "What is next", "Add a member first")
    team = f"/teams/{Team.objects.get().public_id}/"
    ada, ben = (add_person(admin, name) for name in ("Ada Moreno", "Ben Okafor"))
    for person in (ben, ada):
        admin.open(team)
        admin.press("link", "Add a member")
        admin.write("Person", person.email)
        admin.reads("The address with which this person signs in.")
        admin.press("button", "Add the member")
        admin.reads(f"{person} works in Search team from now on.")
    admin.press("link", "Make lead Ben Okafor")
    admin.reads("Give Ben Okafor a role")
    admin.press("button", "Give the role")
    admin.reads("Ben Okafor is Team lead of Search from now on.")
    admin.open(team)
    admin.reads("Team lead")
    admin.press("link", "Open a budget")
    admin.write("Limit in US dollars", "900")
    admin.write("Why", "The first month.")
    admin.press("button", "Open the budget")
    admin.reads("A month budget of $900.00 is in force on the next call.")
    admin.open(team)
    admin.press("link", "Add a project")
    admin.write("Name", "Ranking")
    admin.write("Cost centre", "CC-1")
    admin.reads("Money is spent on projects")
    admin.press("button", "Add the project")
    admin.reads("Project Ranking is there. Programs name it ranking.", "What is next")
    project = Project.objects.get()
    assert (project.code, project.owner, Budget.objects.get().scope_kind) == ("ranking", ben, ScopeKind.TEAM)

    engineer, lead = enter(ada), enter(ben)
    ask(engineer)
    lead.open("/approvals/")
    lead.press("link", "Tier 2 for Ranking")
    lead.press("button", "Approve")
    lead.reads("is approved")
    asked = AccessRequest.objects.get()
    assert Grant.objects.get(source_request=asked.public_id).granted_by == ben
    engineer.open(f"/approvals/{asked.public_id}/")
    engineer.press("button", "Show the secret once")
    engineer.reads("This is the only time that you see it.")


def add_person(admin: Traveller, name: str) -> User:
    """Add somebody, who then follows the link of the mail to a password."""
    admin.open("/people/")
    admin.press("link", "Add a person")
    admin.write("Name", name)
    admin.write("Work e-mail", f"{name.split(maxsplit=1)[0].lower()}@example.com")
    admin.press("button", "Add the person")
    admin.reads("In no team yet.")
    person = User.objects.get(name=name)
    with_password(person)
    return person


def ask(engineer: Traveller) -> None:
    """Ask for Tier 2 of the project."""
    engineer.open("/")
    engineer.press("link", "Ranking", exact=True)
    engineer.press("link", "Ask for a tier")
    for label in ("Tier 2", "large:"):
        engineer.choose(label)
        engineer.press("button", "Continue")
    engineer.write("Why do you need it?", "The small models miss one answer in three.")
    engineer.press("button", "Continue")
    engineer.write("What will it cost a month?", "420")
    engineer.press("button", "Continue")
    engineer.press("button", "Send the request")
    engineer.reads("Your request is sent.")
