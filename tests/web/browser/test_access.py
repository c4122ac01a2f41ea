"""Every page, in light and dark, wide and narrow: axe finds nothing serious, and nothing sticks out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.kill.conftest import ROOT, eventually, request
from tests.kill.test_demo import Demo
from tests.web.browser.conftest import API, Open, Served

pytestmark = pytest.mark.browser


OVERLAPS = """() => {
  const shown = (element) =>
    element.checkVisibility({ visibilityProperty: true }) && getComputedStyle(element).clipPath === "none" &&
    !element.closest("svg, option, textarea, script, style, noscript, .tl-card, .sr-only, .skip") &&
    (element.closest("dialog[open]") || !document.querySelector("dialog[open]"));
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const texts = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const text = node.data.trim();
    if (!text || !shown(node.parentElement)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    texts.push(...[...range.getClientRects()].map((box) => ({ text, box })));
  }
  const over = (one, other) =>
    Math.min(one.right, other.right) - Math.max(one.left, other.left) > 2 &&
    Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top) > 6;
  const pairs = texts.flatMap((one, place) => texts.slice(place + 1).map((other) => [one, other]));
  const found = pairs.filter(([one, other]) => one.text !== other.text && over(one.box, other.box));
  return found.slice(0, 5).map(([one, other]) => [one.text, other.text]);
}"""
"""Texts that stand on others."""


def judge(page: Page, *, every: bool = False) -> None:
    """No serious or critical finding; with `every`, none at all.

    Nothing is wider than the window, and no text stands on another.
    """
    assert page.evaluate(OVERLAPS) == []
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    grave = [each for each in found if every or each["impact"] in ("serious", "critical")]
    assert [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in grave] == []
    wide, seen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= seen, f"{wide} px in a window of {seen} px"


SPANS = {
    "in-minutes": 3_500,
    "in-hours": 86_340,
    "in-days": 604_700,
    "in-months": 200 * 86_400,
    "in-years": 1_200 * 86_400,
    "without-end": 0,
}
"""Instances that wait for so many seconds."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An office where something of everything has happened."""
    served = Served(tmp_path_factory.mktemp("filled"), ROOT / "tests/web/office.py")
    served.waiting("Approval", b'"Ann"', "approval")
    served.waiting("Letters", b"2", "letters")
    for name, seconds in SPANS.items():
        served.waiting("AskTheBoardForItsVerdict", str(seconds).encode(), name)
    served.ended(served.start("Payment", b"3", "payment"))
    served.ended(served.start("Echo", b'"x"', "echo"))
    request("POST", f"{served.base}/{API}/instances/approval/raiseEvent/Aproval", b"1")
    yield served
    served.stop()


VIEWS = (
    "",
    "instances",
    "instances?runtimeStatus=Suspended",
    "instances/approval",
    "instances/approval/answer",
    "instances/in-hours",
    "instances/in-months/answer",
    "instances/approval/history",
    "instances/approval/history?seq=1",
    "instances/approval/sequence",
    "instances/letters/tree",
    "instances/payment",
    "instances/payment/data",
    "instances/approval/audit",
    "instances/nobody",
    "start?name=Open",
    "timers",
    "workers",
    "metrics",
    "audit",
    "docs",
    "nosuch/page",
)
LOOKS = [
    pytest.param(1280, False, id="wide"),
    pytest.param(1280, True, id="dark"),
    pytest.param(390, False, id="narrow"),
]


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_every_view_can_be_used_by_everybody(filled: Served, open_page: Open, width: int, dark: bool) -> None:
    page = open_page(filled.base, width=width, dark=dark)
    for view in VIEWS:
        page.goto(f"{filled.base}/{view}")
        expect(page.get_by_role("heading", level=1)).to_be_attached()
        judge(page)


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_dialogs_too(filled: Served, open_page: Open, width: int, dark: bool) -> None:
    page = open_page(f"{filled.base}/instances/approval", width=width, dark=dark)
    page.get_by_role("button", name="Terminate…").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    judge(page)
    page.goto(f"{filled.base}/instances")
    page.get_by_text("Act on all…").click()
    page.get_by_role("button", name="Purge all…").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    judge(page)
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    judge(page)


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_the_dev_phone_too(demo: Demo, open_page: Open, width: int, dark: bool) -> None:
    page = open_page(f"{demo.base}/dev/phone?to=%2B1202555{width:04d}", width=width, dark=dark)
    page.get_by_role("button", name="Send code").click()
    expect(page.locator(".code-chip").first).to_be_visible()
    expect(page.locator(".timeline [data-row]")).to_have_count(3)
    judge(page)


RINGS = """() => [...document.querySelectorAll(".ring:not(.none)")].map((ring) => {
  const [box, text] = [ring.querySelector("svg") ?? ring, ring.querySelector(".clock") ?? ring].map((each) => {
    const range = document.createRange();
    range.selectNodeContents(each);
    return (each.tagName === "svg" ? each : range).getBoundingClientRect();
  });
  return [ring.textContent.trim(), text.left - box.left, box.right - text.right, text.height];
})"""


