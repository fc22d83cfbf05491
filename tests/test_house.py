"""The rules of the house: who may import whom, what never stands in the source, what an installation brings along."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "worldshift"

# A room (module or folder of the package) may look down, never up, and never at a neighbour on its own floor ...
FLOORS = {
    "cli": 8,
    "live": 7,
    "doctor": 7,
    "studies": 6,
    "report": 5,
    "run": 5,
    "zoo": 5,
    "adapt": 4,
    "agents": 3,
    "models": 2,
    "envs": 2,
    "data": 2,
    "shifts": 1,
    "nn": 0,
    "maths": 0,
    "checkpoint": 0,
    "provenance": 0,
    "files": 0,
}
# ... except through these doors.
DOORS = {
    ("checkpoint", "provenance"),
    ("run", "zoo"),  # a run names the agent that it takes
    ("run", "report"),  # and shows what it found
}

LONGEST_FILE = 350  # lines
PICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
EVALUATORS = {"eval", "exec", "compile", "__import__"}

MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
module = pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, at the top or inside of a function."""
    package = ["worldshift", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            # `from worldshift import envs` names a module, `from worldshift.envs import make` a thing inside of one.
            yield from (f"{source}.{alias.name}" if source == "worldshift" else source for alias in node.names)


@module
def test_imports_go_down(path):
    room = room_of(path)
    if room == "__init__":
        return  # the public surface may look into every room
    assert room in FLOORS, f"{room} has no floor yet: give it one in FLOORS"
    for name in imports(path):
        if name == "worldshift" or not name.startswith("worldshift."):
            continue
        other = name.split(".")[1]
        allowed = other == room or FLOORS.get(other, -1) < FLOORS[room] or (room, other) in DOORS
        assert allowed, f"{room} (floor {FLOORS[room]}) imports {name} (floor {FLOORS.get(other)})"


@module
def test_the_rooms_of_run_do_not_know_each_other(path):
    """What they share lies before their doors, in `run` itself, and knows none of them."""
    within = path.relative_to(PACKAGE).parts
    if within[0] != "run":
        return
    rooms = {folder.name for folder in (PACKAGE / "run").iterdir() if (folder / "__init__.py").exists()}
    assert {"training", "online", "offline"} <= rooms
    known = {name.split(".")[2] for name in imports(path) if name.startswith("worldshift.run.")}
    assert not (known & rooms) - {within[1]}


def test_the_import_reader_sees_every_form(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    file = tmp_path / "models" / "x.py"
    file.parent.mkdir()
    file.write_text(
        "import os, worldshift.run.online\nfrom worldshift import cli\nfrom .. import adapt\n"
        "def f():\n    from ..envs.dmc import DmcEnv\n    from .latent import z\n"
    )
    assert set(imports(file)) == {
        *("os", "worldshift.run.online", "worldshift.cli", "worldshift.adapt", "worldshift.envs.dmc"),
        "worldshift.models.latent",
    }


@module
def test_module_says_what_it_is_and_is_short_enough(path):
    source = path.read_text()
    assert not source.strip() or ast.get_docstring(ast.parse(source)), "the module has no docstring"
    assert len(source.splitlines()) <= LONGEST_FILE, "the file is too long: split it along meaning"


@module
def test_nothing_is_unpickled_or_evaluated(path):
    found = {name for name in imports(path) if name.split(".")[0] in PICKLERS}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in EVALUATORS:
                found.add(node.func.id)
            found |= {word.arg for word in node.keywords if word.arg == "allow_pickle"}
    assert not found


def test_importing_the_package_is_light():
    heavy = ["dm_control", "mujoco", "matplotlib", "tyro"]
    code = f"import sys, worldshift; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]" and not run.stderr


# What is installed

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {name: (ROOT / "requirements" / f"{name}.txt").read_text() for name in ("runtime", "dev")}


def pins(lock: str) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in re.findall(r"^(\S+?)==(\S+)", lock, re.MULTILINE)}


@pytest.mark.parametrize("name", LOCKS)
def test_lock_holds_names_versions_and_hashes_only(name):
    pinned = r"[a-z0-9-]+==[\w.!+]+(?: ; [\w.'<>=! ]+)?"
    for entry in re.sub(r" \\\n +", " ", LOCKS[name]).splitlines():
        assert re.fullmatch(rf"{pinned}(?: --hash=sha256:[0-9a-f]{{64}})+", entry), f"not a hashed pin: {entry[:120]}"


def test_locks_hold_what_the_project_asks_for():
    runtime, dev = pins(LOCKS["runtime"]), pins(LOCKS["dev"])
    assert runtime.items() <= dev.items()
    for lock, lines in [(runtime, PROJECT["dependencies"]), (dev, PROJECT["optional-dependencies"]["dev"])]:
        for each in map(Requirement, lines):
            assert each.specifier.contains(lock[canonicalize_name(each.name)]), f"{each} is not met: run make lock"


@pytest.fixture
def installed() -> None:
    try:
        importlib.metadata.distribution("worldshift")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("worldshift is not installed here; make test installs it")


@pytest.mark.usefixtures("installed")
def test_the_wheel_carries_the_whole_package(tmp_path):
    """Every file of the package, the shipped agents among them, reaches a user who installs without a checkout."""
    source = tmp_path / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        source.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source)
    shutil.copytree(PACKAGE, source / "src" / "worldshift", ignore=shutil.ignore_patterns("__pycache__"))
    sample = source / "src" / "worldshift" / "zoo" / "some-task" / "0"
    sample.mkdir(parents=True)
    for name in ("manifest.json", "card.md", "arrays-0123456789ab.safetensors"):
        (sample / name).write_text("{}")
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    expected = {str(path.relative_to(source / "src")) for path in (source / "src").rglob("*") if path.is_file()}
    assert {name for name in names if name.startswith("worldshift/")} == {
        name for name in expected if ".egg-info" not in name
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.usefixtures("installed")
def test_the_command_is_installed():
    (command,) = importlib.metadata.entry_points(group="console_scripts", name="worldshift")
    assert command.value == "worldshift.cli:main"
