"""Data sets of episodes on disk: ours, and readers for Minari's and for ReDRAW's chunks, told apart by their files.

Ours: one compressed `.npz` per episode and a `manifest.json` with shapes, hashes and how it was made. Nothing that is
read is ever executed (no pickled arrays). Rewards are optional; adaptation never asks for them. ReDRAW's format is that
of its published data (arXiv 2504.02252): chunks of consecutive steps, cut where an episode begins. Images stay bytes.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from worldshift.provenance import origin

SCHEMA = 1
MANIFEST = "manifest.json"
_CHUNK = re.compile(r".*-\d+\.npz")
_ARRAYS = {"obs": 2, "action": 2, "reward": 1, "image": 4}
"""Axes of each field."""


class DataError(ValueError):
    """A data set that cannot be used; the message names the file and the field."""


class Episode(NamedTuple):
    """T actions, and the T+1 observations around them: vectors, or images and the vectors that belong to them."""

    obs: Float32[np.ndarray, "T1 V"]
    action: Float32[np.ndarray, "T A"]
    reward: Float32[np.ndarray, " T"] | None = None
    terminated: bool = False
    image: UInt8[np.ndarray, "T1 H W C"] | None = None

    @property
    def seen(self) -> Float32[np.ndarray, "T1 O"]:
        """Observations as an environment gives them, an image's numbers before the vector's."""
        if self.image is None:
            return self.obs
        return np.concatenate([self.image.reshape(len(self.image), -1), self.obs], axis=1, dtype=np.float32)

    def first(self, actions: int) -> "Episode":
        """The beginning of the episode, with at most so many actions; cut short, it has not ended."""
        if actions >= len(self.action):
            return self
        reward = None if self.reward is None else self.reward[:actions]
        image = None if self.image is None else self.image[: actions + 1]
        return Episode(self.obs[: actions + 1], self.action[:actions], reward, image=image)


@dataclass(frozen=True)
class Episodes:
    """A data set in memory, and what its folder says about it."""

    episodes: tuple[Episode, ...]
    about: Mapping[str, Any]

    @property
    def transitions(self) -> int:
        """Actions in all episodes."""
        return sum(len(e.action) for e in self.episodes)

    def first(self, transitions: int) -> "Episodes":
        """The first episodes that hold at least that many transitions together, the last one cut to fit.

        Raises:
            DataError: there are fewer.
        """
        if transitions > self.transitions:
            raise DataError(f"{transitions} transitions are asked for, and the data has {self.transitions}.")
        kept, left = [], transitions
        for e in self.episodes:
            if left <= 0:
                break
            kept.append(e.first(left))
            left -= len(e.action)
        return Episodes(tuple(kept), self.about)

    def __add__(self, other: "Episodes") -> "Episodes":
        """Both recordings as one.

        Raises:
            DataError: they are of different bodies, or one of states and one of images.
        """
        widths = [(e.obs.shape[1], e.action.shape[1], e.image is None) for e in (self.episodes[0], other.episodes[0])]
        if widths[0] != widths[1]:
            raise DataError(
                f"recordings of {widths[0][0]} and {widths[1][0]} observations, {widths[0][1]} and {widths[1][1]} "
                "actions cannot be joined: they are of different bodies, or of states and of images."
            )
        return Episodes(self.episodes + other.episodes, {"joined": [dict(self.about), dict(other.about)]})


def save_episodes(path: str | os.PathLike[str], episodes: Iterable[Episode], about: Mapping[str, Any]) -> None:
    """Writes a data set to the new folder `path`, which appears only when it is complete.

    Raises:
        DataError: the folder exists, or an episode is not usable; nothing is left behind then.
    """
    path = Path(path)
    if path.exists():
        raise DataError(f"{path} exists already: choose another folder, a data set is never added to.")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    beside.mkdir()
    try:
        files = []
        for number, episode in enumerate(episodes):
            name = f"episode-{number:05d}.npz"
            fields = {k: v for k, v in episode._asdict().items() if k in _ARRAYS and v is not None}
            _check(name, fields)
            with open(beside / name, "wb") as file:
                np.savez_compressed(file, **fields)
            digest = hashlib.sha256((beside / name).read_bytes()).hexdigest()
            row = {"file": name, "actions": len(episode.action), "terminated": bool(episode.terminated)}
            files.append(row | {"sha256": digest})
        if not files:
            raise DataError("a data set needs at least one episode.")
        manifest = {"kind": "episodes", "schema": SCHEMA, "about": dict(about), "origin": origin(), "episodes": files}
        (beside / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False) + "\n")
        os.rename(beside, path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def load_episodes(path: str | os.PathLike[str], *, pixels: bool = False) -> Episodes:
    """Reads a folder of episodes: ours, a Minari data set, or ReDRAW's chunks.

    Arguments:
        pixels: of ReDRAW's chunks, which hold both, the images instead of the task's own vector.

    Raises:
        DataError: nothing of the kind there, or a file that is cut short, mislabelled or holds NaN.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path} is not a folder of episodes.")
    if (path / MANIFEST).is_file():
        return _ours(path)
    if (path / "data" / "main_data.hdf5").is_file() or (path / "main_data.hdf5").is_file():
        return _minari(path)
    if any(_CHUNK.fullmatch(f.name) for f in path.glob("*.npz")):
        return _chunks(path, pixels)
    raise DataError(
        f"{path} is none of the known data sets: no {MANIFEST} (ours), no data/main_data.hdf5 (Minari), no "
        "time-id-next-length.npz (ReDRAW)."
    )


