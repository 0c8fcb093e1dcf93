"""HMAC-SHA256 (RFC 2104) under keys that are used again and again."""

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _hashlib import HASH

KEPT_KEYS = 64  # peppers, and live secrets of gateways
BLOCK_BYTES = 64


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return the 32 bytes. Both blocks of the key are hashed once and copied, which takes a third of the time
    that hmac.digest takes for a message of this size.
    """
    inner, outer = _started(key)
    inner, outer = inner.copy(), outer.copy()
    inner.update(message)
    outer.update(inner.digest())
    return outer.digest()


@lru_cache(maxsize=KEPT_KEYS)
def _started(key: bytes) -> "tuple[HASH, HASH]":
    if len(key) > BLOCK_BYTES:
        key = hashlib.sha256(key).digest()
    block = key.ljust(BLOCK_BYTES, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in block) for pad in (0x36, 0x5C))
    return hashlib.sha256(inner), hashlib.sha256(outer)
