"""A secret that was seen where it must not be stops at once, whoever says so: to know it is proof enough."""

import structlog
from django.db import transaction
from django.db.models import Q
from django.urls import reverse
from django.views.decorators.debug import sensitive_variables

from core import clock, outbox
from core.locks import lock_all_first
from keys import secrets
from keys.models import ApiKey, ApiToken, ServiceAccount
from keys.services.common import MAX_REASON_CHARACTERS, locked
from keys.services.revoking import end_key
from keys.services.rotating import end_previous_secret
from keys.services.tokens import end_token
from teams.models import Role, User
from teams.selectors import approvers_for

log = structlog.get_logger(__name__)


@sensitive_variables("secret")
@transaction.atomic
def report_leak(*, secret: str, place: str) -> bool:
    """End what a leaked secret opens, tell its owner and the lead, and return whether anything ended.

    A key with another, newer secret goes on with that one: only the leaked one ends. `place` is what the
    reporter says about where it was; what looks like a secret in it is taken out. Who reports must not learn
    the result: the edge answers the same in every case.
    """
    where = secrets.without_secrets(place).replace("\0", "").strip() or "no place was given"
    reason = f"Reported as leaked: {where}"[:MAX_REASON_CHARACTERS]
    if secrets.is_wellformed(secret):
        return _end_key(secrets.digests(secret), reason)
    return secrets.is_wellformed_api_token(secret) and _end_token(secrets.digests(secret), reason)


def _end_key(digests: list[bytes], reason: str) -> bool:
    found = ApiKey.objects.filter(Q(secret_hmac__in=digests) | Q(previous_hmac__in=digests)).first()
    if found is None:
        return False
    key = locked(found)
    if key.revoked_at or key.expires_at <= clock.now():
        return False
    if bytes(key.previous_hmac or b"") in digests:
        if not key.previous_is_live:
            return False
        masked = key.previous_masked
        key = end_previous_secret(actor=None, key=key, reason=reason)
    else:
        masked = key.masked
        end_key(actor=None, key=key, reason=reason)
    log.warning("key.leaked", key=key.public_id)
    what = f"The secret {masked} of the key {key.name} of project {key.project}"
    _tell({key.owner, *approvers_for(Role.LEAD, key.project)}, key, what, reason, reverse("keys:list"))
    return True


def _end_token(digests: list[bytes], reason: str) -> bool:
    tokens = ApiToken.objects.filter(secret_hmac__in=digests).select_related("owner")
    token = next(iter(lock_all_first(tokens)), None)
    if token is None or token.revoked_at or token.expires_at <= clock.now():
        return False
    end_token(actor=None, token=token, reason=reason)
    log.warning("token.leaked", token=token.public_id)
    what = f"The API token {token.name} ({token.masked}) of {token.owner}"
    account = ServiceAccount.objects.filter(user=token.owner).select_related("responsible").first()
    _tell({account.responsible if account else token.owner}, token, what, reason, reverse("keys:tokens"))
    return True


def _tell(people: set[User], subject: ApiKey | ApiToken, what: str, reason: str, link: str) -> None:
    for person in sorted(people, key=lambda each: each.pk):
        outbox.put_mail(
            topic="secret.leaked",
            recipient=person.email,
            dedupe_key=f"secret.leaked:{subject.public_id}:{person.pk}:{clock.now().isoformat()}",
            subject=f"A secret of {subject.name} leaked and was ended",
            body=f"{what} was seen where it must not be, and is refused since {clock.now():%H:%M} UTC."
            f" {reason}. Look at what it did, and replace it where it is used.",
            link=link,
        )
