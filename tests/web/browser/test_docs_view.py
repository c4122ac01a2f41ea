"""The HTTP API as a view of the dashboard: it can be read, found in, copied from and tried."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.web.browser.conftest import API, Open, Served

pytestmark = pytest.mark.browser


def operation(page: Page, method: str, path: str) -> Locator:
    """An operation, opened."""
    found = page.locator("details", has=page.get_by_text(f"/{API}{path}", exact=True)).filter(
        has=page.locator(f".method.{method}")
    )
    found.locator("summary").click()
    return found


def test_it_is_reached_from_the_menu_and_shows_every_operation(office: Served, open_page: Open) -> None:
    page = open_page(office.base)
    page.get_by_role("link", name="API", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("HTTP API")
    for text in ("/orchestrators/Echo", "raiseEvent/{eventName}", "/counts"):
        expect(page.get_by_text(text).first).to_be_visible()
    page.get_by_label("Filter operations").fill("terminate")
    expect(page.locator(".api section details")).to_have_count(1)
    found = operation(page, "POST", "/instances/{instanceId}/terminate")
    expect(found).to_contain_text("410")
    page.get_by_label("Filter operations").fill("nosuch")
    expect(page.get_by_text("No operation is like that")).to_be_visible()


def test_what_changes_nothing_and_what_starts_can_be_tried(office: Served, open_page: Open) -> None:
    page = open_page(f"{office.base}/docs")
    counts = operation(page, "GET", "/counts")
    counts.get_by_role("button", name="Send").click()
    expect(counts.get_by_role("status")).to_contain_text("200")
    start = operation(page, "POST", "/orchestrators/Echo/{newInstanceId}")
    expect(start.get_by_role("button", name="Send")).to_be_disabled()
    start.get_by_label("newInstanceId", exact=True).fill("tried")
    start.get_by_label("Body").fill('"hello"')
    start.get_by_role("button", name="Send").click()
    expect(start.get_by_role("status")).to_contain_text("202")
    assert office.ended("tried")["output"] == "hello"


def test_a_refusal_is_an_answer_too(office: Served, open_page: Open) -> None:
    page = open_page(f"{office.base}/docs")
    one = operation(page, "GET", "/instances/{instanceId}")
    one.get_by_label("instanceId", exact=True).fill("nosuch")
    one.get_by_role("button", name="Send").click()
    expect(one.get_by_role("status")).to_contain_text("404")
    expect(one.get_by_role("status")).to_contain_text("nosuch")


def test_its_commands_work_as_they_are(office: Served, open_page: Open) -> None:
    page = open_page(f"{office.base}/docs")
    start = operation(page, "POST", "/orchestrators/Open")
    command = start.locator(".command code").inner_text()
    ran = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=30, check=True)
    assert '"statusQueryGetUri"' in ran.stdout
