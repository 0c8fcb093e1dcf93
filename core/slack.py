"""Slack: messages of blocks to one person, and whether a call really came from Slack.

What people wrote goes out as plain text, and escaped where Slack reads markup, so that no word of it is a
command or a link there. Sources: docs.slack.dev, Verifying requests from Slack, Formatting message text, and
Block Kit.
"""

import hmac
import json
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from core import clock, outbound
from core.outbox import RefusedError

REPLAY_SECONDS = 300
MOST_TEXT, MOST_HEADER = 3_000, 150
# Answers that trying again does not change.
FINAL = {
    "channel_not_found",
    "user_not_found",
    "account_inactive",
    "user_disabled",
    "invalid_blocks",
    "message_not_found",
    "cant_update_message",
    "edit_window_closed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a message is: its conversation and, in it, its time, which is its name there."""

    channel: str
    ts: str


def is_from_slack(*, body: bytes, timestamp: str, signature: str) -> bool:
    """Whether Slack signed these very bytes within the last five minutes; never without a signing secret."""
    if not settings.SLACK_SIGNING_SECRET or not (timestamp.isascii() and timestamp.isdigit()):
        return False
    if abs(clock.now().timestamp() - int(timestamp[:12])) > REPLAY_SECONDS:
        return False
    signed = b"v0:" + timestamp.encode() + b":" + body
    wanted = "v0=" + hmac.digest(settings.SLACK_SIGNING_SECRET.encode(), signed, "sha256").hex()
    return hmac.compare_digest(wanted.encode(), signature.encode())


def blocks(*, subject: str, body: str, address: str, approve: str = "") -> list[dict[str, Any]]:
    """Return a message: subject, text, a link to the page, and a button that approves `approve`, if given."""
    buttons = [{"type": "button", "text": _text("Open the page"), "url": address, "action_id": "open"}]
    if approve:
        buttons.insert(0, _approve_button(approve))
    return [
        {"type": "header", "text": _text(_cut(subject, MOST_HEADER))},
        {"type": "section", "text": _text(_cut(body, MOST_TEXT) or " ")},
        {"type": "actions", "elements": buttons},
    ]


def post_message(*, slack_user: str, subject: str, content: list[dict[str, Any]]) -> Place | None:
    """Write to one person and return where, if Slack says so. Raises RefusedError when that can never be,
    OSError when it cannot be now.
    """
    message = {"channel": slack_user, "text": escaped(subject), "blocks": content, "unfurl_links": False}
    said = _call("chat.postMessage", message)
    channel, ts = said.get("channel"), said.get("ts")
    return Place(channel=channel, ts=ts) if isinstance(channel, str) and isinstance(ts, str) else None


def replace_message(place: Place, *, subject: str, content: list[dict[str, Any]]) -> None:
    """Put another text in the place of a message. Raises as `post_message` does."""
    _call(
        "chat.update",
        {"channel": place.channel, "ts": place.ts, "text": escaped(subject), "blocks": content},
    )


def _call(method: str, message: dict[str, Any]) -> dict[str, Any]:
    answer = outbound.post(
        f"{settings.SLACK_API_URL}/{method}",
        body=json.dumps(message).encode(),
        headers={
            "content-type": "application/json; charset=utf-8",
            "authorization": f"Bearer {settings.SLACK_BOT_TOKEN}",
        },
    )
    said = json.loads(answer.body) if answer.status == 200 else {"error": f"status {answer.status}"}
    if said.get("ok"):
        return dict(said)
    error = str(said.get("error", "no reason"))
    raise RefusedError(f"Slack: {error}") if error in FINAL else OSError(f"Slack: {error}")


def escaped(text: str) -> str:
    """Write text so that Slack takes none of it for markup: no mention, no link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, most: int) -> str:
    """Shorten a text that Slack would refuse; it counts as its builder does, in units of UTF-16."""
    units = text.encode("utf-16-le")
    return text if len(units) <= 2 * most else units[: 2 * (most - 1)].decode("utf-16-le", "ignore") + "…"


def _approve_button(value: str) -> dict[str, Any]:
    return {
        "type": "button",
        "style": "primary",
        "text": _text("Approve"),
        "action_id": "approve",
        "value": value,
        "confirm": {
            "title": _text("Approve this request?"),
            "text": _text("It counts at once, as if you had pressed the button on its page."),
            "confirm": _text("Approve"),
            "deny": _text("Not now"),
        },
    }


def _text(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}
