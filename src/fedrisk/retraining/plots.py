"""Plots of a retraining's report, as SVG text: what drifted, and how challengers compare."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

#: Wong's palette for readers who see colours differently (Nature Methods 2011;8:441).
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"
_CONFIDENCE = 1.96


def effect_plot(per_feature: Mapping[str, Mapping[str, Any]]) -> str:
    """How far each feature lies from its reference, as a multiple of what matters; SVG.

    Parameters
    ----------
    per_feature : dict of feature to dict
        With effect and drifted.
    """
    found = sorted(per_feature.items(), key=lambda item: item[1].get("effect") or 0.0)
    names = [name for name, _ in found]
    effects = [each.get("effect") or 0.0 for _, each in found]
    colours = [ORANGE if each.get("drifted") else GREY for _, each in found]
    figure, axes = _figure(6.4, 0.9 + 0.28 * max(len(names), 1))
    axes.barh(names, effects, color=colours, height=0.6)
    axes.axvline(1.0, color="black", linewidth=0.8, linestyle="--")
    axes.set_xlabel("distance as a multiple of the least that matters (orange: drifted)")
    return _svg(figure)


def interval_plot(
    rows: Sequence[tuple[str, float, float | None]], label: str, reference: float | None = None
) -> str:
    """Estimates with their 95 % intervals, one below the other; SVG.

    Parameters
    ----------
    rows : sequence of (name, estimate, standard error or None)
    label : str
        Of the axis.
    reference : float, optional
        Where a dashed line stands.
    """
    figure, axes = _figure(6.4, 0.9 + 0.28 * max(len(rows), 1))
    for place, (_, value, error) in enumerate(reversed(rows)):
        width = 0.0 if error is None else _CONFIDENCE * error
        axes.errorbar(value, place, xerr=width, fmt="o", color=BLUE, capsize=3, markersize=4)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    if reference is not None:
        axes.axvline(reference, color="black", linewidth=0.8, linestyle="--")
    axes.set_xlabel(label)
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    # No pyplot: it keeps figures in a state of the whole process.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(8)
    return figure, axes


def _svg(figure: Any) -> str:
    stream = io.StringIO()
    # Without a date, and with identifiers that depend on the plot alone: same input, same bytes.
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "fedrisk", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
