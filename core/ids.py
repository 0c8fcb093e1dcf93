"""Public ids such as `req_7Jk...`; integers stay inside the database."""

import secrets
import string
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import models

ALPHABET = string.digits + string.ascii_letters
LENGTH = 18  # 62**18 is about 107 bits: no collision, no guessing


def new_id(prefix: str) -> str:
    """Return a fresh public id: the prefix, an underscore and 18 base62 characters."""
    return f"{prefix}_{''.join(secrets.choice(ALPHABET) for _ in range(LENGTH))}"


def new_ordered_id(prefix: str) -> str:
    """Return a fresh public id for rows that come by the thousand: 12 hexadecimal digits of milliseconds and
    64 random bits, so that an index takes it at its end.
    """
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"


if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
else:
    _CharField = models.CharField


class PublicIdField(_CharField):
    """A unique, immutable public id with a fixed prefix, made when the row is made."""

    def __init__(self, *, prefix: str = "", **kwargs: Any) -> None:
        self.prefix = prefix
        kwargs.setdefault("max_length", 32)
        kwargs.setdefault("unique", True)
        kwargs.setdefault("editable", False)
        kwargs.setdefault("default", partial(new_id, prefix))
        super().__init__(**kwargs)

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        """Leave the generated default out of migrations."""
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("default", None)
        return name, path, args, {**kwargs, "prefix": self.prefix}
