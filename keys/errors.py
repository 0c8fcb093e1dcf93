"""What a key can refuse."""

from core.errors import AlreadyDoneError, GoneError


class AlreadyRevealedError(AlreadyDoneError):
    """The secret was shown once, and only its digest was kept."""

    code = "already_revealed"
    title = "Already revealed"


class KeyEndedError(GoneError):
    """The key is revoked or expired, and stays so."""

    code = "key_ended"
    title = "This key has ended"


class GrantEndedError(GoneError):
    """The grant is revoked or over, and stays so."""

    code = "grant_ended"
    title = "This grant has ended"
