"""The SCIM endpoints: users, groups, and what this server can do. A bearer token of their own, no session."""

import hmac
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

import orjson
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import RequestDataTooBig
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from core.errors import DomainError, InvalidInputError
from teams import services
from teams.errors import AddressTakenError, GroupTakenError
from teams.models import DirectoryGroup, User
from teams.ports import Leaving
from teams.scim import discovery
from teams.scim.filters import lookups
from teams.scim.patches import Change, Op, changes
from teams.scim.protocol import CONTENT_TYPE, Json, ScimError, invalid, list_of, page_of, text
from teams.scim.resources import (
    Told,
    changed,
    group_resource,
    member_ids,
    told,
    user_resource,
    without,
)

BY_DIRECTORY = "By the directory (SCIM)."
USER_FILTERS = {
    "username": "email__iexact",
    "emails.value": "email__iexact",
    "emails": "email__iexact",
    "externalid": "external_id",
    "id": "public_id",
    "active": "is_active",
    "displayname": "name__iexact",
}
GROUP_FILTERS = {"displayname": "name__iexact", "externalid": "external_id", "id": "public_id"}

Answer = tuple[int, Json | None]
View = Callable[..., Answer]


def endpoint(*methods: str) -> Callable[[View], Callable[..., HttpResponse]]:
    """Let a view answer these methods to who has the token: JSON in, JSON out, one transaction."""

    def decorate(view: View) -> Callable[..., HttpResponse]:
        @csrf_exempt
        @login_not_required
        @wraps(view)
        def handle(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            try:
                _require_token(request)
                if request.method not in methods:
                    raise ScimError(405, f"{request.path} answers {', '.join(methods)} only.")
                with transaction.atomic():
                    status, document = view(request, **kwargs)
            except ScimError as error:
                status, document = error.status, error.document()
            except DomainError as error:
                refused = _translated(error)
                status, document = refused.status, refused.document()
            return _answer(status, document)

        return handle

    return decorate


@endpoint("GET", "POST")
def users(request: HttpRequest, *, leaving: Leaving) -> Answer:
    """List people, or add one."""
    if request.method == "GET":
        rows = _people().filter(**_filtered(request, USER_FILTERS)).order_by("pk")
        return _listed(request, rows, user_resource)
    said = told(_body(request))
    person = _welcome(said)
    _apply(person, said, leaving)
    return 201, user_resource(_person(person.public_id))


@endpoint("GET", "PUT", "PATCH", "DELETE")
def user(request: HttpRequest, *, public_id: str, leaving: Leaving) -> Answer:
    """Show, change or remove one person; `active: false` and DELETE are the leaver rule."""
    person = _person(public_id)
    if request.method == "DELETE":
        services.remove_person(user=person, reason=BY_DIRECTORY, endings=leaving.endings)
        return 204, None
    if request.method == "PUT":
        _apply(person, told(_body(request)), leaving)
    elif request.method == "PATCH":
        _apply(person, changed(person, changes(_body(request))), leaving)
    return 200, _shown(request, user_resource(_person(public_id)))


@endpoint("GET", "POST")
def groups(request: HttpRequest) -> Answer:
    """List groups, or add one."""
    if request.method == "GET":
        rows = _groups().filter(**_filtered(request, GROUP_FILTERS)).order_by("pk")
        return _listed(request, rows, group_resource)
    body = _body(request)
    saved = services.save_group(
        group=None,
        name=_group_name(body.get("displayName")),
        external_id=text(body.get("externalId") or "", "externalId"),
        members=_members(member_ids(body.get("members") or [])),
    )
    return 201, group_resource(_group(saved.public_id))


@endpoint("GET", "PUT", "PATCH", "DELETE")
def group(request: HttpRequest, *, public_id: str) -> Answer:
    """Show, change or remove one group."""
    found = _group(public_id)
    if request.method == "DELETE":
        services.remove_group(group=found)
        return 204, None
    if request.method == "PUT":
        body = _body(request)
        services.save_group(
            group=found,
            name=_group_name(body.get("displayName")),
            external_id=text(body.get("externalId") or "", "externalId"),
            members=_members(member_ids(body.get("members") or [])),
        )
    elif request.method == "PATCH":
        _patch_group(found, changes(_body(request)))
    return 200, _shown(request, group_resource(_group(public_id)))


@endpoint("GET")
def service_provider_config(request: HttpRequest) -> Answer:
    """Say what this server can do."""
    return 200, discovery.service_provider_config()


@endpoint("GET")
def resource_types(request: HttpRequest) -> Answer:
    """Say which resources there are."""
    kinds = discovery.resource_types()
    return 200, list_of(kinds, total=len(kinds), start=1)


@endpoint("GET")
def schemas(request: HttpRequest) -> Answer:
    """Say which attributes they have."""
    known = discovery.schemas()
    return 200, list_of(known, total=len(known), start=1)


@endpoint("GET", "POST", "PUT", "PATCH", "DELETE")
def unknown(request: HttpRequest) -> Answer:
    """Refuse an address that is not there."""
    raise ScimError(404, "There is nothing at this address.")


def _require_token(request: HttpRequest) -> None:
    """Raise ScimError unless the request carries one of the tokens; without any there is no SCIM."""
    if not settings.SCIM_TOKENS:
        raise ScimError(404, "SCIM is switched off: SCIM_TOKENS names no token.")
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    matches = [hmac.compare_digest(given.strip().encode(), token) for token in settings.SCIM_TOKENS]
    if scheme.lower() != "bearer" or not any(matches):
        raise ScimError(401, "Send one of SCIM_TOKENS as a bearer token.")


def _answer(status: int, document: Json | None) -> HttpResponse:
    response = HttpResponse(
        b"" if document is None else orjson.dumps(document), status=status, content_type=CONTENT_TYPE
    )
    response["Cache-Control"] = "no-store"
    if status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = 'Bearer realm="scim"'
    if status == HTTPStatus.CREATED and document:
        response["Location"] = document["meta"]["location"]
    return response


def _translated(error: DomainError) -> ScimError:
    if isinstance(error, (AddressTakenError, GroupTakenError)):
        return ScimError(409, error.detail, "uniqueness")
    if isinstance(error, InvalidInputError):
        return invalid(error.detail)
    return ScimError(int(error.status), error.detail)


def _body(request: HttpRequest) -> Json:
    try:
        body = orjson.loads(request.body)
    except RequestDataTooBig:
        raise ScimError(413, "Send less at once.") from None
    except orjson.JSONDecodeError as error:
        raise invalid(f"The body is not JSON: {error}.", "invalidSyntax") from None
    if not isinstance(body, dict):
        raise invalid("Send a JSON object.", "invalidSyntax")
    return body


def _filtered(request: HttpRequest, known: dict[str, str]) -> dict[str, Any]:
    written = request.GET.get("filter", "")
    return lookups(written, known) if written else {}


def _listed(request: HttpRequest, rows: QuerySet[Any], resource: Callable[[Any], Json]) -> Answer:
    start, count = page_of(request.GET.get("startIndex", ""), request.GET.get("count", ""))
    page = rows[start - 1 : start - 1 + count]
    shown = [_shown(request, resource(row)) for row in page]
    return 200, list_of(shown, total=rows.count(), start=start)


def _shown(request: HttpRequest, resource: Json) -> Json:
    return without(resource, request.GET.get("excludedAttributes", ""), request.GET.get("attributes", ""))


def _people() -> QuerySet[User]:
    """Return whom the directory finds: everybody whom it has not removed."""
    return User.objects.filter(removed_at__isnull=True).prefetch_related("directory_groups")


def _person(public_id: str) -> User:
    person = _people().filter(public_id=public_id).first()
    if person is None:
        raise ScimError(404, f"There is no user {public_id}.")
    return person


def _groups() -> QuerySet[DirectoryGroup]:
    return DirectoryGroup.objects.prefetch_related("members")


def _group(public_id: str) -> DirectoryGroup:
    found = _groups().filter(public_id=public_id).first()
    if found is None:
        raise ScimError(404, f"There is no group {public_id}.")
    return found


def _welcome(said: Told) -> User:
    """Make the account of somebody new, or give it back to one whom the directory had removed."""
    email = said.email or ""
    gone = User.objects.filter(email=email.lower(), removed_at__isnull=False).first()
    if gone is not None:
        return services.reactivate_person(actor=None, user=gone, reason=BY_DIRECTORY)
    return services.create_person(
        actor=None, email=email, name=said.name or "", external_id=said.external_id or ""
    )


def _apply(person: User, said: Told, leaving: Leaving) -> None:
    """Carry out what is said, as far as it differs; leaving comes last, so that a name still changes."""
    if said.email is not None and said.email.lower() != person.email:
        services.change_address(actor=None, user=person, email=said.email, reason=BY_DIRECTORY)
    if said.name and said.name != person.name:
        services.rename_person(actor=None, user=person, name=said.name, reason=BY_DIRECTORY)
    if said.external_id is not None:
        services.link_person(user=person, external_id=said.external_id)
    if said.active is True and not person.is_active:
        services.reactivate_person(actor=None, user=person, reason=BY_DIRECTORY)
    if said.active is False and person.is_active:
        services.deactivate_person(actor=None, user=person, reason=BY_DIRECTORY, endings=leaving.endings)


def _group_name(value: Any) -> str:
    name = text(value, "displayName")
    if not name:
        raise invalid("displayName cannot be empty.")
    return name


def _members(public_ids: list[str]) -> list[User]:
    found = list(User.objects.filter(public_id__in=public_ids, removed_at__isnull=True))
    missing = set(public_ids) - {person.public_id for person in found}
    if missing:
        raise invalid(f"There is no user {min(missing)}.")
    return found


def _patch_group(found: DirectoryGroup, patch: list[Change]) -> None:
    name, external_id = found.name, found.external_id
    members = {person.public_id for person in found.members.all()}
    for change in patch:
        match change.op, change.path:
            case ((Op.REPLACE | Op.ADD), "displayname"):
                name = _group_name(change.value)
            case ((Op.REPLACE | Op.ADD), "externalid"):
                external_id = text(change.value, "externalId")
            case Op.ADD, "members":
                members |= set(member_ids(change.value))
            case Op.REPLACE, "members":
                members = set(member_ids(change.value))
            case Op.REMOVE, "members":
                members -= set(member_ids(change.value)) if change.value else set(members)
            case Op.REMOVE, "displayname":
                raise invalid("displayName cannot be removed.", "mutability")
    services.save_group(group=found, name=name, external_id=external_id, members=_members(sorted(members)))
