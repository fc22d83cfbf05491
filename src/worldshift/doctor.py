"""The doctor: what this machine can do, and what to do about each lack. Behind `worldshift doctor`.

No paper. Whatever can hang or crash (drivers, GL libraries, simulators) is tried in a process of its own with a time
limit, all at once. Rendering and GPUs are optional: the demo and the tests need neither.
"""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path

from packaging.requirements import Requirement
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_TIMEOUT_S = 15
_FREE_DISK_GB = 2
_PYTHON = (3, 11)

_JAX = "import jax; d = jax.devices(); print(f'{len(d)} x {d[0].device_kind} ({jax.default_backend()})')"

_TASK = """
from worldshift import envs
env = envs.make("walker-walk")
env.reset(seed=0)
reward = env.step(env.action_space.sample())[1]
print("walker-walk loads and steps" if 0 <= reward <= 2 else f"walker-walk pays {reward} in one step")
"""

_RENDER = """
import mujoco
scene = '<mujoco><worldbody><light pos="0 0 3"/><geom type="sphere" size="1" rgba="1 0 0 1"/></worldbody></mujoco>'
model = mujoco.MjModel.from_xml_string(scene)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 64, 64) as renderer:
    renderer.update_scene(data)
    frame = renderer.render()
if not frame.any():
    raise SystemExit("draws black frames")
print("draws")
"""

_GL = {
    "egl": "apt-get install libegl1 libgl1-mesa-dri, or the driver of the GPU",
    "osmesa": "apt-get install libosmesa6",
    "glfw": "needs a display; without one use egl or osmesa",
}


@dataclass(frozen=True)
class Check:
    """One finding. `advice` is what to do about it; a lack that is not `required` costs comfort only."""

    name: str
    ok: bool
    found: str
    advice: str = ""
    required: bool = True


def diagnose() -> list[Check]:
    """Looks at this machine for at most some 15 seconds. Writes nothing that stays."""
    with ThreadPoolExecutor() as pool:
        frames = {backend: pool.submit(_try, _RENDER, MUJOCO_GL=backend) for backend in _GL}
        device, task, gpu = pool.submit(_try, _JAX), pool.submit(_try, _TASK), pool.submit(_nvidia)
        return [
            _python(),
            _packages(),
            _cores(),
            _device(*device.result(), gpu.result()),
            _simulator(*task.result()),
            *_rendering({backend: frame.result() for backend, frame in frames.items()}),
            _writable("working directory", Path.cwd()),
            _writable("cache directory", Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")),
            _disk(Path.cwd()),
        ]


def main(*, json: bool = False) -> int:
    """Prints the diagnosis, as a table or as one JSON object. Returns the exit status, 1 if a required thing lacks."""
    checks = diagnose()
    healthy = all(check.ok for check in checks if check.required)
    if json:
        print(dumps({"ok": healthy, "checks": [asdict(check) for check in checks]}))
        return 0 if healthy else 1
    table = Table("", "what", "found", "what to do", box=None, pad_edge=False)
    for check in checks:
        mark = "[green]✓[/]" if check.ok else "[bold red]✗[/]" if check.required else "[yellow]–[/]"
        table.add_row(mark, *map(escape, (check.name, check.found, check.advice)))
    console = Console()
    console.print(table)
    console.print("\nEverything that is required works." if healthy else "\nSomething required is missing: see ✗.")
    return 0 if healthy else 1


def _try(code: str, **environment: str) -> tuple[bool, str]:
    """Runs `code` in a fresh interpreter. Returns whether it ended well, and the last line that it wrote."""
    try:
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer within {_TIMEOUT_S} s"
    lines = (run.stdout if run.returncode == 0 else run.stderr).strip().splitlines()
    said = textwrap.shorten(lines[-1], 90, placeholder=" …") if lines else f"ended with status {run.returncode}"
    return run.returncode == 0, said


def _python() -> Check:
    ok = sys.version_info >= _PYTHON
    advice = f"needs {'.'.join(map(str, _PYTHON))} or newer; then run: make clean setup"
    return Check("Python", ok, platform.python_version(), "" if ok else advice)


def _packages() -> Check:
    """Installed versions against the ranges that the package itself declares."""
    try:
        requirements = [Requirement(line) for line in importlib.metadata.requires("worldshift") or []]
    except importlib.metadata.PackageNotFoundError:
        return Check("packages", False, "worldshift itself is not installed", "run: make setup (or pip install -e .)")
    needed = [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    versions, wrong = {}, []
    for each in needed:
        try:
            versions[each.name] = importlib.metadata.version(each.name)
        except importlib.metadata.PackageNotFoundError:
            versions[each.name] = "missing"
        if versions[each.name] == "missing" or not each.specifier.contains(versions[each.name], prereleases=True):
            wrong.append(each)
    shown = [each.name for each in wrong] or ["jax", "equinox", "mujoco", "dm_control", "numpy"]
    found = ", ".join(f"{name} {versions.get(name, '')}".strip() for name in shown)
    advice = "pip install " + " ".join(f"'{each.name}{each.specifier}'" for each in wrong)
    return Check("packages", not wrong, found, advice if wrong else "")


def _cores() -> Check:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{count} usable"
    return Check(
        "CPU cores", count >= 2, found, "" if count >= 2 else "works, but slowly; use 2 or more", required=False
    )


def _nvidia() -> str:
    """Name of the first NVIDIA GPU that the driver reports, or nothing."""
    if not shutil.which("nvidia-smi"):
        return ""
    ask = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError):
        return ""


def _device(ok: bool, found: str, gpu: str) -> Check:
    """JAX's device; a GPU that lies idle is a lack, but not a required one."""
    if not ok:
        return Check("JAX", False, found, "JAX cannot start; run: make clean setup (with JAX_PLATFORMS unset)")
    idle = bool(gpu) and found.endswith("(cpu)")
    advice = f"{gpu} lies idle; " if idle else "works without a GPU; " if found.endswith("(cpu)") else ""
    return Check(
        "JAX", not idle, found, advice and f"{advice}for an NVIDIA GPU: pip install 'jax[cuda13]'", required=False
    )


def _simulator(ok: bool, found: str) -> Check:
    return Check(
        "MuJoCo and dm_control", ok, found, "" if ok else "run: make clean setup (mujoco 4 does not fit dm_control)"
    )


def _rendering(frames: dict[str, tuple[bool, str]]) -> list[Check]:
    """GL back ends. One that works is enough, and only films of the real scene need one."""
    working = [backend for backend, (ok, _) in frames.items() if ok]
    checks = []
    for backend, (ok, found) in frames.items():
        if ok:
            advice = f"to render with it: MUJOCO_GL={backend}" if working[0] == backend else ""
        elif working:
            advice = f"not needed, {working[0]} works"
        else:
            advice = f"{_GL[backend]} (demo and tests need no GL)"
        checks.append(Check(f"rendering: {backend}", ok, found, advice, required=False))
    return checks


def _writable(name: str, path: Path) -> Check:
    """Whether a file can be made in `path`, or where `path` would have to be created."""
    place = next(each for each in [path, *path.absolute().parents] if each.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            return Check(name, True, str(path))
    except OSError as error:
        return Check(name, False, f"{path}: {error.strerror}", "choose another, or change its owner with chown")


def _disk(path: Path) -> Check:
    free_gb = shutil.disk_usage(path).free / 1e9
    advice = "" if free_gb >= _FREE_DISK_GB else f"free some: runs and their replay need up to {_FREE_DISK_GB} GB"
    return Check("free disk", not advice, f"{free_gb:.0f} GB", advice, required=False)
