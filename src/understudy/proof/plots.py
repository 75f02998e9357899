"""The receipt's figures as inline SVG that follows the page from light to dark.

Drawn with marker colours which are then swapped for CSS variables. Only names of ours and numbers are drawn: entries
appear as their row numbers, so that no stranger's string ever reaches the plotting library.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from .plain import number

INK = {"#010101": "ink", "#020202": "soft", "#030303": "line", "#040404": "teacher", "#050505": "rung",
       "#060606": "cascade", "#070707": "peer", "#080808": "paper"}
HEX = {name: code for code, name in INK.items()}
SHAPE = {"teacher": "D", "rung": "o", "cascade": "s", "peer": "^"}
INCHES = (4.5, 3.2)
LINES = 12
SIDES = ((10, 0), (-10, 0), (9, 9), (-9, 9), (9, -9), (-9, -9), (0, 17), (0, -17), (19, 0), (-19, 0))
STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "understudy", "font.size": 11, "axes.spines.top": False,
         "axes.spines.right": False, "axes.edgecolor": HEX["line"], "axes.labelcolor": HEX["soft"],
         "text.color": HEX["ink"], "xtick.color": HEX["line"], "ytick.color": HEX["line"],
         "xtick.labelcolor": HEX["soft"], "ytick.labelcolor": HEX["soft"], "grid.color": HEX["line"],
         "grid.linewidth": 0.5, "axes.grid": True, "axes.axisbelow": True, "figure.facecolor": "none",
         "axes.facecolor": "none", "axes.linewidth": 0.8, "lines.solid_capstyle": "round", "font.family": "sans-serif",
         "font.sans-serif": ["DejaVu Sans"]}


def can_plot() -> bool:
    """Whether matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def quality_cost(data: dict[str, Any]) -> str | None:
    """Accuracy with its interval against the median milliseconds of a request; None where nothing was timed."""
    timed = [(i, e) for i, e in enumerate(data["entries"]) if e["speed"] and 1e-9 <= e["speed"]["p50_ms"] <= 1e9]
    if not timed:
        return None

    def draw(axes: Any) -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        for _, e in timed:
            x, score = e["speed"]["p50_ms"], e["accuracy"]
            colour = HEX[_role(e)]
            axes.plot([x, x], [100 * score["low"], 100 * score["high"]], color=colour, linewidth=1.2, alpha=0.55)
            axes.plot([x], [100 * score["value"]], SHAPE[_role(e)], color=colour, markersize=6.5,
                      markeredgecolor=HEX["paper"], markeredgewidth=0.8)
        axes.set_xscale("log")
        costs = [e["speed"]["p50_ms"] for _, e in timed]
        axes.set_xlim(min(costs) / 1.8, max(costs) * 1.8)
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if max(costs) < 8 * min(costs) else (1.0,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: number(v)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="median milliseconds per request", ylabel="accuracy, %")
        _number_points(axes, [(i + 1, e["speed"]["p50_ms"], 100 * e["accuracy"]["value"], _role(e)) for i, e in timed])

    return _svg(draw, "cost", "Quality against cost",
                "Accuracy with its 95 % interval against the median time of one request, for the numbered rows of the table.")


def risk_coverage(data: dict[str, Any]) -> str | None:
    """Share of wrong answers against the share answered, surest first."""
    curves = [c for c in data["risk_coverage"] if c["coverage"]][:LINES]
    if not curves:
        return None

    def draw(axes: Any) -> None:
        ends = []
        for c in curves:
            e = data["entries"][c["entry"]]
            head = c["entry"] == data["headline"]
            axes.plot([100 * v for v in c["coverage"]], [100 * v for v in c["risk"]], color=HEX[_role(e)],
                      linewidth=2.2 if head else 1.2, alpha=1 if head else 0.75, zorder=3 if head else 2)
            ends.append((c["entry"] + 1, 100 * c["coverage"][-1], 100 * c["risk"][-1], _role(e)))
        axes.set_xlim(0, 107)
        axes.set_ylim(bottom=0)
        axes.set(xlabel="answered, % of rows, surest first", ylabel="wrong among those, %")
        _number_ends(axes, ends)

    return _svg(draw, "risk", "Risk and coverage",
                "Share of wrong answers when only the surest rows are answered. Lower is better; the thick line is the headline entry.")


