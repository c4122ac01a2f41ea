"""Makes a newer version of Bide out of this one: with this directory in PYTHONPATH, `TimerCreated` has another name
in what is written, which this version does not know."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

_NOW = b"class TimerCreated(_Fact, frozen=True):"
_THEN = b'class TimerCreated(_Fact, frozen=True, tag="TimerCreatedAnew"):'


class _Newer(SourceFileLoader):
    def path_stats(self, path: str) -> Any:
        raise OSError("what was compiled before is the older version")

    def source_to_code(self, data: Any, path: Any, **options: Any) -> Any:
        assert data.count(_NOW) == 1
        return super().source_to_code(data.replace(_NOW, _THEN), path)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "bide.model.history":
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Newer(fullname, spec.origin)
        return spec


sys.meta_path.insert(0, _Finder())
