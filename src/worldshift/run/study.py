"""Studies: which agents, methods, faults and seeds, declared in one place; run, resumed and read back.

A study's raw rows go to `results/<study>.jsonl` after every finished (agent, method) pair, with a header that says what
made them. A run that was interrupted keeps the pairs that are done; rows of another definition are never mixed in.
Fault numbers start at 1000: none of them was ever used to tune anything.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from worldshift import zoo
from worldshift.provenance import origin
from worldshift.run.appraisal import evaluate_agent, training_curve
from worldshift.run.kinds_study import KindsStudy
from worldshift.run.looks_study import LOOKS_STUDY, LooksStudy
from worldshift.run.methods import compare
from worldshift.run.offline_cases import OFFLINE_STUDIES
from worldshift.run.offline_study import OfflineStudy
from worldshift.run.protocol import Body, Protocol, read_rows, write_rows
from worldshift.shifts import (
    ActuatorGain,
    BodyMass,
    Delay,
    ExternalWrench,
    Friction,
    Gravity,
    JointDamping,
    LimbLength,
    Shift,
    Uniform,
)

WALKERS = ("walker-walk-1", "walker-walk-2", "walker-walk-3")
GAINS = ActuatorGain(Uniform(-0.5, 0.5))
"""RWM's step gains: p ~ U[-0.5, 0.5] for each actuator by itself."""
FIRST_FAULT = 1000
DIGITS = 4
"""Significant digits kept of a row's numbers; `gain` estimates are left out."""


@dataclass(frozen=True)
class Study:
    """A grid of lives: every agent x method x fault x seed."""

    name: str
    about: str
    agents: tuple[str, ...]
    methods: tuple[str, ...]
    protocol: Protocol
    shift: Shift | None = None
    faults: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] = (0, 1)
    sampled: bool = False
    """Base actions are sampled from the policy, for every method."""

    @property
    def bodies(self) -> list[Body]:
        """Every fault with every seed."""
        return [Body(fault, seed) for fault in self.faults for seed in self.seeds]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """What is run one after another."""
        return [(agent, method) for agent in self.agents for method in self.methods]

    @property
    def steps(self) -> int:
        """Agent steps of one pair."""
        return self.protocol.steps

    def quick(self) -> "Study":
        """A few short lives of the first agent, to see that everything works. Its numbers mean nothing."""
        p = self.protocol
        short = replace(p, nominal=min(p.nominal, 2 * p.block), on=min(p.on, 10 * p.block), off=min(p.off, 5 * p.block))
        name, cheap = f"{self.name}-quick", tuple(m for m in self.methods if m != "finetune")
        return replace(
            self,
            name=name,
            agents=self.agents[:1],
            methods=cheap,
            protocol=short,
            faults=self.faults[:2],
            seeds=self.seeds[:2],
        )

    def definition(self) -> dict[str, Any]:
        """What makes two files of rows comparable."""
        shift = json.loads(self.shift.to_json()) if self.shift else None
        lists = {"faults": list(self.faults), "seeds": list(self.seeds)}
        return {"protocol": asdict(self.protocol), "shift": shift, "sampled": self.sampled, **lists}

    def run_pair(self, agent: str, method: str, report: Callable[[int], None]) -> tuple[list[dict[str, Any]], dict]:
        """Rows of one pair, and what else is known about it."""
        found = compare(
            zoo.load(agent),
            [method],
            self.protocol,
            self.shift,
            self.bodies,
            sampled=self.sampled,
            report=lambda _, done: report(done),
        )
        rows = [{key: _rounded(value) for key, value in row.items() if key != "gain"} for row in found.rows[method]]
        return rows, {"ms": round(found.ms[method], 4), "dt": found.dt}


