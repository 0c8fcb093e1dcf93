"""What is kept of the ways to sign in: that one came or went, when, from where."""

from django.db import transaction

from core import audit, clock, outbox
from teams.models import User

ADDED, REMOVED, PASSWORD = (
    "person.second_factor_added",
    "person.second_factor_removed",
    "person.password_changed",
)
CHANGES = {
    "totp_activated": (ADDED, "An authenticator app was added"),
    "totp_deactivated": (REMOVED, "The authenticator app was removed"),
    "webauthn_added": (ADDED, "A passkey was added"),
    "webauthn_removed": (REMOVED, "A passkey was removed"),
    "recovery_codes_generated": ("person.recovery_codes_made", "New recovery codes were made"),
    "password_changed": (PASSWORD, "The password was changed"),
    "password_reset": (PASSWORD, "The password was changed by a link in a mail"),
    "password_set": (PASSWORD, "A password was set"),
}


@transaction.atomic
def record_sign_in_change(*, user: User, change: str) -> None:
    """Write down that a person changed how he signs in, and tell him by mail; other news are left alone."""
    if change not in CHANGES:
        return
    action, sentence = CHANGES[change]
    event = audit.record(actor=user, action=action, subject=user, after={"change": change})
    outbox.put_mail(
        topic="person.sign_in_changed",
        recipient=user.email,
        dedupe_key=f"person.sign_in_changed:{event.public_id}",
        subject=f"{sentence}: your Purser account",
        body=(
            f"{sentence} on {clock.now():%d %B %Y at %H:%M} UTC."
            " If that was not you, tell an administrator now."
        ),
        link="/accounts/2fa/",
    )
