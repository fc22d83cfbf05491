"""Runs a study, keeps its raw rows, goes on where it was interrupted.

Rows go to `results/<study>.jsonl` after every finished (agent, method) pair, with a header that says what made them. A
run that was interrupted keeps the pairs that are done; rows of another definition are never mixed in. Several processes
may run one study at once, each other methods or agents of it.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from worldshift import zoo
from worldshift.files import held
from worldshift.provenance import origin
from worldshift.run.online.protocol import read_rows, write_rows
from worldshift.studies.contract import Study


def run_study(
    study: Study,
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

    file = _File(study, out / f"{study.name}.jsonl")
    if fresh:
        file.forget(everything=methods is None and agents is None, which=asked_for)
    done = file.done()
    for agent, method in study.pairs:
        if asked_for(agent, method) and (agent, method) not in done:
            done = file.done()  # others may have finished it meanwhile
        if asked_for(agent, method) and (agent, method) not in done:

            def told(steps: int, agent: str = agent, method: str = method) -> None:
                if report:
                    report(agent, method, steps)

            file.add(agent, method, *study.run_pair(agent, method, told))
        if report:
            report(agent, method, study.steps)
    return file.path


Which = Callable[[str, str], bool]
"""Whether a pair of an agent and a method is meant."""


class _File:
    """The rows of a study on disk, to which other processes may add theirs."""

    def __init__(self, study: Study, path: Path):
        self.study, self.path = study, path
        self.shipped = {name: zoo.fingerprint(zoo.find(name)) for name in dict.fromkeys(a for a, _ in study.pairs)}
        self._everything, self._stale = False, _nothing

    def forget(self, *, everything: bool, which: Which) -> None:
        """Does without what is there, or some of it. It stays on disk until something new takes its place."""
        self._everything, self._stale = everything, which

    def done(self) -> set[tuple[str, str]]:
        """Pairs that are finished."""
        header, _ = self._read(self._stale)
        return {(each["agent"], each["method"]) for each in header["pairs"]}

    def add(self, agent: str, method: str, rows: list[dict[str, Any]], known: dict[str, Any]) -> None:
        """One more finished pair."""
        pair = {"agent": agent, "method": method, "fingerprint": self.shipped[agent], **known, **origin()}
        with held(self.path.parent, wait=True):
            header, kept = self._read(lambda *each: each == (agent, method) or self._stale(*each))
            header["pairs"].append(pair)
            write_rows(self.path, header, kept + [{"agent": agent, "method": method, **row} for row in rows])
        self._everything, self._stale = False, _nothing

    def _read(self, stale: Which) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Header and rows, but for what is stale."""
        header, rows = read_rows(self.path) if self.path.exists() and not self._everything else ({}, [])
        if header:
            header["pairs"] = [each for each in header["pairs"] if not stale(each["agent"], each["method"])]
            rows = [row for row in rows if not stale(row["agent"], row["method"])]
        return _continued(header, self.study, self.shipped, self.path), rows


def _nothing(agent: str, method: str) -> bool:
    return False


def _continued(header: dict[str, Any], study: Study, shipped: dict[str, str], path: Path) -> dict[str, Any]:
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
