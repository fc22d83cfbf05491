"""The zoo: trained agents that come with the package, each with its calibration, its card and its training curve.

`zoo/<task>-<seed>/` holds `agent/`, `calibration/`, `card.json` and `log.jsonl`; `draw-<task>-<seed>/` the same of an
agent for offline adaptation, and `draw-<pair>-<seed>/` of its oracle. A training run's directory has the same layout,
so whatever takes the name of a shipped agent takes the path of your own run as well.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldshift import checkpoint
from worldshift.adapt.calibrate import load_calibration
from worldshift.adapt.fast_reflex import Calibration
from worldshift.agents.agent import Agent, load_agent
from worldshift.agents.draw_agent import DrawAgent, load_draw
from worldshift.files import write_text

ROOT = Path(__file__).parent


@dataclass(frozen=True)
class Shipped:
    """An agent and what belongs to it."""

    name: str
    """The zoo's name, or the path that was asked for."""
    path: Path
    """Directory of the agent's checkpoint."""
    agent: Agent
    calibration: Calibration | None
    """None: `worldshift calibrate` has not been run, and the fast reflex needs that."""
    config: dict[str, Any]
    """How the agent was trained (`PretrainConfig` as a dict)."""
    card: dict[str, Any]
    """How it was made and what it reached; empty where there is no card."""

    @property
    def task(self) -> str:
        """What it was trained for, as `worldshift.make` takes it."""
        return self.config["task"]

    def calibrated(self) -> Calibration:
        """The calibration.

        Raises:
            ValueError: there is none.
        """
        if self.calibration is None:
            raise ValueError(
                f"{self.name} has no calibration, which the fast reflex needs: run `worldshift calibrate {self.name}`."
            )
        return self.calibration


def names() -> list[str]:
    """The shipped agents."""
    return sorted(folder.parent.parent.name for folder in ROOT.glob("*/agent/manifest.json"))


def find(name_or_path: str | os.PathLike[str]) -> Path:
    """The directory of an agent's checkpoint: of a shipped agent, or in a path.

    A task alone, `walker-walk`, means the one of its seeds that its card says is best.

    Raises:
        ValueError: there is neither such a name nor an agent at such a path.
    """
    asked = os.fspath(name_or_path)
    if Path(asked).name == asked:
        seeds = [name for name in names() if name == asked or name.rpartition("-")[0] == asked]
        if seeds:
            return ROOT / max(seeds, key=_reached) / "agent"
    for folder in (Path(asked) / "agent", Path(asked)):
        if (folder / "manifest.json").is_file():
            return folder
    known = ", ".join(names()) or "none in this installation"
    raise ValueError(f"there is no agent {asked!r}: name a shipped one ({known}) or the directory of a training run.")


def there(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether `find` would find an agent."""
    try:
        find(name_or_path)
    except ValueError:
        return False
    return True


def _reached(name: str) -> float:
    """Mean return by the card; an agent without one comes last."""
    card = ROOT / name / "card.json"
    return json.loads(card.read_text())["evaluation"]["mean"] if card.is_file() else float("-inf")


def beside(agent: Path, what: str) -> Path:
    """Where `what` (calibration, card.json, log.jsonl) of the agent whose checkpoint is `agent` lies."""
    return (agent.parent if agent.name == "agent" else agent.with_name(f"{agent.name}-files")) / what


def load(name_or_path: str | os.PathLike[str], *, calibrated: bool = True) -> Shipped:
    """A shipped agent by name, or your own by the path of its run or checkpoint, with all that lies beside it.

    Arguments:
        calibrated: read the calibration, if there is one. Not wanted when a new one is about to be made.

    Raises:
        ValueError: no such agent, a damaged file, or a calibration that was made for another agent.
    """
    path = find(name_or_path)
    agent, config = load_agent(path)
    stored, card = beside(path, "calibration"), beside(path, "card.json")
    there = calibrated and (stored / "manifest.json").is_file()
    calibration = load_calibration(stored) if there else None
    shipped = Shipped(
        name=path.parent.name if path.is_relative_to(ROOT) else os.fspath(name_or_path),
        path=path,
        agent=agent,
        calibration=calibration,
        config=config["training"],
        card=json.loads(card.read_text()) if card.is_file() else {},
    )
    if calibration is not None:
        made_for = checkpoint.read_manifest(stored).config.get("agent")
        if made_for is not None and made_for != fingerprint(path):
            raise ValueError(
                f"the calibration beside {shipped.name} was made for another agent (trained on since?): run "
                f"`worldshift calibrate {shipped.name}` again."
            )
    return shipped


def kind(name_or_path: str | os.PathLike[str]) -> str:
    """`tdmpc2` or `draw`: what kind of agent that is."""
    return str(checkpoint.read_manifest(find(name_or_path)).config.get("agent"))


def load_dreamer(name_or_path: str | os.PathLike[str]) -> tuple[DrawAgent, dict[str, Any]]:
    """A DRAW agent, shipped or your own, and its configuration.

    Raises:
        ValueError: no such agent, another kind of agent, or a damaged file.
    """
    return load_draw(find(name_or_path))


def fingerprint(agent: Path) -> str:
    """Tells agents apart: the beginning of the hash of their arrays."""
    return ",".join(sorted(digest[:16] for digest in checkpoint.read_manifest(agent).files.values()))


def card_of(agent: Path, evaluation: dict[str, Any]) -> dict[str, Any]:
    """The card of the agent whose checkpoint is `agent`: how it was made, and what `evaluation` found."""
    manifest = checkpoint.read_manifest(agent)
    training, log = manifest.config["training"], beside(agent, "log.jsonl")
    lines = log.read_text().splitlines() if log.is_file() else []
    last = json.loads(lines[-1]) if lines else {}
    return {
        "task": training.get("task"),
        "seed": training.get("seed"),
        "size": training.get("size"),
        "command": manifest.provenance.get("command"),
        "agent_steps": last.get("agent_steps", training.get("agent_steps")),
        "updates": last.get("updates"),
        "evaluation": evaluation,
        "fingerprint": fingerprint(agent),
        "training": training,
        "provenance": manifest.provenance,
    }


def write_card(agent: Path, evaluation: dict[str, Any]) -> Path:
    """Writes the card beside the agent whose checkpoint is `agent`; returns where."""
    path = beside(agent, "card.json")
    write_text(path, json.dumps(card_of(agent, evaluation), indent=1, allow_nan=False) + "\n")
    return path
