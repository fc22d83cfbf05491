"""The demo's second act: a simulator that was wrong, recorded data without rewards, and a policy that fits reality.

A shipped agent was trained in the source of a pair and fails in its target. Episodes of the target, without rewards,
correct its world model; a new policy is trained in what the corrected model dreams. Beside it stand the agent as it was
and the oracle, which was trained in the target. Drawn without OpenGL.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from worldshift import zoo
from worldshift.adapt.offline import OfflineConfig
from worldshift.agents.draw_agent import DrawAgent
from worldshift.data.episodes import Episode, Episodes
from worldshift.report.figures import Curve, by_updates
from worldshift.report.film import film_strip
from worldshift.run.appraisal import evaluate_draw
from worldshift.run.offline.adapt import Adapted, adapt_offline
from worldshift.run.offline.dreams import can_draw, dream, pictures
from worldshift.run.offline.target_data import oracle_of, target_data
from worldshift.run.pairs import pair_of

DREAMT = 50
"""Decisions of a dream."""
FRAMES = 9
"""Frames of a dream in the picture."""


@dataclass(frozen=True)
class ResidualDemo:
    """What the demo does."""

    seed: int = 0
    """Of the data, the networks and the start poses."""
    transitions: int = 20_000
    updates: int = 1500
    measure_every: int = 500
    episodes: int = 20
    """Of one measurement."""
    config: OfflineConfig = field(default_factory=OfflineConfig)


@dataclass(frozen=True)
class FoundOffline:
    """What the demo found, and the files that it wrote."""

    returns: dict[str, dict[str, float]]
    """Mean, std and lowest return in the target, of zero-shot, residual and oracle."""
    curve: list[dict[str, float]]
    transitions: int
    files: list[Path]

    def as_json(self, agent: str, demo: ResidualDemo) -> dict[str, Any]:
        """Everything as one JSON object."""
        return {
            "agent": agent,
            "demo": asdict(demo),
            "returns": self.returns,
            "curve": self.curve,
            "transitions": self.transitions,
            "files": [str(path) for path in self.files],
        }


def residual_demo(
    agent: str,
    out: Path,
    demo: ResidualDemo = ResidualDemo(),
    *,
    report: Callable[[str, int], None] | None = None,
) -> FoundOffline:
    """Runs the demo and writes `residual.png`, `numbers.json` and, where the task can be drawn, `dreams.png`.

    Arguments:
        agent: a DRAW agent that was trained in the source of a pair.
        report: called with (what is going on, updates done).

    Raises:
        ValueError: an agent of another task, or `out` is not a folder.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: name a folder for the demo's pictures with --out.")
    source, about = zoo.load_dreamer(agent)
    pair = pair_of(about["training"]["task"])
    oracle, _ = zoo.load_dreamer(oracle_of(pair))
    told = report or (lambda *_: None)

    def measure(agent: DrawAgent) -> dict[str, float]:
        return {"target_return": appraise(agent)["mean"]}

    def appraise(agent: DrawAgent) -> dict[str, float]:
        found = evaluate_draw(agent, pair.task, pair.shift, episodes=demo.episodes, seed=20_000 + demo.seed)
        return {name: found[name] for name in ("mean", "std", "min", "read")}

    told("recording the target", 0)
    data = target_data(pair, "mixed", demo.seed, demo.transitions)
    adapted = adapt_offline(
        source,
        data,
        demo.config,
        updates=demo.updates,
        seed=demo.seed,
        measure_every=demo.measure_every,
        measure=measure,
        report=lambda done, row: told(f"adapting, error {row.get('held_out_kl', row.get('kl', 0.0)):.2f} nats", done),
    )
    agents = {"zero-shot": source, "residual": adapted.agent, "oracle": oracle}
    returns = {name: appraise(each) for name, each in agents.items()}
    out.mkdir(parents=True, exist_ok=True)
    files = [out / "residual.png", out / "numbers.json"]
    _draw_curve(files[0], pair.name, returns, adapted, data.transitions)
    if can_draw(pair.task):
        files.append(out / "dreams.png")
        _draw_dreams(files[-1], pair.task, source, adapted, data, demo.seed)
    found = FoundOffline(returns, adapted.curve, data.transitions, files)
    files[1].write_text(json.dumps(found.as_json(agent, demo), indent=1, allow_nan=False) + "\n")
    return found


def _draw_curve(path: Path, pair: str, returns: dict[str, dict[str, float]], adapted: Adapted, count: int) -> None:
    x = np.asarray([row["updates"] for row in adapted.curve], float)
    ends = x[[0, -1]]
    shown = {name: Curve(ends, np.full(2, returns[name]["mean"])) for name in ("zero-shot", "oracle")}
    shown["residual"] = Curve(x, np.asarray([row["target_return"] for row in adapted.curve]))
    error = {
        "residual": Curve(x, np.asarray([row["held_out_kl"] for row in adapted.curve])),
        "source, if it were right": Curve(ends, np.full(2, adapted.expected_kl)),
    }
    rows = {"return in the target": {pair: shown}, "held-out error (nats)": {pair: error}}
    by_updates(path, rows, title=f"{pair}: {count:,} recorded transitions, no rewards")


def _draw_dreams(path: Path, task: str, source: DrawAgent, adapted: Adapted, data: Episodes, seed: int) -> None:
    """Reality in the target, and the same actions dreamt by the model before and after its adaptation."""
    episode, key = _liveliest(data), jax.random.key(seed)
    rows = {
        "reality": episode.seen[: DREAMT + 1],
        "dream before": dream(source.model, source.model, episode, DREAMT, key),
        "dream after": dream(adapted.dynamics, source.model, episode, DREAMT, key),
    }
    film_strip({name: pictures(task, obs, FRAMES) for name, obs in rows.items()}, path)


def _liveliest(data: Episodes) -> Episode:
    """The episode that moves most in its first moments, so that there is something to see."""
    return max(data.episodes, key=lambda e: float(np.abs(np.diff(e.obs[: DREAMT + 1], axis=0)).sum()))
