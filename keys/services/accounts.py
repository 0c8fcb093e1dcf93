"""Service accounts: programs that are somebody of their own at the API, and who answers for each."""

from django.db import transaction
from django.utils.text import slugify

from core import audit, clock
from core.errors import InvalidInputError
from keys.models import ServiceAccount
from keys.services.common import clean_name
from teams.models import User
from teams.selectors import require_admin

# RFC 2606 keeps it free: no mail arrives, so no password can be set by one.
DOMAIN = "services.invalid"


@transaction.atomic
def open_service_account(*, actor: User, name: str, responsible: User) -> ServiceAccount:
    """Make a user without a password for a program; administrators may. What it may see and do comes from the
    roles and memberships that it is given, as with everybody.

    Raises RoleNeededError, and InvalidInputError for a name that is taken or a person who has left.
    """
    require_admin(actor, "open a service account")
    label = clean_name(name)
    email = f"{slugify(label)}@{DOMAIN}"
    if not slugify(label) or User.objects.filter(email=email).exists():
        raise InvalidInputError("There is such a service already. Choose another name.", field="name")
    require_person(responsible)
    account = ServiceAccount.objects.create(
        user=User.objects.create_user(email, name=label),
        responsible=responsible,
        created_by=actor,
        created_at=clock.now(),
    )
    after = {"name": label, "responsible": responsible}
    audit.record(actor=actor, action="service_account.opened", subject=account.user, after=after)
    return account


def require_person(responsible: User) -> None:
    """Refuse somebody who cannot answer for a service. Raises InvalidInputError."""
    if not responsible.is_active or ServiceAccount.objects.filter(user=responsible).exists():
        raise InvalidInputError("Choose a person who works here.", field="responsible")


def answers_for(person: User, owner: User) -> bool:
    """Whether a person handles the tokens of `owner`: himself, or a service of his. One query at most."""
    return person.is_active and (
        person.pk == owner.pk or ServiceAccount.objects.filter(user=owner, responsible=person).exists()
    )
