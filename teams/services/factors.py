"""What is kept of the ways to sign in: that one came or went, when, from where."""

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db import transaction

from core import audit, clock, outbox
from core.errors import AlreadyDoneError, NotAllowedError
from core.models import SlackLink
from teams.models import User
from teams.selectors import require_admin
from teams.services.changes import require_reason
from teams.services.sessions import end_sessions

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
def record_sign_in_change(*, user: User, change: str, session_key: str) -> bool:
    """Write down that a person changed how he signs in, and tell him by mail; other news are left alone.
    Return whether he has another second factor now.

    A factor that came ends what was signed in without it: every sign-in but that of `session_key`, in which
    it was added. Who is signed in elsewhere signs in again, with it.
    """
    if change not in CHANGES:
        return False
    action, sentence = CHANGES[change]
    event = audit.record(actor=user, action=action, subject=user, after={"change": change})
    if action == ADDED:
        others = UserSession.objects.filter(user=user).exclude(session_key=session_key)
        end_sessions(actor=user, user=user, sessions=others, reason="A second factor was added elsewhere.")
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
    return action == ADDED


@transaction.atomic
def reset_factors(*, actor: User, user: User, reason: str) -> int:
    """Take away the second factors of somebody who lost them, and sign him out; administrators may.

    His Slack account stands for none of them any more.

    Returns how many there were. Who holds a role sets up another one at the next sign-in. Nobody does it to
    himself. Raises AlreadyDoneError when there are none.
    """
    require_admin(actor, "reset second factors")
    if actor.pk == user.pk:
        raise NotAllowedError("Nobody resets their own second factor. Ask another administrator.")
    require_reason(reason)
    mine = User.objects.select_for_update(no_key=True).order_by("pk").get(pk=user.pk)
    factors = Authenticator.objects.filter(user=mine)
    count: int = factors.count()
    if not count:
        raise AlreadyDoneError(f"{mine} has no second factor. Nothing needs to be done.")
    factors.delete()
    SlackLink.objects.filter(person=mine).update(with_second_factor=False)
    end_sessions(actor=actor, user=mine, reason=reason)
    event = audit.record(
        actor=actor,
        action="person.factors_reset",
        subject=mine,
        after={"factors": count},
        reason=reason.strip(),
    )
    outbox.put_mail(
        topic="person.sign_in_changed",
        recipient=mine.email,
        dedupe_key=f"person.sign_in_changed:{event.public_id}",
        subject="Your second factor was reset: your Purser account",
        body=f"{actor} took away your second factor: {reason.strip()} If you did not ask for it, say so now.",
        link="/accounts/2fa/",
    )
    return count
