"""A real Chromium before real processes. Whatever goes wrong in a page fails the test that opened it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request, sync_playwright

from tests.cli.test_processes import Command
from tests.kill.conftest import ROOT, eventually, request
from tests.kill.test_demo import Demo

API = "runtime/webhooks/durabletask"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium_path() -> str | None:
    named = os.environ.get("BIDE_CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium_path()
    if path is None:
        pytest.skip("No Chromium here: apt-get install chromium, or name one in BIDE_CHROMIUM.")
    with sync_playwright() as playwright:
        yield from _launched(playwright, path)


def _launched(playwright: Playwright, path: str) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
    yield browser
    browser.close()


class Watch:
    """What went wrong in pages: faults in scripts, violations of the policy, requests to other hosts."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def over(self, page: Page) -> None:
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        # Chromium itself reports each answer that is a refusal, and each stream that broke; both are meant here.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.faults.append(message.text)

    def _asked(self, asked: Request) -> None:
        address = urlsplit(asked.url)
        if address.scheme not in ("data", "blob") and address.hostname != "127.0.0.1":
            self.faults.append(f"a request to {asked.url}")


Open = Callable[..., Page]
"""`open(url, width=1280, dark=False, **options)`: a page in a browser of its own."""


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    watch = Watch()
    contexts = []

    def opened(url: str, *, width: int = 1280, dark: bool = False, **options: Any) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", **options
        )
        contexts.append(context)
        context.set_default_timeout(15_000)
        page = context.new_page()
        watch.over(page)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert watch.faults == []


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    running = Demo(tmp_path_factory.mktemp("demo"))
    yield running
    running.stop()


class Served:
    """`bide serve` over an app, and shorthands for its API."""

    def __init__(self, directory: Path, app: Path, port: int = 0, **environ: str) -> None:
        self._command = Command(directory, "serve", str(app), "--port", str(port), "--db", "office.db", **environ)
        self.base = self._command.base

    def stop(self) -> None:
        self._command.stop()

    def start(self, name: str, body: bytes = b"", instance_id: str = "") -> str:
        path = "/".join(filter(None, ("orchestrators", name, instance_id)))
        status, answer = request("POST", f"{self.base}/{path}", body)
        assert status == 202, answer
        return str(answer["id"])

    def status(self, instance_id: str) -> Any:
        return request("GET", f"{self.base}/{API}/instances/{instance_id}")[1]

    def answered(self, instance_id: str) -> Any:
        """The data of the last event that came."""
        steps = request("GET", f"{self.base}/{API}/instances/{instance_id}/history")[1]["steps"]
        return [fact["input"] for step in steps for fact in step["facts"] if fact["type"] == "EventRaised"][-1]

    def waiting(self, name: str, body: bytes = b"", instance_id: str = "") -> str:
        started = self.start(name, body, instance_id)
        eventually("it waits", lambda: self.status(started).get("waits") or None)
        return started

    def ended(self, instance_id: str, limit_s: float = 30) -> Any:
        ended = ("Completed", "Failed", "Terminated")
        return eventually(
            "it ends",
            lambda: next((s for s in [self.status(instance_id)] if s["runtimeStatus"] in ended), None),
            limit_s,
        )


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("office"), ROOT / "tests/web/office.py")
    yield served
    served.stop()
