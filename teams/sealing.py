"""Seals what has to be read again, such as the secret of an authenticator app, before it is stored.

The keys come from the numbered peppers of the environment, so a dump of the database opens nothing.
"""

import base64
import hashlib
import hmac

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings


def seal(text: str) -> str:
    """Return the text sealed with the newest pepper; the number of the pepper stands before it."""
    number = max(settings.KEY_PEPPERS)
    return f"{number}:{_box(number).encrypt(text.encode()).decode()}"


def unseal(sealed: str) -> str:
    """Return what was sealed. Raises ValueError when its pepper is gone or it was not sealed here."""
    number, _, token = sealed.partition(":")
    try:
        return _box(int(number)).decrypt(token.encode()).decode()
    except (KeyError, InvalidToken) as error:
        raise ValueError("This was sealed with a pepper that KEY_PEPPERS no longer names.") from error


def _box(number: int) -> Fernet:
    pepper = settings.KEY_PEPPERS[number]
    key = hmac.new(pepper, b"purser second factors", hashlib.sha256).digest()
    return Fernet(base64.urlsafe_b64encode(key))
