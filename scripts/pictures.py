"""Take the README's pictures anew, in light and dark: `make pictures`. They go to docs/pictures.

Everything in them is real: a demo whose worker is killed with `kill -9`, and an app with people to wait for.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
QUALITY = 82
WAITING = {
    "Approval": {"invoice-2041": "Ann", "invoice-2042": "Bert"},
    "AskTheBoardForItsVerdict": {
        "expense-118": 3 * 3600,
        "expense-121": 6 * 86_400 + 84_000,
        "expense-97": 21 * 86_400,
    },
    "Open": {"account-71": {"owner": "Dora", "password": "…"}},
}
ENDED = {"Echo": {f"echo-{number}": "x" for number in range(12)}, "Payment": {"payment-77": 77}}


@contextmanager
def running(directory: Path, *arguments: str) -> Iterator[str]:
    """The URL of a server."""
    command = [sys.executable, "-m", "bide.cli", *arguments, "--port", "0", "--db", "pictures.db"]
    with subprocess.Popen(command, cwd=directory, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            yield next(found[1] for line in server.stderr if (found := re.search(r" on (http://\S+)", line)))
        finally:
            server.send_signal(signal.SIGTERM)


def take(page: Page, name: str, height: int) -> None:
    """Both pictures of what the page shows."""
    page.set_viewport_size({"width": 1280, "height": height})
    session = page.context.new_cdp_session(page)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(400)
        shot = session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
        path = PICTURES / f"{name}-{scheme}.webp"
        path.write_bytes(base64.b64decode(shot["data"]))
        print(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1000:.0f} kB")


def demo(browser: Browser, directory: Path) -> None:
    """The dev phone in the middle of a verification, and its timeline after a kill and the right code."""
    with running(directory, "demo") as url:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{url}/dev/phone")
        page.get_by_role("button", name="Send code").click()
        page.locator(".code-chip").wait_for()
        page.wait_for_timeout(8_000)
        page.get_by_role("button", name="Wrong code").click()
        page.wait_for_timeout(13_000)
        take(page, "dev-phone", 780)
        page.get_by_role("button", name="Kill the worker").click()
        page.locator(".tl-note").wait_for()
        page.wait_for_timeout(4_000)
        page.locator(".code-chip").click()
        expect(page.locator(".outcome")).to_contain_text("Verified")
        page.locator(".engine header a").click()
        page.locator(".tl-note").wait_for()
        take(page, "timeline", 560)


def home(browser: Browser, directory: Path) -> None:
    with running(directory, "serve", str(ROOT / "tests/web/office.py")) as url:
        for name, instances in (WAITING | ENDED).items():
            for instance_id, value in instances.items():
                httpx2.post(f"{url}/orchestrators/{name}/{instance_id}", json=value).raise_for_status()
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        expect(page.locator(".waits li")).to_have_count(sum(map(len, WAITING.values())))
        expect(page.locator(".failures li")).to_have_count(1)
        page.wait_for_timeout(20_000)
        take(page, "home", 720)


def main() -> None:
    chromium = os.environ.get("BIDE_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("Pictures need a Chromium: apt-get install chromium, or name one in BIDE_CHROMIUM.")
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as name:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for take_all in (demo, home):
            directory = Path(name) / take_all.__name__
            directory.mkdir()
            take_all(browser, directory)
        browser.close()


if __name__ == "__main__":
    main()
