"""Microsoft's own Python client against a real server, under both prefixes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_processes import Command
from tests.http.test_curl_walk import APP

SCRIPT = Path(__file__).parent / "azure_client.py"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Command]:
    (tmp_path / "app.py").write_text(APP)
    command = Command(tmp_path, "dev", "app.py", "--no-reload", "--port", "0", "--db", "hub.db")
    yield command
    assert command.stop() == 0, command.said


@pytest.mark.kill
@pytest.mark.parametrize("prefix", ["/runtime/webhooks/durabletask", "/admin/extensions/DurableTaskExtension"])
def test_a_client_of_azure_needs_another_base_url_and_nothing_else(
    server: Command, prefix: str, tmp_path: Path
) -> None:
    walk = [sys.executable, str(SCRIPT), f"{server.base}{prefix}", str(tmp_path / "flag")]
    ran = subprocess.run(walk, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
