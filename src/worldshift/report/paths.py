"""Figure of a point mass: where it went, phase by phase, and how far beside the straight line, episode by episode."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from worldshift.report.figures import LOOKS, Curve, save, tidy

Path2D = Float[np.ndarray, "T 2"]
INKS = {0: "#555555", 1: "#D55E00", -1: "#0072B2"}
"""Colours of a phase by the sign of what acts in it."""
ROOM = 0.13
"""What is shown around start and target (m)."""


@dataclass(frozen=True)
class Walk:
    """One method: a path for each phase's first and last episode, and the deviation of every episode."""

    first: Sequence[Path2D]
    last: Sequence[Path2D]
    deviation: Curve
    """Over episodes; in mm."""


def paths(
    path: str | os.PathLike[str],
    walks: Mapping[str, Walk],
    signs: Sequence[int],
    length: int,
    *,
    ends: tuple[tuple[float, float], tuple[float, float]],
    title: str,
) -> None:
    """A column for each method: paths (m) of phases' first and last episodes above, deviations below.

    Arguments:
        signs: of what acts, for each phase.
        length: episodes of a phase.
        ends: start and target (m).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.0 + 2.9 * len(walks), 8.6), layout="constrained")
    axes = np.asarray(figure.subplots(3, len(walks), sharey="row", squeeze=False))
    # The same window everywhere: a mass that gets lost leaves it.
    spans = [(min(a, b) - ROOM, max(a, b) + ROOM) for a, b in zip(*ends, strict=True)]
    for j, (method, walk) in enumerate(walks.items()):
        look = LOOKS[method]
        for i, (rows, when) in enumerate(((walk.first, "first"), (walk.last, "last"))):
            at = axes[i, j]
            at.plot(*zip(*ends, strict=True), color="#BBBBBB", lw=0.9, zorder=0)
            at.plot(*ends[1], marker="o", ms=9, color="#EDC1BA", zorder=0)
            for sign, line in zip(signs, rows, strict=True):
                at.plot(*line.T, color=INKS[sign], lw=1.3, alpha=0.8)
            at.set(xlim=spans[0], ylim=spans[1], aspect="equal")
            if j == 0:
                at.set_ylabel(f"{when} episode of each phase\ny (m)")
            tidy(at)
        axes[0, j].set_title(look.label, fontsize=10, color=look.colour)
        axes[1, j].set_xlabel("x (m)")
        at, curve = axes[2, j], walk.deviation
        for k, sign in enumerate(signs):
            if sign:
                at.axvspan(k * length, (k + 1) * length, color=INKS[sign], alpha=0.09, lw=0)
        at.axhline(0.0, color="#999999", lw=0.8)
        at.fill_between(curve.x, curve.low, curve.high, color=look.colour, alpha=0.2, lw=0)
        at.plot(curve.x, curve.y, color=look.colour, lw=1.1)
        at.set_xlabel("episode")
        if j == 0:
            at.set_ylabel("beside the line (mm)")
        tidy(at)
    for sign, words in ((0, "nothing acts"), (1, "actions turned left"), (-1, "actions turned right")):
        axes[0, 0].plot([], [], color=INKS[sign], label=words)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False,
                  fontsize=8, title=textwrap.fill(title, 34 * len(walks)), title_fontsize=10)  # fmt: skip
    save(figure, path)
