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
