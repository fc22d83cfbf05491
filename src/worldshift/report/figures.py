"""Figures: curves over body time with the fault marked, and training curves beside published scores.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; line styles differ as well. Matplotlib is loaded
when a figure is drawn and never opens a window.
"""

import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from worldshift.files import replacing


@dataclass(frozen=True)
class Look:
    """How one method is drawn, the same in every figure."""

    label: str
    colour: str
    style: str | tuple[int, tuple[float, ...]] = "-"
    width: float = 1.6


LOOKS = {
    "nominal": Look("nominal (no fault)", "#000000", (0, (1, 1)), 1.3),
    "oracle": Look("oracle", "#009E73", (0, (6, 1, 1, 1)), 1.4),
    "frozen": Look("frozen", "#D55E00", (0, (5, 1.5))),
    "paper": Look("reflex, paper mode", "#CC79A7"),
    "paper, on the way": Look("reflex, paper mode, on the way", "#8E2F6C", (0, (7, 1))),
    "published": Look("reflex, paper mode, published step", "#CC79A7", (0, (2, 1.2)), 1.3),
    "finetune": Look("finetuned", "#E69F00", (0, (3, 1, 1, 1, 1, 1))),
    "finetune, kept buffer": Look("finetuned, kept buffer", "#F0C24B", (0, (5, 1, 1, 1))),
    "fast": Look("reflex, fast mode", "#0072B2", "-", 2.2),
    "fast, coupled": Look("reflex, fast mode, full matrix", "#0072B2", (0, (3, 1)), 1.8),
    "fast, cautious": Look("reflex, fast mode, cautious", "#8C564B", (0, (6, 1.5)), 1.6),
    "l1": Look("L1 adaptive", "#7F3C8D", (0, (4, 1, 1, 1, 1, 1))),
    "rma": Look("RMA", "#A6761D", (0, (2, 2))),
    "layered": Look("reflex, layered", "#56B4E9", (0, (8, 1.5)), 1.8),
}
OFFLINE_LOOKS = {
    "oracle": Look("oracle", "#009E73", (0, (6, 1, 1, 1)), 1.4),
    "zero-shot": Look("zero-shot", "#D55E00", (0, (5, 1.5))),
    "residual": Look("residual", "#0072B2", "-", 2.2),
}
OURS = ("#0072B2", "#56B4E9", "#009E73", "#CC79A7")
THEIRS = "#444444"


@dataclass(frozen=True)
class Curve:
    """A line, with a band if there is more than one body."""

    x: Float[np.ndarray, " K"]
    y: Float[np.ndarray, " K"]
    low: Float[np.ndarray, " K"] | None = None
    high: Float[np.ndarray, " K"] | None = None


@dataclass(frozen=True)
class Panel:
    """One axis of a figure over body time; curves by method."""

    label: str
    curves: Mapping[str, Curve]
    level: float | None = None
    """A thin line here: what no correction, or a perfect one, would give."""
    limits: tuple[float, float] | None = None
    on: tuple[tuple[float, float], ...] = ()
    """Beginnings and ends of the fault."""
    episodes: tuple[float, ...] = ()
    """Beginnings of episodes, where rewards dip because bodies get up."""


def over_body_time(path: str | os.PathLike[str], columns: Mapping[str, Sequence[Panel]], *, title: str) -> None:
    """Panels over body time (s), the fault's ON phases shaded: a column for each body. Written atomically."""
    from matplotlib.figure import Figure

    height = max(len(panels) for panels in columns.values())
    size = (7.2 if len(columns) == 1 else 1.0 + 3.6 * len(columns), 0.9 + 2.1 * height)
    figure = Figure(figsize=size, layout="constrained")
    axes = np.asarray(figure.subplots(height, len(columns), sharex="col", squeeze=False))
    drawn = dict.fromkeys(m for panels in columns.values() for panel in panels for m in panel.curves)
    others = [m for m in drawn if m not in LOOKS]
    for j, (body, panels) in enumerate(columns.items()):
        for axis, panel in zip(axes[:, j], panels, strict=True):
            _panel(axis, panel, others, label=j == 0)
        if panels[0].on:
            axes[0, j].annotate("fault", (panels[0].on[0][0], 1.0), xycoords=("data", "axes fraction"), fontsize=8,
                                xytext=(4, -11), textcoords="offset points", color="#6B5D3E")  # fmt: skip
        for i, begin in enumerate(panels[0].episodes):
            axes[0, j].plot([begin, begin], [0, 0.05], color="#777777", lw=0.8, clip_on=False,
                            transform=axes[0, j].get_xaxis_transform(),
                            label="new episode" if i == 0 else None)  # fmt: skip
        if len(columns) > 1:
            axes[0, j].set_title(body, fontsize=10)
        axes[-1, j].set_xlabel("body time (s)")
        axes[-1, j].set_xlim(*_extent(panels))
    handles, labels = _legend(axes.ravel())
    many = 4 if sum(map(len, labels)) < 75 * len(columns) else 3
    figure.legend(handles, labels, loc="outside upper center", ncols=many, frameon=False, fontsize=8,
                  title=title, title_fontsize=10)  # fmt: skip
    save(figure, path)


