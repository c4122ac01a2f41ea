"""The whole demo by clicks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from playwright.sync_api import Page, expect

from tests.kill.test_demo import Demo
from tests.web.browser.conftest import Open

pytestmark = pytest.mark.browser


LINES = count(201)
"""The last digits of numbers that have got no message yet."""


@pytest.fixture
def phone(demo: Demo, open_page: Open) -> Page:
    """The page, after 'Send code', with the message there."""
    page = open_page(f"{demo.base}/dev/phone?to=%2B12025550{next(LINES)}")
    page.get_by_role("button", name="Send code").click()
    expect(page.locator(".engine .ring")).to_be_visible()
    expect(page.locator(".code-chip")).to_have_count(1)
    return page


def outcome(page: Page, text: str) -> None:
    expect(page.locator(".outcome")).to_contain_text(text)


def test_a_tap_on_the_code_verifies(phone: Page) -> None:
    expect(phone.locator(".engine")).to_contain_text("Waiting for SmsChallengeResponse")
    expect(phone.locator(".engine .clock")).to_have_text("1:30", timeout=2_000)
    expect(phone.locator(".engine .clock")).not_to_have_text("1:30", timeout=3_000)
    expect(phone.locator(".tries")).to_contain_text("4 tries left")
    phone.locator(".code-chip").click()
    outcome(phone, "Verified")


def test_a_typed_code_verifies(phone: Page) -> None:
    code = phone.locator(".code-chip").inner_text()
    phone.get_by_label("The code from the message").fill(f" {code} ")
    phone.get_by_role("button", name="Answer", exact=True).click()
    outcome(phone, "Verified")
    verdict(phone, "Thank you: this number is yours.")


def test_it_can_be_done_by_keys_alone(demo: Demo, open_page: Open) -> None:
    page = open_page(f"{demo.base}/dev/phone?to=%2B12025550{next(LINES)}")
    page.get_by_label("Phone number").press("Enter")
    code = page.get_by_label("The code from the message")
    expect(code).to_be_focused()
    page.keyboard.press("Enter")  # nothing is typed yet, so nothing is sent
    page.locator(".code-chip").wait_for()
    page.keyboard.type("9")
    page.keyboard.press("Enter")
    verdict(page, "A code is 4 digits")
    expect(code).to_be_focused()
    page.keyboard.type(page.locator(".code-chip").inner_text())
    page.keyboard.press("Enter")
    verdict(page, "this number is yours")
    assert page.evaluate("document.activeElement !== document.body")


def verdict(page: Page, text: str) -> None:
    """What the person is told."""
    expect(page.locator(".person .verdict")).to_contain_text(text)


def test_four_wrong_codes_end_it(phone: Page) -> None:
    for left in ("3 tries left", "2 tries left", "1 try left"):
        phone.get_by_role("button", name="Wrong code").click()
        expect(phone.locator(".tries")).to_contain_text(left)
        verdict(phone, f"That was not the code. {left}.")
    phone.get_by_role("button", name="Wrong code").click()
    outcome(phone, "Not verified")
    verdict(phone, "This number is not verified: too many codes were wrong.")
    expect(phone.get_by_label("The code from the message")).to_have_count(0)
    expect(phone.get_by_role("button", name="Wrong code")).to_be_disabled()
    expect(phone.locator(".timeline [data-row]")).to_have_count(6)


def test_what_is_no_code_costs_no_try(phone: Page) -> None:
    phone.get_by_label("The code from the message").fill("123")
    phone.get_by_role("button", name="Answer", exact=True).click()
    expect(phone.locator(".engine")).to_contain_text(
        "A code is 4 digits. The last answer was none, and cost no try."
    )
    expect(phone.locator(".tries")).to_contain_text("4 tries left")
    verdict(phone, "A code is 4 digits. The last answer was none, and cost no try.")
    phone.locator(".code-chip").click()
    outcome(phone, "Verified")


def test_it_expires_when_time_is_skipped(phone: Page) -> None:
    phone.get_by_role("button", name="Skip 85 s").click()
    expect(phone.locator(".engine .clock")).to_have_text("0:05", timeout=3_000)
    expect(phone.locator(".engine .ring")).to_have_class("ring urgent")
    phone.get_by_role("button", name="Skip 85 s").click()
    outcome(phone, "Not verified")
    verdict(phone, "This number is not verified: the time is up.")
    expect(phone.get_by_role("button", name="Wait SmsChallengeResponse: nobody answered in time")).to_be_visible()


def test_a_killed_worker_comes_back_and_the_code_still_works(phone: Page) -> None:
    sent = phone.locator(".bubble").count()
    phone.get_by_role("button", name="Kill the worker").click()
    expect(phone.locator(".engine .banner")).to_contain_text("The worker is down")
    before = phone.locator(".engine .clock").inner_text()
    expect(phone.locator(".engine .clock")).not_to_have_text(before)
    expect(phone.locator(".engine .banner")).to_have_count(0)
    expect(phone.locator(".tl-note")).to_contain_text("another went on")
    assert phone.locator(".bubble").count() == sent, "no SMS was sent again"
    phone.locator(".code-chip").click()
    outcome(phone, "Verified")


@pytest.fixture
def fault(demo: Demo, open_page: Open, request: pytest.FixtureRequest) -> Iterator[Page]:
    page = open_page(f"{demo.base}/dev/phone?to=%2B12025550{request.param[1]}")
    page.get_by_role("button", name=request.param[0], exact=True).click()
    expect(page.get_by_role("button", name=request.param[0], exact=True)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Send code").click()
    yield page
    expect(page.locator("[aria-pressed=true]", has_text=request.param[0])).to_have_count(0)


@pytest.mark.parametrize("fault", [("Refuse: 21211", 101)], indirect=True)
def test_a_refused_number_fails_it_with_the_providers_reason(fault: Page) -> None:
    outcome(fault, "Failed")
    expect(fault.locator(".outcome")).to_contain_text("21211")
    verdict(fault, "No message could be sent to this number.")


@pytest.mark.parametrize("fault", [("Lose it", 102)], indirect=True)
def test_a_lost_message_never_arrives_and_the_engine_waits(fault: Page) -> None:
    expect(fault.locator(".engine")).to_contain_text("Waiting for SmsChallengeResponse")
    expect(fault.locator(".quiet-screen")).to_be_visible()
    verdict(fault, "The message is on its way")


@pytest.mark.parametrize("fault", [("Fail: 30003", 103)], indirect=True)
def test_a_message_that_is_not_delivered_says_so(fault: Page) -> None:
    expect(fault.locator(".bubble.failed")).to_contain_text("30003")


@pytest.mark.parametrize("fault", [("Deliver late", 104)], indirect=True)
def test_a_late_message_comes_late(fault: Page) -> None:
    expect(fault.locator(".engine")).to_contain_text("Waiting for SmsChallengeResponse")
    expect(fault.locator(".quiet-screen")).to_be_visible()
    expect(fault.locator(".code-chip")).to_be_visible(timeout=15_000)


def test_two_numbers_are_two_telephones(demo: Demo, open_page: Open) -> None:
    page = open_page(f"{demo.base}/dev/phone")
    for number in ("+12025550151", "+12025550152"):
        page.get_by_label("Phone number").fill(number)
        page.get_by_label("Phone number").press("Enter")
        expect(page.locator(".handset .title")).to_contain_text(number)
        expect(page.locator(".code-chip")).to_have_count(1)
    page.get_by_role("button", name="+12025550151").click()
    expect(page.locator(".handset .title")).to_contain_text("+12025550151")


def test_a_number_that_is_none_is_refused_in_words(demo: Demo, open_page: Open) -> None:
    page = open_page(f"{demo.base}/dev/phone")
    page.get_by_label("Phone number").fill("call me")
    page.locator(".person .primary").click()
    outcome(page, "Failed")
    verdict(page, "No message could be sent to this number. Is it right?")
    page.set_viewport_size({"width": 390, "height": 900})
    page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")  # once it is laid out anew
    box, text = (page.locator(each).bounding_box() for each in (".engine", ".outcome p"))
    assert box is not None
    assert text is not None
    assert text["x"] + text["width"] <= box["x"] + box["width"]
