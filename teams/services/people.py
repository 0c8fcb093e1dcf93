"""How people come, are renamed, leave and come back."""

from collections.abc import Sequence

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from core import audit, clock
from core.errors import AlreadyDoneError, InvalidInputError, NotAllowedError
from teams.errors import AddressTakenError
from teams.models import FormerName, Membership, NamedKind, RoleAssignment, User
from teams.ports import Ending
from teams.selectors import require_admin
from teams.services.changes import require_reason
from teams.services.sessions import end_sessions

MAX_NAME_CHARACTERS = 150
MAX_REASON_CHARACTERS = 240


@transaction.atomic
def create_person(*, actor: User | None, email: str, name: str, external_id: str = "") -> User:
    """Let somebody sign in from now on, with no role and in no team yet; administrators may.

    He has no password: he sets one by the link of "Forgot your password?", or signs in at the identity
    provider. Raises AddressTakenError when somebody has this e-mail address.
    """
    if actor is not None:
        require_admin(actor, "add people")
    address, wanted = _address(email), _name(name)
    _require_free(address)
    user = User.objects.create_user(address, None, name=wanted, external_id=external_id)
    after = {"email": address, "name": wanted}
    audit.record(actor=actor, action="person.created", subject=user, after=after)
    return user


@transaction.atomic
def rename_person(*, actor: User | None, user: User, name: str, reason: str) -> User:
    """Give a person another name; administrators may. What was recorded keeps the name of its time."""
    if actor is not None:
        require_admin(actor, "rename people")
    require_reason(reason)
    mine, wanted = _locked(user), _name(name)
    before = mine.name
    if wanted == before:
        return mine
    FormerName.objects.create(kind=NamedKind.PERSON, object_id=mine.pk, name=before, used_until=clock.now())
    mine.name = wanted
    mine.save(update_fields=["name"])
    audit.record(
        actor=actor,
        action="person.renamed",
        subject=mine,
        before={"name": before},
        after={"name": wanted},
        reason=reason.strip(),
    )
    return mine


@transaction.atomic
def change_address(*, actor: User | None, user: User, email: str, reason: str) -> User:
    """Give a person another e-mail address to sign in with; administrators may. Raises AddressTakenError."""
    if actor is not None:
        require_admin(actor, "change addresses")
    require_reason(reason)
    mine, wanted = _locked(user), _address(email)
    before = mine.email
    if wanted == before:
        return mine
    _require_free(wanted)
    mine.email = wanted
    mine.save(update_fields=["email"])
    audit.record(
        actor=actor,
        action="person.address_changed",
        subject=mine,
        before={"email": before},
        after={"email": wanted},
        reason=reason.strip(),
    )
    return mine


@transaction.atomic
def deactivate_person(
    *, actor: User | None, user: User, reason: str, endings: Sequence[Ending], removed: bool = False
) -> User:
    """Let a person no longer sign in, decide or call, in one transaction; administrators may.

    The leaver rule: it ends his memberships, roles and sessions, and by `endings` what he holds to the left.
    `removed` says that the directory dropped him. Nobody does it to himself. Raises AlreadyDoneError when he
    has left.
    """
    if actor is not None:
        require_admin(actor, "let people leave")
        if actor.pk == user.pk:
            raise NotAllowedError("Nobody lets himself leave. Ask another administrator.")
    require_reason(reason)
    # The lock comes first: who issues or asks for something takes it too, and then finds him gone.
    mine = _locked(user)
    if not mine.is_active:
        raise AlreadyDoneError(f"{mine} has left already. Nothing needs to be done.")
    at = clock.now()
    mine.is_active, mine.removed_at = False, at if removed else None
    mine.save(update_fields=["is_active", "removed_at"])
    ended = {
        "memberships": Membership.objects.live(at).filter(user=mine).update(valid_until=at),
        "roles": RoleAssignment.objects.live(at).filter(user=mine).update(valid_until=at),
    }
    why = f"{mine} has left: {reason.strip()}"[:MAX_REASON_CHARACTERS]
    for ending in endings:
        ended |= ending(actor=actor, person=mine, reason=why)
    mine.directory_groups.clear()
    ended["sessions"] = end_sessions(actor=actor, user=mine, reason=reason)
    audit.record(
        actor=actor,
        action="person.deactivated",
        subject=mine,
        before={"is_active": True},
        after={"is_active": False, **ended},
        reason=reason.strip(),
    )
    return mine


@transaction.atomic
def reactivate_person(*, actor: User | None, user: User, reason: str) -> User:
    """Let a person who left sign in again, with nothing of what he had; administrators may.

    Raises AlreadyDoneError when he is here.
    """
    if actor is not None:
        require_admin(actor, "let people come back")
    require_reason(reason)
    mine = _locked(user)
    if mine.is_active:
        raise AlreadyDoneError(f"{mine} can sign in already. Nothing needs to be done.")
    mine.is_active, mine.removed_at = True, None
    mine.save(update_fields=["is_active", "removed_at"])
    audit.record(
        actor=actor,
        action="person.reactivated",
        subject=mine,
        before={"is_active": False},
        after={"is_active": True},
        reason=reason.strip(),
    )
    return mine


@transaction.atomic
def remove_person(*, user: User, reason: str, endings: Sequence[Ending]) -> User:
    """Let a person leave whom the directory dropped, and let it find him no more. Again changes nothing."""
    mine = _locked(user)
    if mine.removed_at is not None:
        return mine
    if mine.is_active:
        return deactivate_person(actor=None, user=mine, reason=reason, endings=endings, removed=True)
    mine.removed_at = clock.now()
    mine.save(update_fields=["removed_at"])
    after = {"removed_at": mine.removed_at}
    audit.record(actor=None, action="person.removed", subject=mine, after=after, reason=reason)
    return mine


@transaction.atomic
def link_person(*, user: User, external_id: str) -> User:
    """Remember what the directory calls a person. Again changes nothing."""
    mine = _locked(user)
    if mine.external_id != external_id:
        before, mine.external_id = mine.external_id, external_id
        mine.save(update_fields=["external_id"])
        audit.record(
            actor=None,
            action="person.linked",
            subject=mine,
            before={"external_id": before},
            after={"external_id": external_id},
        )
    return mine


def _locked(user: User) -> User:
    return User.objects.select_for_update(no_key=True).order_by("pk").get(pk=user.pk)


def _name(text: str) -> str:
    wanted = " ".join(text.split())
    if not wanted or len(wanted) > MAX_NAME_CHARACTERS:
        raise InvalidInputError(f"Enter a name of 1 to {MAX_NAME_CHARACTERS} characters.", field="name")
    return wanted


def _address(text: str) -> str:
    """Return an e-mail address in lower case. Raises InvalidInputError."""
    wanted = text.strip().lower()
    try:
        validate_email(wanted)
    except ValidationError:
        raise InvalidInputError("Enter an e-mail address, such as ada@example.com.", field="email") from None
    return wanted


def _require_free(address: str) -> None:
    if User.objects.filter(email=address).exists():
        raise AddressTakenError(f"Somebody has the e-mail address {address} already.", field="email")
