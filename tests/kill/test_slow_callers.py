"""A flood of callers who ask and take nothing: the server says how it is, forgets them, and serves others again."""

from __future__ import annotations

import re
import socket
import sys
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.kill.conftest import Process, eventually, free_port, request

pytestmark = pytest.mark.kill

CONNECTIONS = 40


def test_a_flood_of_callers_who_take_nothing(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from bide import App\n\napp = App()\n")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "bide.cli", "serve", str(tmp_path / "app.py"), "--port", str(port)]
    limits = {"BIDE_MAX_CONNECTIONS": str(CONNECTIONS), "BIDE_ANSWER_TIMEOUT_S": "3"}
    server = Process([*command, "--db", str(tmp_path / "bide.db")], tmp_path / "log", **limits)
    server.start()
    with ExitStack() as callers:
        callers.callback(server.kill_if_running)
        eventually("the server is ready", lambda: request("GET", f"{url}/readyz")[0] == 200 or None)
        with urllib.request.urlopen(url, timeout=10) as page:
            (assets,) = set(re.findall(r"assets/[0-9a-z]+/", page.read().decode()))
        asked = f"GET /{assets}vendor/uplot.js HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 40
        few = len([*Path(f"/proc/{server.pid}/fd").iterdir()]) + 3
        for number in range(5 * CONNECTIONS):
            caller = callers.enter_context(socket.socket())
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
            caller.settimeout(5)
            caller.connect(("127.0.0.1", port))
            with suppress(ConnectionError):  # there is no room for all
                caller.sendall(asked)
            if number % 10 == 0:
                assert request("GET", f"{url}/healthz") == (200, {"status": "ok"})
        eventually("others are served", lambda: request("GET", f"{url}/openapi.json")[0] == 200 or None)
        open_files = Path(f"/proc/{server.pid}/fd")
        eventually("nobody holds a connection", lambda: len([*open_files.iterdir()]) < few or None)
    assert "Traceback" not in (tmp_path / "log").read_text()
