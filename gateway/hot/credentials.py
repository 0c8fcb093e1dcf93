"""Gateway credentials, kept for a moment so that checking a signature asks the database nothing."""

from typing import Any

from core import clock
from gateway.auth import Credential, credential_of
from gateway.models import Gateway

KEEP_SECONDS = 1.0  # a disabled gateway or a retired secret is out within this time
RENEW_SECONDS = 0.5  # so that under load no call finds that it is over
CREDENTIAL_SQL = (
    "SELECT id, public_id, live_versions, clock_timestamp() FROM gateway_gateway"
    " WHERE public_id = %s AND disabled_at IS NULL"
)


class CredentialCache:
    """The credentials seen last, each for KEEP_SECONDS. Unknown gateways are not kept, so it cannot be
    filled by strangers.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Credential]] = {}

    def get(self, public_id: str, *, at: float) -> Credential | None:
        """Return the credential if it was put less than KEEP_SECONDS before `at` (monotonic seconds)."""
        kept = self._known.get(public_id)
        return kept[1] if kept and at - kept[0] < KEEP_SECONDS else None

    def is_due(self, public_id: str, *, at: float) -> bool:
        """Say whether what is kept should be asked for again soon."""
        kept = self._known.get(public_id)
        return kept is not None and at - kept[0] >= RENEW_SECONDS

    def has_seen(self, public_id: str) -> bool:
        """Say whether this is the id of a gateway, so far as was seen."""
        return public_id in self._known

    def put(self, credential: Credential, *, at: float) -> Credential:
        """Keep one credential, which was true at `at`, and return it."""
        self._known[credential.public_id] = (at, credential)
        return credential

    def forget(self, public_id: str) -> None:
        """Keep nothing about a gateway that is not, or no more."""
        self._known.pop(public_id, None)


def credential_from_row(row: Any) -> Credential:
    """Return the credential of one row of CREDENTIAL_SQL, and heed the time that came with it: signatures are
    held against the database's clock.
    """
    clock.heed(row[3])
    return credential_of(Gateway(pk=row[0], public_id=row[1], live_versions=list(row[2])))