def _ours(path: Path) -> Episodes:
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        kind, schema, rows = manifest["kind"], manifest["schema"], manifest["episodes"]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path / MANIFEST} is damaged: record the data again, or restore it from a copy.") from None
    if kind != "episodes" or schema != SCHEMA:
        raise DataError(f"{path / MANIFEST} is of kind {kind!r}, schema {schema}; wanted are 'episodes', {SCHEMA}.")
    episodes = []
    for row in rows:
        file = path / Path(row["file"]).name
        if not file.is_file():
            raise DataError(f"{file} is missing, and the manifest names it.")
        if hashlib.sha256(file.read_bytes()).hexdigest() != row["sha256"]:
            raise DataError(f"{file} is not what was written: it was cut short or changed.")
        episodes.append(_episode(file, _arrays(file), bool(row["terminated"])))
    return Episodes(tuple(episodes), manifest["about"])


def _arrays(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file) as stored:  # NumPy refuses pickled arrays unless it is told otherwise
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} cannot be read, it is cut short or damaged ({error}).") from None


def _episode(file: Path | str, fields: Mapping[str, np.ndarray], terminated: bool) -> Episode:
    for name in ("obs", "action"):
        if name not in fields:
            raise DataError(f"{file} has no field {name!r}; it has {', '.join(sorted(fields)) or 'none'}.")
    known = {name: fields[name] for name in _ARRAYS if name in fields}
    _check(file, known)
    image = known.pop("image", None)
    arrays = {name: np.asarray(value, np.float32) for name, value in known.items()}
    return Episode(arrays["obs"], arrays["action"], arrays.get("reward"), terminated, image)


def _check(file: Path | str, fields: Mapping[str, np.ndarray]) -> None:
    """Shapes, numbers, and nothing that is not finite."""
    for name, value in fields.items():
        array = np.asarray(value)
        if array.dtype.kind not in "fiub" or array.ndim != _ARRAYS[name]:
            raise DataError(
                f"{file}: {name!r} must be numbers with {_ARRAYS[name]} axes, not {array.dtype} {array.shape}."
            )
        if name == "image" and array.dtype != np.uint8:
            raise DataError(f"{file}: 'image' must be bytes (uint8, from 0 to 255), not {array.dtype}.")
        bad = ~np.isfinite(array)
        if bad.any():
            raise DataError(f"{file}: {name!r} holds NaN or infinity, first in row {int(np.argwhere(bad)[0][0])}.")
    steps = len(fields["action"])
    seen = {len(fields[name]) for name in ("obs", "image") if name in fields}
    if steps < 1 or seen != {steps + 1} or len(fields.get("reward", fields["action"])) != steps:
        lengths = ", ".join(f"{len(v)} {k}" for k, v in fields.items())
        raise DataError(f"{file}: T actions need T+1 observations and T rewards, with T at least 1; found {lengths}.")


