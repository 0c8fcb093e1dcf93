"""The pages that rename and archive departments, teams and projects, and that end a membership."""

from __future__ import annotations

from decimal import Decimal

import pytest

from approvals.services import ask_increase
from budgets.models import ScopeKind
from core.models import AuditEvent
from teams.models import Department, FormerName, Project, Team
from teams.selectors import works_in
from tests.api.world import open_budget
from tests.browsing import Visitor
from tests.cast import Cast
from tests.factories import AccessRequestFactory, ApiKeyFactory
from tests.portal.test_moving import limited
from tests.portal.test_once import name_of_form

WHY = "It is done."


@pytest.fixture
def paths(cast: Cast) -> dict[str, str]:
    """Return the addresses of the acts."""
    team, project = f"/teams/{cast.search.public_id}", f"/projects/{cast.ranking.public_id}"
    return {
        "department": f"/teams/departments/{cast.product.public_id}/rename/",
        "team": f"{team}/rename/",
        "project": f"{project}/rename/",
        "archive department": f"/teams/departments/{cast.product.public_id}/archive/",
        "archive team": f"{team}/archive/",
        "archive project": f"{project}/archive/",
        "member": f"{team}/members/{cast.ada.public_id}/end/",
    }


@pytest.mark.parametrize("kind", ["department", "team", "project"])
def test_another_name_is_given_and_the_former_one_kept(cast: Cast, paths: dict[str, str], kind: str) -> None:
    ann = Visitor(cast.ann)
    places: dict[str, Department | Team | Project] = {
        "department": cast.product,
        "team": cast.search,
        "project": cast.ranking,
    }
    place = places[kind]
    before = place.name
    assert f"The code stays {place.code}" in ann.get(paths[kind]).words

    refused = ann.post(paths[kind], name="", reason="")
    page = ann.post(paths[kind], name="New", reason=WHY)

    place.refresh_from_db()
    assert (refused.status, page.status, place.name) == (422, 302, "New")
    assert FormerName.objects.get(kind=kind).name == before


def test_archiving_a_project_says_before_what_it_means(cast: Cast, paths: dict[str, str]) -> None:
    key = ApiKeyFactory.create(name="nightly", project=cast.ranking, owner=cast.ada)
    AccessRequestFactory.create(requester=cast.ada, project=cast.ranking)
    limited(cast, ScopeKind.PROJECT, cast.ranking.pk, 40)
    cleo = Visitor(cast.cleo)

    told = cleo.get(paths["archive project"])

    cast.ranking.refresh_from_db()
    assert (told.status, cast.ranking.archived_at) == (200, None)
    for sentence in (
        f"Keys are refused from the next call on: {key.name} of Ada Moreno.",
        "Requests that wait for a decision are closed: 1.",
        "The month budget of $40.00 for Ranking stays until somebody closes it.",
        "It cannot be opened again.",
    ):
        assert sentence in told.words
    assert cleo.post(paths["archive project"], reason="").status == 422
    assert cleo.post(paths["archive project"], reason=WHY).status == 302
    cast.ranking.refresh_from_db()
    assert cast.ranking.archived_at
    assert cleo.get(paths["archive project"]).status == 409
    assert paths["archive project"] not in cleo.get(f"/projects/{cast.ranking.public_id}/").links


def test_archiving_a_team_takes_its_projects_along(cast: Cast, paths: dict[str, str]) -> None:
    limited(cast, ScopeKind.TEAM, cast.search.pk, 900)
    cleo = Visitor(cast.cleo)
    told = cleo.get(paths["archive team"])
    assert "Its projects are archived with it: Ranking." in told.words
    assert "No key is in use." in told.words
    assert "The month budget of $900.00 for Search team stays until somebody closes it." in told.words

    sent = {"reason": WHY, "once": name_of_form(cleo, paths["archive team"])}
    answers = [cleo.post(paths["archive team"], **sent).status for _ in range(2)]

    assert answers == [302, 302]
    cast.ranking.refresh_from_db()
    assert cast.ranking.archived_at
    assert AuditEvent.objects.filter(action="team.archived").count() == 1
    assert "Product department Archived" in cleo.get(f"/teams/{cast.search.public_id}/").words