@dataclass(frozen=True)
class Training:
    """Evaluation returns of one task by frames: our seeds, and what is published at the same frames."""

    ours: Mapping[str, Sequence[tuple[float, float]]]
    """(frames, return) by agent."""
    theirs: Sequence[tuple[float, float, float]] = ()
    """(frames, mean, standard deviation over seeds)."""


def training_curves(path: str | os.PathLike[str], tasks: Mapping[str, Training], *, theirs: str) -> None:
    """One panel a task. Published scores are points with their spread; `theirs` says whose they are and how made."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.0 + 2.9 * len(tasks), 3.2), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(tasks), sharey=True))
    for axis, (task, training) in zip(axes, tasks.items(), strict=True):
        for colour, (name, points) in zip(OURS, training.ours.items(), strict=False):
            frames, returns = np.asarray(points, float).reshape(-1, 2).T
            axis.plot(frames / 1e3, returns, color=colour, lw=1.6, marker=".", ms=4, label=name)
        if training.theirs:
            frames, means, spreads = np.asarray(training.theirs, float).T
            axis.errorbar(frames / 1e3, means, spreads, color=THEIRS, fmt="D", ms=4, capsize=3, label=theirs)
        axis.set_title(task, fontsize=10)
        axis.set_xlabel("frames (thousands)")
        axis.set_ylim(0, 1040)
        axis.legend(frameon=False, fontsize=7, loc="lower right")
        tidy(axis)
    axes[0].set_ylabel("return")
    save(figure, path)


def by_updates(
    path: str | os.PathLike[str], rows: Mapping[str, Mapping[str, Mapping[str, Curve]]], *, title: str
) -> None:
    """Curves over updates: a row for each quantity, a column for each pair, a line for each way of adapting.

    Errors, whatever is measured in nats, are on a logarithmic axis.
    """
    from matplotlib.figure import Figure

    columns = list(dict.fromkeys(pair for each in rows.values() for pair in each))
    size = (1.2 + 3.0 * max(2, len(columns)), 1.0 + 2.1 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = np.asarray(figure.subplots(len(rows), len(columns), sharex="col", squeeze=False))
    names = list(dict.fromkeys(case for each in rows.values() for cases in each.values() for case in cases))
    for i, (quantity, pairs) in enumerate(rows.items()):
        for j, pair in enumerate(columns):
            for name, curve in pairs.get(pair, {}).items():
                _draw(axes[i, j], curve, look_of(name, names))
            tidy(axes[i, j])
            if "nats" in quantity:
                axes[i, j].set_yscale("log")
        axes[i, 0].set_ylabel(quantity)
    for j, pair in enumerate(columns):
        axes[0, j].set_title(pair, fontsize=10)
        axes[-1, j].set_xlabel("updates")
        axes[-1, j].locator_params(axis="x", nbins=6)
    handles, labels = _legend(axes.ravel())
    inches = 0.5 + 0.062 * max(map(len, labels))  # of an entry at that size
    fit = max(1, min(4, int(figure.get_figwidth() / inches)))
    figure.legend(handles, labels, loc="outside upper center", ncols=fit, frameon=False, fontsize=8,
                  title=textwrap.fill(title, 32 * max(2, len(columns))), title_fontsize=10)  # fmt: skip
    save(figure, path)


def by_severity(
    path: str | os.PathLike[str],
    rows: Mapping[str, Mapping[str, Mapping[str, Curve]]],
    *,
    title: str,
    axis: str = "severity",
    logarithmic: bool = False,
    wide: int = 6,
) -> None:
    """Curves over severity: a row for each quantity, a column for each kind of change, a line for each method.

    More than `wide` kinds go on below, all quantities again, but for those that nothing is known of. Errors in nats are
    on a logarithmic axis.
    """
    from matplotlib.figure import Figure

    kinds = list(dict.fromkeys(kind for each in rows.values() for kind in each))
    across = min(wide, len(kinds))
    strips = [
        (quantity, {kind: curves[kind] for kind in band if _says(curves.get(kind, {}))})
        for band in (kinds[start : start + across] for start in range(0, len(kinds), across))
        for quantity, curves in rows.items()
    ]
    strips = [(quantity, known) for quantity, known in strips if known]
    figure = Figure(figsize=(1.2 + 2.6 * max(2, across), 1.0 + 2.0 * len(strips)), layout="constrained")
    axes = np.asarray(figure.subplots(len(strips), across, sharey="row", squeeze=False))
    for at in axes.ravel():
        at.set_visible(False)
    lowest = {}
    for i, (quantity, known) in enumerate(strips):
        for kind, curves in known.items():
            at = axes[i, kinds.index(kind) % across]
            at.set_visible(True)
            for method, curve in curves.items():
                _draw(at, curve, LOOKS.get(method, Look("", "#0072B2", "-", 1.8)))
            tidy(at)
            if "nats" in quantity:
                at.set_yscale("log")
            if logarithmic:
                at.set_xscale("log")
            if kind == next(iter(known)):
                at.set_ylabel(quantity)
                at.tick_params(labelleft=True)
            if kind not in lowest:
                at.set_title(textwrap.fill(kind, 24), fontsize=9)
            lowest[kind] = at
    for at in lowest.values():
        at.set_xlabel(axis)
    handles, labels = _legend(axes.ravel())
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=8,
                  title=textwrap.fill(title, 30 * max(2, across)), title_fontsize=10)  # fmt: skip
    save(figure, path)


def _says(curves: Mapping[str, Curve]) -> bool:
    """Whether there is anything to draw."""
    return any(np.isfinite(curve.y).any() for curve in curves.values())


@dataclass(frozen=True)
class Strand:
    """One axis of traces of a single life."""

    label: str
    lines: Mapping[str, Float[np.ndarray, " K"]]


def strands(
    path: str | os.PathLike[str],
    x: Float[np.ndarray, " K"],
    columns: Mapping[str, Sequence[Strand]],
    *,
    title: str,
) -> None:
    """Traces over body time (s), the fault from 0 s on: a column for each method, each axis with its own legend."""
    from matplotlib.figure import Figure

    height = max(len(each) for each in columns.values())
    figure = Figure(figsize=(1.0 + 4.2 * len(columns), 1.0 + 1.9 * height), layout="constrained")
    axes = np.asarray(figure.subplots(height, len(columns), sharex=True, sharey="row", squeeze=False))
    inks = (("#D55E00", (0, (5, 1.5)), 1.4), ("#0072B2", "-", 1.4), ("#000000", (0, (1, 1)), 1.6))
    for j, (method, each) in enumerate(columns.items()):
        for i, strand in enumerate(each):
            axes[i, j].axvspan(0, float(x[-1]), color="#F3EBDD", zorder=0, lw=0)
            for (name, y), (colour, style, width) in zip(strand.lines.items(), inks, strict=False):
                axes[i, j].plot(x, y, color=colour, ls=style, lw=width, label=name)
            axes[i, j].set_title(strand.label, fontsize=9, loc="left")
            axes[i, j].legend(frameon=False, fontsize=7, ncols=3, loc="best")
            tidy(axes[i, j])
        axes[0, j].annotate(LOOKS[method].label, (1.0, 1.02), xycoords="axes fraction", ha="right", fontsize=10,
                            color=LOOKS[method].colour)  # fmt: skip
        axes[-1, j].set_xlabel("body time after the fault (s)")
    figure.suptitle(textwrap.fill(title, 48 * len(columns)), fontsize=10)
    save(figure, path)


def look_of(name: str, names: Sequence[str]) -> Look:
    """How a way of adapting is drawn: the bounds and the residual always alike, others by their place among `names`."""
    if name in OFFLINE_LOOKS:
        return OFFLINE_LOOKS[name]
    free = [n for n in names if n not in OFFLINE_LOOKS]
    colours = ("#E69F00", "#7F3C8D", "#56B4E9", "#000000", "#8C564B", "#8FBC3B")
    styles: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1, 1, 1)))
    place = free.index(name)
    return Look(name, colours[place % len(colours)], styles[(place // len(colours)) % len(styles)], 1.4)


def _panel(axis, panel: Panel, others: Sequence[str], *, label: bool) -> None:
    for begin, end in panel.on:
        axis.axvspan(begin, end, color="#F3EBDD", zorder=0, lw=0)
        axis.axvline(begin, color="#8A7B5C", lw=0.8, zorder=1)
    if panel.level is not None:
        axis.axhline(panel.level, color="#999999", lw=0.8, zorder=1)
    for method in (m for m in (*LOOKS, *others) if m in panel.curves):
        _draw(axis, panel.curves[method], LOOKS[method] if method in LOOKS else look_of(method, others))
    if label:
        axis.set_ylabel(panel.label)
    if panel.limits:
        axis.set_ylim(*panel.limits)
    tidy(axis)


def _draw(axis, curve: Curve, look: Look) -> None:
    if curve.low is not None and curve.high is not None:
        axis.fill_between(curve.x, curve.low, curve.high, color=look.colour, alpha=0.14, lw=0)
    axis.plot(curve.x, curve.y, color=look.colour, ls=look.style, lw=look.width, label=look.label)


def tidy(axis) -> None:
    """No box around an axis, small numbers."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _extent(panels: Sequence[Panel]) -> tuple[float, float]:
    ends = [curve.x[[0, -1]] for panel in panels for curve in panel.curves.values() if len(curve.x)]
    return (float(np.min(ends)), float(np.max(ends))) if ends else (0.0, 1.0)


def _legend(axes: np.ndarray) -> tuple[list, list[str]]:
    """Every method once, wherever it is drawn."""
    seen: dict[str, object] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            seen.setdefault(label, handle)
    return list(seen.values()), list(seen)


def save(figure, path: str | os.PathLike[str]) -> None:
    """Writes a figure atomically."""
    kind = Path(path).suffix.removeprefix(".") or "png"
    with replacing(path) as beside:
        # No software and no date in the file: the same rows give the same bytes.
        figure.savefig(beside, dpi=150, format=kind, metadata={"Software": None})
