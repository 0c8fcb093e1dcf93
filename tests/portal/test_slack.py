"""Slack: who is told what there, which calls are Slack's, and that an approval is decided as on each page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from django.core import mail
from django.db import IntegrityError, connection, transaction
from django.test import Client
from pytest_django.fixtures import Settings

from approvals.models import AccessRequest, Decision, RequestStatus, Verdict
from approvals.services import amend, decide, withdraw
from core import clock, outbox
from core.errors import InvalidInputError
from core.models import (
    AuditEvent,
    Channel,
    DeliveryAttempt,
    NewsChoice,
    NewsKind,
    Outbox,
    Preference,
    SlackButton,
    SlackLink,
)
from core.slack import is_from_slack
from portal.news.senders import SENDERS
from portal.services.slack import confirm_slack_link, start_slack_link
from portal.tasks import drain_outbox
from teams.models import Project, Role, RoleAssignment, User
from teams.services import reset_factors
from tests.approvals.conftest import REASON, ask_for, lend
from tests.browsing import Visitor
from tests.cast import Cast
from tests.core.test_wishes import counts, put
from tests.factories import RoleAssignmentFactory, new_policy
from tests.fakes.slack import SIGNING_SECRET, TOKEN, Slack, signature, slack
from tests.signing import sign_in

BEN = "U0BEN"
PLACE = {"channel": "D0BEN", "ts": "1700000000.000100"}


@pytest.fixture(autouse=True)
def api(settings: Settings) -> Iterator[Slack]:
    """Set the portal up for a Slack of its own."""
    with slack() as made:
        settings.SLACK_BOT_TOKEN, settings.SLACK_SIGNING_SECRET = TOKEN, SIGNING_SECRET
        settings.SLACK_API_URL = made.api_url
        settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
        yield made


def linked(person: User, slack_user: str = BEN, *, decides: bool = True) -> None:
    """Link a person's account and let him be told of, and approve, requests there."""
    confirm_slack_link(code=start_slack_link(actor=person), slack_user=slack_user)
    chosen = Preference.objects.create(person=person, slack_decides=decides)
    NewsChoice.objects.create(preference=chosen, kind=NewsKind.WAITING, channel=Channel.SLACK)


def call(
    path: str, fields: dict[str, str], *, age_seconds: int = 0, headers: dict[str, str] | None = None
) -> Any:
    """Call the portal as Slack does."""
    body = urlencode(fields)
    signed = signature(body, int(clock.now().timestamp()) - age_seconds)
    return Client().post(
        path, body, content_type="application/x-www-form-urlencoded", headers={**signed, **(headers or {})}
    )


def press(value: str, *, user: str = BEN, trigger: str = "one", at: str = "", **options: Any) -> Any:
    """Press the button Approve, of the message that is `at` a time in Ben's conversation."""
    payload = {
        "type": "block_actions", "trigger_id": trigger, "user": {"id": user},
        "actions": [{"action_id": "approve", "value": value}],
        "container": {"type": "message", "message_ts": at, "channel_id": PLACE["channel"]},
    }  # fmt: skip
    return call("/slack/actions/", {"payload": json.dumps(payload)}, **options)


def drain() -> None:
    drain_outbox()


def told_of(cast: Cast, api: Slack) -> AccessRequest:
    """Let Ada ask and Ben be told of it in Slack, with a button."""
    linked(cast.ben)
    api.answer(ok=True, **PLACE)
    asked = ask_for(cast)
    drain()
    assert "approve" in buttons(api.messages[-1])
    return asked


def outcome(api: Slack) -> str:
    """Return what stands in the place of the one message, which has no button to approve any more."""
    [message] = api.replaced
    assert {name: message[name] for name in PLACE} == PLACE
    assert set(buttons(message)) == {"open"}
    return str(message["blocks"][1]["text"]["text"])


def buttons(message: dict[str, Any]) -> dict[str, str]:
    """Return the buttons of a message and what they carry."""
    return {
        each["action_id"]: each.get("value") or each["url"]
        for block in message["blocks"] if block["type"] == "actions" for each in block["elements"]
    }  # fmt: skip


def status_of(request: AccessRequest) -> str:
    request.refresh_from_db()
    return str(request.status)


