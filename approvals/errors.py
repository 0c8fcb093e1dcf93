"""What an approval can refuse; the statuses are the answers table of the product."""

from http import HTTPStatus

from core.errors import AlreadyDoneError, DomainError, InvalidInputError, NotAllowedError, StaleError


class AlreadyDecidedError(AlreadyDoneError):
    """The request is over; the detail says who, when and what."""

    code = "already_decided"
    title = "Already decided"


class AlreadyAskedError(AlreadyDoneError):
    """The same person waits for the same thing already; the detail names that request."""

    code = "already_asked"
    title = "Already asked"


class ChangedSinceReadError(StaleError):
    """The request was amended after the actor read it; `difference` says how."""

    title = "The request has changed"


class NotEligibleError(NotAllowedError):
    """The actor may not decide this request now; the detail says why and who can."""

    code = "not_eligible"
    title = "You may not decide this request"


class NobodyCanApproveError(InvalidInputError):
    """No active person could approve this request; it is refused, never skipped."""

    code = "nobody_can_approve"
    title = "Nobody can approve this"


class BeneficiaryLeftError(DomainError):
    """The person whom access is for has left, or left the team; it can only be denied."""

    code = "beneficiary_left"
    status = HTTPStatus.CONFLICT
    title = "The person has left"


class ChangeNeededError(DomainError):
    """The rules became stricter and ask for what the request does not say; its requester has to add it."""

    code = "change_needed"
    status = HTTPStatus.CONFLICT
    title = "The request needs a change"


class GrantEndedError(DomainError):
    """The grant that an extension goes on from has ended; the request can only be denied."""

    code = "grant_ended"
    status = HTTPStatus.CONFLICT
    title = "The access has ended"
