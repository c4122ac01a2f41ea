"""Makes bide/client/synchronous.py from asynchronous.py: what is awaited there is waited for here.

python scripts/sync_client.py          # writes it
python scripts/sync_client.py --check  # says whether it is as made
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parent.parent / "src" / "bide" / "client"
SOURCE, TARGET = CLIENT / "asynchronous.py", CLIENT / "synchronous.py"

WORDS = (
    (
        r"The client for asyncio\.",
        "The client for ordinary code, made by scripts/sync_client.py: change the other one.",
    ),
    (
        r"A client for asyncio: every verb is awaited, every list an asynchronous iterator\.",
        "A client that waits for each answer.",
    ),
    (r"\bimport asyncio\b", "import threading"),
    (r"\bawait asyncio\.sleep\((.*)\)$", r"threading.Event().wait(\1)"),
    (r"  # noqa: ASYNC109", ""),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bhttpx2\.AsyncClient\b", "httpx2.Client"),
    (r"\bAsyncClient\b", "Client"),
    (r"__aenter__", "__enter__"),
    (r"__aexit__", "__exit__"),
    (r"\.aclose\(", ".close("),
    (r"\.aread\(", ".read("),
    (r"\.aiter_lines\(", ".iter_lines("),
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
)
"""What stands there, and what here. In this order."""


def made() -> str:
    """The text of the synchronous client."""
    text = SOURCE.read_text()
    for there, here in WORDS:
        text = re.sub(there, here, text, flags=re.M)
    for command in (["check", "--quiet", "--fix", "--unsafe-fixes", "--exit-zero"], ["format", "--quiet"]):
        tool = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(TARGET), "-"]
        text = subprocess.run(tool, input=text, capture_output=True, text=True, check=True).stdout
    return text


def main() -> None:
    text = made()
    if "--check" not in sys.argv:
        TARGET.write_text(text)
    elif TARGET.read_text() != text:
        sys.exit("bide/client/synchronous.py is not as made: run scripts/sync_client.py")


if __name__ == "__main__":
    main()