def test_signature_is_that_of_slacks_documentation(settings: Settings) -> None:
    """The example of docs.slack.dev, at its own time."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
        b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
        b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    signed = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    with time_machine.travel(1531420618, tick=False):
        assert is_from_slack(body=body, timestamp="1531420618", signature=signed)
        assert not is_from_slack(body=body + b"&", timestamp="1531420618", signature=signed)
        assert not is_from_slack(body=body, timestamp="1531420619", signature=signed)


@pytest.mark.parametrize("age_seconds", [301, -301, 86_400])
def test_old_call_is_refused(cast: Cast, age_seconds: int) -> None:
    linked(cast.ben)
    asked = ask_for(cast)
    assert press(f"{asked.public_id}:1", age_seconds=age_seconds).status_code == 401
    assert status_of(asked) == RequestStatus.PENDING


@pytest.mark.parametrize("path", ["/slack/actions/", "/slack/commands/"])
@pytest.mark.parametrize(
    "headers",
    [
        {"X-Slack-Signature": "v0=" + "0" * 64},
        {"X-Slack-Signature": ""},
        {"X-Slack-Signature": "v0=ü"},
        {"X-Slack-Request-Timestamp": "now"},
        {"X-Slack-Request-Timestamp": ""},
        {"X-Slack-Request-Timestamp": "9" * 400},
    ],
)
def test_call_that_slack_did_not_sign_is_refused(db: None, path: str, headers: dict[str, str]) -> None:
    assert call(path, {"text": "link x", "payload": "{}"}, headers=headers).status_code == 401


def test_without_a_signing_secret_nothing_is_there(db: None, settings: Settings) -> None:
    settings.SLACK_SIGNING_SECRET = ""
    assert press("req_x:1").status_code == 404


def test_large_and_broken_calls_are_refused(db: None) -> None:
    assert call("/slack/actions/", {"payload": "x" * 100_001}).status_code == 413
    for broken in ("", "[", "[]", "{}", '{"user": 1, "actions": 2}', '{"user": {"id": 1}, "actions": [1]}'):
        assert call("/slack/actions/", {"payload": broken}).status_code == 400
    assert Client().get("/slack/actions/").status_code == 405


def test_code_of_the_portal_sent_from_slack_links_the_account_once(cast: Cast) -> None:
    page = Visitor(cast.ben).post("/notifications/slack/")
    assert page.response["Cache-Control"] == "no-store"
    [code] = re.findall(r"slk_\w+", page.words)

    said = call("/slack/commands/", {"text": f"link {code}", "user_id": BEN}).json()["text"]
    again = call("/slack/commands/", {"text": f"link {code}", "user_id": "U0EVE"}).json()["text"]

    assert "Ben Okafor" in said
    assert "not known" in again
    assert SlackLink.objects.get().slack_user == BEN
    assert "Your Slack account is linked" in Visitor(cast.ben).get("/notifications/").words
    assert code not in str(list(Outbox.objects.values())) + str(list(SlackLink.objects.values()))


def test_code_that_is_over_links_nothing(cast: Cast) -> None:
    code = start_slack_link(actor=cast.ben)
    with time_machine.travel(clock.now() + timedelta(minutes=10, seconds=1)):
        assert (
            "not known" in call("/slack/commands/", {"text": f"link {code}", "user_id": BEN}).json()["text"]
        )
    assert "Make a code" in call("/slack/commands/", {"text": "help", "user_id": BEN}).json()["text"]


def test_second_click_shows_the_same_code(cast: Cast) -> None:
    ben = Visitor(cast.ben)
    codes = [re.findall(r"slk_\w+", ben.post("/notifications/slack/").words) for _ in range(2)]
    assert codes[0] == codes[1]
    assert AuditEvent.objects.filter(action="slack.link_started").count() == 1
    assert "Ben Okafor" in confirmed(codes[0][0])
    assert start_slack_link(actor=cast.ben) not in codes[0]
    assert start_slack_link(actor=cast.eve) not in codes[0]


def confirmed(code: str) -> str:
    answer = call("/slack/commands/", {"text": f"link {code}", "user_id": BEN})
    return str(answer.json()["text"])


def test_account_is_that_of_one_person(cast: Cast) -> None:
    linked(cast.ben)
    code = start_slack_link(actor=cast.eve)
    said = call("/slack/commands/", {"text": f"link {code}", "user_id": BEN}).json()["text"]
    assert "linked to another person" in said
    with pytest.raises(IntegrityError, match="slack_link_one_person_an_account"), transaction.atomic():
        connection.cursor().execute("UPDATE core_slacklink SET slack_user = 'U0BEN', confirmed_at = now()")


def test_unlinked_account_is_told_nothing_more(cast: Cast, api: Slack) -> None:
    linked(cast.ben)
    assert Visitor(cast.ben).post("/notifications/slack/unlink/").status == 302
    ask_for(cast)
    drain()
    assert api.messages == []
    assert [sent.to for sent in mail.outbox] == [[cast.ben.email]]


def test_message_has_blocks_a_link_and_the_button_for_tier_2(cast: Cast, api: Slack) -> None:
    linked(cast.ben)
    Project.objects.filter(pk=cast.ranking.pk).update(name="<!here> " + "long " * 20)
    asked = ask_for(cast, reason="<!channel> *look* <https://evil.example|here>" + " more" * 390)
    drain()

    [message] = api.messages
    assert message["channel"] == BEN
    assert buttons(message) == {
        "approve": f"{asked.public_id}:1",
        "open": outbox.address(f"/approvals/{asked.public_id}/"),
    }
    texts = [block["text"] for block in message["blocks"] if "text" in block]
    assert {text["type"] for text in texts} == {"plain_text"}  # so that nobody's words are commands
    assert any("<!channel>" in text["text"] for text in texts)
    assert "<" not in message["text"]  # which Slack does read as markup


def test_message_of_an_amended_request_says_so(cast: Cast, api: Slack) -> None:
    linked(cast.ben)
    asked = ask_for(cast)
    amend(actor=cast.ada, request=asked, seen_revision=1, reason=REASON, duration_days=30,
          expected_monthly_usd=asked.expected_monthly_usd)  # fmt: skip
    drain()
    shown = [message["blocks"][0]["text"]["text"] for message in api.messages]
    said = f"{cast.ada} asks for {asked.tier} in {asked.project}"
    assert shown == [said, f"Changed: {said}"]


def test_no_button_without_opt_in_for_tier_3_or_after_an_amendment(cast: Cast, api: Slack) -> None:
    linked(cast.ben, decides=False)
    linked(cast.cleo, "U0CLEO")
    ask_for(cast, tier=cast.tier3, model_names=["frontier"], duration_days=10)
    asked = ask_for(cast)
    Preference.objects.filter(person=cast.cleo).update(slack_decides=True)
    drain()
    Preference.objects.filter(person=cast.ben).update(slack_decides=True)
    amend(actor=cast.ada, request=asked, seen_revision=1, reason=REASON, duration_days=30,
          expected_monthly_usd=asked.expected_monthly_usd)  # fmt: skip
    Outbox.objects.filter(recipient=cast.ben.email, dedupe_key__contains="waiting:1:").update(
        delivered_at=None
    )
    drain()

    shown = [set(buttons(message)) for message in api.messages]
    assert shown[:-2] == [{"open"}] * (len(shown) - 2)
    assert sorted(map(len, shown[-2:])) == [1, 2]  # the old message has no button, the new one has


def test_slack_that_will_never_take_it_is_replaced_by_mail(cast: Cast, api: Slack) -> None:
    linked(cast.ben)
    api.answer(ok=False, error="account_inactive")
    put(cast.ben, "request.waiting")
    assert counts(SENDERS) == {"sent": 1}
    log = [(each.channel, each.delivered, each.detail) for each in DeliveryAttempt.objects.all()]
    assert log == [("slack", False, "Slack: account_inactive"), ("mail", True, "")]


def test_slack_that_is_down_is_tried_again(cast: Cast, api: Slack) -> None:
    linked(cast.ben)
    api.answer(ok=False, error="ratelimited")
    put(cast.ben, "request.waiting")
    assert counts(SENDERS) == {"retried": 1}


def test_approval_counts_as_on_the_page_and_is_told_once(cast: Cast, api: Slack) -> None:
    linked(cast.ben)
    asked = ask_for(cast)

    assert press(f"{asked.public_id}:1").status_code == 200
    assert press(f"{asked.public_id}:1").status_code == 200  # Slack, or somebody, sends it again

    assert status_of(asked) == RequestStatus.APPROVED
    decision = Decision.objects.get()
    assert (decision.actor, decision.comment) == (cast.ben, "Approved in Slack.")
    drain()
    assert [message["text"] for message in api.messages if message["text"] == "You approved it"] == [
        "You approved it"
    ]


def test_what_decide_refuses_is_refused_and_told(cast: Cast, api: Slack) -> None:
    linked(cast.ben)
    asked = ask_for(cast)
    amend(actor=cast.ada, request=asked, seen_revision=1, reason=REASON, duration_days=30,
          expected_monthly_usd=asked.expected_monthly_usd)  # fmt: skip

    press(f"{asked.public_id}:1")

    assert status_of(asked) == RequestStatus.PENDING
    drain()
    assert any("changed this request after you read it" in str(message) for message in api.messages)


@pytest.mark.parametrize(
    "case", ["tier 3", "no opt-in", "not linked", "left", "lost the role", "own request"]
)
def test_who_may_not_decide_there_decides_nothing(cast: Cast, case: str) -> None:
    person, asked = cast.ben, None
    if case != "not linked":
        linked(cast.ben, decides=case != "no opt-in")
    if case == "tier 3":
        linked(cast.cleo, "U0CLEO")
        asked = ask_for(cast, tier=cast.tier3, model_names=["frontier"], duration_days=10)
    elif case == "own request":
        asked = ask_for(cast, actor=cast.ben)
    asked = asked or ask_for(cast)
    if case == "left":
        User.objects.filter(pk=person.pk).update(is_active=False)
    if case == "lost the role":
        RoleAssignment.objects.filter(user=person).update(valid_until=clock.now())

    answer = press(f"{asked.public_id}:1", user="U0CLEO" if case == "tier 3" else BEN)

    assert answer.status_code == 200
    assert status_of(asked) == RequestStatus.PENDING
    assert not Decision.objects.exists()


@pytest.mark.parametrize("value", ["", "req_unknown:1", "req_unknown", ":1", "x:-1", "x:²", "1:1:1"])
def test_values_that_slack_never_sent_change_nothing(cast: Cast, value: str) -> None:
    linked(cast.ben)
    asked = ask_for(cast)
    assert press(value).status_code == 200
    assert status_of(asked) == RequestStatus.PENDING


def test_pressed_button_goes_and_its_message_says_who_decided(cast: Cast, api: Slack) -> None:
    asked = told_of(cast, api)
    press(f"{asked.public_id}:1", at=PLACE["ts"])
    drain()
    assert outcome(api).startswith("Ben Okafor approved this request on ")
    drain()
    assert len(api.replaced) == 1
    assert not SlackButton.objects.exists()


def test_button_that_was_never_remembered_goes_too(cast: Cast, api: Slack) -> None:
    """Its message was sent, and the worker killed before it knew."""
    asked = told_of(cast, api)
    SlackButton.objects.all().delete()
    press(f"{asked.public_id}:1", at=PLACE["ts"])
    drain()
    assert "approved" in outcome(api)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("denied on the page", "Ben Okafor denied this request on "),
        ("withdrawn", "Ada Moreno withdrew this request on "),
        ("amended", "It was changed. "),
        ("expired", "Nobody decided this request by "),
    ],
)
def test_button_goes_when_it_was_decided_elsewhere(cast: Cast, api: Slack, case: str, said: str) -> None:
    asked = told_of(cast, api)
    match case:
        case "denied on the page":
            decide(actor=cast.ben, request=asked, verdict=Verdict.DENY, seen_revision=1, comment="Too much.")
        case "withdrawn":
            withdraw(actor=cast.ada, request=asked)
        case "amended":
            amend(actor=cast.ada, request=asked, seen_revision=1, reason=REASON, duration_days=30,
                  expected_monthly_usd=asked.expected_monthly_usd)  # fmt: skip
    with time_machine.travel(asked.decide_by if case == "expired" else clock.now()):
        drain()
    assert outcome(api).startswith(said)


def test_button_of_a_request_that_waits_stays(cast: Cast, api: Slack) -> None:
    told_of(cast, api)
    drain()
    assert api.replaced == []
    assert SlackButton.objects.count() == 1


def test_first_of_two_approvals_takes_its_button_away(cast: Cast, api: Slack) -> None:
    new_policy(cast.tier2, [("lead", 1), ("director", 1)])
    asked = told_of(cast, api)
    press(f"{asked.public_id}:1", at=PLACE["ts"])
    drain()
    assert status_of(asked) == RequestStatus.PENDING
    assert outcome(api) == "You decided it. It waits for somebody else."


def test_message_that_slack_deleted_is_given_up(cast: Cast, api: Slack) -> None:
    asked = told_of(cast, api)
    withdraw(actor=cast.ada, request=asked)
    api.answer(ok=False, error="message_not_found")
    drain()
    assert Outbox.objects.get(topic="slack.outcome").dead_at is not None


# ---------------------------------------------------------------------------- the second factor


def link_from(client: Client, slack_user: str = BEN) -> None:
    """Link the account of whoever is signed in there, who may approve in Slack."""
    [code] = re.findall(r"slk_\w+", client.post("/notifications/slack/").content.decode())
    link = confirm_slack_link(code=code, slack_user=slack_user)
    Preference.objects.get_or_create(person=link.person, defaults={"slack_decides": True})


def with_factor(person: User) -> Client:
    """Sign somebody in who has an authenticator app."""
    Authenticator.objects.get_or_create(user=person, type=Authenticator.Type.TOTP, defaults={"data": {}})
    client = Client()
    sign_in(client, person, method="mfa")
    return client


def without_factor(person: User) -> Client:
    client = Client()
    sign_in(client, person)
    return client


def approves(cast: Cast, api: Slack, trigger: str = "one", user: str = BEN) -> bool:
    """Press the button for what Ada asks, and return whether it counted; a refusal says why."""
    asked = AccessRequest.objects.first() or ask_for(cast)
    press(f"{asked.public_id}:1", trigger=trigger, user=user)
    if status_of(asked) == RequestStatus.APPROVED:
        return True
    drain()
    assert any("link your Slack account again" in str(message) for message in api.messages)
    return False


def test_who_linked_with_a_second_factor_approves(cast: Cast, api: Slack, settings: Settings) -> None:
    settings.MFA_REQUIRED = True
    link_from(with_factor(cast.ben))
    assert approves(cast, api)


@pytest.mark.parametrize("given", ["a role", "a delegation"])
def test_account_that_was_linked_without_a_factor_approves_nothing(
    cast: Cast, api: Slack, settings: Settings, given: str
) -> None:
    """Dan linked it with a password alone, as he may; what he is given afterwards needs more."""
    settings.MFA_REQUIRED = True
    link_from(without_factor(cast.dan))
    if given == "a role":
        RoleAssignmentFactory.create(user=cast.dan, role=Role.LEAD, team=cast.search)
    else:
        lend(cast, "ben", "dan")
    assert not approves(cast, api)
    client = with_factor(cast.dan)
    assert not approves(cast, api, "two"), "the link is that of a password still"
    link_from(client)
    assert approves(cast, api, "three")


def test_no_button_without_the_factor(cast: Cast, api: Slack, settings: Settings) -> None:
    linked(cast.ben)
    settings.MFA_REQUIRED = True
    ask_for(cast)
    drain()
    assert set(buttons(api.messages[-1])) == {"open"}


def test_factors_that_were_reset_end_what_the_account_stands_for(
    cast: Cast, api: Slack, settings: Settings
) -> None:
    settings.MFA_REQUIRED = True
    link_from(with_factor(cast.ben))
    reset_factors(actor=cast.ann, user=cast.ben, reason="The phone was stolen.")
    assert not approves(cast, api)
    client = with_factor(cast.ben)
    assert not approves(cast, api, "two"), "a new factor does not vouch for the old account"
    link_from(client)
    assert approves(cast, api, "three")


def test_a_factor_that_was_taken_away_is_missed(cast: Cast, api: Slack, settings: Settings) -> None:
    settings.MFA_REQUIRED = True
    link_from(with_factor(cast.ben))
    Authenticator.objects.all().delete()
    assert not approves(cast, api)


def test_factor_of_the_provider_counts_as_it_does_on_the_page(
    cast: Cast, api: Slack, settings: Settings
) -> None:
    settings.MFA_REQUIRED = settings.OIDC_PROVIDES_MFA = True
    client = Client()
    sign_in(client, cast.ben, method="socialaccount")
    link_from(client)
    assert approves(cast, api)


def test_code_seen_without_a_factor_does_not_become_one_with(cast: Cast, settings: Settings) -> None:
    weak = start_slack_link(actor=cast.dan)
    strong = start_slack_link(actor=cast.dan, with_second_factor=True)
    assert weak != strong
    with pytest.raises(InvalidInputError):
        confirm_slack_link(code=weak, slack_user=BEN)
    assert confirm_slack_link(code=strong, slack_user=BEN).with_second_factor
