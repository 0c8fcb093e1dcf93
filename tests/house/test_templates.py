"""Templates hold no style and no script of their own: the content security policy would refuse both."""

from __future__ import annotations

import re

import pytest

from tests.house.source import templates

FORBIDDEN = {
    "a style attribute": re.compile(r"<[^>]*\sstyle\s*=", re.IGNORECASE),
    "a style element": re.compile(r"<style\b", re.IGNORECASE),
    "an event attribute": re.compile(r"<[^>]*\son[a-z]+\s*=\s*[\"']", re.IGNORECASE),
    "a script in the page": re.compile(
        r"<script(?![^>]*\b(?:src|type=[\"']application/json[\"']))", re.IGNORECASE
    ),
    "an address of another site for a resource": re.compile(
        r"<(?:script|link|img)[^>]*=[\"']https?://", re.IGNORECASE
    ),
    "a filter that switches escaping off": re.compile(r"\|\s*safe\b|\{%\s*autoescape off"),
}


def test_templates_hold_nothing_that_the_policy_refuses() -> None:
    assert [f"{path}: {name}" for path, text in templates().items() for name in refused(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        '<p class="a" style="color: red">',
        "<style>p { color: red }</style>",
        '<button\n  onclick="go()">',
        "<script>go()</script>",
        '<script src="https://example.com/a.js"></script>',
        "{{ note|safe }}",
    ],
)
def test_planted_violation_is_seen(text: str) -> None:
    assert len(refused(text)) == 1


def test_good_template_is_left_alone() -> None:
    script = '<script src="{% static "app.js" %}" defer></script>'
    assert refused(f'{script}<a href="https://example.com" class="style">on=</a>') == []


def refused(text: str) -> list[str]:
    """Name what a template holds and should not."""
    return [name for name, pattern in FORBIDDEN.items() if pattern.search(text)]


# Forms that a second click may send again, each with the reason why that does no harm.
SENT_AGAIN = {
    "components/top.html {% url 'theme' %}": "the same theme again changes nothing",
    "components/theme.html {% url 'theme' %}": "the same theme again changes nothing",
    "components/top.html {% url 'account_logout' %}": "who is signed out stays signed out",
    "account/logout.html {% url 'account_logout' %}": "who is signed out stays signed out",
    "mfa/authenticate.html {% url 'account_logout' %}": "who is signed out stays signed out",
    "account/login.html {% url 'account_login' %}": "nobody is signed in yet; attempts are counted",
    "account/login.html {% url 'mfa_login_webauthn' %}": "nobody is signed in yet; attempts are counted",
    "account/password_reset.html {% url 'account_reset_password' %}": "mails are counted",
    "account/password_reset_from_key.html {{ action_url }}": "nobody is signed in; its link works once",
    "mfa/authenticate.html {% url 'mfa_authenticate' %}": "nobody is signed in yet; a code works once",
    "account/reauthenticate.html {% url 'account_reauthenticate' %}": "confirming again changes nothing",
    "mfa/reauthenticate.html {% url 'mfa_reauthenticate' %}": "confirming again changes nothing",
    "mfa/webauthn/reauthenticate.html {% url 'mfa_reauthenticate_webauthn' %}": "it changes nothing",
    "approvals/_decide.html {{ case.decide_url }}": "decide() counts a verdict of a person once, and what it"
    " writes beside a refusal (a project that closed) must stay",
    "approvals/together.html {% url 'approvals:together' %}": "each request is decided by decide()",
    "approvals/budget_request.html {% url 'approvals:decide_budget' asked.public_id %}": "so does it here",
    "approvals/_request_key.html {{ key.reveal_url }}": "a secret is shown once; again says so",
    "keys/reveal.html {{ key.reveal_url }}": "a secret is shown once; again says so",
    "keys/token.html {{ row.reveal_url }}": "a secret is shown once; again says so",
    "usage/_sources.html {{ row.read_url }}": "rows are booked once by (source, id), page by page",
    "allauth/elements/form.html {{ attrs.action }}": "pages of allauth alone, which decide nothing here",
    "portal/notifications.html {% url 'link_slack' %}": "a new code replaces the one before",
}
POSTED = re.compile(r"<form\b[^>]*\bmethod=[\"'](?!get).*?</form>", re.IGNORECASE | re.DOTALL)


def posted_without_a_name(path: str, text: str) -> list[str]:
    """Name the forms of a template that change something and lack `{% once %}`."""
    found = []
    for form in POSTED.findall(text):
        action = re.search(r'\baction="([^"]*)"', form.partition("\n")[0])
        if "{% once %}" not in form:
            found.append(f"{path} {action[1] if action else ''}")
    return found


def test_every_form_that_changes_something_has_one_effect_however_often_it_is_sent() -> None:
    without = [
        name
        for path, text in templates().items()
        for name in posted_without_a_name(str(path).removeprefix("templates/"), text)
    ]
    assert sorted(set(without)) == sorted(SENT_AGAIN)


def test_form_without_a_name_is_seen() -> None:
    form = '<form class="x" method="post" action="/keys/">{% csrf_token %}</form>'
    assert posted_without_a_name("a.html", form) == ["a.html /keys/"]
    assert posted_without_a_name("a.html", form.replace("%}<", "%}{% once %}<")) == []
    assert posted_without_a_name("a.html", form.replace("post", "get")) == []
