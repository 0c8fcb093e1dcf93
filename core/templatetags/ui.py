"""What templates say about money, time, state and pictures; a builtin of every template."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cache
from xml.etree import ElementTree as ET

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from lucide.templatetags.lucide import lucide

from core import charts, gauges
from core.clock import now
from core.money import format_usd
from core.words import counted

register = template.Library()

ONCE = "once"  # the field that names one sending of a form
TONE_ICONS = {"ok": "circle-check", "warn": "triangle-alert", "bad": "circle-alert", "info": "info"}
STEPS = ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute"))
MAX_RELATIVE = timedelta(days=30)
NONE_TEXT = "—"
TIMES = "\N{MULTIPLICATION SIGN}"


@cache
def _icon_shapes(name: str) -> str:
    """Return the drawing of a lucide icon without its frame. Raises IconDoesNotExist for an unknown name."""
    root = ET.fromstring(lucide(name, size=None))  # noqa: S314  the installed icon package is trusted
    return "".join(ET.tostring(child, encoding="unicode").strip() for child in root)


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    """Draw a lucide icon. Screen readers skip it: the text beside or a label around it has the meaning."""
    classes = f"icon {css}".strip()
    shapes = mark_safe(_icon_shapes(name))  # noqa: S308  as above
    return format_html('<svg class="{}" viewBox="0 0 24 24" aria-hidden="true">{}</svg>', classes, shapes)


@register.filter
def usd(amount: Decimal | None, places: int = 2) -> str:
    """Write unrounded US dollars for a person: `$1,234.56`, `<$0.01`, `no limit` for None."""
    return format_usd(amount, places=places)


@register.filter
def price(amount: Decimal | None) -> str:
    """Write a price exactly: at least two decimals and as many more as it has, `—` for None."""
    if amount is None:
        return NONE_TEXT
    decimals = -int(amount.normalize().as_tuple().exponent)
    return format_usd(amount, places=max(2, decimals))


@register.filter
def quantity(number: Decimal | None) -> str:
    """Write a quantity exactly, without the zeros at its end; `—` for None."""
    return NONE_TEXT if number is None else f"{number.normalize():,f}"


@register.filter
def count(number: int | None) -> str:
    """Write a whole number with thousands separators, `—` for None."""
    return NONE_TEXT if number is None else f"{number:,}"


@register.filter
def percent(share: Decimal | None) -> str:
    """Write an unrounded percentage, `—` for None."""
    return NONE_TEXT if share is None else gauges.format_percent(share)


@register.filter
def multiple(ratio: Decimal | None) -> str:
    """Write how many times as much: whole from ten on, else one decimal; `—` for None."""
    if ratio is None:
        return NONE_TEXT
    places = Decimal(1) if ratio >= 10 else Decimal("0.1")
    rounded = ratio.quantize(places, rounding=ROUND_HALF_EVEN)
    shown = int(rounded) if rounded == rounded.to_integral_value() else rounded
    return f"{shown:,}{TIMES}"


@register.simple_tag
def ago(moment: datetime | None, none: str = "never") -> SafeString:
    """Write roughly when something was or will be, with the exact UTC time in the element: `in 2 days`."""
    if moment is None:
        return format_html("{}", none)
    return _time(moment, _relative(moment))


@register.simple_tag
def at(moment: datetime | None, none: str = "never") -> SafeString:
    """Write an exact moment: `23 November 2026, 10:02 UTC`."""
    if moment is None:
        return format_html("{}", none)
    return _time(moment, _exact(moment))


@register.simple_tag
def tag(tone: str, text: str) -> SafeString:
    """Draw a state as a pill. `tone` is ok, warn, bad, info or empty; the text says it without colour too."""
    return format_html('<span class="tag{}">{}</span>', f" tag-{tone}" if tone else "", text)


@register.simple_tag
def tone_icon(tone: str) -> SafeString:
    """Draw the icon of a tone, in its colour."""
    return icon(TONE_ICONS.get(tone, "info"), tone)


@register.simple_tag
def meter(
    share: Decimal | None, label: str, mark: Decimal | None = None, held: Decimal | None = None
) -> SafeString:
    """Draw a share of a limit in percent, with what is held and a mark for the forecast."""
    return gauges.meter(share, label=label, mark_percent=mark, held_percent=held)


@register.simple_tag
def portion(share: Decimal | None, label: str) -> SafeString:
    """Draw a part in percent of a whole that is no limit."""
    return gauges.portion(share, label=label)


@register.simple_tag
def spark(values: Sequence[Decimal]) -> SafeString:
    """Draw a small trend line."""
    return gauges.spark(values)


@register.simple_tag
def burn_up(chart: charts.BurnUp, summary: str) -> SafeString:
    """Draw spend to date against a budget."""
    return charts.burn_up(chart, summary=summary)


@register.simple_tag
def stacked(chart: charts.Stacked, summary: str) -> SafeString:
    """Draw daily spend by tier."""
    return charts.stacked(chart, summary=summary)


def _time(moment: datetime, text: str) -> SafeString:
    exact = moment.astimezone(UTC)
    machine = f"{exact:%Y-%m-%dT%H:%M:%SZ}"
    return format_html('<time datetime="{}" title="{}">{}</time>', machine, _exact(moment), text)


def _exact(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%-d %B %Y, %H:%M} UTC"


def _relative(moment: datetime) -> str:
    distance = moment - now()
    size = abs(distance)
    if size > MAX_RELATIVE:
        return f"on {moment.astimezone(UTC):%-d %B %Y}"
    for length, name in STEPS:
        if size >= length:
            number = size // length
            text = counted(number, name)
            return f"in {text}" if distance > timedelta(0) else f"{text} ago"
    return "in less than a minute" if distance > timedelta(0) else "just now"


@register.simple_tag
def once() -> SafeString:
    """Write the hidden field that lets a form have one effect, however often its button is pressed."""
    return format_html('<input type="hidden" name="{}" value="{}">', ONCE, secrets.token_urlsafe(16))
