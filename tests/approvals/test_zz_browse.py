import os
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]="true"
import pytest
from decimal import Decimal
from datetime import timedelta
from playwright.sync_api import sync_playwright
from tests.cast import make_cast
from tests.usage.books import book
from usage.selectors import organisation_today
from approvals.services import submit
from approvals.models import Decision, AccessRequest
from budgets.models import Mode, ScopeKind, Window
from budgets.services.limits import open_budget
from django.test import Client
FLAGS=["--no-sandbox","--disable-gpu"]
OUT="/tmp/pagesa/"
@pytest.mark.django_db(transaction=True)
def test_browse(live_server):
    cast=make_cast()
    today=organisation_today()
    for d in range(1,20):
        book(cast.ranking, cast.small, today-timedelta(days=d), "3", calls=100, input_tokens=5_000_000, output_tokens=500_000)
    open_budget(actor=None, scope_kind=ScopeKind.PROJECT, scope_id=cast.ranking.pk, department=cast.product, window=Window.MONTH, mode=Mode.HARD, amount_usd=Decimal(900), reason="A test.")
    open_budget(actor=None, scope_kind=ScopeKind.TEAM, scope_id=cast.search.pk, department=cast.product, window=Window.MONTH, mode=Mode.HARD, amount_usd=Decimal(1900), reason="A test.")
    def ctx(browser,user,**kw):
        c=Client(); c.force_login(user)
        x=browser.new_context(base_url=live_server.url,**kw)
        x.add_cookies([{"name":"purser_session","value":c.cookies["purser_session"].value,"url":live_server.url}])
        return x
    log=[]
    with sync_playwright() as p:
        b=p.chromium.launch(executable_path="/usr/bin/chromium",args=FLAGS)
        ada=ctx(b,cast.ada,viewport={"width":1440,"height":900}).new_page()
        for pg in (ada,):
            pg.on("console",lambda m:log.append((m.text[:60], m.location))); pg.on("pageerror",lambda e:log.append(str(e)))
        ada.goto("/approvals/ask/?project=ranking&tier=2")
        ada.get_by_label("large: $2.50 in, $10.00 out for 1M tokens").check()
        ada.wait_for_timeout(900)
        print("PANEL", ada.locator("#panel").inner_text())
        ada.get_by_role("button",name="Continue").click()
        ada.get_by_label("Why do you need it?").fill("The small models miss one answer in three.")
        ada.get_by_role("button",name="Continue").click()
        ada.get_by_label("What will it cost a month?").fill("510")
        ada.wait_for_timeout(1200)
        print("PANEL2", ada.locator("#panel").inner_text())
        None
        ada.get_by_role("button",name="Continue").click()
        None
        ada.get_by_role("button",name="Send the request").click()
        ada.wait_for_load_state()
        print(ada.url)
        None
        submit(actor=cast.ada,project=cast.ranking,tier=cast.tier3,model_names=[],reason="Something long enough here",duration_days=20,expected_monthly_usd=Decimal(40))
        ben=ctx(b,cast.ben,viewport={"width":1440,"height":900}).new_page()
        ben.on("console",lambda m:log.append((m.text[:60], m.location))); ben.on("pageerror",lambda e:log.append(str(e)))
        ben.goto("/approvals/")
        ben.locator("[data-row]").first.click()
        ben.wait_for_selector("#approve")
        print(ben.url, ben.title())
        None
        ben.get_by_label("Monthly cap").fill("400"); ben.get_by_label("Monthly cap").press("Enter")
        ben.wait_for_timeout(500)
        print("decisions after Enter", Decision.objects.count())
        ben.get_by_role("button",name="Deny").click(); ben.wait_for_selector(".errsum")
        print("title", ben.title(), ben.evaluate("document.activeElement.className"))
        None
        ben.get_by_role("button",name="Approve").click()
        ben.wait_for_timeout(800)
        print("BEN", ben.locator("#inbox").inner_text(), "badge", ben.locator("#waiting").inner_text(), ben.url, ben.title())
        None
        ada.goto("/approvals/?tab=team"); None
        ada.locator("[data-row]").first.click(); ada.wait_for_timeout(800); print("own via row", ada.url, ada.locator("h1").inner_text())
        req=AccessRequest.objects.get(tier=2)
        ada.goto(f"/approvals/{req.public_id}/"); None
        ada.get_by_role("button",name="Show the secret once").click(); ada.wait_for_load_state()
        None
        ada.goto("/keys/"); None
        ada.get_by_role("link",name="Revoke").click(); None
        ada.goto("/keys/new/"); None
        m=ctx(b,cast.ben,viewport={"width":390,"height":844}).new_page()
        m.goto("/approvals/?tab=team"); m.locator("[data-row]").first.click(); m.wait_for_timeout(800); None
        b.close()
    print("CONSOLE",log)
