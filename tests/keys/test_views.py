"""The list of keys and the page that makes one, as people open them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client

from core import clock
from core.models import AuditEvent
from keys.models import ApiKey
from keys.services import issue_key, reveal, revoke
from tests import factories
from tests.browsing import Visitor
from tests.cast import Cast
from tests.usage.books import book
from usage.selectors import organisation_today

LIST = "/keys/"
NEW = "/keys/new/"
TABLE = "Keys table"


def rows(page_of: Visitor, tab: str = "") -> list[list[str]]:
    return page_of.get(LIST, tab=tab).rows(TABLE)


@pytest.fixture
def ranking_key(cast: Cast) -> ApiKey:
    """Ada's revealed key of Ranking."""
    return reveal(actor=cast.ada, key=issue_key(actor=cast.ada, project=cast.ranking, name="nightly")).key


def test_owner_sees_state_tiers_use_and_spend_of_a_key(cast: Cast, ranking_key: ApiKey) -> None:
    today = organisation_today()
    factories.approved_grant(ranking_key, expires_at=clock.now() + timedelta(days=20))
    book(cast.ranking, cast.large, today, "3.25", owner=cast.ada, key=ranking_key)

    [[name, state, project, tiers, _, _, last_used, spent, actions]] = rows(Visitor(cast.ada))

    assert name == f"nightly Ada Moreno {ranking_key.masked}"
    assert (state, project, spent) == ("Live", "Ranking", "$3.25")
    assert last_used == f"{today:%-d %b %Y}"
    assert tiers == f"Tier 1 Tier 2 until {clock.now() + timedelta(days=20):%-d %b %Y}"
    assert actions == "Revoke nightly"


def test_key_that_was_never_used_says_so(cast: Cast) -> None:
    key = issue_key(actor=cast.ada, project=cast.ranking, name="laptop")

    page = Visitor(cast.ada).get(LIST)

    [[name, state, _, tiers, _, _, last_used, spent, _]] = page.rows(TABLE)
    assert name == "laptop Ada Moreno not revealed"
    assert (state, tiers, last_used, spent) == ("Awaiting reveal", "Tier 1", "never", "$0.00")
    assert f"/keys/{key.public_id}/reveal/" in page.links


def test_key_that_is_about_to_die_says_so(cast: Cast) -> None:
    soon = clock.now() + timedelta(days=9)
    key = issue_key(actor=cast.ada, project=cast.ranking, name="short", expires_at=soon)
    reveal(actor=cast.ada, key=key)

    assert rows(Visitor(cast.ada))[0][1] == "Expires soon"


def test_ended_key_offers_nothing_any_more(cast: Cast, ranking_key: ApiKey) -> None:
    revoke(actor=cast.ada, key=ranking_key, reason="Leaked.")

    page = Visitor(cast.ada).get(LIST)

    assert page.rows(TABLE)[0][1] == "Revoked"
    offered = [link for link in page.links if ranking_key.public_id in link]
    assert offered == [f"/keys/{ranking_key.public_id}/"]


@pytest.mark.parametrize(
    ("who", "sees", "revokes"),
    [
        ("ben", True, True),
        ("cleo", True, True),
        ("ann", True, True),
        ("fay", True, False),
        ("audrey", True, False),
        ("dan", False, False),
        ("eve", False, False),
        ("olga", False, False),
    ],
)
def test_others_keys_are_listed_for_whoever_oversees_the_team(
    cast: Cast, ranking_key: ApiKey, who: str, sees: bool, revokes: bool
) -> None:
    visitor = Visitor(getattr(cast, who))

    assert rows(visitor, "mine") == []
    page = visitor.get(LIST)
    assert bool(page.rows(TABLE)) is sees
    assert (f"/keys/{ranking_key.public_id}/revoke/" in page.links) is revokes
    assert f"/keys/{ranking_key.public_id}/reveal/" not in page.links


def test_engineer_sees_his_own_keys_alone(cast: Cast, ranking_key: ApiKey) -> None:
    issue_key(actor=cast.ben, project=cast.ranking, name="of ben")

    visitor = Visitor(cast.ada)

    assert len(rows(visitor)) == 1
    assert rows(visitor, "team") == []


