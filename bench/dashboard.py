"""How soon the dashboard shows its data in a browser, and whether long lists scroll without a hitch.

    python bench/dashboard.py --n 100000

Fills a database with instances, serves it in a process of its own, and opens it in Chromium: the home page in a
fresh browser each time, then a thousand rows of the list, then a history of 5,000 facts. A time is that from the
beginning of the navigation until the first frame with data. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
from lists import NOW, fill, serving
from playwright.sync_api import Browser, Page, sync_playwright

from bide.model.batch import Batch, HistoryRow
from bide.model.instance import PARTITIONS, Instance, RuntimeStatus
from bide.store.sqlite.store import SqliteStore

LONG = "a-long-history"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

SHOWN = """selector => {
  const look = () => document.querySelector(selector)
    ? requestAnimationFrame(() => setTimeout(() => (document.documentElement.dataset.shown = performance.now())))
    : requestAnimationFrame(look);
  look();
}"""

SCROLL = """async () => {
  const spans = [];
  let last = performance.now();
  for (let frame = 0; frame < 120; frame++) {
    scrollBy(0, 400);
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    spans.push(now - last);
    last = now;
  }
  return spans.sort((one, other) => one - other);
}"""


async def fill_long(path: Path, facts: int) -> None:
    """One finished instance with many facts, two a step."""
    store = SqliteStore(path)
    await store.open()
    epochs = await store.acquire("bench", 0, 2**60, PARTITIONS)
    batch = Batch(NOW, epochs=epochs)
    batch.instances[LONG] = Instance(LONG, "approve", RuntimeStatus.COMPLETED, NOW, NOW)
    for seq in range(facts // 2):
        message: dict[str, Any] = {"type": "TaskCompleted", "id": seq, "result": f"told {seq}"}
        if seq == 0:
            message = {"type": "ExecutionStarted", "name": "approve"}
        call = {"type": "TaskScheduled", "id": seq + 1, "name": "notify", "input": [str(seq)]}
        batch.history.append(HistoryRow(LONG, 0, seq, NOW + seq * 1000, json.dumps([message, call]).encode()))
    await store.commit(batch)
    await store.release("bench", epochs)
    await store.close()


def opened(browser: Browser, url: str, selector: str) -> tuple[Page, float]:
    """A page in a browser that knows nothing of it yet, and after how many milliseconds it showed its data."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.add_init_script(f"addEventListener('DOMContentLoaded', () => ({SHOWN})({json.dumps(selector)}))")
    page.goto(url)
    return page, float(page.locator("html[data-shown]").get_attribute("data-shown") or "nan")


def measure(browser: Browser, url: str, times: int) -> dict[str, float]:
    homes: list[float] = []
    for _ in range(times):
        page, shown = opened(browser, url, ".waits li")
        homes.append(shown)
        page.context.close()
    figures = {"home_ms_p50": statistics.median(homes), "home_ms_max": max(homes)}
    page, figures["list_ms"] = opened(browser, f"{url}/instances", "tbody tr")
    for count in range(2, 21):
        page.get_by_role("button", name="Show more").click()
        page.locator("tbody tr").nth(count * 50 - 1).wait_for()
    figures |= frames("list", page)
    for tab, selector in (("history", ".fact"), ("timeline", ".timeline [data-row]")):
        page, figures[f"{tab}_ms"] = opened(browser, f"{url}/instances/{LONG}/{tab}", selector)
        figures |= frames(tab, page)
    return figures


def frames(name: str, page: Page) -> dict[str, float]:
    """The median and the 99th percentile of frames while it scrolls."""
    spans: list[float] = page.evaluate(SCROLL)
    return {f"{name}_frame_ms_p50": spans[len(spans) // 2], f"{name}_frame_ms_p99": spans[int(len(spans) * 0.99)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="instances")
    parser.add_argument("--facts", type=int, default=5_000, help="facts of the long history")
    parser.add_argument("--times", type=int, default=11, help="how often home is opened")
    options = parser.parse_args()
    chromium = os.environ.get("BIDE_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        asyncio.run(fill(directory / "hub.db", options.n))
        asyncio.run(fill_long(directory / "hub.db", options.facts))
        with serving(directory) as (url, _), sync_playwright() as playwright:
            while httpx2.get(f"{url}/readyz").status_code != 200:
                time.sleep(0.05)
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            figures = {key: round(value, 1) for key, value in measure(browser, url, options.times).items()}
            browser.close()
    for key, value in figures.items():
        print(f"{key:<24}{value:8.1f}")
    print(json.dumps({"n": options.n, "facts": options.facts, **figures, "cpus": os.cpu_count()}))


if __name__ == "__main__":
    main()
