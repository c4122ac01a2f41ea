"""Where the data of a benchmark goes."""

from __future__ import annotations

import argparse
from pathlib import Path


def made(text: str) -> Path:
    """The directory of that name, which is made if it is not there. For `argparse`: a sentence if it cannot be."""
    directory = Path(text)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be used as a directory: {error.strerror}.") from error
    return directory
