"""The offline check of a Purser key: its shape and its checksum. It refuses typing errors and garbage without
asking anybody.

Format: `psr_live_` or `psr_test_`, 43 base62 characters, then 6 base62 digits: the CRC32 of everything before
them.
"""

import re
import string
import zlib

ALPHABET = string.digits + string.ascii_letters
CHECKSUM_LENGTH = 6
_SHAPE = re.compile(r"psr_(?:live|test)_[0-9A-Za-z]{49}", re.ASCII)


def checksum(text: str) -> str:
    """Return the CRC32 of `text` as 6 base62 digits, zero-padded."""
    number = zlib.crc32(text.encode())
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def is_well_formed(key: str) -> bool:
    """Whether `key` can be a key at all: the right shape and a checksum that fits."""
    return _SHAPE.fullmatch(key) is not None and checksum(key[:-CHECKSUM_LENGTH]) == key[-CHECKSUM_LENGTH:]
