"""The dashboard by clicks and keys."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from playwright.sync_api import Page, expect

from bide.cli import main
from tests.kill.conftest import ROOT, request
from tests.web.browser.conftest import API, Open, Served

pytestmark = pytest.mark.browser

BULK = 130
"""More than one step of a bulk action."""


def heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_contain_text(text)


# --- answering


def test_a_value_that_does_not_fit_is_refused_at_its_field_and_another_is_accepted(
    office: Served, open_page: Open
) -> None:
    waiting = office.waiting("Approval", b'"Ann"')
    page = open_page(f"{office.base}/instances/{waiting}/answer")
    form = page.locator(".question form")
    form.get_by_text("Yes", exact=True).click()
    form.get_by_text("severe").click()
    form.get_by_label("amount").fill("9999")
    form.get_by_role("button", name="Send").click()
    expect(form.locator(".field.wrong")).to_contain_text("amount")
    expect(form.locator(".field.wrong")).to_contain_text("5000")
    assert office.status(waiting)["runtimeStatus"] == "Running"
    form.get_by_label("amount").fill("4999")
    form.get_by_role("button", name="Send").click()
    expect(page.locator(".sent")).to_contain_text("Approval was accepted")
    assert office.ended(waiting)["output"] is True
    expect(page.get_by_role("heading", level=1)).to_contain_text("Completed")


def test_a_form_has_the_words_of_its_type(office: Served, open_page: Open) -> None:
    waiting = office.waiting("AskTheBoardForItsVerdict", b"600")
    page = open_page(office.base)
    expect(page.locator(".waits li", has_text=waiting)).to_contain_text("Ada spent it on a train.")
    page.goto(f"{office.base}/instances/{waiting}/answer")
    form = page.locator(".question form")
    expect(form).to_contain_text("Approve this expense?")
    expect(form).to_contain_text("more than 0, less than 1000")
    form.get_by_text("Yes", exact=True).click()
    form.get_by_label("How much, in euros").fill("12,5")
    form.get_by_role("button", name="Send").click()
    assert office.ended(waiting)["output"] is True
    assert office.answered(waiting)["euros"] == 12.5


def test_an_answer_may_be_written_as_json(office: Served, open_page: Open) -> None:
    waiting = office.waiting("Approval", b'"Ann"')
    page = open_page(f"{office.base}/instances/{waiting}/answer")
    form = page.locator(".question form")
    form.get_by_label("amount").fill("12")
    form.get_by_text("Yes", exact=True).click()
    form.get_by_text("low").click()
    form.get_by_role("button", name="As JSON").click()
    expect(form.get_by_label("JSON")).to_have_value(re.compile('"amount": 12'))
    form.get_by_label("JSON").fill('{"approved": false, "amount": 0, "level": "high"')
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("alert")).to_contain_text("not JSON")
    form.get_by_label("JSON").fill('{"approved": false, "amount": 0, "level": "high"}')
    form.get_by_role("button", name="Send").click()
    assert office.ended(waiting)["output"] is False


def test_an_event_that_nobody_awaits_is_kept_and_the_right_name_is_suggested(
    office: Served, open_page: Open
) -> None:
    waiting = office.waiting("Approval", b'"Ann"')
    page = open_page(f"{office.base}/instances/{waiting}/answer")
    page.get_by_text("Another event").click()
    page.get_by_label("Name").fill("Aproval")
    expect(page.locator(".other .warn")).to_contain_text("Awaited: Approval")
    page.locator(".other").get_by_label("JSON").fill("1")
    page.get_by_role("button", name="Send the event").click()
    expect(page.locator(".unawaited")).to_contain_text("Nearly Approval")


def test_a_person_without_a_key_gets_a_link(office: Served, open_page: Open) -> None:
    waiting = office.waiting("Open", b'{"owner": "Ann", "password": "hunter2"}')
    page = open_page(f"{office.base}/instances/{waiting}/answer")
    page.get_by_role("button", name="Link for the person").click()
    link = page.get_by_role("link", name="Their page").get_attribute("href")
    theirs = open_page(f"{link}", java_script_enabled=False)
    theirs.locator("input[type=text], textarea").first.fill("Ann")
    theirs.get_by_role("button").first.click()
    assert office.ended(waiting)["runtimeStatus"] == "Completed"


# --- acting


def test_an_instance_is_terminated_with_a_reason(office: Served, open_page: Open) -> None:
    waiting = office.waiting("Approval", b'"Ann"')
    page = open_page(f"{office.base}/instances/{waiting}")
    page.get_by_role("button", name="Terminate…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("not needed any more")
    dialog.get_by_role("button", name="Terminate").click()
    expect(dialog).to_have_count(0)
    heading(page, "Terminated")
    expect(page.locator(".facts")).to_contain_text("not needed any more")
    page.get_by_role("link", name="Audit").last.click()
    expect(page.locator("tbody")).to_contain_text("not needed any more")
    assert office.status(waiting)["output"] == "not needed any more"


def test_a_cancelled_confirmation_does_nothing(office: Served, open_page: Open) -> None:
    waiting = office.waiting("Approval", b'"Ann"')
    page = open_page(f"{office.base}/instances/{waiting}")
    page.get_by_role("button", name="Terminate…").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert office.status(waiting)["runtimeStatus"] == "Running"


def test_suspending_and_resuming_change_what_is_allowed(office: Served, open_page: Open) -> None:
    waiting = office.waiting("Approval", b'"Ann"')
    page = open_page(f"{office.base}/instances/{waiting}")
    for before, after in (("Suspend", "Resume"), ("Resume", "Suspend")):
        page.get_by_role("button", name=f"{before}…").click()
        page.get_by_role("dialog").get_by_role("button", name=before).click()
        expect(page.get_by_role("button", name=f"{after}…")).to_be_visible()


def test_many_are_purged_after_a_preview_with_progress(office: Served, open_page: Open) -> None:
    ids = [office.start("Echo", b'"x"', f"bulk-{number}") for number in range(BULK)]
    for each in ids:
        office.ended(each)
    kept = office.waiting("Approval", b'"Ann"', "bulk-kept")
    page = open_page(f"{office.base}/instances?instanceIdPrefix=bulk-")
    page.get_by_role("button", name="Purge all…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"{BULK} Completed")
    expect(dialog).to_contain_text("The other 1 is in no state for it")
    dialog.get_by_role("button", name=f"Purge {BULK}").click()
    expect(dialog.get_by_role("status")).to_contain_text(f"{BULK} of {BULK}, done")
    dialog.get_by_role("button", name="Close").last.click()
    expect(page.locator("tbody tr")).to_have_count(1)
    assert office.status(kept)["runtimeStatus"] == "Running"
    assert request("GET", f"{office.base}/{API}/instances/{ids[0]}")[0] == 404


def test_the_selected_ones_are_terminated_and_no_others(office: Served, open_page: Open) -> None:
    first, second = (office.waiting("Approval", b'"Ann"', f"pick-{name}") for name in "ab")
    page = open_page(f"{office.base}/instances?instanceIdPrefix=pick-")
    page.get_by_label(f"Select {first}").check()
    page.get_by_role("button", name="Terminate…").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("picked")
    page.get_by_role("dialog").get_by_role("button", name="Terminate 1").click()
    page.get_by_role("dialog").get_by_role("button", name="Close").last.click()
    assert office.ended(first)["output"] == "picked"
    assert office.status(second)["runtimeStatus"] == "Running"


# --- starting


def test_an_instance_is_started_from_a_form(office: Served, open_page: Open) -> None:
    page = open_page(f"{office.base}/start")
    page.get_by_role("button", name="Open", exact=True).click()
    page.get_by_label("owner").fill("Ann")
    page.get_by_label("password").fill("hunter2")
    assert page.get_by_label("password").get_attribute("type") == "password"
    page.get_by_text("Id and tags").click()
    page.get_by_label("Tags").fill("team:north")
    page.get_by_role("button", name="Start", exact=True).click()
    heading(page, "Open")
    started = page.url.rpartition("/")[2]
    shown = office.status(started)
    assert (shown["input"], shown["tags"]) == ({"$hidden": "secret"}, {"team": "north"})


def test_another_is_started_like_this_one(office: Served, open_page: Open) -> None:
    first = office.waiting("Approval", b'"Bert"')
    page = open_page(f"{office.base}/instances/{first}")
    page.get_by_role("link", name="Start like this one").click()
    expect(page.locator(".schema-form input").first).to_have_value("Bert")
    page.get_by_role("button", name="Start", exact=True).click()
    heading(page, "Approval")
    second = page.url.rpartition("/")[2]
    assert second != first
    assert office.status(second)["input"] == "Bert"


def test_an_input_that_does_not_fit_starts_nothing(office: Served, open_page: Open) -> None:
    page = open_page(f"{office.base}/start?name=Letters")
    page.locator(".schema-form input").first.fill("many")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("whole number")


@pytest.mark.parametrize("chosen", ["+1 555", "Müller", "100%2F", "{id}"])
def test_an_instance_is_started_and_found_under_any_id(office: Served, open_page: Open, chosen: str) -> None:
    page = open_page(f"{office.base}/start?name=Approval")
    page.locator(".schema-form input").first.fill("Ann")
    page.get_by_text("Id and tags").click()
    page.get_by_label("Instance id").fill(chosen)
    page.get_by_role("button", name="Start", exact=True).click()
    heading(page, "Approval")
    assert page.url.rpartition("/")[2] == quote(chosen, safe="")
    page.reload()
    heading(page, "Approval")


@pytest.mark.parametrize("chosen", [".", "..", "x/y"])
def test_an_id_that_cannot_be_starts_nothing(office: Served, open_page: Open, chosen: str) -> None:
    page = open_page(f"{office.base}/start?name=Approval")
    page.locator(".schema-form input").first.fill("Ann")
    page.get_by_text("Id and tags").click()
    page.get_by_label("Instance id").fill(chosen)
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("or ..")


# --- looking


def test_who_is_waited_for_appears_and_goes_by_itself(office: Served, open_page: Open) -> None:
    page = open_page(office.base)
    waiting = office.waiting("Approval", b'"Ann"', "appears")
    row = page.locator(".waits li", has_text=waiting)
    expect(row).to_contain_text("Approval")
    expect(row.locator(".clock")).to_have_text(re.compile(r"1[12]:\d\d"))
    answer = b'{"approved": true, "amount": 1, "level": "low"}'
    request("POST", f"{office.base}/{API}/instances/{waiting}/raiseEvent/Approval", answer)
    expect(row).to_have_count(0)


def test_what_failed_lately_is_on_the_first_page(office: Served, open_page: Open) -> None:
    failed = office.start("Payment", b"3")
    office.ended(failed)
    expect(open_page(office.base).locator(".failures li", has_text=failed)).to_contain_text("the ledger is closed")


def test_secrets_are_dots_everywhere(office: Served, open_page: Open) -> None:
    waiting = office.waiting("Open", b'{"owner": "Ann", "password": "hunter2"}')
    request("POST", f"{office.base}/{API}/instances/{waiting}/raiseEvent/Signature", b'"Ann"')
    office.ended(waiting)
    page = open_page(f"{office.base}/instances/{waiting}/data")
    expect(page.locator("main .dots").first).to_be_visible()
    for view in ("", "/data", "/history", "/history?seq=1", "/sequence", "/tree", "/audit"):
        page.goto(f"{office.base}/instances/{waiting}{view}")
        heading(page, "Open")
        page.wait_for_timeout(200)
        assert "hunter2" not in page.content()


def test_children_are_reached_from_the_timeline_and_the_tree(office: Served, open_page: Open) -> None:
    parent = office.waiting("Letters", b"2")
    page = open_page(f"{office.base}/instances/{parent}")
    page.get_by_role("button", name=re.compile("Sub-orchestration Letter")).first.click()
    heading(page, "Letter")
    expect(page.get_by_role("button", name=re.compile("print_letter: completed, .*, 3 attempts"))).to_be_visible()
    page.get_by_role("link", name="Tree").click()
    expect(page.get_by_role("treeitem")).to_have_count(3)
    page.get_by_role("treeitem").first.get_by_role("link").first.click()
    heading(page, "Letters")


def test_what_a_failed_instance_has_left_is_ended(office: Served, open_page: Open) -> None:
    office.start("Leaves", b"", "leaver")
    page = open_page(f"{office.base}/instances/leaver")
    expect(page.locator("header.instance .status")).to_have_text("Failed")
    page.get_by_role("button", name="End its children…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="End its children").click()
    expect(dialog).to_have_count(0)
    page.goto(f"{office.base}/instances/left-by-leaver")
    expect(page.locator("header.instance .status")).to_have_text("Terminated")
    expect(page.get_by_role("button", name="End its children…")).to_have_count(0)


def test_the_sequence_can_be_taken_away(office: Served, open_page: Open, tmp_path: Path) -> None:
    waiting = office.waiting("Approval", b'"Ann"')
    page = open_page(
        f"{office.base}/instances/{waiting}/sequence", permissions=["clipboard-read", "clipboard-write"]
    )
    page.get_by_role("button", name="Copy as Mermaid").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("sequenceDiagram\n")
    assert "actor" in copied
    with page.expect_download() as download:
        page.get_by_role("button", name="Download SVG").click()
    download.value.save_as(tmp_path / "sequence.svg")
    picture = (tmp_path / "sequence.svg").read_text()
    assert picture.startswith("<svg")
    assert "Orchestrator" in picture
    assert "var(--" not in picture


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("find-me-1", r"/instances/find-me-1$"),
        ("find-me", r"/instances\?instanceIdPrefix=find-me$"),
        ("approval", r"/instances\?name=Approval$"),
    ],
)
def test_search_knows_ids_their_beginnings_and_functions(
    office: Served, open_page: Open, text: str, where: str
) -> None:
    if office.status("find-me-1").get("runtimeStatus") is None:
        office.waiting("Approval", b'"Ann"', "find-me-1")
    page = open_page(office.base)
    page.get_by_role("searchbox").fill(text)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(where))


def test_filters_are_the_address(office: Served, open_page: Open) -> None:
    office.ended(office.start("Echo", b'"x"', "filter-a"))
    office.waiting("Approval", b'"Ann"', "filter-b")
    page = open_page(f"{office.base}/instances?instanceIdPrefix=filter-&runtimeStatus=Completed")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_role("group", name="States").get_by_role("button", name="Running").click()
    expect(page).to_have_url(re.compile("runtimeStatus=Completed&runtimeStatus=Running"))
    expect(page.locator("tbody tr")).to_have_count(2)
    page.go_back()
    expect(page.locator("tbody tr")).to_have_count(1)
    page.get_by_label("Add a filter").select_option("name")
    page.get_by_label("Function").fill("Approval")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No instance is like that")).to_be_visible()


def test_a_history_of_thousands_of_facts_renders_what_is_seen(office: Served, open_page: Open) -> None:
    long = office.start("Steps", b"2500")
    office.ended(long, limit_s=60)
    page = open_page(f"{office.base}/instances/{long}/history")
    expect(page.locator("main .tools")).to_contain_text("of 5,002 facts")
    assert page.locator(".fact").count() < 120
    page.get_by_label("Filter facts").fill("timer")
    expect(page).to_have_url(re.compile(r"/history\?facts=timer$"))
    expect(page.locator("main .tools")).to_contain_text("0 of 5,002 facts")
    page.get_by_label("Filter facts").fill("")
    page.locator("main").click()
    page.keyboard.press("End")
    expect(page.locator(".fact").last).to_contain_text("ExecutionCompleted")
    page.goto(f"{office.base}/instances/{long}")
    expect(page.locator(".timeline [data-row]").first).to_be_visible()
    assert page.locator(".timeline [data-row]").count() < 120


# --- keys of the keyboard


def test_everything_is_reached_by_keys(office: Served, open_page: Open) -> None:
    waiting = office.waiting("Approval", b'"Ann"', "zzz-by-keys")
    page = open_page(office.base)
    expect(page.locator(".waits")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    for key, title in (
        ("s", "Start an instance"),
        ("t", "Timers"),
        ("w", "Workers"),
        ("m", "Metrics"),
        ("a", "Audit"),
    ):
        page.keyboard.press("g")
        page.keyboard.press(key)
        heading(page, title)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("zzz-by")
    page.keyboard.press("Enter")
    heading(page, "Instances")  # before it there is the audit, which names it too
    expect(page.locator("tbody tr")).to_have_count(1)
    page.keyboard.press("j")
    expect(page.get_by_role("link", name=waiting)).to_be_focused()
    page.keyboard.press("Enter")
    heading(page, "Approval")
    page.keyboard.press("3")
    expect(page).to_have_url(re.compile("/history$"))
    page.keyboard.press("r")
    expect(page).to_have_url(re.compile("/answer$"))


def test_times_and_colours_are_chosen_and_remembered(office: Served, open_page: Open) -> None:
    office.ended(office.start("Echo", b'"x"'))
    page = open_page(f"{office.base}/instances")
    times = page.locator("tbody time")
    expect(times.first).to_have_text(re.compile("now|ago"))
    page.keyboard.press("z")
    expect(times.first).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$"))
    page.keyboard.press("z")
    expect(times.first).to_have_text(re.compile("UTC$"))
    page.keyboard.press("d")
    page.keyboard.press("d")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(times.first).to_have_text(re.compile("UTC$"))


# --- who may


def test_with_keys_it_asks_for_one_and_shows_what_its_role_may(tmp_path: Path, open_page: Open) -> None:
    made = CliRunner().invoke(
        main, ["keys", "create", "looker", "--role", "viewer", "--db", str(tmp_path / "office.db")]
    )
    assert made.exit_code == 0, made.output
    key = made.stdout.split()[-1]
    office = Served(tmp_path, ROOT / "tests/web/office.py", BIDE_REQUIRE_KEY="true")
    try:
        page = open_page(office.base)
        heading(page, "A key, please")
        page.get_by_label("Key", exact=True).fill("wrong")
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("alert")).to_contain_text("This key is not valid here")
        expect(page.get_by_label("Key", exact=True)).to_be_focused()
        heading(page, "A key, please")
        page.get_by_label("Key", exact=True).fill(key)
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_text("Nothing has been started yet")).to_be_visible()
        expect(page.get_by_role("link", name="Audit")).to_have_count(0)
        assert key not in page.url
        expect(page.get_by_role("link", name="Start")).to_have_count(0)
        page.goto(f"{office.base}/docs")
        heading(page, "HTTP API")
        page.evaluate("sessionStorage.setItem('bide.key', 'revoked')")
        page.goto(f"{office.base}/docs")
        expect(page.get_by_role("alert")).to_contain_text("not valid any more")
        page.get_by_label("Key", exact=True).fill(key)
        page.keyboard.press("Enter")
        heading(page, "HTTP API")
        page.get_by_text("/orchestrators/Echo", exact=False).first.click()
        expect(page.locator(".api .command").first).to_contain_text("x-functions-key: YOUR KEY")
        assert key not in page.content()
        page.goto(f"{office.base}/start?name=Echo")
        page.get_by_role("button", name="Start", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("viewer")
        page.goto(f"{office.base}/instances")
        heading(page, "Instances")
        gone = CliRunner().invoke(main, ["keys", "revoke", "looker", "--yes", "--db", str(tmp_path / "office.db")])
        assert gone.exit_code == 0, gone.output
        expect(page.get_by_role("alert")).to_contain_text("not valid any more")  # nobody has clicked anything
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_timeout(1_500)
        assert asked == []
    finally:
        office.stop()


def test_a_banner_says_that_nobody_runs_what_is_waited_for(tmp_path: Path, open_page: Open) -> None:
    before = Served(tmp_path, ROOT / "tests/web/office.py")
    before.waiting("Approval", b'"Ann"')
    before.stop()
    (tmp_path / "other.py").write_text("from bide import App\n\napp = App()\n")
    after = Served(tmp_path, tmp_path / "other.py")
    try:
        expect(open_page(after.base).locator(".banner")).to_contain_text("No worker runs Approval")
    finally:
        after.stop()
