"""The refusals of the product: each has a stable code, an HTTP status and a sentence that says what to do."""

from http import HTTPStatus
from typing import Any


class DomainError(Exception):
    """A rule said no. `code` is stable for programs, `detail` is for people, `extra` goes into the problem
    document.
    """

    code = "refused"
    status = HTTPStatus.CONFLICT
    title = "Refused"

    def __init__(self, detail: str, *, field: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.extra = extra


class InvalidInputError(DomainError):
    """What was entered cannot be used."""

    code = "invalid_input"
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    title = "Invalid input"


class NotAllowedError(DomainError):
    """The actor may not do this; the detail says who can."""

    code = "not_allowed"
    status = HTTPStatus.FORBIDDEN
    title = "Not allowed"


class NotFoundError(DomainError):
    """The object does not exist, or is outside the actor's scope (the two look the same)."""

    code = "not_found"
    status = HTTPStatus.NOT_FOUND
    title = "Not found"


class AlreadyDoneError(DomainError):
    """Somebody was first; the detail says who, when and what."""

    code = "already_done"
    status = HTTPStatus.CONFLICT
    title = "Already done"


class StaleError(DomainError):
    """The object changed since the actor read it."""

    code = "changed_since_read"
    status = HTTPStatus.PRECONDITION_FAILED
    title = "Changed since you read it"


class GoneError(DomainError):
    """The time for this has passed."""

    code = "past_its_time"
    status = HTTPStatus.GONE
    title = "Past its time"