def _minari(path: Path) -> Episodes:
    """A Minari data set (its HDF5 layout): groups `episode_N` with observations, actions, rewards, terminations."""
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise DataError(
            f"{path} is a Minari data set; install h5py to read it: pip install 'worldshift[minari]'."
        ) from None
    file = path / "data" / "main_data.hdf5"
    file = file if file.is_file() else path / "main_data.hdf5"
    try:
        with h5py.File(file, "r") as store:
            names = sorted((str(n) for n in store if str(n).startswith("episode_")), key=lambda n: int(n.split("_")[1]))
            episodes = []
            for name in names:
                group: Any = store[name]
                where = f"{file}, {name}"
                for needed in ("observations", "actions"):
                    if needed not in group:
                        raise DataError(f"{where} has no field {needed!r}.")
                fields = {"obs": _flat(group["observations"]), "action": np.asarray(group["actions"])}
                if "rewards" in group:
                    fields["reward"] = np.asarray(group["rewards"])
                ended = "terminations" in group and bool(np.asarray(group["terminations"])[-1])
                episodes.append(_episode(where, fields, ended))
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file} cannot be read, it is cut short or damaged ({error}).") from None
    if not episodes:
        raise DataError(f"{file} holds no episodes.")
    about = {"source": "minari"}
    metadata = path / "data" / "metadata.json"
    if metadata.is_file():
        about["dataset_id"] = json.loads(metadata.read_text()).get("dataset_id", "")
    return Episodes(tuple(episodes), about)


def _flat(observations: Any) -> np.ndarray:
    """Observations as rows; a dictionary's entries stand side by side, in the order of their names."""
    if hasattr(observations, "keys"):
        parts = [_flat(observations[name]) for name in sorted(observations.keys())]
        return np.concatenate(parts, axis=-1)
    array = np.asarray(observations)
    return array.reshape(len(array), -1)


_CHUNK_SKIP = {
    "image",
    "image_complement",
    "action",
    "reward",
    "reset",
    "reset_state",
    "reset_to_state",
    "id",
    "gt_state",
}


def _chunks(path: Path, pixels: bool) -> Episodes:
    """ReDRAW's chunks: an action in row t is the one taken after observation t; `is_first` opens an episode.

    Observations are the task's own vectors (every key that is not an image, a flag or bookkeeping), by name, or with
    `pixels` the images and the velocities that complement them.
    """
    episodes: list[Episode] = []
    for file in sorted(path.glob("*.npz")):
        rows = _arrays(file)
        for name in ("action", "is_first"):
            if name not in rows:
                raise DataError(f"{file} has no field {name!r}; it has {', '.join(sorted(rows))}.")
        steps = len(rows["action"])
        if pixels and not {"image", "image_complement"} <= rows.keys():
            raise DataError(
                f"{file} has no images: 'image' and 'image_complement' are wanted; it has {', '.join(rows)}."
            )
        own = [k for k in sorted(rows) if k not in _CHUNK_SKIP and not k.startswith(("is_", "log_"))]
        vectors = ["image_complement"] if pixels else own
        short = [k for k in [*vectors, "is_first", *(["image"] if pixels else [])] if len(rows[k]) != steps]
        if short:
            raise DataError(f"{file}: {short[0]!r} has {len(rows[short[0]])} rows, 'action' has {steps}.")
        if not vectors:
            raise DataError(f"{file} holds images only: adapt an agent of pixels with them.")
        obs = np.concatenate([rows[k].reshape(steps, -1).astype(np.float32) for k in vectors], axis=-1)
        cuts = [*np.flatnonzero(np.asarray(rows["is_first"], bool)).tolist(), steps]
        cuts = cuts if cuts[0] == 0 else [0, *cuts]
        ended = np.asarray(rows.get("is_terminal", np.zeros(steps)), bool)
        for start, stop in pairwise(cuts):
            if stop - start < 2:
                continue
            fields = {"obs": obs[start:stop], "action": rows["action"][start : stop - 1]}
            if pixels:
                fields["image"] = rows["image"][start:stop]
            if "reward" in rows:  # a row's reward came with its observation, so it belongs to the action before
                fields["reward"] = rows["reward"][start + 1 : stop]
            episodes.append(_episode(f"{file}, row {start}", fields, bool(ended[stop - 1])))
    if not episodes:
        raise DataError(f"{path} holds no episode of two or more steps.")
    return Episodes(tuple(episodes), {"source": "redraw-chunks"})
