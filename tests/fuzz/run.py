"""Schemathesis over the whole API: a real server, its own OpenAPI document, all checks.

    python tests/fuzz/run.py --max-examples 600

Event streams are left out: they do not end. Exits with Schemathesis' own code.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.kill.conftest import eventually, free_port, request  # noqa: E402 - the line above finds it

SERVER = [sys.executable, "-m", "bide.cli", "dev", str(HERE / "app.py"), "--no-reload", "--port"]
STREAMS = "/events$"


def main() -> int:
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        environ = {**os.environ, "BIDE_MAX_WAIT_S": "0.05", "BIDE_DB": f"{directory}/hub.db"}
        with subprocess.Popen([*SERVER, str(port)], env=environ) as server:
            try:
                url = f"http://127.0.0.1:{port}"
                eventually("the server answers", lambda: request("GET", f"{url}/readyz"))
                return fuzz(url)
            finally:
                server.terminate()


def fuzz(url: str) -> int:
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        "--config-file",
        str(HERE / "schemathesis.toml"),
        "run",
        f"{url}/openapi.json",
        "--exclude-path-regex",
        STREAMS,
        *sys.argv[1:],
    ]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
