"""Every endpoint of Durable Functions, walked with real `curl` calls against a real server, under both prefixes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cli.test_processes import Command

APP = """
from pathlib import Path
from typing import Any
from bide import App, OrchestrationContext

app = App()

@app.orchestrator(name="Approve")
async def approve(ctx: OrchestrationContext, request: Any = None) -> Any:
    return await ctx.wait_for_external_event("Answer")

@app.orchestrator(name="Echo")
async def echo(ctx: OrchestrationContext, value: Any = None) -> Any:
    return value

@app.activity
def look() -> str:
    return Path("flag").read_text()

@app.orchestrator(name="Look")
async def look_twice(ctx: OrchestrationContext) -> str:
    return await ctx.call_activity(look)

@app.orchestrator(name="YesOrNo")
async def yes_or_no(ctx: OrchestrationContext) -> bool:
    return await ctx.wait_for_external_event("Answer", bool)
"""

pytestmark = pytest.mark.kill

PREFIXES = [
    "/runtime/webhooks/durabletask",
    "/admin/extensions/DurableTaskExtension",
    "/RUNTIME/webhooks/DurableTask",
]
KEYS = "taskHub=default&connection=Storage&code=XXX"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
JSON = "application/json"
PROBLEM = "application/problem+json"

URIS = [
    "id",
    "statusQueryGetUri",
    "sendEventPostUri",
    "terminatePostUri",
    "purgeHistoryDeleteUri",
    "restartPostUri",
    "suspendPostUri",
    "resumePostUri",
    "rewindPostUri",
]
WIDE = {"BIDE_TOKEN_VERBS": "waits raiseEvent terminate suspend resume rewind restart purge history events"}
STATUS = [
    "name",
    "instanceId",
    "runtimeStatus",
    "input",
    "customStatus",
    "output",
    "createdTime",
    "lastUpdatedTime",
]
OURS = ["allowedActions", "tags", "waits"]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


class Walker:
    """Calls one server with curl, below one prefix."""

    def __init__(self, server: str, prefix: str) -> None:
        self.server = server
        self.base = f"{server}{prefix}"

    def curl(self, expected: int, method: str, url: str, *options: str) -> Answer:
        """One call. Its answer must have the status, and be JSON or nothing."""
        url = url if url.startswith("http") else f"{self.base}{url}"
        command = ["curl", "-sS", "-i", "-X", method, url, *options]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert ran.returncode == 0, ran.stderr
        head, _, text = ran.stdout.replace("\r\n", "\n").partition("\n\n")
        first, *lines = head.splitlines()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        answer = Answer(int(first.split()[1]), headers, text)
        assert answer.status == expected, f"{' '.join(command)}\n{ran.stdout}"
        if expected >= 400 and "runtimeStatus" not in text:
            assert headers["content-type"] == (JSON if expected in (400, 500) else PROBLEM)
            assert answer.body["Message"]
        else:
            assert text == "" or headers["content-type"] == JSON
        return answer

    def get(self, expected: int, url: str, *options: str) -> Answer:
        return self.curl(expected, "GET", url, *options)

    def post(self, expected: int, url: str, body: str | None = None, *options: str) -> Answer:
        data = [] if body is None else ["-H", f"Content-Type: {JSON}", "-d", body]
        return self.curl(expected, "POST", url, *data, *options)

    @property
    def own(self) -> str:
        """An id that is this walker's own."""
        return self.base.rpartition(":")[2].replace("/", "-")

    def start(self, name: str, instance_id: str = "", body: str = "null") -> dict[str, str]:
        path = f"/orchestrators/{name}/{instance_id}".rstrip("/")
        answer = self.post(202, f"{path}?{KEYS}", body)
        assert list(answer.body) == URIS
        assert answer.headers["location"] == answer.body["statusQueryGetUri"]
        assert answer.headers["retry-after"] == "10"
        uris: dict[str, str] = answer.body
        return uris


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    directory = tmp_path_factory.mktemp("walk")
    (directory / "app.py").write_text(APP)
    command = Command(directory, "dev", "app.py", "--no-reload", "--port", "0", "--db", "hub.db", **WIDE)
    yield command.base, directory
    assert command.stop() == 0, command.said


@pytest.fixture(params=PREFIXES)
def walker(request: pytest.FixtureRequest, server: tuple[str, Path]) -> Walker:
    return Walker(server[0], request.param)


