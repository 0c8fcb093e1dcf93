"""What a key can refuse."""

from core.errors import AlreadyDoneError, GoneError


class AlreadyRevealedError(AlreadyDoneError):
    """The secret was shown once, and only its digest was kept."""

    code = "already_revealed"
    title = "Already revealed"


class NotRevealedError(AlreadyDoneError):
    """The key has no secret yet, so there is none to replace."""

    code = "not_revealed"
    title = "Not revealed yet"


class RotationRunningError(AlreadyDoneError):
    """The key has two live secrets, which is the most."""

    code = "two_live_secrets"
    title = "Two secrets are live"


class NotSuspendedError(AlreadyDoneError):
    """The key is not suspended, so there is nothing to resume."""

    code = "not_suspended"
    title = "Not suspended"


class PlanEndedError(GoneError):
    """The planned activity is over or cancelled."""

    code = "plan_ended"
    title = "This planned activity has ended"


class KeyEndedError(GoneError):
    """The key is revoked or expired, and stays so."""

    code = "key_ended"
    title = "This key has ended"


class GrantEndedError(GoneError):
    """The grant is revoked or over, and stays so."""

    code = "grant_ended"
    title = "This grant has ended"
