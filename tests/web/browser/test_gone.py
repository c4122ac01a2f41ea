"""The server goes away while pages are open, and comes back; and focus is never lost."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.kill.conftest import ROOT
from tests.web.browser.conftest import Open, Served

pytestmark = pytest.mark.browser

APP = ROOT / "tests/web/office.py"


def test_a_page_says_that_the_server_is_gone_and_goes_on_when_it_is_back(tmp_path: Path, open_page: Open) -> None:
    served = Served(tmp_path, APP)
    served.waiting("Open", b'{"owner": "Ann", "password": "x"}', "asked")
    home, form = open_page(served.base), open_page(f"{served.base}/instances/asked/answer")
    expect(home.locator(".waits li")).to_have_count(1)
    form.get_by_label("Answer").fill("Ann")
    served.stop()
    for page in (home, form):
        expect(page.locator(".gone")).to_contain_text("The server does not answer")
        expect(page.locator("main.stale")).to_be_visible()
    form.get_by_role("button", name="Send").click()
    expect(form.locator(".problem")).to_contain_text("Whether it has got this is not certain")
    expect(form.get_by_label("Answer")).to_have_value("Ann")
    home.get_by_role("link", name="Start", exact=True).click()
    expect(home.locator(".problem")).to_contain_text("The server does not answer.")

    served = Served(tmp_path, APP, port=urlsplit(served.base).port or 0)
    try:
        for page in (home, form):
            expect(page.locator(".gone")).to_have_count(0, timeout=15_000)
            expect(page.locator("main.stale")).to_have_count(0)
        expect(home.get_by_role("button", name="Echo")).to_be_visible()
        form.get_by_role("button", name="Send").click()
        assert served.ended("asked")["runtimeStatus"] == "Completed"
        expect(form.get_by_role("heading", level=1)).to_contain_text("Completed")
    finally:
        served.stop()


def test_an_instance_that_was_opened_meanwhile_is_shown_when_the_server_is_back(
    tmp_path: Path, open_page: Open
) -> None:
    served = Served(tmp_path, APP)
    served.waiting("Approval", b'"Ann"', "later")
    page = open_page(served.base)
    expect(page.locator(".waits li")).to_have_count(1)
    served.stop()
    page.get_by_role("link", name="Approval", exact=True).click()
    expect(page.locator(".problem")).to_contain_text("The server does not answer.")
    served = Served(tmp_path, APP, port=urlsplit(served.base).port or 0)
    try:
        expect(page.get_by_role("heading", level=1)).to_contain_text("Approval", timeout=15_000)
        expect(page.locator(".timeline [data-row]")).to_have_count(3)
    finally:
        served.stop()


def has_focus(page: Page) -> bool:
    return bool(page.evaluate("document.activeElement !== document.body"))


def test_focus_stays_in_the_page_when_what_had_it_is_gone(office: Served, open_page: Open) -> None:
    waiting = office.waiting("Open", b'{"owner": "Ann", "password": "x"}', "focus")
    page = open_page(office.base)
    row = page.locator(".waits li", has_text=waiting)
    row.get_by_role("link", name="Answer").press("Enter")
    expect(page.get_by_label("Answer")).to_be_visible()
    assert has_focus(page)
    page.get_by_label("Answer").fill("Ann")
    page.keyboard.press("Enter")
    expect(page.locator(".sent")).to_be_visible()
    expect(page.locator(".question")).to_have_count(0)
    assert has_focus(page)
    page.get_by_role("button", name="Purge…").press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="Purge").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Instances")
    assert has_focus(page)
