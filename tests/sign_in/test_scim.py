"""SCIM 2.0 as Okta and Entra ID speak it: who works here, who has left, which roles the groups stand for."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from django.test import Client
from pytest_django import Settings

from core.models import AuditEvent
from keys.models import ApiKey
from portal.settings import _bearer_tokens, _directory_roles
from teams.models import DirectoryGroup, RoleAssignment, User
from teams.scim.protocol import ERROR, GROUP, LIST, PATCH, USER
from tests import factories
from tests.cast import Cast
from tests.signing import sign_in

TOKEN = "of-the-directory-" + "7" * 32
NEXT = "the-next-token-of-it-" + "8" * 32
PREFIX = "/scim/v2/"
ROUTES = (
    "Users",
    "Users/usr_1",
    "Groups",
    "Groups/grp_1",
    "ServiceProviderConfig",
    "ResourceTypes",
    "Schemas",
)

# The bodies that Okta documents for a SCIM 2.0 integration (developer.okta.com, SCIM 2.0 reference).
OKTA_CREATE = {
    "schemas": [USER],
    "userName": "test.user@okta.local",
    "name": {"givenName": "Test", "familyName": "User"},
    "emails": [{"primary": True, "value": "test.user@okta.local", "type": "work"}],
    "displayName": "Test User",
    "locale": "en-US",
    "externalId": "00ujl29u0le5T6Aj10h7",
    "groups": [],
    "password": "1mz050nq",
    "active": True,
}
OKTA_DEACTIVATE = {"schemas": [PATCH], "Operations": [{"op": "replace", "value": {"active": False}}]}
OKTA_GROUP = {"schemas": [GROUP], "displayName": "Search leads", "members": []}

# Those of Microsoft Entra ID (learn.microsoft.com, "Develop a SCIM endpoint").
ENTRA_ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
ENTRA_CREATE = {
    "schemas": [USER, ENTRA_ENTERPRISE],
    "externalId": "0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef",
    "userName": "Test_User_ab6490ee-1e48-479e-a20b-2d77186b5dd1@example.com",
    "active": True,
    "emails": [{"primary": True, "type": "work", "value": "Test_User_fd0ea19b@testuser.com"}],
    "meta": {"resourceType": "User"},
    "name": {"formatted": "givenName familyName", "familyName": "familyName", "givenName": "givenName"},
    "roles": [],
}
ENTRA_UPDATE = {
    "schemas": [PATCH],
    "Operations": [
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": "updatedEmail@microsoft.com"},
        {"op": "Replace", "path": "name.familyName", "value": "updatedFamilyName"},
        {"op": "Add", "path": f"{ENTRA_ENTERPRISE}:department", "value": "Research"},
    ],
}
ENTRA_USERNAME = {
    "schemas": [PATCH],
    "Operations": [{"op": "Replace", "path": "userName", "value": "5b50642d@example.com"}],
}
ENTRA_DISABLE = {
    "schemas": [PATCH],
    "Operations": [{"op": "Replace", "path": "active", "value": "False"}],
}
ENTRA_GROUP = {
    "schemas": [GROUP, "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],
    "externalId": "8aa1a0c0-c4c3-4bc0-b4a5-2ef676900159",
    "displayName": "Search leads",
    "meta": {"resourceType": "Group"},
}


@pytest.fixture
def on(settings: Settings) -> None:
    """Switch SCIM on."""
    settings.SCIM_TOKENS = _bearer_tokens("SCIM_TOKENS", [TOKEN, NEXT])
    settings.DIRECTORY_ROLES = _directory_roles("Search leads=lead:search; Accountants=finance")


class Directory:
    """The identity provider's directory."""

    def __init__(self, token: str = TOKEN) -> None:
        self.client = Client(headers={"Authorization": f"Bearer {token}"})

    def call(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Make one call, and return the answer."""
        return self.client.generic(
            method,
            PREFIX + path,
            "" if body is None else _json(body),
            content_type="application/scim+json",
            query_params=query,
        )

    def create(self, body: dict[str, Any], kind: str = "Users") -> dict[str, Any]:
        """Add somebody or something, and return it."""
        answer = self.call("POST", kind, body)
        assert answer.status_code == 201, answer.content
        made: dict[str, Any] = answer.json()
        assert answer["Location"] == made["meta"]["location"]
        return made

    def patch(self, path: str, *operations: dict[str, Any]) -> Any:
        """Change something."""
        return self.call("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)})


def _json(body: Any) -> bytes:
    return body if isinstance(body, bytes) else orjson.dumps(body)


def roles_of(person: User) -> list[str]:
    """Return the roles that a person holds now."""
    return sorted(RoleAssignment.objects.live().filter(user=person).values_list("role", flat=True))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_without_its_token_nothing_is_told_or_done(route: str, method: str, on: None, cast: Cast) -> None:
    session = Client()
    sign_in(session, cast.ann)
    wrong = Client(headers={"Authorization": f"Bearer {TOKEN}x"})
    basic = Client(headers={"Authorization": f"Basic {TOKEN}"})
    for client in (Client(), session, wrong, basic):
        answer = client.generic(method, PREFIX + route)
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Bearer realm="scim"')
        assert answer.json()["schemas"] == [ERROR]


@pytest.mark.parametrize("route", ROUTES)
def test_with_either_token_each_address_answers(route: str, on: None, cast: Cast) -> None:
    for token in (TOKEN, NEXT):
        answer = Directory(token).call("GET", route)
        assert answer.status_code == (404 if "_1" in route else 200)
        assert answer["Content-Type"] == "application/scim+json"


def test_without_tokens_there_is_no_scim(db: None, settings: Settings) -> None:
    settings.SCIM_TOKENS = []

    assert Directory("").call("GET", "Users").status_code == 404


def test_a_short_token_is_refused() -> None:
    with pytest.raises(Exception, match="at least 32 characters"):
        _bearer_tokens("SCIM_TOKENS", ["short"])


def test_the_token_opens_nothing_else(on: None, cast: Cast) -> None:
    client = Directory().client

    assert client.get("/api/v1/keys/").status_code == 401
    assert client.get("/people/").status_code == 302


def test_okta_adds_finds_and_deactivates_a_person(on: None, cast: Cast) -> None:
    okta = Directory()
    assert okta.call("GET", "Users", filter='userName eq "test.user@okta.local"').json()["totalResults"] == 0

    made = okta.create(OKTA_CREATE)

    assert made["schemas"] == [USER]
    assert (made["userName"], made["externalId"]) == ("test.user@okta.local", "00ujl29u0le5T6Aj10h7")
    assert made["name"] == {"formatted": "Test User", "givenName": "Test", "familyName": "User"}
    assert made["emails"] == [{"value": "test.user@okta.local", "type": "work", "primary": True}]
    assert (made["active"], made["meta"]["resourceType"]) == (True, "User")
    assert "password" not in made
    assert not User.objects.get(public_id=made["id"]).has_usable_password()
    found = okta.call("GET", "Users", filter='userName eq "Test.User@okta.local"').json()
    assert (found["schemas"], found["totalResults"], found["Resources"][0]["id"]) == ([LIST], 1, made["id"])
    assert okta.call("GET", f"Users/{made['id']}").json() == made
    off = okta.call("PATCH", f"Users/{made['id']}", OKTA_DEACTIVATE)
    assert (off.status_code, off.json()["active"]) == (200, False)
    on_again = okta.patch(f"Users/{made['id']}", {"op": "replace", "value": {"active": True}})
    assert on_again.json()["active"] is True


def test_entra_adds_changes_and_disables_a_person(on: None, cast: Cast) -> None:
    entra = Directory()
    made = entra.create(ENTRA_CREATE)
    path = f"Users/{made['id']}"

    assert made["userName"] == "test_user_ab6490ee-1e48-479e-a20b-2d77186b5dd1@example.com"
    changed = entra.call("PATCH", path, ENTRA_UPDATE)
    assert changed.status_code == 200
    assert changed.json()["name"]["formatted"] == "givenName updatedFamilyName"
    assert entra.call("PATCH", path, ENTRA_USERNAME).json()["userName"] == "5b50642d@example.com"
    by_id = entra.call("GET", "Users", filter=f'externalId eq "{ENTRA_CREATE["externalId"]}"').json()
    assert by_id["Resources"][0]["id"] == made["id"]
    by_mail = entra.call("GET", "Users", filter='emails[type eq "work"].value eq "5b50642d@example.com"')
    assert by_mail.json()["totalResults"] == 1
    assert entra.call("PATCH", path, ENTRA_DISABLE).json()["active"] is False


@pytest.mark.parametrize("how", ["okta", "entra", "put", "delete"])
def test_deactivation_is_the_leaver_rule(how: str, on: None, cast: Cast) -> None:
    key = factories.ApiKeyFactory.create(owner=cast.ada, project=cast.ranking)
    asked = factories.AccessRequestFactory.create(requester=cast.ada, project=cast.ranking)
    path = f"Users/{cast.ada.public_id}"
    directory = Directory()

    match how:
        case "okta":
            answer = directory.call("PATCH", path, OKTA_DEACTIVATE)
        case "entra":
            answer = directory.call("PATCH", path, ENTRA_DISABLE)
        case "put":
            body = {
                "schemas": [USER],
                "userName": cast.ada.email,
                "displayName": "Ada Moreno",
                "active": False,
            }
            answer = directory.call("PUT", path, body)
        case _:
            answer = directory.call("DELETE", path)

    assert answer.status_code == (204 if how == "delete" else 200)
    cast.ada.refresh_from_db()
    asked.refresh_from_db()
    assert not cast.ada.is_active
    assert ApiKey.objects.get(pk=key.pk).revoked_at is not None
    assert asked.status == "closed"
    assert not cast.ada.memberships.filter(valid_until__isnull=True).exists()
    event = AuditEvent.objects.get(action="person.deactivated")
    assert (event.actor_label, event.reason) == ("purser", "By the directory (SCIM).")


def test_who_is_deleted_is_found_no_more_and_may_come_back(on: None, cast: Cast) -> None:
    directory = Directory()
    path = f"Users/{cast.ada.public_id}"
    assert directory.call("DELETE", path).status_code == 204

    assert directory.call("GET", path).status_code == 404
    assert directory.call("DELETE", path).status_code == 404
    assert (
        directory.call("GET", "Users", filter=f'userName eq "{cast.ada.email}"').json()["totalResults"] == 0
    )
    again = directory.create({"schemas": [USER], "userName": cast.ada.email, "displayName": "Ada Moreno"})
    assert (again["id"], again["active"]) == (cast.ada.public_id, True)
    assert not ApiKey.objects.filter(owner=cast.ada, revoked_at__isnull=True).exists()


def test_who_had_left_before_can_be_deleted_too(on: None, cast: Cast) -> None:
    directory = Directory()
    directory.call("PATCH", f"Users/{cast.ada.public_id}", OKTA_DEACTIVATE)

    assert directory.call("DELETE", f"Users/{cast.ada.public_id}").status_code == 204
    assert AuditEvent.objects.filter(action="person.removed").count() == 1


def test_a_taken_user_name_is_a_conflict(on: None, cast: Cast) -> None:
    answer = Directory().call("POST", "Users", {"schemas": [USER], "userName": "ADA@example.com"})

    assert answer.status_code == 409
    assert answer.json()["scimType"] == "uniqueness"
    assert answer.json()["status"] == "409"


def test_put_replaces_what_is_kept(on: None, cast: Cast) -> None:
    body = {
        "schemas": [USER],
        "userName": "ada.may@example.com",
        "name": {"givenName": "Ada", "familyName": "May"},
        "externalId": "x-1",
        "active": True,
    }

    answer = Directory().call("PUT", f"Users/{cast.ada.public_id}", body)

    cast.ada.refresh_from_db()
    assert answer.status_code == 200
    assert (cast.ada.email, cast.ada.name, cast.ada.external_id) == ("ada.may@example.com", "Ada May", "x-1")
    assert AuditEvent.objects.filter(action="person.renamed").count() == 1
    before = AuditEvent.objects.count()
    Directory().call("PUT", f"Users/{cast.ada.public_id}", body)
    assert AuditEvent.objects.count() == before


def test_a_patch_that_fails_at_its_end_changes_nothing(on: None, cast: Cast) -> None:
    answer = Directory().patch(
        f"Users/{cast.ada.public_id}",
        {"op": "replace", "path": "displayName", "value": "Ada May"},
        {"op": "replace", "path": "userName", "value": cast.ben.email},
    )

    assert answer.status_code == 409
    assert User.objects.get(pk=cast.ada.pk).name == "Ada Moreno"


def test_lists_have_pages(on: None, cast: Cast) -> None:
    first = Directory().call("GET", "Users", startIndex="1", count="2").json()
    second = Directory().call("GET", "Users", startIndex="3", count="2").json()

    assert (first["totalResults"], first["itemsPerPage"], second["startIndex"]) == (
        User.objects.count(),
        2,
        3,
    )
    ids = [one["id"] for page in (first, second) for one in page["Resources"]]
    assert ids == list(User.objects.order_by("pk").values_list("public_id", flat=True)[:4])
    assert Directory().call("GET", "Users", count="0").json()["Resources"] == []


@pytest.mark.parametrize(
    "written",
    [
        'userName sw "a"',
        "userName eq",
        'title eq "x"',
        'userName eq "a" or userName eq "b"',
        'userName eq "a" and',
        "x" * 2_000,
        'userName eq "a\\u0000"',
    ],
)
def test_other_filters_are_refused(written: str, on: None, cast: Cast) -> None:
    answer = Directory().call("GET", "Users", filter=written)

    assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidFilter")


def test_filters_are_joined(on: None, cast: Cast) -> None:
    both = (
        Directory().call("GET", "Users", filter=f'userName eq "{cast.ada.email}" and active eq true').json()
    )
    neither = (
        Directory().call("GET", "Users", filter=f'userName eq "{cast.ada.email}" and active eq false').json()
    )

    assert (both["totalResults"], neither["totalResults"]) == (1, 0)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "invalidSyntax"),
        ([], "invalidSyntax"),
        ({"userName": 5}, "invalidValue"),
        ({"userName": "not an address"}, "invalidValue"),
        ({"userName": "x@example.com", "active": "perhaps"}, "invalidValue"),
        ({"userName": "x@example.com", "displayName": "x" * 200}, "invalidValue"),
    ],
)
def test_what_cannot_be_used_is_said_so(body: Any, kind: str, on: None, cast: Cast) -> None:
    answer = Directory().call("POST", "Users", body)

    assert (answer.status_code, answer.json()["scimType"]) == (400, kind)


def test_a_body_beyond_reason_is_refused(on: None, cast: Cast) -> None:
    assert Directory().call("POST", "Users", {"userName": "x" * 1_100_000}).status_code == 413


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "move", "path": "active", "value": True},
        {"op": "replace", "path": 5, "value": True},
        {"op": "replace", "value": True},
        {"op": "remove", "path": "userName"},
        {"op": "replace", "path": "active", "value": "maybe"},
        "replace",
    ],
)
def test_operations_that_mean_nothing_are_refused(operation: Any, on: None, cast: Cast) -> None:
    assert Directory().patch(f"Users/{cast.ada.public_id}", operation).status_code == 400
    cast.ada.refresh_from_db()
    assert cast.ada.is_active


def test_okta_gives_a_role_with_a_group_and_takes_it(on: None, cast: Cast) -> None:
    okta = Directory()
    group = okta.create(OKTA_GROUP, "Groups")
    path = f"Groups/{group['id']}"

    joined = okta.patch(path, {"op": "add", "path": "members", "value": [{"value": cast.ada.public_id}]})
    assert [one["value"] for one in joined.json()["members"]] == [cast.ada.public_id]
    assert roles_of(cast.ada) == ["lead"]
    assert okta.call("GET", f"Users/{cast.ada.public_id}").json()["groups"][0]["display"] == "Search leads"
    okta.patch(path, {"op": "remove", "path": f'members[value eq "{cast.ada.public_id}"]'})
    assert roles_of(cast.ada) == []
    assert AuditEvent.objects.filter(action="role.ended").count() == 1


def test_entra_changes_members_renames_and_removes_a_group(on: None, cast: Cast) -> None:
    entra = Directory()
    group = entra.create(ENTRA_GROUP, "Groups")
    path = f"Groups/{group['id']}"
    found = entra.call("GET", "Groups", excludedAttributes="members", filter='displayName eq "search leads"')
    assert found.json()["totalResults"] == 1
    assert "members" not in found.json()["Resources"][0]

    for person in (cast.ada, cast.dan):
        member = [{"$ref": None, "value": person.public_id}]
        assert entra.patch(path, {"op": "Add", "path": "members", "value": member}).status_code == 200
    assert (roles_of(cast.ada), roles_of(cast.dan)) == (["lead"], ["lead"])
    entra.patch(path, {"op": "Remove", "path": "members", "value": [{"value": cast.dan.public_id}]})
    assert roles_of(cast.dan) == []
    renamed = {"id": group["id"], "displayName": "Accountants"}
    entra.patch(path, {"op": "Replace", "value": renamed})
    assert roles_of(cast.ada) == ["finance"]
    assert entra.call("DELETE", path).status_code == 204
    assert roles_of(cast.ada) == []
    assert not DirectoryGroup.objects.exists()


def test_a_group_put_has_exactly_its_members(on: None, cast: Cast) -> None:
    directory = Directory()
    group = directory.create({**OKTA_GROUP, "members": [{"value": cast.ada.public_id}]}, "Groups")

    body = {**OKTA_GROUP, "members": [{"value": cast.dan.public_id}]}
    directory.call("PUT", f"Groups/{group['id']}", body)

    assert (roles_of(cast.ada), roles_of(cast.dan)) == ([], ["lead"])


def test_two_groups_cannot_have_one_name_and_members_must_exist(on: None, cast: Cast) -> None:
    directory = Directory()
    directory.create(OKTA_GROUP, "Groups")

    assert directory.call("POST", "Groups", OKTA_GROUP).json()["scimType"] == "uniqueness"
    ghost = {"displayName": "Ghosts", "members": [{"value": "usr_ghost"}]}
    assert directory.call("POST", "Groups", ghost).status_code == 400
    assert not DirectoryGroup.objects.filter(name="Ghosts").exists()


def test_who_leaves_is_in_no_group(on: None, cast: Cast) -> None:
    directory = Directory()
    group = directory.create({**OKTA_GROUP, "members": [{"value": cast.ada.public_id}]}, "Groups")
    directory.call("PATCH", f"Users/{cast.ada.public_id}", OKTA_DEACTIVATE)

    assert directory.call("GET", f"Groups/{group['id']}").json()["members"] == []
    directory.patch(f"Users/{cast.ada.public_id}", {"op": "replace", "value": {"active": True}})
    assert roles_of(cast.ada) == []


def test_what_the_server_can_do_is_said(on: None, db: None) -> None:
    config = Directory().call("GET", "ServiceProviderConfig").json()
    kinds = Directory().call("GET", "ResourceTypes").json()

    assert (config["patch"], config["bulk"]["supported"]) == ({"supported": True}, False)
    assert [kind["endpoint"] for kind in kinds["Resources"]] == ["/Users", "/Groups"]
    assert {one["id"] for one in Directory().call("GET", "Schemas").json()["Resources"]} == {USER, GROUP}


def test_unknown_addresses_and_methods_are_refused_in_its_words(on: None, db: None) -> None:
    assert Directory().call("GET", "Nothing").json()["status"] == "404"
    assert Directory().call("DELETE", "Users").json()["status"] == "405"
