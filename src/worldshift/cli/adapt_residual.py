"""`worldshift adapt residual`: recorded episodes of the target, and a world model and policy that fit them."""

import json as jsonlib
from dataclasses import asdict, dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from worldshift.adapt.offline import PAPER, OfflineConfig
from worldshift.agents.draw_agent import DrawAgent
from worldshift.cli.shared import emit, progress, say, shift_from
from worldshift.data.episodes import Episodes, load_episodes
from worldshift.files import write_text
from worldshift.report.grid import Grid, number
from worldshift.run.appraisal import evaluate_draw
from worldshift.run.offline.adapt import Adapted, adapt_offline, save_adapted, updates_of
from worldshift.run.offline.target_data import own_data
from worldshift.zoo import load_dreamer

ENOUGH = 1.5
"""What changed counts as expressed up to this multiple of what the source's model, being right, would be off by."""


@dataclass(frozen=True)
class Residual:
    """Adapts a pretrained DRAW agent to recorded, reward-free episodes of a body that is not as in the simulator.

    A small network corrects the frozen latent dynamics, and a policy is trained in its dreams. The held-out error says
    whether the correction can express what changed: it should fall to about what the source's model would be off by if
    it were right, which stands beside it.
    """

    agent: str
    """The pretrained agent: a shipped one, or the directory of a `worldshift pretrain` run."""
    data: tuple[Path, ...]
    """Episodes of the target: folders of `worldshift record`, Minari data sets, or ReDRAW's chunks; one or several."""
    out: Path
    """Where the adapted agent goes; must not exist yet."""
    preset: Literal["ours", "paper"] = "ours"
    """`ours` is what the study of choices found best, `paper` has ReDRAW's numbers; single ones are changed by the
    other options."""
    config: Annotated[OfflineConfig, tyro.conf.arg(name="")] = field(default_factory=OfflineConfig)
    updates: int = 3000
    """Of the dynamics and of the policy."""
    transitions: int | None = None
    """Use only so many transitions of the data."""
    measure_every: int = 500
    """Updates between measurements of the curve."""
    seed: int = 0
    """Of the networks, the batches and the held-out episodes."""
    simulate: str | None = None
    """Where the target is a simulation: its shift, as a line of JSON. Then returns are measured, beside zero-shot."""
    episodes: int = 16
    """Episodes of each measurement in the simulated target."""
    own: int = 0
    """Transitions that the adapted agent records in the simulated target, after half of the updates; then it is adapted
    anew, from them and the data. On a robot, record between two calls of this command."""
    turns: int = 1
    """Recordings among which they are shared, each by what was adapted to all before it."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> int:
        """Adapts, measures, stores."""
        if self.updates < 1 or self.measure_every < 1 or self.episodes < 1:
            raise ValueError("updates, measure_every and episodes must be at least 1.")
        if self.own and (not self.simulate or self.turns < 1 or self.own < self.turns):
            raise ValueError("--own needs the simulated target (--simulate), and a transition for each of --turns.")
        if self.out.exists():
            raise ValueError(f"{self.out} exists already: choose another --out.")
        agent, about = load_dreamer(self.agent)
        task, shift = about["training"]["task"], shift_from(self.simulate) if self.simulate else None
        if not self.data:
            raise ValueError("--data needs at least one folder of episodes.")
        data = reduce(add, [load_episodes(path, pixels=agent.model.pixels) for path in self.data])
        if self.transitions is not None:
            data = data.first(self.transitions)

        def measure(agent: DrawAgent) -> dict[str, float]:
            found = evaluate_draw(agent, task, shift, episodes=self.episodes, seed=self.seed)
            return {"target_return": found["mean"], "read_return": found["read"]}

        def record(agent: DrawAgent, turn: int) -> Episodes:
            seed, length = self.seed + 10_000 * turn, max(len(episode.action) for episode in data.episodes)
            return own_data(task, shift, agent, seed, self.own // self.turns, length)

        whole = sum(updates_of(self.updates, self.config, self.turns if self.own else 0))
        with progress(whole, f"{data.transitions:,} transitions") as told:
            adapted = adapt_offline(
                agent,
                data,
                self.config,
                updates=self.updates,
                seed=self.seed,
                measure_every=self.measure_every,
                measure=measure if shift else None,
                report=lambda done, row: told(_words(row), done),
                record=record if self.own else None,
                turns=self.turns,
            )
        zero_shot = measure(agent)["target_return"] if shift else None
        training = dict(about["training"]) | {"adaptation": asdict(self.config), "data": dict(data.about)}
        if self.own:
            training["own"] = {"transitions": self.own, "turns": self.turns, "shift": shift and shift.to_dict()}
        save_adapted(self.out, adapted, training)
        write_text(self.out / "curve.jsonl", "".join(jsonlib.dumps(row) + "\n" for row in adapted.curve))
        self._tell(adapted, zero_shot, data.transitions + self.own // self.turns * self.turns)
        return 0

    def _tell(self, adapted: Adapted, zero_shot: float | None, transitions: int) -> None:
        curve, first, last = adapted.curve, adapted.curve[0]["held_out_kl"], adapted.curve[-1]["held_out_kl"]
        yardstick = adapted.expected_kl if adapted.expected_kl > 0 else None
        expressed = None if yardstick is None else last <= ENOUGH * yardstick
        if self.json:
            found: dict[str, Any] = {"agent": self.agent, "out": str(self.out), "transitions": transitions}
            found |= {"zero_shot_return": zero_shot, "expected_kl": adapted.expected_kl, "expressed": expressed}
            emit(found | {"curve": curve})
            return
        header = ["updates", "held-out error (nats)"] + (["return in the target"] if zero_shot is not None else [])
        rows = [
            [f"{row['updates']:.0f}", number(row["held_out_kl"], 2)]
            + ([number(row["target_return"], 0)] if zero_shot is not None else [])
            for row in curve
        ]
        say().print(Grid(header, rows).rich())
        if zero_shot is not None:
            say().print(f"not adapted (zero-shot): {zero_shot:.0f}")
        said = f"held-out error {first:.2f} -> {last:.2f} nats, "
        if yardstick is None:
            said += "and no yardstick: the source's model is surer of what follows here than of what it sees"
        else:
            helped = "what" if expressed else "a part of what" if last < 0.8 * first else "hardly any of what"
            said += f"where the source's model, being right, would be off by {yardstick:.2f}: the correction expresses "
            said += f"{helped} changed" + ("" if expressed else ": take more updates, more data, or another method")
        say().print(f"{said}; the agent is in {self.out / 'agent'}", soft_wrap=True)


@dataclass(frozen=True)
class Published(Residual):
    """The same with other defaults."""

    preset: Literal["ours", "paper"] = "paper"
    config: Annotated[OfflineConfig, tyro.conf.arg(name="")] = field(default_factory=lambda: PAPER)


Published.__doc__ = Residual.__doc__  # its help


def _words(row: dict[str, float]) -> str:
    held = f"held-out {row['held_out_kl']:.2f} nats" if "held_out_kl" in row else f"error {row['kl']:.2f} nats"
    return held + (f", return {row['target_return']:.0f}" if "target_return" in row else "")