def test_archiving_a_department_names_what_is_in_the_way_and_what_stays(
    cast: Cast, paths: dict[str, str]
) -> None:
    limited(cast, ScopeKind.DEPARTMENT, cast.product.pk, 900)
    ann, path = Visitor(cast.ann), paths["archive department"]
    assert "Team Search is open. That has to be archived, or moved, first." in ann.get(path).words
    refused = ann.post(path, reason=WHY)
    assert (refused.status, "Product still has team Search" in refused.words) == (422, True)

    ann.post(paths["archive team"], reason=WHY)
    told = ann.get(path)

    assert "Search is open" not in told.words
    assert "The month budget of $900.00 for Product department stays until somebody closes it." in told.words
    assert ann.post(path, reason="").status == 422
    assert ann.post(path, reason=WHY).status == 302
    assert ann.get(path).status == 409
    page = ann.get("/teams/")
    assert path not in page.links
    assert "Product department" in page.words


def test_pages_lead_to_the_acts_for_those_who_may(cast: Cast, paths: dict[str, str]) -> None:
    def led(who: str) -> list[str]:
        visitor = Visitor(getattr(cast, who))
        pages = ("/teams/", f"/teams/{cast.search.public_id}/", f"/projects/{cast.ranking.public_id}/")
        links = {link for page in pages for link in visitor.get(page).links}
        return sorted(name for name, path in paths.items() if path in links)

    assert led("ada") == led("fay") == []
    assert led("ben") == ["member"]
    assert led("cleo") == ["archive project", "archive team", "member", "project", "team"]
    assert led("ann") == sorted(paths)


def test_member_is_taken_out_with_his_keys(cast: Cast, paths: dict[str, str]) -> None:
    key = ApiKeyFactory.create(name="nightly", project=cast.ranking, owner=cast.ada)
    asked = AccessRequestFactory.create(requester=cast.ada, project=cast.ranking)
    ask_increase(
        actor=cast.ada,
        budget=open_budget(cast, ScopeKind.PROJECT, cast.ranking.pk, "500"),
        limit_usd=Decimal(600),
        reason="A launch in December.",
    )
    ben = Visitor(cast.ben)
    told = ben.get(paths["member"]).words
    for sentence in (
        "Keys are revoked, and calls with them refused at once: nightly of project Ranking.",
        "Requests that wait for a decision are closed: 2.",
        "What was used until now stays with Search team in every report.",
    ):
        assert sentence in told

    assert ben.post(paths["member"], reason="").status == 422
    assert ben.post(paths["member"], reason=WHY).status == 302

    key.refresh_from_db()
    asked.refresh_from_db()
    assert key.revoked_at
    assert asked.status == "closed"
    assert not works_in(cast.ada, cast.search)
    assert ben.get(paths["member"]).status == 404


def test_who_leads_a_team_or_owns_a_project_stays_until_somebody_takes_over(cast: Cast) -> None:
    path = f"/teams/{cast.search.public_id}/members/{cast.ben.public_id}/end/"
    ann = Visitor(cast.ann)
    page = ann.get(path)
    assert "Ben Okafor leads team Search. Ask Ann Keller to end that role first." in page.words
    assert "Ben Okafor owns Ranking. Hand that over to somebody else of team Search first." in page.words
    assert "End the membership" not in page.words, "nothing is offered that would be refused"
    assert "End the membership" in ann.get(path.replace(cast.ben.public_id, cast.ada.public_id)).words

    refused = ann.post(path, reason=WHY)

    assert refused.status == 422
    assert "Ben Okafor leads team Search. Ask Ann Keller to end that role first." in refused.words
    assert works_in(cast.ben, cast.search)


def test_project_is_handed_over_within_its_team(cast: Cast) -> None:
    path = f"/projects/{cast.ranking.public_id}/hand-over/"
    ben = Visitor(cast.ben)
    assert path in ben.get(f"/projects/{cast.ranking.public_id}/").links
    assert path not in Visitor(cast.ada).get(f"/projects/{cast.ranking.public_id}/").links

    for owner in (cast.dan, cast.ben):
        refused = ben.post(path, owner=owner.public_id, reason=WHY)
        assert (refused.status, "Choose an owner" in refused.words) == (422, True)
    page = ben.post(path, owner=cast.ada.public_id, reason=WHY)

    cast.ranking.refresh_from_db()
    assert (page.status, cast.ranking.owner) == (302, cast.ada)
