"""What the documents say is true: their code runs, and the reference is what the docstrings say."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

from bide import Settings
from bide.core.context import MAX_CUSTOM_STATUS
from bide.core.failures import MAX_CAUSES, MAX_ERRORS
from bide.core.registry import MAX_EVENTS
from bide.engine.activities import MAX_ACTIVITIES, MAX_THREADS
from bide.engine.options import WorkerOptions
from bide.http.base.body import MAX_FAR_NUMBERS
from bide.http.base.queries import MAX_PAGE
from bide.http.respond.responding import MAX_FIELDS
from bide.model import instance
from bide.model.retry import LONGEST_PAUSE

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for page in PAGES:
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S), 1):
            found.append((f"{page.name}-{number}", code))
    return found


@pytest.mark.parametrize(("name", "code"), blocks(), ids=[name for name, _ in blocks()])
def test_code_in_documents_runs(name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "fastapi" in code:
        pytest.importorskip("fastapi")
    module = ModuleType(re.sub(r"\W", "_", name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, name, "exec"), vars(module))


def test_the_limits_are_those_of_the_code() -> None:
    told = re.findall(r"^\| (.+?) \| ([\d,]+)(?: [\w ]+)? \|", (ROOT / "docs" / "limits.md").read_text(), re.M)
    settings, worker = Settings(), WorkerOptions()
    assert f"more than {worker.long_history:,} steps" in (ROOT / "docs" / "limits.md").read_text()
    assert {what: int(most.replace(",", "")) for what, most in told} == {
        "an instance's id": instance.MAX_ID,
        "the name of an orchestrator, an activity or an event": instance.MAX_NAME,
        "tags of an instance": instance.MAX_TAGS,
        "a tag's name": instance.MAX_TAG_NAME,
        "a tag's value": instance.MAX_TAG_VALUE,
        "a reason": instance.MAX_REASON,
        "an idempotency key": instance.MAX_KEY,
        "a value: an input, an argument, a result, an event's data": settings.max_payload_bytes,
        "a custom status": MAX_CUSTOM_STATUS,
        "errors that are kept of one": MAX_ERRORS,
        "causes, one below the other": MAX_CAUSES,
        "a request's body": settings.max_body_bytes,
        "arrays and objects within each other": settings.max_json_depth,
        "numbers with an exponent of three digits in a body": MAX_FAR_NUMBERS,
        "a request's headers": settings.max_headers,
        "all headers together": settings.max_header_bytes,
        "connections at once": settings.max_connections,
        "the time to take 16 KiB of an answer": settings.answer_timeout_s,
        "bytes of answers that wait for all callers": settings.max_unsent_bytes,
        "the time that a request waits for a result": settings.max_wait_s,
        "event streams at once": settings.max_streams,
        "of these, one caller's": settings.max_streams_per_caller,
        "rows of a page": MAX_PAGE,
        "fields of a form that a person fills in": MAX_FIELDS,
        "messages that wait to be stepped": worker.max_inbox,
        "instances in memory": worker.max_live,
        "activities at once": MAX_ACTIVITIES,
        "of these, in threads": MAX_THREADS,
        "the time that an orchestrator runs without awaiting": settings.step_limit_s,
        "event names that are shown of an orchestrator": MAX_EVENTS,
        "partitions of a hub, and so its workers": instance.PARTITIONS,
        "the pause before a retry": LONGEST_PAUSE.days,
    }


def test_the_reference_is_what_the_docstrings_say() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "api_docs.py"))
    assert script["page"]() == (ROOT / "docs" / "api.md").read_text(), "run: python scripts/api_docs.py"
