"""How an installation gets its first administrator: who runs it says who that is."""

from django.db import connection, transaction

from core.errors import AlreadyDoneError
from teams.models import Role, RoleAssignment, User
from teams.services.people import create_person
from teams.services.roles import assign_role

ONE_AT_A_TIME = 0xAD01  # the advisory lock that lets one of two who begin at once find the other


@transaction.atomic
def add_administrator(*, email: str, name: str, even_if_there_are_some: bool = False) -> User:
    """Let somebody administer the organisation, and make the person when nobody has this e-mail address.

    Who administers it already keeps the role. Raises AlreadyDoneError when an active person does, unless
    that is no matter, and what `create_person` and `assign_role` raise.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ONE_AT_A_TIME])
    holders = RoleAssignment.objects.live().filter(role=Role.ADMIN, user__is_active=True)
    if not even_if_there_are_some and holders.exists():
        raise AlreadyDoneError(
            "Somebody administers the organisation already, and can give the role to others."
        )
    known = User.objects.filter(email=email.strip().lower()).first()
    person = known or create_person(actor=None, email=email, name=name)
    if not holders.filter(user=person).exists():
        assign_role(actor=None, user=person, role=Role.ADMIN)
    return person
