"""Pictures of measurements, in the colours that the reader's browser prefers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_STYLE = """
text { font: 12px system-ui, sans-serif; text-anchor: middle; fill: #1b2430 }
.title { font-weight: 600; text-anchor: start } .axis { fill: #5b6675 }
polyline { fill: none; stroke: #3b4cca; stroke-width: 2 } circle { fill: #3b4cca } .base { stroke: #c7ced8 }
@media (prefers-color-scheme: dark) {
  text { fill: #e8ecf2 } .axis { fill: #9aa5b4 } polyline { stroke: #9db0ff } circle { fill: #9db0ff }
  .base { stroke: #3a4450 }
}
"""
_WIDTH = 560


@dataclass(frozen=True)
class Panel:
    """A curve over minutes."""

    title: str
    unit: str
    points: Sequence[tuple[float, float]]


def curve(title: str, unit: str, points: Mapping[int, float]) -> str:
    """A line through few points, over a logarithmic axis."""
    left, low = 56, 190
    most = max(points.values()) * 1.25
    first, last = math.log10(min(points)), math.log10(max(points))
    at = {
        n: (left + (math.log10(n) - first) / (last - first) * (_WIDTH - left - 30), low - value / most * 140)
        for n, value in points.items()
    }
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/><text x="{x:.1f}" y="{y - 10:.1f}">{points[n]:.3g}</text>'
        f'<text class="axis" x="{x:.1f}" y="{low + 20}">10{_raised(round(math.log10(n)))}</text>'
        for n, (x, y) in at.items()
    )
    spoken = "; ".join(f"{n:,}: {value:.3g} {unit}" for n, value in points.items())
    body = f"""<text class="title" x="16" y="22">{title} ({unit})</text>
<line class="base" x1="{left - 20}" x2="{_WIDTH - 10}" y1="{low}" y2="{low}"/>
{_line(list(at.values()))}{dots}
"""
    return _picture(240, f"{title}: {spoken}", body)


def panels(title: str, each: Sequence[Panel]) -> str:
    """Curves below one another, over the same minutes, each from zero."""
    height = 140
    spoken = "; ".join(f"{panel.title} at the end: {panel.points[-1][1]:.4g} {panel.unit}" for panel in each)
    body = "\n".join(_panel(panel, number * height, height) for number, panel in enumerate(each))
    return _picture(height * len(each) + 30, f"{title}. {spoken}", body)


def _panel(panel: Panel, top: int, height: int) -> str:
    left, right, low = 36, _WIDTH - 70, top + height
    last = panel.points[-1][0]
    most = max(value for _, value in panel.points) * 1.1 or 1
    at = [
        (left + minute / last * (right - left), low - value / most * (height - 62))
        for minute, value in panel.points
    ]
    x, y = at[-1]
    ticks = "".join(
        f'<text class="axis" x="{left + share * (right - left):.1f}" y="{low + 18}">{last * share:.3g} min</text>'
        for share in (0, 0.5, 1)
    )
    return f"""<text class="title" x="16" y="{top + 46}">{panel.title} ({panel.unit})</text>
<line class="base" x1="{left}" x2="{right}" y1="{low}" y2="{low}"/>
{_line(at)}<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>
<text x="{x + 34:.1f}" y="{y + 4:.1f}">{panel.points[-1][1]:,.0f}</text>{ticks}"""


def _line(at: Sequence[tuple[float, float]]) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    return f'<polyline points="{points}"/>'


def _picture(height: int, spoken: str, body: str) -> str:
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"
  height="{height}" role="img" aria-label="{spoken}">
<style>{_STYLE}</style>
{body}</svg>
"""


def _raised(power: int) -> str:
    return "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(power))
