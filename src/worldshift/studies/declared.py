"""The studies by name."""

import os
from pathlib import Path

from worldshift.run.online.protocol import read_rows
from worldshift.studies.contract import Evidence, Study
from worldshift.studies.looks import LOOKS_STUDY
from worldshift.studies.offline_cases import OFFLINE_STUDIES
from worldshift.studies.reflex_cases import REFLEX_STUDIES

STUDIES: dict[str, Study] = {study.name: study for study in (*REFLEX_STUDIES, *OFFLINE_STUDIES, LOOKS_STUDY)}
GROUPS: dict[str, tuple[str, ...]] = {
    "all": tuple(STUDIES),
    "reflex": tuple(study.name for study in REFLEX_STUDIES),
    "offline": tuple(study.name for study in (*OFFLINE_STUDIES, LOOKS_STUDY)),
}
"""Names that stand for many."""


def find_study(name: str) -> Study:
    """The study of that name, `<name>-quick` included.

    Raises:
        ValueError: there is none.
    """
    full = name.removesuffix("-quick")
    if full not in STUDIES:
        raise ValueError(f"there is no study {name!r}: choose among {', '.join(STUDIES)}.")
    return STUDIES[full] if full == name else STUDIES[full].quick()


def load_study(name: str, folder: str | os.PathLike[str] = "results") -> Evidence:
    """The study with the rows of its file.

    Raises:
        ValueError: no such study, or no rows of it there.
    """
    study, path = find_study(name), Path(folder) / f"{name}.jsonl"
    if not path.is_file():
        raise ValueError(f"there are no rows of {name} in {folder}: run `worldshift study {name}` first.")
    return Evidence(study, *read_rows(path))


def with_rows(folder: Path, *, quick: bool = False) -> list[str]:
    """Names of the studies that have rows in a folder; with `quick` also of quick ones, where there are no others."""

    def there(name: str) -> bool:
        return (folder / f"{name}.jsonl").is_file()

    found = [name if there(name) else f"{name}-quick" for name in STUDIES if there(name) or quick]
    return [name for name in found if there(name)]
