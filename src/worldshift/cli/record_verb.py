"""`worldshift record`: episodes of a body on disk, for offline adaptation."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from worldshift.cli.shared import emit, progress, say, shift_from
from worldshift.data.episodes import load_episodes, save_episodes
from worldshift.envs import PIXELS
from worldshift.run.acting import Acting
from worldshift.run.offline.record import Behaviour, RecordConfig, record
from worldshift.zoo import load_dreamer


@dataclass(frozen=True)
class Verb:
    """Records episodes of a task, under a shift if one is given, into a new folder. The same seed, the same bytes."""

    out: tyro.conf.Positional[Path]
    """Where they go; must not exist yet."""
    agent: str | None = None
    """Who acts: a shipped DRAW agent or the directory of a run; not needed for random actions."""
    task: str | None = None
    """What is recorded; by default the agent's own task. An agent of states can act while images are recorded:
    `pixels:` before its task."""
    shift: str | None = None
    """What is different in the target: a line of JSON with a shift."""
    transitions: int = 40_000
    """Decisions in all."""
    behaviour: Behaviour = "mixed"
    """`policy`: the agent as it acts; `mixed`: half of the episodes with bursts of noise; `random`: uniform actions."""
    length: int | None = None
    """Decisions of an episode at most (by default all of the task's): shorter ones show more of what comes first."""
    rewards: bool = False
    """Keep the rewards too; adaptation never reads them."""
    seed: int = 0
    """Of start poses and actions."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> int:
        """Records."""
        agent, about = load_dreamer(self.agent) if self.agent else (None, None)
        task = self.task or (about["training"]["task"] if about else None)
        if task is None:
            raise ValueError("say what to record: --task, or --agent with a task of its own.")
        shift = shift_from(self.shift) if self.shift else None
        from_states = about is not None and task == PIXELS + about["training"]["task"]
        config = RecordConfig(
            *(task, shift, self.transitions, self.behaviour, self.length, from_states, self.rewards, self.seed)
        )
        act = Acting(agent, self.seed) if agent else None
        described = {
            "task": task,
            "shift": shift.to_dict() if shift else None,
            "agent": self.agent,
            "behaviour": self.behaviour,
            "length": self.length,
            "seed": self.seed,
        }
        with progress(self.transitions, f"recording {task}") as told:
            episodes = record(config, act, lambda done: told(f"recording {task}", done))
            save_episodes(self.out, episodes, described)
        data = load_episodes(self.out)
        found = {"out": str(self.out), "episodes": len(data.episodes), "transitions": data.transitions}
        if self.json:
            emit(found | described)
        else:
            say().print(f"{data.transitions:,} transitions in {len(data.episodes)} episodes of {task} in {self.out}")
        return 0
