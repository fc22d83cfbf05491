"""`worldshift eval`: whole episodes of an agent."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from worldshift import zoo
from worldshift.agents.agent import Agent
from worldshift.agents.mppi import PlannerConfig
from worldshift.cli.shared import aside, emit, say, shift_from
from worldshift.data.episodes import load_episodes
from worldshift.report.grid import Grid, number
from worldshift.run.acting import read_returns
from worldshift.run.appraisal import evaluate_agent, evaluate_draw
from worldshift.shifts import Shift
from worldshift.studies.agents import agents


@dataclass(frozen=True)
class Verb:
    """Plays whole episodes with an agent's mean action and reports return, lowest return and saturation."""

    agent: tyro.conf.Positional[str]
    """A shipped agent (walker-walk means the best of its seeds) or the directory of a training run."""
    episodes: int = 20
    """How many, side by side, each from its own start pose."""
    seed: int = 10_000
    """Of the first start pose; the others follow it."""
    planner: Literal["as-trained", "on", "off"] = "as-trained"
    """Plan with MPPI, or act with the policy alone."""
    shift: str | None = None
    """A shift that acts all the time: `gain`, or a line of JSON such as '{"kind": "ActuatorGain", "p": -0.3}'. By
    default nothing, or what a DRAW agent was trained under."""
    fault: int = 0
    """Number of the fault's draw in the first episode, where the shift has random parameters; the others follow it."""
    data: Path | None = None
    """Of a DRAW agent: a folder of recorded episodes. Nothing is simulated; what the agent's model reads that they were
    paid is reported, which needs no reward: whether the agent that recorded them does its task."""
    card: bool = False
    """Write what was found into card.json beside the agent (healthy body, planner as trained)."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> int:
        """Evaluates and reports."""
        shift = shift_from(self.shift) if self.shift else None
        if self.episodes < 1:
            raise ValueError(f"an evaluation needs at least one episode, not {self.episodes}.")
        if self.card and (shift or self.planner != "as-trained"):
            raise ValueError("a card is about the healthy agent as it was trained: leave --shift and --planner out.")
        if self.data:
            return self._recorded(self.data)
        if zoo.kind(self.agent) == "draw":
            return self._dreamer(shift)
        shipped = zoo.load(self.agent)
        if self.planner != "as-trained":
            config = PlannerConfig(**shipped.config.get("planning", {})) if self.planner == "on" else None
            shipped = replace(shipped, agent=Agent(shipped.agent.model, config, shipped.agent.discount))
        with aside().status(f"{self.episodes} episodes of {shipped.task}"):
            found = evaluate_agent(shipped, episodes=self.episodes, seed=self.seed, shift=shift, fault=self.fault)
        if self.card:
            found["card"] = str(zoo.write_card(shipped.path, found))
        if self.json:
            emit({"agent": shipped.name, "shift": shift.to_dict() if shift else None, **found})
        else:
            say().print(agents({shipped.name: found}).rich())
        return 0

    def _dreamer(self, shift: Shift | None) -> int:
        """A DRAW agent: ReDRAW's protocol, sampled actions."""
        if self.planner == "on":
            raise ValueError("a DRAW agent has no planner: leave --planner out.")
        agent, about = zoo.load_dreamer(self.agent)
        task, trained_under = about["training"]["task"], about["training"].get("shift")
        if shift is None and trained_under:
            shift = shift_from(trained_under)
        with aside().status(f"{self.episodes} episodes of {task}"):
            found = evaluate_draw(agent, task, shift, episodes=self.episodes, seed=self.seed)
        if self.card:
            found["card"] = str(zoo.write_card(zoo.find(self.agent), found))
        if self.json:
            emit({"agent": self.agent, "shift": shift.to_dict() if shift else None, **found})
        else:
            say().print(agents({self.agent: found}).rich())
            say().print(f"mean return as the agent's model reads it, without the reward: {found['read']:.0f}")
        return 0

    def _recorded(self, folder: Path) -> int:
        """Episodes as a DRAW agent's model reads them."""
        if zoo.kind(self.agent) != "draw":
            raise ValueError(f"--data is read by the model of a DRAW agent, and {self.agent} is another kind of agent.")
        if self.card or self.shift or self.planner != "as-trained":
            raise ValueError("recorded episodes are read as they are: leave --card, --shift and --planner out.")
        agent, _ = zoo.load_dreamer(self.agent)
        data = load_episodes(folder, pixels=agent.model.pixels)
        with aside().status(f"{data.transitions:,} transitions"):
            read = read_returns(agent.model, data, self.seed)
        lengths = [len(episode.action) for episode in data.episodes]
        paid = [None if e.reward is None else round(float(e.reward.sum()), 2) for e in data.episodes]
        each = float(read.sum() / sum(lengths))
        if self.json:
            found = {
                "agent": self.agent,
                "data": str(folder),
                "episodes": len(read),
                "read_per_decision": round(each, 4),
            }
            emit(found | {"read": [round(float(r), 2) for r in read], "paid": paid, "decisions": lengths})
            return 0
        rows = [
            (str(i), str(length), number(float(r), 1), number(p, 1))
            for i, (length, r, p) in enumerate(zip(lengths, read, paid, strict=True), 1)
        ]
        say().print(Grid(("episode", "decisions", "reward as the model reads it", "recorded reward"), rows).rich())
        say().print(f"{each:.2f} a decision over {len(read)} episodes, as the model of {self.agent} reads them")
        return 0