def reliability(data: dict[str, Any]) -> str | None:
    """Confidence against accuracy of the headline entry."""
    bins = data["reliability"]
    if not bins:
        return None

    def draw(axes: Any) -> None:
        colour = HEX[_role(data["entries"][data["headline"]])]
        axes.plot([0, 100], [0, 100], color=HEX["soft"], linewidth=1, linestyle=(0, (4, 3)))
        for b in bins:
            axes.plot([100 * b["confidence"]] * 2, [100 * b["low"], 100 * b["high"]], color=colour, linewidth=1.2, alpha=0.5)
        axes.plot([100 * b["confidence"] for b in bins], [100 * b["accuracy"] for b in bins], "o", color=colour,
                  markersize=5, markeredgecolor=HEX["paper"], markeredgewidth=0.7)
        low = min(0.98, *(min(b["low"], b["confidence"]) for b in bins)) * 100 - 2
        axes.set_xlim(max(0, low), 101)
        axes.set_ylim(max(0, low), 101)
        axes.set(xlabel="confidence, %", ylabel="right, %")

    return _svg(draw, "sure", "Reliability",
                "How often the headline entry is right at each confidence, in bins of equal size with 95 % intervals. On the dashed line, confidence is honest.")


def _role(entry: dict[str, Any]) -> str:
    role: str = entry["role"]
    return role if role in SHAPE else "peer"


def _number_points(axes: Any, points: list[tuple[int, float, float, str]]) -> None:
    """Write each point's number beside it, on the first side where nothing stands yet."""
    where = [tuple(axes.transData.transform((x, y))) for _, x, y, _ in points]
    taken = list(where)
    for point, (px, py) in zip(points, where, strict=True):
        free = [s for s in SIDES if all(abs(px + s[0] - bx) > 10 or abs(py + s[1] - by) > 8.5 for bx, by in taken)]
        side = (free or SIDES)[0]
        taken.append((px + side[0], py + side[1]))
        _write(axes, point, side)


def _number_ends(axes: Any, ends: list[tuple[int, float, float, str]]) -> None:
    """Write each line's number at its right end, from the bottom up, pushed apart where they would touch."""
    floor = float("-inf")
    for end in sorted(ends, key=lambda e: (e[2], e[0])):
        y = float(axes.transData.transform((end[1], end[2]))[1])
        floor = max(y, floor + 9.5)
        _write(axes, end, (11, floor - y))


def _write(axes: Any, point: tuple[int, float, float, str], offset: tuple[float, float]) -> None:
    number_, x, y, role = point
    axes.annotate(str(number_), (x, y), xytext=offset, textcoords="offset points", ha="center", va="center",
                  color=HEX[role], fontsize=9.5, fontweight="bold", annotation_clip=False)


def _svg(draw: Callable[[Any], None], name: str, title: str, description: str) -> str:
    """Draw on fresh axes and return one `<svg>` element whose ids start with `name` and whose colours are variables."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=INCHES, dpi=72, layout="constrained")
        canvas = FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        out = io.StringIO()
        canvas.print_svg(out, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(out.getvalue(), name, title, description)


def _inline(svg: str, name: str, title: str, description: str) -> str:
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg"):], flags=re.DOTALL)
    svg = re.sub(r'\b(id="|xlink:href="#|href="#)', rf"\g<1>{name}-", svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    svg = re.sub(r"font:([^;\"]*?)'DejaVu Sans'[^;\"]*", r"font:\1var(--sans)", svg)
    svg = re.sub(r"font-family:[^;\"]*", "font-family: var(--sans)", svg)
    svg = re.sub(r"#0[1-8]0[1-8]0[1-8]\b", lambda m: f"var(--{INK[m[0]]})", svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    opening = (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
               f'{box[0] if box else ""} role="img" aria-labelledby="{name}-title {name}-desc">'
               f'<title id="{name}-title">{title}</title><desc id="{name}-desc">{description}</desc>')
    return re.sub(r"^<svg[^>]*>", lambda _: opening, svg).strip()
