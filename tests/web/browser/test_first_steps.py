"""What a newcomer is told to do works; and what does not go on is seen at once."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.kill.conftest import ROOT, eventually, request
from tests.web.browser.conftest import API, Open, Served

pytestmark = pytest.mark.browser

SAMPLE = ROOT / "examples/phone_verification/app.py"
TEMPLATES = ROOT / "src/bide/cli/templates"


def app_file(name: str, directory: Path) -> Path:
    if name in ("hello", "approval"):
        path = directory / "app.py"
        path.write_text((TEMPLATES / name / "app.py.txt").read_text())
        return path
    return {"phone": SAMPLE, "office": ROOT / "tests/web/office.py"}[name]


@pytest.mark.parametrize("name", ["hello", "approval", "phone", "office"])
def test_the_command_on_an_empty_page_starts_an_instance_that_does_not_fail(
    tmp_path: Path, open_page: Open, name: str
) -> None:
    served = Served(tmp_path, app_file(name, tmp_path), BIDE_ENVIRONMENT="development")
    try:
        for view in ("", "instances"):
            page = open_page(f"{served.base}/{view}")
            expect(page.get_by_text("Nothing has been started yet")).to_be_visible()
            command = page.locator(".command code").inner_text()
        program, *arguments = shlex.split(command)
        assert program == "bide"
        run = [sys.executable, "-m", "bide.cli", *arguments, "-o", "table"]
        started = subprocess.run(run, capture_output=True, text=True, timeout=30, check=True, cwd=tmp_path)
        shown = eventually("it waits", lambda: served.status(started.stdout.strip()).get("waits") or None)
        assert shown
    finally:
        served.stop()


@pytest.mark.parametrize("name", ["phone"])
def test_the_form_is_filled_in_with_the_example_that_the_app_gives(
    tmp_path: Path, open_page: Open, name: str
) -> None:
    served = Served(tmp_path, app_file(name, tmp_path), BIDE_ENVIRONMENT="development")
    try:
        page = open_page(served.base)
        page.get_by_role("link", name="Start one here").click()
        expect(page.get_by_label("Phone number")).to_have_value("+12025550123")
        page.get_by_role("button", name="Start", exact=True).click()
        expect(page.locator(".waiting-for")).to_contain_text("SmsChallengeResponse")
    finally:
        served.stop()


def test_an_app_whose_inputs_nobody_can_guess_shows_a_form_and_no_command(tmp_path: Path, open_page: Open) -> None:
    (tmp_path / "app.py").write_text("""
from typing import Annotated
from msgspec import Meta
from bide import App, OrchestrationContext

app = App()

@app.orchestrator
async def order(ctx: OrchestrationContext, number: Annotated[str, Meta(pattern="^[A-Z]{2}[0-9]{3}$")]) -> str:
    return number
""")
    served = Served(tmp_path, tmp_path / "app.py")
    try:
        page = open_page(served.base)
        expect(page.get_by_role("link", name="Start one here")).to_be_visible()
        expect(page.locator(".command")).to_have_count(0)
    finally:
        served.stop()


BEFORE = """
from bide import App, OrchestrationContext

app = App()

@app.orchestrator
async def trip(ctx: OrchestrationContext) -> str:
    await ctx.wait_for_external_event("Ticket", str)
    return await ctx.wait_for_external_event("Bill", str)
"""


def test_what_is_held_is_told_at_home_and_in_the_list(tmp_path: Path, open_page: Open) -> None:
    file = tmp_path / "app.py"
    file.write_text(BEFORE)
    before = Served(tmp_path, file)
    before.waiting("trip", b"", "held-one")
    before.waiting("trip", b"", "free-one")
    before.stop()
    file.write_text(BEFORE.replace("Ticket", "Passport"))
    served = Served(tmp_path, file)
    try:
        request("POST", f"{served.base}/{API}/instances/held-one/raiseEvent/Ticket", b'"x"')
        eventually("it is held", lambda: served.status("held-one").get("held"))
        page = open_page(served.base)
        expect(page.locator(".banner")).to_contain_text("An instance is held.")
        expect(page.locator(".banner").get_by_role("link", name="held-one")).to_be_visible()
        expect(page.locator(".waits li", has_text="held-one").locator(".held")).to_be_visible()
        expect(page.locator(".waits li", has_text="free-one").locator(".held")).to_have_count(0)
        page.goto(f"{served.base}/instances")
        expect(page.locator("tbody tr")).to_have_count(2)
        page.get_by_label("Add a filter").select_option("held")
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("tbody")).to_contain_text("held-one")
        page.get_by_role("button", name="Remove Held").click()
        expect(page.locator("tbody tr")).to_have_count(2)
    finally:
        served.stop()