def test_page_without_keys_says_what_to_do(cast: Cast) -> None:
    page = Visitor(cast.ada).get(LIST)

    assert "No keys yet" in page.words
    assert NEW in page.links


@pytest.mark.parametrize("who", ["ada", "ben", "ann"])
def test_list_costs_as_many_queries_for_50_keys_as_for_5(cast: Cast, who: str) -> None:
    visitor = Visitor(getattr(cast, who))
    factories.AccessRequestFactory.create(project=cast.ranking)  # the lead's badge counts it

    def queries(tab: str) -> int:
        return len(visitor.queries(LIST, tab=tab))

    for person in (cast.ada, cast.ben):
        for _ in range(5):
            factories.approved_grant(factories.ApiKeyFactory.create(owner=person, project=cast.ranking))
    few = queries(""), queries("team")
    for person in (cast.ada, cast.ben):
        for _ in range(45):
            factories.approved_grant(factories.ApiKeyFactory.create(owner=person, project=cast.ranking))
    assert (queries(""), queries("team")) == few
    assert max(few) <= 8


def test_list_shows_fifty_keys_and_leads_to_the_older_ones(cast: Cast) -> None:
    oldest = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking, name="the oldest")
    factories.ApiKeyFactory.create_batch(50, owner=cast.ada, project=cast.ranking)
    visitor = Visitor(cast.ada)

    first = visitor.get(LIST)
    assert len(first.rows(TABLE)) == 50
    assert oldest.name not in first.words
    assert f"{LIST}?page=1" in first.links
    [[name, *_]] = visitor.get(LIST, page="1").rows(TABLE)
    assert name.startswith("the oldest")
    assert "No further keys" in visitor.get(LIST, page="2").words


@pytest.mark.parametrize("page", ["-1", "x", "999999999", "½"])
def test_nonsense_in_the_address_is_the_first_page(cast: Cast, ranking_key: ApiKey, page: str) -> None:
    assert len(Visitor(cast.ada).get(LIST, page=page, tab="nonsense").rows(TABLE)) == 1


def test_form_offers_the_projects_that_the_person_works_in(cast: Cast) -> None:
    factories.ProjectFactory.create(name="Closed", team=cast.search, archived_at=clock.now())

    page = Visitor(cast.ada).get(NEW)

    assert "Ranking" in page.words
    assert "Fraud" not in page.words
    assert "Closed" not in page.words
    assert "It calls small" in page.words


def test_new_key_goes_on_to_its_reveal(cast: Cast) -> None:
    page = Visitor(cast.ada).post(NEW, name="nightly", project="ranking", days="90")

    key = ApiKey.objects.get()
    assert page.response["Location"] == f"/keys/{key.public_id}/reveal/"
    assert (key.owner, key.project, key.name) == (cast.ada, cast.ranking, "nightly")
    assert timedelta(days=89) < key.expires_at - clock.now() <= timedelta(days=90)


def test_double_click_makes_one_key(cast: Cast) -> None:
    visitor = Visitor(cast.ada)

    first, second = (visitor.post(NEW, name="nightly", project="ranking", days="90") for _ in range(2))

    assert ApiKey.objects.count() == 1
    assert first.response["Location"] == second.response["Location"]
    assert AuditEvent.objects.filter(action="key.issued").count() == 1


def test_the_same_name_can_be_used_again_once_the_key_is_revealed(cast: Cast) -> None:
    visitor = Visitor(cast.ada)
    visitor.post(NEW, name="nightly", project="ranking", days="90")
    reveal(actor=cast.ada, key=ApiKey.objects.get())

    visitor.post(NEW, name="nightly", project="ranking", days="90")

    assert ApiKey.objects.count() == 2


