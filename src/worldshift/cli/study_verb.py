"""`worldshift study`: runs a study of the evidence and keeps its raw rows."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from worldshift.cli.results_verb import findings, tell
from worldshift.cli.shared import emit, progress
from worldshift.studies.contract import Study
from worldshift.studies.declared import GROUPS, STUDIES, find_study, load_study
from worldshift.studies.runner import run_study

_NAMES = "; ".join(f"{name}: {study.about}" for name, study in STUDIES.items())


@dataclass(frozen=True)
class Verb:
    """Runs a study. Finished parts are kept: the same command goes on where it was interrupted.

    Several may run at once, each with other --methods or --agents of the study.
    """

    name: tyro.conf.Positional[str]
    """Which one; `worldshift study list` lists them, and `reflex`, `offline` or `all` are many, one after another."""
    quick: bool = False
    """A few short lives, to see that everything works; its rows are kept apart and mean nothing."""
    methods: tuple[str, ...] = ()
    """Only these methods (of the study's own)."""
    agents: tuple[str, ...] = ()
    """Only these agents (of the study's own)."""
    out: Path = Path("results")
    """Folder of the rows."""
    fresh: bool = False
    """Throw the rows of what is asked for away and begin it anew (all of the study, or those methods and agents)."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> int:
        """Runs what is missing, then summarises."""
        if self.name == "list":
            print(_NAMES.replace("; ", "\n"))
            return 0
        studies = [find_study(name) for name in GROUPS.get(self.name, (self.name,))]
        if len(studies) > 1 and (self.methods or self.agents):
            raise ValueError(f"{self.name} is many studies: --methods and --agents are of a single one.")
        studies = [study.quick() if self.quick else study for study in studies]
        for study in studies:
            self._run(study)
        if self.json and len(studies) > 1:
            loaded = {study.name: load_study(study.name, self.out) for study in studies}
            emit({"studies": {name: findings(each) for name, each in loaded.items()}})
            return 0
        for study in studies:
            extra = {"file": str(self.out / f"{study.name}.jsonl")}
            tell(load_study(study.name, self.out), json=self.json, extra=extra)
        return 0

    def _run(self, study: Study) -> None:
        pairs = study.pairs
        with progress(len(pairs) * study.steps, study.name) as told:
            run_study(
                study,
                self.out,
                methods=self.methods or None,
                agents=self.agents or None,
                fresh=self.fresh,
                report=lambda agent, method, done: told(
                    f"{agent} {method}", pairs.index((agent, method)) * study.steps + done
                ),
            )
