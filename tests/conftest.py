"""Test settings: jaxtyping annotations are enforced, JAX runs on the CPU, hypothesis draws the same cases each time."""

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

# Before JAX is imported anywhere: bit-exact comparisons need one and the same back end on every machine.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Nearly all the time of these tests goes into compiling small programs once. Unoptimised code is made faster, and code
# by the older of XLA's two emitters for a CPU three times as fast again (an update of DRAW: 9.0 s, then 3.3 s).
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false",
)
# Tests need no GL: without this, dm_control looks for one while it is imported, and warns where it finds none.
os.environ.setdefault("MUJOCO_GL", "disable")

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# The numeric tower lets an int stand where a float is asked for, as pyright does.
install_import_hook("worldshift", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

MOST_MAPS = 20_000

# No deadline: the first example of a test pays for the compilation.
settings.register_profile("worldshift", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("worldshift")


@pytest.fixture(autouse=True, scope="module")
def _programs_are_forgotten() -> Iterator[None]:
    """Every compiled program maps memory, and Linux allows a process 65,530 maps: beyond them the compiler crashes."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_text().count("\n") > MOST_MAPS:
        import jax

        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="module")
def seen() -> Iterator[Any]:
    """A pendulum as its camera sees it, where frames can be drawn."""
    from worldshift import envs

    try:
        made = envs.make("pixels:pendulum-swingup", headroom=1.0, episode_steps=5)
    except ValueError as error:  # as the library says it
        pytest.skip(str(error))
    yield made
    made.close()


class TinyRun(NamedTuple):
    """A walker that was hardly trained and hardly calibrated, as a user would make it, and what the commands said."""

    path: Path
    train: subprocess.CompletedProcess[str]
    calibrate: subprocess.CompletedProcess[str]


TRAIN = {"task": "walker-walk", "agent-steps": 40, "num-envs": 2, "episode-steps": 20, "eval-episodes": 2, "seed": 3}
CALIBRATE = {"bodies": 6, "steps": 120, "updates": 20, "width": 16, "tolerance": 1000}


def _worldshift(verb: str, place: Path, options: dict[str, str | int]) -> subprocess.CompletedProcess[str]:
    """A command as a user types it."""
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    where = ["--out", str(place)] if verb == "train" else [str(place)]
    command = [sys.executable, "-m", "worldshift.cli", verb, *where, *words, "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """Made once; nobody writes into it."""
    path = tmp_path_factory.mktemp("zoo") / "walker-walk-1"
    return TinyRun(path, _worldshift("train", path, TRAIN), _worldshift("calibrate", path, CALIBRATE))


@pytest.fixture
def tiny_zoo(tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zoo that holds nothing but the tiny walker."""
    from worldshift import zoo

    root = tmp_path / "the-zoo"
    shutil.copytree(tiny_run.path, root / "walker-walk-1")
    monkeypatch.setattr(zoo, "ROOT", root)
    return root
