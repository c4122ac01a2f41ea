"""Fetch the dashboard's libraries from npm's registry into `src/bide/web/assets/vendor`.

    python scripts/vendor.py

Browsers load them as they are, without a build step. Two things are changed: a bare import becomes a relative one,
and uPlot's script becomes a module. Their licences come along. Needs `npm`.
"""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from pathlib import Path

TARGET = Path(__file__).parent.parent / "src" / "bide" / "web" / "assets" / "vendor"
PACKAGES = {
    "preact@11.2.0": {"dist/preact.mjs": "preact.js", "hooks/dist/hooks.mjs": "hooks.js"},
    "htm@3.1.1": {"dist/htm.mjs": "htm.js"},
    "uplot@1.6.32": {"dist/uPlot.iife.min.js": "uplot.js", "dist/uPlot.min.css": "uplot.css"},
}


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    notices = [f"{package}\n\n{fetch(package, files).strip()}\n" for package, files in PACKAGES.items()]
    (TARGET / "LICENSES.txt").write_text(f"\n{'=' * 80}\n\n".join(notices))


def fetch(package: str, files: dict[str, str]) -> str:
    """Put the package's files in their places. Returns its licence."""
    with tempfile.TemporaryDirectory() as directory:
        packed = subprocess.run(
            ["npm", "pack", "--silent", package], cwd=directory, check=True, capture_output=True, text=True
        ).stdout.strip()
        with tarfile.open(Path(directory, packed)) as archive:
            for name, place in files.items():
                (TARGET / place).write_text(as_module(place, read(archive, name)))
            return read(archive, "LICENSE")


def read(archive: tarfile.TarFile, name: str) -> str:
    member = archive.extractfile(f"package/{name}")
    assert member is not None, name
    return member.read().decode()


def as_module(place: str, text: str) -> str:
    lines = [line for line in text.splitlines() if not line.startswith("//# sourceMappingURL")]
    text = "\n".join(lines) + "\n"
    if place == "hooks.js":
        text = text.replace('from"preact"', 'from"./preact.js"')
    if place == "uplot.js":
        text += "export default uPlot;\n"
    return text


if __name__ == "__main__":
    main()
