"""What people do in their browsers, in their own words; a page that logs an error or breaks the policy
fails the story.
"""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect

from teams.models import User

# Chromium logs every answer of 4xx; a story that means to see one says so.
EXPECTED_ANSWERS = ("status of 409", "status of 412", "status of 422")


class Person:
    """Somebody signed in at the portal in a browser of his own."""

    def __init__(self, browser: Browser, user: User, *, base_url: str, password: str, **context: Any) -> None:
        self.user = user
        self.troubles: list[str] = []
        self._context: BrowserContext = browser.new_context(base_url=base_url, **context)
        self.page: Page = self._context.new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("requestfailed", self._note_failure)
        self._sign_in(password)

    def close(self) -> None:
        """Leave; the console must have stayed empty."""
        self._context.close()
        assert self.troubles == [], self.troubles

    def ask_for_tier(self, *, project: str, tier: int, model: str, reason: str, expected_usd: str) -> str:
        """Answer the questions one by one, check, send, and return the address of the request."""
        page = self.page
        page.get_by_role("link", name="Ask for access").first.click()
        page.get_by_label(project).check()
        self._continue()
        page.get_by_label(f"Tier {tier}").check()
        self._continue()
        page.get_by_label(f"{model}:").check()
        self._continue()
        page.get_by_label("Why do you need it?").fill(reason)
        self._continue()
        page.get_by_label("What will it cost a month?").fill(expected_usd)
        self._continue()
        page.get_by_role("button", name="Send the request").click()
        expect(page.get_by_text("Your request is sent.")).to_be_visible()
        return page.url

    def approve(self, project: str, *, tier: int, cap_usd: str) -> None:
        """Open a request from the inbox, lower its cap and approve it."""
        page = self.page
        page.goto("/approvals/")
        page.get_by_role("link", name=f"Tier {tier} for {project}").first.click()
        page.get_by_label("Monthly cap").fill(cap_usd)
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        expect(page.get_by_text("approved").first).to_be_visible()

    def reveal(self, request_url: str) -> str:
        """Show the secret of the key that a request brought; the page does not show it again."""
        page = self.page
        page.goto(request_url)
        page.get_by_role("button", name="Show the secret once").click()
        secret = page.get_by_label("Secret", exact=True).input_value()
        page.get_by_role("link", name="I have stored it").click()
        page.goto(request_url)
        assert secret not in page.content()
        return secret

    def raise_limit(self, budget: str, *, limit_usd: str, reason: str) -> None:
        """Change the limit of a budget."""
        page = self.page
        page.goto(f"/budgets/{budget}/")
        page.get_by_role("link", name="Change the limit").click()
        page.get_by_label("New limit").fill(limit_usd)
        page.get_by_label("Why").fill(reason)
        page.get_by_role("button", name="Change the limit").click()
        expect(page.get_by_text(reason)).to_be_visible()

    def revoke(self, key_name: str, *, reason: str) -> None:
        """Revoke a key from the list of keys, reading what will happen."""
        page = self.page
        page.goto("/keys/")
        page.get_by_role("link", name=f"Revoke {key_name}").click()
        expect(page.get_by_text("refused with 401 at once")).to_be_visible()
        page.get_by_label("Why?").fill(reason)
        page.get_by_role("button", name="Revoke the key").click()
        expect(page.get_by_role("row").filter(has_text=key_name)).to_contain_text("Revoked")

    def text_of(self, path: str) -> str:
        """Return what a page says."""
        self.page.goto(path)
        return self.page.locator("main").inner_text()

    def _sign_in(self, password: str) -> None:
        self.page.goto("/")
        self.page.get_by_label("mail").fill(self.user.email)
        self.page.get_by_label("password").first.fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("navigation", name="Main")).to_be_attached()

    def _continue(self) -> None:
        self.page.locator("form#ask button[type=submit]").click()

    def _note_failure(self, request: Request) -> None:
        """A request that a click on something else broke off is no trouble."""
        if request.failure != "net::ERR_ABORTED":
            self.troubles.append(f"{request.failure}: {request.url}")

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(answer in message.text for answer in EXPECTED_ANSWERS):
            self.troubles.append(message.text)