def test_start_with_and_without_an_id(walker: Walker) -> None:
    assert re.fullmatch("[0-9a-f]{32}", walker.start("Approve")["id"])
    chosen = f"chosen{walker.own}"
    assert walker.start("Approve", chosen)["id"] == chosen
    walker.post(409, f"/orchestrators/Approve/{chosen}?{KEYS}", '"another input"')
    walker.post(400, f"/orchestrators/Nothing?{KEYS}", "1")
    walker.post(400, f"/orchestrators/Approve?{KEYS}", "{not json")
    done = walker.post(200, f"/orchestrators/Echo?timeout=10&pollingInterval=1&{KEYS}", '{"a": 1}')
    assert done.body == {"a": 1}
    walker.post(202, f"/orchestrators/Approve?timeout=0&pollingInterval=0&{KEYS}", "1")


@pytest.mark.parametrize("route", ["/orchestrators", "/api/orchestrators"])
def test_the_sample_apps_own_starter(walker: Walker, route: str) -> None:
    assert list(walker.post(202, f"{walker.server}{route}/Approve", '"+14255550100"').body) == URIS
    assert walker.post(200, f"{walker.server}{route}/Echo?timeout=10&retryInterval=1", "7").body == 7


def test_status(walker: Walker) -> None:
    uris = walker.start("Approve", body='{"who": "me"}')
    running = walker.get(202, uris["statusQueryGetUri"])
    assert list(running.body) == [*STATUS, *OURS]
    assert running.headers["location"] == uris["statusQueryGetUri"]
    assert running.headers["retry-after"] == "5"
    assert all(TIME.fullmatch(running.body[name]) for name in ("createdTime", "lastUpdatedTime"))
    own = f"/instances/{uris['id']}?{KEYS}"
    assert walker.get(202, own).headers["location"].endswith(own.removesuffix("&code=XXX"))
    assert walker.get(202, f"/instances/{uris['id']}?showInput=false&{KEYS}").body["input"] is None
    walker.post(202, uris["sendEventPostUri"].replace("{eventName}", "Answer"), '"yes"')
    done = walker.get(200, f"{uris['statusQueryGetUri']}&wait=10s")
    assert (done.body["runtimeStatus"], done.body["output"]) == ("Completed", "yes")
    assert "location" not in done.headers
    walker.get(404, f"/instances/nobody?{KEYS}")
    assert walker.get(404, "/nothing").body["Message"]


def test_history(walker: Walker) -> None:
    uris = walker.start("Approve", body='"in"')
    walker.post(202, uris["sendEventPostUri"].replace("{eventName}", "Answer"), '"out"')
    status = f"{uris['statusQueryGetUri']}&wait=10s&showHistory=true"
    events = walker.get(200, status).body["historyEvents"]
    assert [event["EventType"] for event in events] == ["ExecutionStarted", "EventRaised", "ExecutionCompleted"]
    assert (events[0]["FunctionName"], events[1]["Name"]) == ("Approve", "Answer")
    assert events[2]["OrchestrationStatus"] == "Completed"
    assert "Result" not in events[2]
    shown = walker.get(200, f"{status}&showHistoryOutput=true").body["historyEvents"]
    assert shown[2]["Result"] == "out"


def test_raise_event(walker: Walker) -> None:
    instance_id = walker.start("YesOrNo")["id"]
    event = f"/instances/{instance_id}/raiseEvent/Answer?{KEYS}"
    assert walker.post(422, event, '"maybe"').body["path"] == "$"
    walker.post(400, event, "{not json")
    walker.post(400, event, "a=1", "-H", "Content-Type: application/x-www-form-urlencoded")
    assert walker.post(202, event, "true").text == ""
    walker.get(200, f"/instances/{instance_id}?wait=10s&{KEYS}")
    walker.post(410, event, "true")
    walker.post(404, f"/instances/nobody/raiseEvent/Answer?{KEYS}", "true")


@pytest.mark.parametrize("verb", ["terminate", "suspend", "resume", "rewind"])
def test_verbs_on_what_is_not_there_or_over(walker: Walker, verb: str) -> None:
    walker.post(404, f"/instances/nobody/{verb}?reason=why&{KEYS}")
    uris = walker.start("Echo")
    walker.get(200, f"{uris['statusQueryGetUri']}&wait=10s")
    walker.post(410, uris[f"{verb}PostUri"].replace("{text}", "why"))


def test_suspend_resume_and_terminate(walker: Walker) -> None:
    uris = walker.start("Approve")
    for verb, status in (("suspend", "Suspended"), ("resume", "Running")):
        assert walker.post(202, uris[f"{verb}PostUri"].replace("{text}", "lunch")).text == ""
        assert walker.get(202, uris["statusQueryGetUri"]).body["runtimeStatus"] == status
    walker.post(202, uris["terminatePostUri"].replace("{text}", "not%20needed"))
    ended = walker.get(200, uris["statusQueryGetUri"]).body
    assert (ended["runtimeStatus"], ended["output"]) == ("Terminated", "not needed")


