"""`worldshift eval`: whole episodes of an agent."""

from dataclasses import dataclass, replace
from typing import Literal

import tyro

from worldshift import zoo
from worldshift.agents.agent import Agent
from worldshift.agents.mppi import PlannerConfig
from worldshift.cli.shared import aside, emit, say, shift_from
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
        return 0