@dataclass(frozen=True)
class AgentStudy:
    """Whole episodes of healthy agents: how good they are before anything is wrong."""

    name: str
    about: str
    agents: tuple[str, ...]
    episodes: int = 20

    methods = ("policy",)
    """The mean action, no planner."""

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """One evaluation of each agent."""
        return [(agent, "policy") for agent in self.agents]

    @property
    def steps(self) -> int:
        """Steps are not reported while an agent is evaluated."""
        return 1

    def quick(self) -> "AgentStudy":
        """Two episodes of the first agent."""
        return replace(self, name=f"{self.name}-quick", agents=self.agents[:1], episodes=2)

    def definition(self) -> dict[str, Any]:
        """What makes two files of rows comparable."""
        return {"episodes": self.episodes}

    def run_pair(self, agent: str, method: str, report: Callable[[int], None]) -> tuple[list[dict[str, Any]], dict]:
        """One row: returns, saturation, and the training curve."""
        shipped = zoo.load(agent)
        row = evaluate_agent(shipped, episodes=self.episodes) | {"curve": training_curve(shipped)}
        report(1)
        return [row], {}


AnyStudy = Study | AgentStudy | KindsStudy | OfflineStudy | LooksStudy

UNMATCHED = (
    ("body mass x 1.5", BodyMass(scale=1.5)),
    ("legs 25 % longer", LimbLength(bodies=("right_leg", "left_leg"), scale=1.25)),
    ("gravity x 1.4", Gravity(scale=1.4)),
    ("delay of one step", Delay(steps=1)),
    ("wind of -40 N", ExternalWrench(body="torso", force=(-40.0, 0.0, 0.0))),
    ("damping x 3", JointDamping(scale=3.0)),
    ("friction x 0.4", Friction(scale=0.4)),
)
"""Changes of the walker that no map of its actions undoes exactly."""

STUDIES: dict[str, AnyStudy] = {
    study.name: study
    for study in (
        AgentStudy(
            "base-agents",
            "20 episodes of each shipped agent, and its training curve beside the official scores",
            (*WALKERS, "cup-catch-1", "cheetah-run-1"),
        ),
        Study(
            "fast-gains",
            "step gains on walkers: 20 fault draws x 2 seeds on each agent",
            WALKERS,
            ("nominal", "frozen", "fast", "layered", "oracle"),
            Protocol(nominal=500, on=1500, off=600),
            GAINS,
            faults=tuple(range(FIRST_FAULT, FIRST_FAULT + 20)),
            seeds=(2000, 2001),
        ),
        Study(
            "no-shift",
            "nothing is wrong: what adapting costs a healthy walker",
            WALKERS,
            ("frozen", "fast", "layered"),
            Protocol(nominal=2500, on=0, off=0),
            seeds=tuple(range(3000, 3016)),
        ),
        Study(
            "paper-gains",
            "RWM's protocol: 75 episodes of 200 steps on, 75 off, 5 bodies each with a draw of its own",
            WALKERS[1:],
            ("nominal", "frozen", "paper", "published", "fast", "oracle"),
            Protocol(nominal=1_000, on=15_000, off=15_000, episode_steps=200, offset=0, block=200),
            GAINS,
            faults=tuple(range(FIRST_FAULT + 100, FIRST_FAULT + 105)),
            seeds=(2100,),
        ),
        KindsStudy(
            "unmatched",
            "changes that no action undoes exactly: what the fast reflex makes of them, and the layered one",
            ("walker-walk-2",),
            ("frozen", "fast", "layered"),
            Protocol(nominal=200, on=2000, off=0),
            UNMATCHED,
            seeds=tuple(range(2200, 2206)),
        ),
        *OFFLINE_STUDIES,
        LOOKS_STUDY,
    )
}


def find_study(name: str) -> AnyStudy:
    """The study of that name, `<name>-quick` included.

    Raises:
        ValueError: there is none.
    """
    full = name.removesuffix("-quick")
    if full not in STUDIES:
        raise ValueError(f"there is no study {name!r}: choose among {', '.join(STUDIES)}.")
    return STUDIES[full] if full == name else STUDIES[full].quick()


