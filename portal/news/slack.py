"""What Slack calls: the command that links an account, and the button that approves. Both are signed."""

import json
import re
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound, JsonResponse, QueryDict
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from core.errors import DomainError
from core.slack import Place, escaped, is_from_slack
from portal.services.slack import approve_from_slack, confirm_slack_link

MOST_BYTES = 100_000
APPROVES = re.compile(r"(req_[0-9A-Za-z]{1,28}):([0-9]{1,9})")  # what a button of ours carries
CHANNEL, TS = re.compile(r"[A-Z0-9]{1,32}"), re.compile(r"[0-9]{1,16}\.[0-9]{1,8}")
HELP = "Make a code on the portal's page Notifications, then send `/purser link CODE`."

View = Callable[[HttpRequest, QueryDict], HttpResponse]


def signed(view: View) -> Callable[[HttpRequest], HttpResponse]:
    """Let only Slack in: 404 while it is not set up, 401 for a signature that is wrong or old."""

    @csrf_exempt
    @login_not_required
    @require_POST
    @wraps(view)
    def handle(request: HttpRequest) -> HttpResponse:
        if not settings.SLACK_SIGNING_SECRET:
            return HttpResponseNotFound()
        length = request.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MOST_BYTES:
            return HttpResponse(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        body = request.body
        timestamp = request.headers.get("X-Slack-Request-Timestamp", "")
        signature = request.headers.get("X-Slack-Signature", "")
        if not is_from_slack(body=body, timestamp=timestamp, signature=signature):
            return HttpResponse(status=HTTPStatus.UNAUTHORIZED)
        return view(request, QueryDict(body))

    return handle


@signed
def slack_command(request: HttpRequest, sent: QueryDict) -> HttpResponse:
    """Link the account that sends `link CODE`; the answer is seen by nobody else."""
    word, _, code = sent.get("text", "").strip().partition(" ")
    if word != "link" or not code.strip():
        return _whisper(HELP)
    try:
        link = confirm_slack_link(code=code.strip(), slack_user=sent.get("user_id", ""))
    except DomainError as error:
        return _whisper(error.detail)
    return _whisper(f"This account is now that of {escaped(str(link.person))} in Purser.")


@signed
def slack_action(request: HttpRequest, sent: QueryDict) -> HttpResponse:
    """Count an approval; what came of it is told as a message of its own, and in the place of the button."""
    try:
        payload = json.loads(sent.get("payload", ""))
        user = str(payload["user"]["id"])
        pressed = [(str(each["action_id"]), str(each.get("value", ""))) for each in payload["actions"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        return HttpResponse(status=HTTPStatus.BAD_REQUEST)
    for action, value in pressed:
        if action == "approve" and (found := APPROVES.fullmatch(value)):
            approve_from_slack(
                slack_user=user,
                public_id=found[1],
                seen_revision=int(found[2]),
                call_id=f"{payload.get('trigger_id', '')}:{value}",
                place=_place(payload.get("container")),
            )
    return HttpResponse()


def _place(container: object) -> Place | None:
    """Return in which message a button was pressed, if Slack says so."""
    if not isinstance(container, dict):
        return None
    channel, ts = str(container.get("channel_id", "")), str(container.get("message_ts", ""))
    return Place(channel=channel, ts=ts) if CHANNEL.fullmatch(channel) and TS.fullmatch(ts) else None


def _whisper(text: str) -> HttpResponse:
    return JsonResponse({"response_type": "ephemeral", "text": text})
