"""What a study's committed rows say: numbers, for tables and `--json`, and the figures that are drawn from them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from worldshift.report.figures import Curve, Panel, Training, by_severity, by_updates, over_body_time, training_curves
from worldshift.report.stats import Estimate
from worldshift.run.kinds_study import KindsStudy, by_kind
from worldshift.run.looks_study import LooksStudy, by_look
from worldshift.run.metrics import Rows, actuation_error, course, harm, trailing
from worldshift.run.offline_study import OfflineStudy, by_case
from worldshift.run.protocol import Protocol
from worldshift.run.study import AgentStudy, AnyStudy, Study
from worldshift.run.summary import ACTUATION_SMOOTHING_S, REWARD_SMOOTHING_S, Summary, plain, summarise

ANCHORS = "official_tdmpc2.json"


@dataclass(frozen=True)
class Harmless:
    """One method on healthy bodies."""

    reward: float
    """Mean per agent step."""
    harm: Estimate
    """Share of the frozen agent's reward that it costs."""


Numbers = Mapping[str, Summary] | Mapping[str, Harmless]


def findings(study: AnyStudy, header: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """The numbers of a study as JSON values: of all agents together, and of each."""
    base = {"study": study.name, "about": study.about, "definition": header["definition"]}
    if isinstance(study, AgentStudy):
        return base | {
            "agents": {row["agent"]: {k: row[k] for k in row if k not in ("returns", "curve")} for row in rows}
        }
    if isinstance(study, KindsStudy):
        kinds = by_kind(complete(rows))
        return base | {"kinds": {k: {m: plain(s._asdict()) for m, s in each.items()} for k, each in kinds.items()}}
    if isinstance(study, LooksStudy):
        looks = by_look(rows)
        return base | {"looks": {k: {str(s): plain(e._asdict()) for s, e in each.items()} for k, each in looks.items()}}
    if isinstance(study, OfflineStudy):
        pairs = by_case(rows)
        return base | {"pairs": {p: {m: plain(s._asdict()) for m, s in each.items()} for p, each in pairs.items()}}
    agents = dict.fromkeys(row["agent"] for row in complete(rows))
    each = {agent: numbers(study, header, [row for row in rows if row["agent"] == agent]) for agent in agents}
    return base | {"methods": plain(numbers(study, header, rows)), "agents": plain(each)}


def numbers(study: Study, header: Mapping[str, Any], rows: Rows) -> Numbers:
    """Summaries by method; of a study without a fault only what it costs to look for one.

    Raises:
        ValueError: the rows of the frozen agent are not there yet.
    """
    methods = by_method(complete(rows))
    if "frozen" not in methods:
        raise ValueError(f"{study.name} has no rows of the frozen agent yet: run `worldshift study {study.name}`.")
    if study.shift is None:
        frozen = methods["frozen"]
        return {
            m: Harmless(float(np.mean([r["reward"] for r in each])), harm(each, frozen)) for m, each in methods.items()
        }
    ms = {name: float(np.median([p["ms"] for p in header["pairs"] if p["method"] == name])) for name in methods}
    return summarise(methods, study.protocol, step_seconds(header), ms=ms)


def by_method(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """Rows of each method, agent by agent: the same trials in the same order, whenever each agent was run."""
    ordered = sorted(rows, key=lambda row: row["agent"])
    return {name: [r for r in ordered if r["method"] == name] for name in dict.fromkeys(r["method"] for r in rows)}


def step_seconds(header: Mapping[str, Any]) -> float:
    """Body time of an agent step, from the rows' header."""
    return float(header["pairs"][0]["dt"])


def complete(rows: Rows) -> list[Mapping[str, Any]]:
    """Only agents that every method has been run with, while a study is under way."""
    methods = by_method(rows)
    common = set.intersection(*({row["agent"] for row in each} for each in methods.values()))
    return [row for row in rows if row["agent"] in common]


def panels(
    methods: Mapping[str, Rows], protocol: Protocol, dt: float, *, error: bool = False
) -> tuple[list[Panel], list[tuple[float, float]]]:
    """Panels of reward, actuation error and, if asked for, control error; time 0 is the first onset. And the ON phases.

    Reward: mean over bodies over a trailing 5 s, as a share of the nominal mean (as it is, where that is negative).
    Errors: median over bodies with quartiles as a band, actuation over a trailing 1 s.
    """
    seconds = protocol.block * dt
    onset = protocol.nominal * dt
    x = seconds * np.arange(1, -(-protocol.steps // protocol.block) + 1) - onset
    on = [(c * (protocol.on + protocol.off) * dt, (c * (protocol.on + protocol.off) + protocol.on) * dt)
          for c in range(protocol.cycles)]  # fmt: skip

    def whole(rows: Rows, name: str) -> Float[np.ndarray, "N K"]:
        return np.asarray([row[name] for row in rows], float)

    def window(length: float) -> int:
        return max(1, round(length / seconds))

    level = whole(methods.get("nominal", methods["frozen"]), "reward").mean()
    label, level, limits = ("reward / nominal", level, (0.0, 1.15)) if level > 0 else ("reward per step", 1.0, None)
    reward, actuation, control = {}, {}, {}
    for name, rows in methods.items():
        course(rows, protocol, dt)  # refuses rows of another protocol
        smooth = trailing(whole(rows, "reward").mean(0), window(REWARD_SMOOTHING_S)) / level
        reward[name] = Curve(x, smooth)
        wrong = actuation_error({k: whole(rows, k) for k in ("left", "wrong")}, window(ACTUATION_SMOOTHING_S))
        if name not in ("nominal", "finetune") and np.isfinite(wrong).any():
            actuation[name] = _median(x, wrong)
        control[name] = _median(x, 1e3 * trailing(whole(rows, "error"), window(REWARD_SMOOTHING_S)))
    shown = [
        Panel(label, reward, limits=limits),
        Panel("actuation error", actuation, limits=(0.0, 1.3)),
    ]
    return shown + ([Panel("control error (×10⁻³)", control)] if error else []), on


def episode_starts(protocol: Protocol, dt: float, most: int = 40) -> list[float]:
    """When episodes begin, time 0 being the first onset; none where they are too many to be told apart."""
    first = protocol.episode_steps - protocol.offset
    starts = [(t - protocol.nominal) * dt for t in range(first, protocol.steps, protocol.episode_steps)]
    return starts if len(starts) <= most else []


def _median(x: np.ndarray, values: Float[np.ndarray, "N K"]) -> Curve:
    known = np.isfinite(values).all(0)
    low, middle, high = np.quantile(values[:, known], (0.25, 0.5, 0.75), axis=0)
    return Curve(x[known], middle, low, high) if len(values) > 2 else Curve(x[known], middle)


def draw(study: AnyStudy, header: Mapping[str, Any], rows: Rows, folder: Path, results: Path) -> list[Path]:
    """Draws the study's figure from its rows; returns the files. A study without a fault, or of kinds, has none."""
    path = folder / f"{study.name}.png"
    if isinstance(study, AgentStudy):
        training_curves(path, trainings(rows, results / ANCHORS), theirs="TD-MPC2, official (planner on)")
    elif isinstance(study, OfflineStudy):
        by_updates(path, {"return in the target": over_updates(rows, "target_return"),
                          "held-out error (nats)": over_updates(rows, "held_out_kl")}, title=study.about)  # fmt: skip
    elif isinstance(study, LooksStudy):
        curves = {"return": "return", "error of the model (nats)": "held_out_kl"}
        by_severity(path, {label: over_severity(rows, name) for label, name in curves.items()}, title=study.about)
    elif isinstance(study, Study) and study.shift is not None:
        methods = by_method(complete(rows))
        shown, on = panels(methods, study.protocol, step_seconds(header), error="paper" in study.methods)
        starts = episode_starts(study.protocol, step_seconds(header))
        over_body_time(path, shown, title=study.about, on=on, episodes=starts)
    else:
        return []
    return [path]


def over_updates(rows: Rows, name: str) -> dict[str, dict[str, Curve]]:
    """Curves by pair and case: mean over seeds, and their range. What is measured once is a level all along."""
    found: dict[str, dict[str, Curve]] = {}
    longest = max(row["curve"]["updates"][-1] for row in rows)
    for pair, case in dict.fromkeys((row["pair"], row["method"]) for row in rows):
        mine = [row["curve"] for row in rows if (row["pair"], row["method"]) == (pair, case)]
        if name not in mine[0]:
            continue
        values = np.asarray([curve[name] for curve in mine], float)
        x = np.asarray(mine[0]["updates"], float)
        if len(x) == 1:
            x, values = np.asarray([0.0, longest]), np.repeat(values.mean(0, keepdims=True), 2, axis=1)
        band = (values.min(0), values.max(0)) if len(values) > 1 else (None, None)
        found.setdefault(pair, {})[case] = Curve(x, values.mean(0), *band)
    return found


def over_severity(rows: Rows, name: str) -> dict[str, Curve]:
    """Curves by look: mean over seeds, and their range."""
    found = {}
    for look in dict.fromkeys(row["method"] for row in rows):
        x = list(dict.fromkeys(row["severity"] for row in rows if row["method"] == look))
        values = np.asarray(
            [[row[name] for row in rows if (row["method"], row["severity"]) == (look, at)] for at in x], float
        )
        found[look] = Curve(np.asarray(x), values.mean(1), values.min(1), values.max(1))
    return found


def trainings(rows: Rows, anchors: Path) -> dict[str, Training]:
    """Training curves of the agents by task, and the official scores up to twice as many frames."""
    official = json.loads(anchors.read_text())["tasks"] if anchors.is_file() else {}
    tasks: dict[str, dict[str, Sequence[tuple[float, float]]]] = {}
    for row in rows:
        tasks.setdefault(row["task"], {})[row["agent"]] = [(frames, score) for frames, score in row["curve"]]
    found = {}
    for task, ours in tasks.items():
        longest = max((frames for curve in ours.values() for frames, _ in curve), default=0.0)
        scores = [(p["frames"], p["mean"], p["std"]) for p in official.get(task, []) if p["frames"] <= 2 * longest]
        found[task] = Training(ours, scores)
    return found
