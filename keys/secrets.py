"""Makes secrets and recognises them: `psr_live_`, 43 random base62 characters, 6 of checksum. A token of the
management API is the same behind `psr_api_`.

The random part carries 256 bits. The checksum is the CRC32 of everything before it, big-endian base62, padded
with zeros: it refuses typing errors and garbage before any work, and proves nothing. What is kept is an
HMAC-SHA256 with a numbered pepper from the environment; 256 random bits need no slow hash.
"""

import re
import secrets
import zlib

from django.conf import settings

from core.ids import ALPHABET
from core.keyed import hmac_sha256

PREFIX = "psr_live_"
API_PREFIX = "psr_api_"
RANDOM_CHARACTERS = 43  # log2(62**43) is 256.03
CHECKSUM_CHARACTERS = 6  # 62**6 is more than 2**32

# For secret scanners; docs/secret-scanning.toml and /secret-patterns.json publish them.
TOKEN_PATTERN = r"psr_(?:live|test)_[0-9A-Za-z]{49}"  # noqa: S105  a pattern, not a secret
API_TOKEN_PATTERN = r"psr_api_[0-9A-Za-z]{49}"  # noqa: S105  a pattern, not a secret
_token = re.compile(TOKEN_PATTERN, re.ASCII)
_api_token = re.compile(API_TOKEN_PATTERN, re.ASCII)
_pairs = [first + second for first in ALPHABET for second in ALPHABET]  # digits two by two
_any = re.compile(f"{TOKEN_PATTERN}|{API_TOKEN_PATTERN}", re.ASCII)


def new_token(prefix: str = PREFIX) -> str:
    """Return a fresh secret."""
    random = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_CHARACTERS))
    return prefix + random + _checksum(prefix + random)


def is_wellformed(token: str) -> bool:
    """Whether the text can be the secret of a key at all: its shape and its checksum."""
    return _token.fullmatch(token) is not None and _is_checked(token)


def is_wellformed_api_token(token: str) -> bool:
    """Whether the text can be a token of the management API at all."""
    return _api_token.fullmatch(token) is not None and _is_checked(token)


def without_secrets(text: str) -> str:
    """Return a text of somebody else with everything that looks like a secret taken out."""
    return _any.sub("psr_…", text)


def digest(token: str, pepper: bytes) -> bytes:
    """Return the 32 bytes that stand for a secret in the database."""
    return hmac_sha256(pepper, token.encode())


def digests(token: str) -> list[bytes]:
    """Return the digest under every live pepper, the newest first: a key may be stored under any of them."""
    peppers = settings.KEY_PEPPERS
    return [digest(token, peppers[number]) for number in sorted(peppers, reverse=True)]


def sign(token: str) -> tuple[int, bytes]:
    """Return the number of the newest pepper and the digest under it, as a new key keeps them."""
    newest = max(settings.KEY_PEPPERS)
    return newest, digest(token, settings.KEY_PEPPERS[newest])


def _is_checked(token: str) -> bool:
    return _checksum(token[:-CHECKSUM_CHARACTERS]) == token[-CHECKSUM_CHARACTERS:]


def _checksum(text: str) -> str:
    number, low = divmod(zlib.crc32(text.encode()), len(_pairs))
    high, middle = divmod(number, len(_pairs))
    return _pairs[high] + _pairs[middle] + _pairs[low]
