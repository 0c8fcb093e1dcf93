"""People and groups in the shapes of RFC 7643, and what is read out of theirs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from teams.models import DirectoryGroup, User
from teams.scim.patches import Change, Op
from teams.scim.protocol import GROUP, USER, Json, invalid, text, truth


@dataclass(slots=True, kw_only=True)
class Told:
    """What a directory says of a person; None is what it does not say."""

    email: str | None = None
    name: str | None = None
    external_id: str | None = None
    active: bool | None = None


def told(body: Json) -> Told:
    """Read a whole User, as POST and PUT send it. Raises ScimError."""
    said = {name.lower(): value for name, value in body.items()}
    email = text(said.get("username"), "userName")
    external, active = said.get("externalid"), said.get("active")
    return Told(
        email=email,
        name=_full_name(said) or email.partition("@")[0],
        external_id="" if external is None else text(external, "externalId"),
        active=True if active is None else truth(active, "active"),
    )


def changed(person: User, patch: list[Change]) -> Told:
    """Read a PATCH of a User; attributes that are not kept here are passed over. Raises ScimError."""
    result = Told()
    given, _, family = person.name.partition(" ")
    for change in patch:
        gone = change.op is Op.REMOVE
        match change.path:
            case "active":
                result.active = False if gone else truth(change.value, "active")
            case "username" if gone:
                raise invalid("userName cannot be removed.", "mutability")
            case "username":
                result.email = text(change.value, "userName")
            case "externalid":
                result.external_id = "" if gone else text(change.value, "externalId")
            case "displayname" | "name.formatted" if not gone:
                result.name = text(change.value, "displayName", longest=150)
            case "name.givenname" if not gone:
                given = text(change.value, "givenName", longest=75)
                result.name = f"{given} {family}".strip()
            case "name.familyname" if not gone:
                family = text(change.value, "familyName", longest=75)
                result.name = f"{given} {family}".strip()
    return result


def user_resource(person: User) -> Json:
    """Return a person; his groups must be loaded."""
    given, _, family = person.name.partition(" ")
    groups = [
        {"value": group.public_id, "display": group.name, "$ref": _address("Groups", group.public_id)}
        for group in person.directory_groups.all()
    ]
    external = {"externalId": person.external_id} if person.external_id else {}
    return {
        "schemas": [USER],
        "id": person.public_id,
        **external,
        "userName": person.email,
        "name": {"formatted": person.name, "givenName": given, "familyName": family},
        "displayName": person.name,
        "emails": [{"value": person.email, "type": "work", "primary": True}],
        "active": person.is_active,
        "groups": groups,
        "meta": {
            "resourceType": "User",
            "created": person.date_joined.isoformat(),
            "location": _address("Users", person.public_id),
        },
    }


def group_resource(group: DirectoryGroup) -> Json:
    """Return a group; its members must be loaded."""
    members = [
        {
            "value": one.public_id,
            "display": one.name,
            "$ref": _address("Users", one.public_id),
            "type": "User",
        }
        for one in group.members.all()
    ]
    external = {"externalId": group.external_id} if group.external_id else {}
    return {
        "schemas": [GROUP],
        "id": group.public_id,
        **external,
        "displayName": group.name,
        "members": members,
        "meta": {"resourceType": "Group", "location": _address("Groups", group.public_id)},
    }


def member_ids(value: Any) -> list[str]:
    """Read the ids out of a list of members. Raises ScimError."""
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, Mapping) for item in items):
        raise invalid('Members look like [{"value": "usr_..."}].')
    return [text(item.get("value"), "The value of a member") for item in items]


def without(resource: Json, excluded: str, wanted: str) -> Json:
    """Leave out what `excludedAttributes` names, or all but what `attributes` names; schemas and id stay."""
    names = {name.strip().lower() for name in (wanted or excluded).split(",") if name.strip()}
    if not names:
        return resource
    always = {"schemas", "id"}
    return {
        name: value
        for name, value in resource.items()
        if name in always or (name.lower() in names) == bool(wanted)
    }


def _full_name(said: Mapping[str, Any]) -> str:
    name = {key.lower(): value for key, value in (said.get("name") or {}).items() if isinstance(value, str)}
    both = " ".join(filter(None, (name.get("givenname"), name.get("familyname"))))
    display = said.get("displayname")
    chosen = display if isinstance(display, str) and display.strip() else name.get("formatted") or both
    return text(chosen, "displayName", longest=150)


def _address(kind: str, public_id: str) -> str:
    return f"{settings.BASE_URL}/scim/v2/{kind}/{public_id}"
