"""The page itself: the same at every view, small, strict, and at home under any prefix."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from urllib.parse import urljoin

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from bide import Settings
from bide.http.app import create_app
from tests.http.conftest import Api, serve
from tests.web.office import app

VIEWS = (
    "/",
    "/instances",
    "/instances/an%20id%3Fwith",
    "/instances/x/history",
    "/start",
    "/timers",
    "/workers",
    "/metrics",
    "/audit",
    "/docs",
)
BUDGET_BYTES = 120_000


@pytest.fixture
def page() -> Iterator[Api]:
    with serve(Settings(db=":memory:"), app) as served:
        yield served


def assets_of(address: str, text: str) -> list[str]:
    """The addresses of all that a page loads."""
    [base] = re.findall(r'<base href="([^"]+)"', text)
    found = re.findall(r'<(?:script|link)[^>]* (?:src|href)="([^"]+)"', text)
    return [urljoin(urljoin(address, base), each) for each in found]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_the_page_and_finds_its_files(page: Api, view: str) -> None:
    answer = page.get(view)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    found = assets_of(view, answer.text)
    assert len(found) > 20
    assert {page.get(each).status_code for each in found} == {200}


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_who_looks_in_a_browser_for_what_is_not_there_finds_a_page(page: Api) -> None:
    for path in ("/nosuch", "/nosuch/page", "/timers/x", "/runtime/nosuch"):
        answer = page.get(path, headers=BROWSER)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert {page.get(each).status_code for each in assets_of(path, answer.text)} == {200}


def test_programs_and_the_api_answer_as_json_what_is_not_there(page: Api) -> None:
    of_api = page.get("/runtime/webhooks/durabletask/instances/nosuch", headers=BROWSER)
    for answer in (page.get("/nosuch"), page.post("/nosuch", b"", headers=BROWSER), of_api):
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


def test_it_works_below_a_prefix() -> None:
    durable = create_app(app, Settings(db=":memory:"))
    outer = Starlette(routes=[Mount("/tools/flow", durable)], lifespan=durable.lifespan)
    with TestClient(outer, base_url="http://127.0.0.1:7071", client=("127.0.0.1", 50_000)) as http:
        for view in ("/tools/flow/", "/tools/flow/instances/x/history"):
            found = assets_of(view, http.get(view).text)
            assert all(each.startswith("/tools/flow/assets/") for each in found)
            assert {http.get(each).status_code for each in found} == {200}


def test_a_page_below_a_proxy_that_strips_its_prefix_is_at_home_too(page: Api) -> None:
    found = assets_of("/proxied/instances/x", page.get("/instances/x").text)
    assert all(each.startswith("/proxied/assets/") for each in found)


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere(page: Api) -> None:
    answer = page.get("/")
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {policy["script-src"], policy["style-src"], policy["connect-src"]} == {"'self'"}
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]* src=)|<style|\son[a-z]+=|\sstyle=", answer.text)
    assert answer.headers["x-frame-options"] == "DENY"


def test_all_scripts_and_styles_are_small(page: Api) -> None:
    found = assets_of("/", page.get("/").text)
    files = [each for each in found if each.endswith((".js", ".css"))]
    packed = sum(len(gzip.compress(page.get(each).content)) for each in files)
    assert packed < BUDGET_BYTES


def test_a_file_is_kept_for_ever_under_the_name_of_its_content_only(page: Api) -> None:
    [style] = [each for each in assets_of("/", page.get("/").text) if each.endswith("/style.css")]
    assert "immutable" in page.get(style).headers["cache-control"]
    old = re.sub(r"/assets/[^/]+/", "/assets/000000000000/", style)
    assert page.get(old).headers["cache-control"] == "no-cache"
    assert page.get("/").headers["cache-control"] == "no-cache"


def test_files_are_packed_for_who_can_unpack_them(page: Api) -> None:
    [style] = [each for each in assets_of("/", page.get("/").text) if each.endswith("/style.css")]
    packed, plain = (page.get(style, headers={"Accept-Encoding": coding}) for coding in ("gzip", "identity"))
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.content == plain.content
    assert packed.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2f__init__.py", "%2e%2e%2f__init__.py", "vendor%2f..%2f..%2fshell.html"]
)
def test_nothing_else_is_handed_out(page: Api, name: str) -> None:
    assert page.get(f"/assets/x/{name}").status_code == 404


def test_the_libraries_come_with_their_licenses(page: Api) -> None:
    licenses = page.get("/assets/x/vendor/LICENSES.txt").text
    for library in ("preact", "htm", "uplot"):
        assert library in licenses.lower()


def test_without_a_key_the_page_is_shown_and_its_data_is_not() -> None:
    with serve(Settings(db=":memory:", require_key=True), app) as served:
        assert served.get("/").status_code == 200
        assert served.get("/runtime/webhooks/durabletask/waits").status_code == 401