def test_rewind(walker: Walker, server: tuple[str, Path]) -> None:
    flag = server[1] / "flag"
    flag.unlink(missing_ok=True)
    uris = walker.start("Look")
    status = f"{uris['statusQueryGetUri']}&wait=10s"
    assert walker.get(200, status).body["runtimeStatus"] == "Failed"
    walker.get(500, f"{status}&returnInternalServerErrorOnFailure=true")
    flag.write_text("seen")
    walker.post(202, uris["rewindPostUri"].replace("{text}", "the%20flag%20is%20up"))
    assert walker.get(200, status).body["output"] == "seen"
    running = walker.start("Approve")
    walker.post(400, running["rewindPostUri"])


def test_restart(walker: Walker) -> None:
    uris = walker.start("Echo", body='"in"')
    walker.get(200, f"{uris['statusQueryGetUri']}&wait=10s")
    again = walker.post(202, f"/instances/{uris['id']}/restart?{KEYS}").body
    assert list(again) == URIS
    assert again["id"] != uris["id"]
    same = walker.post(202, uris["restartPostUri"]).body
    assert same == uris
    walker.post(400, f"/instances/nobody/restart?{KEYS}")


def test_purge_one(walker: Walker) -> None:
    uris = walker.start("Echo")
    walker.get(200, f"{uris['statusQueryGetUri']}&wait=10s")
    assert walker.curl(200, "DELETE", uris["purgeHistoryDeleteUri"]).body == {"instancesDeleted": 1}
    walker.curl(404, "DELETE", uris["purgeHistoryDeleteUri"])
    walker.get(404, uris["statusQueryGetUri"])
    walker.curl(409, "DELETE", walker.start("Approve")["purgeHistoryDeleteUri"])


def test_list_in_pages(walker: Walker) -> None:
    prefix = f"page{walker.own}"
    ids = [walker.start("Approve", f"{prefix}-{number}")["id"] for number in range(5)]
    listed: list[str] = []
    token = ""
    for size in (2, 2, 1):
        url = f"/instances?instanceIdPrefix={prefix}&top=2&runtimeStatus=Running,Pending&{KEYS}"
        answer = walker.get(200, url, "-H", f"x-ms-continuation-token: {token}")
        assert len(answer.body) == size
        assert list(answer.body[0]) == [*STATUS, "allowedActions", "tags"]
        listed += [shown["instanceId"] for shown in answer.body]
        token = answer.headers.get("x-ms-continuation-token", "")
    assert token == ""
    assert sorted(listed) == ids
    for query, count in (
        ("runtimeStatus=Completed", 0),
        ("runtimeStatus=Running&runtimeStatus=Failed", 5),
        ("createdTimeFrom=2020-01-01T00:00:00Z&createdTimeTo=2020-01-02T00:00:00Z", 0),
        ("createdTimeFrom=2020-01-01T00:00:00Z", 5),
        ("showInput=false&showHistory=true", 5),
    ):
        found = walker.get(200, f"/instances?instanceIdPrefix={prefix}&{query}&{KEYS}").body
        assert len(found) == count, query
    walker.get(400, f"/instances?createdTimeFrom=yesterday&{KEYS}")
    walker.get(400, f"/instances?top=0&{KEYS}")


def test_purge_many(walker: Walker) -> None:
    prefix = f"purge{walker.own}"
    for number in range(3):
        walker.get(200, f"{walker.start('Echo', f'{prefix}-{number}')['statusQueryGetUri']}&wait=10s")
    many = f"/instances?createdTimeFrom=2020-01-01T00:00:00Z&instanceIdPrefix={prefix}&{KEYS}"
    walker.curl(404, "DELETE", f"{many}&createdTimeTo=2020-01-02T00:00:00Z")
    walker.curl(404, "DELETE", f"{many}&runtimeStatus=Failed")
    assert walker.curl(200, "DELETE", f"{many}&runtimeStatus=Completed").body == {"instancesDeleted": 3}
    walker.curl(404, "DELETE", many)
    walker.curl(400, "DELETE", f"/instances?{KEYS}")


def test_make_primary(walker: Walker) -> None:
    assert walker.post(200, f"/makeprimary?{KEYS}").text == ""


def test_other_paths_and_methods(walker: Walker) -> None:
    walker.get(404, f"/instances/a/b/c?{KEYS}")
    assert set(walker.curl(405, "PUT", f"/instances?{KEYS}").headers["allow"].split(", ")) == {
        "DELETE",
        "GET",
        "HEAD",
    }