@pytest.mark.parametrize(
    ("entered", "complaint"),
    [
        ({"name": ""}, "Enter a name"),
        ({"name": "   "}, "Enter a name"),
        ({"name": "x" * 81}, "Use at most 80 characters"),
        ({"project": "fraud"}, "Choose one of your open projects"),
        ({"project": ""}, "Choose a project"),
        ({"days": "4000"}, "Choose one of the lengths"),
    ],
)
def test_what_cannot_be_used_is_said_at_its_field(
    cast: Cast, entered: dict[str, str], complaint: str
) -> None:
    wish = {"name": "nightly", "project": "ranking", "days": "30", **entered}

    page = Visitor(cast.ada).post(NEW, **wish)

    assert page.status == 422
    assert complaint in page.words
    assert page.words.startswith("Error: New Tier 1 key")
    assert f'value="{wish["name"]}"' in page.response.content.decode() or not wish["name"].strip()
    assert not ApiKey.objects.exists()


def test_owner_tier_and_expiry_are_never_the_callers_word(cast: Cast) -> None:
    Visitor(cast.ada).post(
        NEW,
        name="nightly",
        project="ranking",
        days="30",
        owner=cast.ben.pk,
        tier="3",
        expires_at="2099-01-01",
        revealed_at="2020-01-01",
    )

    key = ApiKey.objects.get()
    assert (key.owner, key.revealed_at) == (cast.ada, None)
    assert key.expires_at < clock.now() + timedelta(days=31)
    assert not key.grants.exists()


@pytest.mark.parametrize("who", ["cleo", "fay", "audrey", "ann", "olga"])
def test_whoever_works_in_no_project_is_told_so_and_makes_no_key(cast: Cast, who: str) -> None:
    visitor = Visitor(getattr(cast, who))

    assert "You are in no team with a project yet" in visitor.get(NEW).words
    visitor.post(NEW, name="nightly", project="ranking", days="30")
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("path", [LIST, NEW, "/keys/key_x/reveal/", "/keys/key_x/revoke/"])
@pytest.mark.django_db
def test_nobody_reads_or_changes_keys_without_signing_in(path: str) -> None:
    for page in (Visitor(None).get(path), Visitor(None).post(path, reason="Leaked.")):
        assert page.status == 302
        assert page.response["Location"].startswith("/accounts/login/?next=/keys/")


@pytest.mark.django_db
def test_fragment_of_a_lost_session_sends_the_whole_page_to_the_sign_in() -> None:
    page = Visitor(None).get(LIST, htmx_target="main")

    assert page.status == 200
    assert page.response["HX-Redirect"].startswith("/accounts/login/?next=/keys/")
    assert page.words == ""


def test_form_of_another_site_is_refused(cast: Cast, ranking_key: ApiKey) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.ada)
    revoke_url = f"/keys/{ranking_key.public_id}/revoke/"
    reveal_url = f"/keys/{ranking_key.public_id}/reveal/"
    wishes = {
        NEW: {"name": "x", "project": "ranking", "days": "30"},
        revoke_url: {"reason": "x"},
        reveal_url: {},
    }

    assert {client.post(path, wish).status_code for path, wish in wishes.items()} == {403}
    assert ApiKey.objects.get().revoked_at is None


def test_looking_changes_nothing(cast: Cast, ranking_key: ApiKey) -> None:
    waiting = issue_key(actor=cast.ada, project=cast.ranking, name="laptop")
    before = list(ApiKey.objects.values()), AuditEvent.objects.count()
    client = Visitor(cast.ada).client
    paths = [LIST, NEW]
    paths += [
        f"/keys/{key.public_id}/{act}/" for key in (ranking_key, waiting) for act in ("reveal", "revoke")
    ]

    for path in paths:
        for method in (client.get, client.head, client.options):
            assert method(path).status_code in {200, 405}, path
    for method in (client.put, client.patch, client.delete):
        assert {method(path).status_code for path in paths} == {405}

    assert (list(ApiKey.objects.values()), AuditEvent.objects.count()) == before


def test_a_lead_without_keys_of_his_own_sees_those_of_his_team(cast: Cast) -> None:
    factories.ApiKeyFactory.create(name="prod", project=cast.ranking, owner=cast.ada)
    ben = Visitor(cast.ben)

    assert [row[0].split()[0] for row in rows(ben)] == ["prod"]
    assert "No keys yet" in ben.get(LIST, tab="mine").words

    factories.ApiKeyFactory.create(name="own", project=cast.ranking, owner=cast.ben)
    assert [row[0].split()[0] for row in rows(ben)] == ["own"]
