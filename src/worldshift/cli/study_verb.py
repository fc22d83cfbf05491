"""`worldshift study`: runs a study of the evidence and keeps its raw rows."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from worldshift.cli.results_verb import tell
from worldshift.cli.shared import progress
from worldshift.studies.declared import STUDIES, find_study, load_study
from worldshift.studies.runner import run_study

_NAMES = "; ".join(f"{name}: {study.about}" for name, study in STUDIES.items())


@dataclass(frozen=True)
class Verb:
    """Runs a study. Finished parts are kept: the same command goes on where it was interrupted."""

    name: tyro.conf.Positional[str]
    """Which one; `worldshift study list` lists them."""
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
        study = find_study(self.name)
        study = study.quick() if self.quick else study
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
        tell(*load_study(study.name, self.out), json=self.json, extra={"file": str(self.out / f"{study.name}.jsonl")})
        return 0
