"""What the plugin is told by its environment; anything missing or empty stops the gateway at start."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

_USD = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,12})?", re.ASCII)


class SettingsError(RuntimeError):
    """The environment is incomplete.

    The gateway must not start: it could neither ask for decisions nor prove who it is.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The plugin's settings, one environment variable each. Secrets are kept out of `repr`."""

    portal_url: str
    public_url: str
    gateway_id: str
    secret: str = field(repr=False)
    second_secret: str | None = field(default=None, repr=False)
    state_directory: Path
    decision_seconds: float = 2.0
    delivery_seconds: float = 10.0
    settle_grace_seconds: float = 30.0
    attachment_tokens: int = 200_000
    journal_file_bytes: int = 16 * 1024 * 1024
    journal_keep_days: int = 35
    extra_parameters: frozenset[str] = frozenset()
    leases: bool = False
    lease_want_usd: Decimal = Decimal("0.50")

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets that a signed request to this gateway may be signed with, the newest first."""
        return (self.secret,) if self.second_secret is None else (self.secret, self.second_secret)


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; raises SettingsError naming the first variable that is missing or not a number."""
    source = os.environ if environment is None else environment
    portal_url = _required(source, "PURSER_URL").rstrip("/")
    return Settings(
        portal_url=portal_url,
        public_url=source.get("PURSER_PUBLIC_URL", "").strip().rstrip("/") or portal_url,
        gateway_id=_required(source, "PURSER_GATEWAY_ID"),
        secret=_required(source, "PURSER_GATEWAY_SECRET"),
        second_secret=source.get("PURSER_GATEWAY_SECRET_2") or None,
        state_directory=Path(_required(source, "PURSER_STATE_DIR")),
        decision_seconds=_number(source, "PURSER_DECISION_SECONDS", 2.0),
        delivery_seconds=_number(source, "PURSER_DELIVERY_SECONDS", 10.0),
        settle_grace_seconds=_number(source, "PURSER_SETTLE_GRACE_SECONDS", 30.0),
        attachment_tokens=int(_number(source, "PURSER_ATTACHMENT_TOKENS", 200_000)),
        journal_file_bytes=int(_number(source, "PURSER_JOURNAL_FILE_BYTES", 16 * 1024 * 1024)),
        journal_keep_days=int(_number(source, "PURSER_JOURNAL_KEEP_DAYS", 35)),
        extra_parameters=frozenset(source.get("PURSER_EXTRA_PARAMETERS", "").replace(",", " ").split()),
        leases=_switch(source, "PURSER_LEASES"),
        lease_want_usd=_usd(source, "PURSER_LEASE_WANT_USD", "0.50"),
    )


def _required(source: Mapping[str, str], name: str) -> str:
    value = source.get(name, "").strip()
    if not value:
        raise SettingsError(
            f"{name} is empty. `manage.py gateway_config litellm` writes it for the gateway's environment."
        )
    return value


def _switch(source: Mapping[str, str], name: str) -> bool:
    text = source.get(name, "").strip()
    if text not in ("", "0", "1"):
        raise SettingsError(f"{name} is {text!r}; 1 switches it on, 0 off.")
    return text == "1"


def _usd(source: Mapping[str, str], name: str, default: str) -> Decimal:
    text = source.get(name, "").strip() or default
    if not _USD.fullmatch(text) or not Decimal(text):
        raise SettingsError(f"{name} is {text!r}, which is not an amount of US dollars such as 0.50.")
    return Decimal(text)


def _number(source: Mapping[str, str], name: str, default: float) -> float:
    text = source.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise SettingsError(f"{name} is {text!r}, which is not a number.") from None
    if value <= 0:
        raise SettingsError(f"{name} must be greater than zero, not {text}.")
    return value