@pytest.mark.parametrize("width", [1440, 390])
def test_what_is_left_fits_into_its_ring_however_long_it_is(filled: Served, open_page: Open, width: int) -> None:
    page = open_page(filled.base, width=width)
    expect(page.locator(".waits li")).to_have_count(len(SPANS) + 2)
    for view in ("", *(f"instances/{name}/answer" for name in SPANS)):
        page.goto(f"{filled.base}/{view}")
        expect(page.locator(".ring").first).to_be_visible()
        for text, before, after, height in page.evaluate(RINGS):
            assert min(before, after) >= 4, (view, text)
            assert height < 32, f"{text} is on two lines"


def test_a_countdown_is_exact_beside_its_ring(filled: Served, open_page: Open) -> None:
    page = open_page(filled.base, width=390)
    row = page.locator(".waits li", has_text="in-days")
    expect(row.locator(".clock")).to_have_text("6\u00a0d")
    expect(row.locator(".when")).to_contain_text("due in 6 d 23 h")
    expect(page.locator(".waits li", has_text="in-months").locator(".clock")).to_have_text("6\u00a0mo")
    expect(page.locator(".waits li", has_text="in-years").locator(".clock")).to_have_text("3\u00a0y")


def test_a_wait_is_due_at_the_end_and_not_at_a_reminder(filled: Served, open_page: Open) -> None:
    page = open_page(f"{filled.base}/instances/in-days")
    expect(page.locator(".waiting-for")).to_contain_text("due in 6 d 23 h")
    theirs = open_page(persons_page(filled, "in-days", "Verdict"))
    expect(theirs.locator(".times")).to_contain_text("(in 6 days)")


@pytest.mark.parametrize("view", ["audit", "metrics", "workers"])
def test_the_chosen_item_of_the_menu_is_in_sight(filled: Served, open_page: Open, view: str) -> None:
    page = open_page(f"{filled.base}/{view}", width=390)
    expect(page.locator(".bar [aria-current]")).to_be_in_viewport(ratio=0.99)


def test_so_is_the_dev_phone(demo: Demo, open_page: Open) -> None:
    page = open_page(f"{demo.base}/dev/phone", width=390)
    expect(page.locator(".bar [aria-current]")).to_have_text("Dev phone")
    expect(page.locator(".bar [aria-current]")).to_be_in_viewport(ratio=0.99)


def test_a_table_is_cards_where_it_is_narrow(filled: Served, open_page: Open) -> None:
    page = open_page(f"{filled.base}/audit", width=390)
    row = page.locator("tbody tr", has_text="raiseEvent")
    for cell in row.locator("td:not(:empty)").all():
        expect(cell).to_be_in_viewport(ratio=1)
    frame = page.locator(".table-frame")
    assert frame.evaluate("element => element.scrollWidth <= element.clientWidth")


def test_names_are_whole_where_there_is_room(demo: Demo, open_page: Open) -> None:
    demo.start("long-names")
    page = open_page(f"{demo.base}/dev/phone?instance=long-names", width=1440)
    name = page.locator(".tl-label b").first
    expect(name).to_have_text("E4_SendSmsChallenge")
    assert name.evaluate("element => element.scrollWidth <= element.clientWidth")


def persons_page(served: Served, instance_id: str, event: str) -> str:
    url = f"{served.base}/{API}/instances/{instance_id}/responseLinks/{event}"
    status, answer = request("POST", url, b"")
    assert status == 201, answer
    return str(answer["url"])


@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_a_persons_form_needs_no_script_and_fits_the_smallest_screen(
    filled: Served, open_page: Open, width: int, dark: bool
) -> None:
    filled.waiting("Approval", b'"Ann"', f"person-{width}-{dark}")
    address = persons_page(filled, f"person-{width}-{dark}", "Approval")
    judge(open_page(address, width=width, dark=dark), every=True)
    page = open_page(address, width=width, dark=dark, java_script_enabled=False)
    page.get_by_label("Yes").check()
    page.get_by_label("Amount").fill("12")
    page.get_by_label("severe").check()
    page.get_by_role("button", name="Send").click()
    assert filled.ended(f"person-{width}-{dark}")["output"] is True
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    judge(open_page(address, width=width, dark=dark), every=True)  # it was answered, says the page now


def test_a_code_has_an_input_of_its_own_and_the_person_sees_what_is_left(demo: Demo, open_page: Open) -> None:
    code = demo.start("person")
    url = f"{demo.base}/{API}/instances/person/responseLinks/SmsChallengeResponse"
    address = eventually("the link", lambda: request("POST", url, b"")[1].get("url"))
    page = open_page(address, width=320, java_script_enabled=False)
    field = page.locator("input[autocomplete=one-time-code]")
    expect(field).to_have_count(1)
    expect(field).to_have_attribute("inputmode", "numeric")
    expect(page.locator("body")).to_contain_text("4 tries left")
    assert code not in page.content()
    judge(open_page(address, width=320), every=True)
    field.fill(f"{(int(code) + 1) % 10_000:04d}")
    page.get_by_role("button").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Thank you")  # nothing tells whether it was right