def run_study(
    study: AnyStudy,
    out: Path,
    *,
    methods: Sequence[str] | None = None,
    agents: Sequence[str] | None = None,
    fresh: bool = False,
    report: Callable[[str, str, int], None] | None = None,
) -> Path:
    """Runs what is not done yet and returns the file of rows, `<out>/<study>.jsonl`.

    Arguments:
        methods: only these; all of the study by default.
        agents: only these; all of the study by default.
        fresh: throw the rows of what is asked for away first, instead of keeping finished pairs.
        report: called with (agent, method, agent steps done); at once with all steps for a pair that is kept.

    Raises:
        ValueError: unknown method or agent, or rows of another definition or agent in the file.
    """
    for what, asked, known in (("method", methods, study.methods), ("agent", agents, study.agents)):
        unknown = [name for name in asked or () if name not in known]
        if unknown:
            raise ValueError(f"{study.name} has no {what} {unknown[0]!r}; it has {', '.join(known)}.")
    if not study.pairs:
        raise ValueError(f"{study.name} cannot be run: {' and '.join(study.agents)} was not trained yet.")

    def asked_for(agent: str, method: str) -> bool:
        return (methods is None or method in methods) and (agents is None or agent in agents)

    shipped = {agent: zoo.fingerprint(zoo.find(agent)) for agent in dict.fromkeys(agent for agent, _ in study.pairs)}
    path = out / f"{study.name}.jsonl"
    header, rows = read_rows(path) if path.exists() else ({}, [])
    if fresh and methods is None and agents is None:
        header, rows = {}, []
    elif fresh and header:
        rows = [row for row in rows if not asked_for(row["agent"], row["method"])]
        header["pairs"] = [each for each in header["pairs"] if not asked_for(each["agent"], each["method"])]
    header = _continued(header, study, shipped, path)
    for agent, method in study.pairs:
        done = any((each["agent"], each["method"]) == (agent, method) for each in header["pairs"])
        if not done and asked_for(agent, method):

            def told(steps: int, agent: str = agent, method: str = method) -> None:
                if report:
                    report(agent, method, steps)

            found, known = study.run_pair(agent, method, told)
            rows += [{"agent": agent, "method": method, **row} for row in found]
            pair = {"agent": agent, "method": method, "fingerprint": shipped[agent], **known, **origin()}
            header["pairs"].append(pair)
            write_rows(path, header, rows)
        if report:
            report(agent, method, study.steps)
    return path


def _continued(header: dict[str, Any], study: AnyStudy, shipped: dict[str, str], path: Path) -> dict[str, Any]:
    """The header to go on with: that of the file, if it is of the same study and the same agents."""
    if not header:
        return {"study": study.name, "about": study.about, "definition": _json(study.definition()), "pairs": []}
    definition = _json(study.definition())
    if header.get("study") != study.name or not _extends(definition, header["definition"], header["pairs"]):
        raise ValueError(f"{path} was made by another definition of {study.name}: pass --fresh to begin anew.")
    changed = {e["agent"] for e in header["pairs"] if e["fingerprint"] != shipped.get(e["agent"], e["fingerprint"])}
    if changed:
        raise ValueError(
            f"{path} holds rows of another {min(changed)} than there is now: pass --fresh --agents {min(changed)} to "
            "run them again."
        )
    return header | {"definition": definition}


def _extends(new: dict[str, Any], old: dict[str, Any], pairs: Sequence[dict[str, Any]]) -> bool:
    """Whether rows made under `old` are what `new` would make: cases may be added, or dropped if they have no rows."""
    made = {each["method"] for each in pairs}
    cases = [{k: v for k, v in each.get("cases", {}).items() if k in made} for each in (new, old)]
    return cases[0] == cases[1] and new | {"cases": {}} == old | {"cases": {}}


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _rounded(value: Any) -> Any:
    return [float(f"{v:.{DIGITS}g}") for v in value] if isinstance(value, list) else value


def load_study(name: str, folder: str | os.PathLike[str] = "results") -> tuple[AnyStudy, dict[str, Any], list[dict]]:
    """The study, the header and the rows of its file.

    Raises:
        ValueError: no such study, or no rows of it there.
    """
    study, path = find_study(name), Path(folder) / f"{name}.jsonl"
    if not path.is_file():
        raise ValueError(f"there are no rows of {name} in {folder}: run `worldshift study {name}` first.")
    return study, *read_rows(path)
