"""Runs a study, keeps its raw rows, goes on where it was interrupted.

Rows go to `results/<study>.jsonl` after every finished (agent, method) pair, with a header that says what made them. A
run that was interrupted keeps the pairs that are done; rows of another definition are never mixed in.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from worldshift import zoo
from worldshift.provenance import origin
from worldshift.run.protocol import read_rows, write_rows
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
