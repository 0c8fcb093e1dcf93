"""What budgets can refuse."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from core.errors import AlreadyDoneError, DomainError, InvalidInputError


class BudgetExistsError(AlreadyDoneError):
    """The scope has an open budget with this window, mode and filter already."""

    code = "budget_exists"
    title = "There is such a budget already"


class BudgetClosedError(AlreadyDoneError):
    """A closed budget keeps its last limit."""

    code = "budget_closed"
    title = "The budget is closed"


class HeadroomError(InvalidInputError):
    """The amount does not fit the budgets above or below; the detail gives the numbers.

    `key_ids` is the key whose own limit is in the way, if it is one's; whoever shows the refusal names it.
    """

    code = "no_headroom"
    title = "More than there is room for"

    def __init__(self, detail: str, *, key_ids: Sequence[int] = (), **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.key_ids = tuple(key_ids)


class NeedsConfirmationError(DomainError):
    """The new limit is below what is spent and held, so calls would be refused at once.

    `key_ids` are the keys that spend on this budget; whoever shows the refusal names them.
    """

    code = "needs_confirmation"
    status = HTTPStatus.CONFLICT
    title = "Confirm that calls will be refused"

    def __init__(self, detail: str, *, key_ids: Sequence[int], **extra: Any) -> None:
        super().__init__(detail, field="confirm", **extra)
        self.key_ids = tuple(key_ids)
