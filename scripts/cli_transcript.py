"""Runs every command against a server of its own, and writes what was typed and said into docs/cli.md.

    python scripts/cli_transcript.py

Times, ids and paths are replaced, so that only what changes changes.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "cli.md"
BEGIN, END = "<!-- transcript -->", "<!-- end of transcript -->"

SESSION = """
bide new approvals --template approval
bide config show
bide start E4_SmsPhoneVerification +12025550123 --id my-first --tag team=blue
bide ls
bide show my-first
bide waiting
bide workers
bide raise my-first SmsChallengeRespons 0042
bide raise my-first SmsChallengeResponse 0000
bide suspend my-first --reason "the bank is closed"
bide resume my-first
bide wait my-first --timeout 1s
bide history my-first
bide history my-first -o json > history.json
bide replay history.json --app app.py
bide terminate --tag team=blue --reason "not needed"
bide terminate --tag team=blue --reason "not needed" --yes
bide wait my-first
bide restart my-first
bide show my-first --tree
bide start E4_SmsPhoneVerification '""' --id empty
bide show empty --follow
bide rewind empty --reason "perhaps now"
bide purge --status Failed --yes
bide show empty
bide ls --status Running -o json
bide keys create ci --role operator --expires 90d
bide keys ls
bide keys rotate ci --overlap 1d
bide keys revoke ci --yes
bide db status
bide db backup copy.db
bide func durable get-instances --runtime-status Terminated
bide doctor
bide ls --url http://127.0.0.1:1
bide completion bash | head -1
"""
"""`demo`, `dev` and `serve` run until they are stopped; `db migrate` needs a database that nobody has."""

_REPLACED = (
    (r"bide_[A-Za-z0-9_-]+", "bide_..."),
    (r"\b[0-9a-f]{32}\b", "01a2076d15ab7065935234f7790d5406"),
    (r"\d{4}-\d\d-\d\d(T| )\d\d:\d\d:\d\d(\.\d+)?", r"2026-11-23\g<1>08:00:00\2"),
    (r"(?<=08:00:00)\.\d{3}\b", ".000"),
    (r"\b\d\d:\d\d:\d\d UTC", "08:00:00 UTC"),
    (r"\b(in )?\d+ (s|min)( ago)?\b|\bnow\b(?=,|  |$)", lambda found: "in 1 min" if found[1] else "2 s ago"),
    (r"process \d+", "process 4711"),
    (r"(in_use_by +)\d+", r"\g<1>4711"),
    (r"[0-9.]+ (KB|GB)", r"1 \1"),
    (r"(bytes +)\d+", r"\g<1>490288"),
    (r"Python [0-9.]+, SQLite [0-9.]+", "Python 3.11.7, SQLite 3.40.1"),
    (r'"\d{4}"', '"5967"'),
)


def main() -> None:
    PAGE.write_text(page(PAGE.read_text("utf-8"), transcript()), "utf-8")


def page(text: str, session: str) -> str:
    """The page with this transcript in it."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n```console\n{session}```\n\n{END}{after}"


def transcript() -> str:
    with tempfile.TemporaryDirectory() as directory:
        sample = ROOT / "examples" / "phone_verification" / "app.py"
        Path(directory, "app.py").write_text(sample.read_text("utf-8"))
        with server(directory) as port:
            environ = {**os.environ, "BIDE_PORT": str(port), "NO_COLOR": "1", "COLUMNS": "100"}
            said = "".join(run(line, directory, environ) for line in SESSION.strip().splitlines())
    return said.replace(str(port), "7071").replace(directory, "/home/you")


@contextmanager
def server(directory: str) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "bide.cli", "dev", "app.py", "--no-reload", "--port", str(port)]
    with subprocess.Popen(command, cwd=directory, stderr=subprocess.DEVNULL) as process:
        try:
            until_ready(f"http://127.0.0.1:{port}/readyz")
            yield port
        finally:
            process.send_signal(signal.SIGTERM)


def until_ready(url: str) -> None:
    for _ in range(200):
        try:
            with urllib.request.urlopen(url):
                return
        except urllib.error.URLError:
            time.sleep(0.05)
    raise SystemExit(f"{url} does not answer.")


def run(line: str, directory: str, environ: dict[str, str]) -> str:
    """What stands in a terminal after this line. `script` gives the command one, to show what people see."""
    bide = f"{sys.executable} -m bide.cli"
    command = line.replace("bide ", f"{bide} ", 1)
    ran = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        cwd=directory,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    said = ran.stdout.replace("\r\n", "\n").rstrip("\n")
    for pattern, replacement in _REPLACED:
        said = re.sub(pattern, replacement, said, flags=re.M)
    code = f"[exit code {ran.returncode}]\n" if ran.returncode else ""
    return f"$ {line}\n{said}{chr(10) if said else ''}{code}"


if __name__ == "__main__":
    main()
