"""What departments, teams and projects may be called: the same when they begin and when they are renamed."""

import re
from typing import Any, TypeVar

from django.db import IntegrityError, transaction

from core.errors import InvalidInputError
from teams.models import CODE_PATTERN, Department, Project, Team

MAX_NAME_CHARACTERS, MAX_COST_CENTRE_CHARACTERS = 120, 40
_Coded = TypeVar("_Coded", Department, Team, Project)


def checked_name(name: str) -> str:
    """Return a name without the space around it. Raises InvalidInputError for none and for a long one."""
    return _checked(name, "name", "a name", MAX_NAME_CHARACTERS)


def checked_cost_centre(cost_centre: str) -> str:
    """Return a cost centre without the space around it. Raises InvalidInputError as `checked_name` does."""
    return _checked(cost_centre, "cost_centre", "a cost centre", MAX_COST_CENTRE_CHARACTERS)


def create_coded(kind: type[_Coded], *, code: str, name: str, **fields: Any) -> _Coded:
    """Write down a department, team or project under a code that no other of its kind has or had.

    Raises InvalidInputError for a name or a code that cannot be one, and for a code that is taken, also when
    two take it at once: the database lets one of them.
    """
    if not re.fullmatch(CODE_PATTERN, code):
        raise InvalidInputError(
            "Use 2 to 63 small letters, digits and hyphens; a hyphen does not come first.", field="code"
        )
    wanted = checked_name(name)
    try:
        with transaction.atomic():
            return kind.objects.create(code=code, name=wanted, **fields)
    except IntegrityError as error:
        if f"{kind._meta.db_table}_code_key" not in str(error):  # noqa: SLF001  Django's public name for it
            raise
        raise InvalidInputError(f"The code {code} is taken. Choose another one.", field="code") from error


def _checked(text: str, field: str, what: str, most: int) -> str:
    wanted = text.strip()
    if not wanted or len(wanted) > most:
        raise InvalidInputError(f"Enter {what} of 1 to {most} characters.", field=field)
    return wanted
