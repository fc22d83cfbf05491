"""Checkpoints: a directory with one safetensors file per part of a pytree and a `manifest.json` that describes them.

No paper. Data files carry their hash in the name and the manifest is replaced last, so that at any moment, also after
a crash, the manifest on disk points at one complete state. Nothing in a checkpoint is ever executed: no pickle.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from worldshift.provenance import origin

SCHEMA = 1
_MANIFEST = "manifest.json"
_DATA_FILE = re.compile(r"[\w-]+-[0-9a-f]{12}\.safetensors")
_TEMPORARY = re.compile(r"[\w-]+\.(safetensors|json)\.tmp")
_SCALARS = (bool, int, float, str)
_INTEGERS = {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
_DTYPES = {"bool", "bfloat16", "float16", "float32", "float64", "complex64"} | _INTEGERS


class CheckpointError(ValueError):
    """A checkpoint that cannot be written or read; the message says which one, why, and what to do."""


@dataclass(frozen=True)
class Leaf:
    """One array of the tree: its shape, its dtype, the file that holds it, and for random keys their implementation."""

    shape: tuple[int, ...]
    dtype: str
    file: str
    key_impl: str | None = None


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says about itself. `config` is what the code that made it needs to build the tree again."""

    kind: str
    config: dict[str, Any]
    leaves: dict[str, Leaf]  # arrays by name: the key path of the leaf, joined by "/"
    scalars: dict[str, bool | int | float | str]  # by name; JSON keeps them exactly, also integers beyond 64 bits
    files: dict[str, str]  # SHA-256 by file name
    provenance: dict[str, Any]
    schema: int = SCHEMA


def save(
    path: str | os.PathLike[str],
    tree: Any,
    *,
    kind: str,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Writes `tree` to the directory `path`, which is afterwards either as it was before or completely the new one.

    Leaves may be JAX and NumPy arrays (bfloat16 and random keys included) and Python bool, int, float and str.
    Functions are structure: they are left out, and come from `like` on loading. If `tree` is a dict, each of its keys
    is a part with a file of its own, which `load` can read alone.

    Arguments:
        path: directory of the checkpoint; an older checkpoint there is replaced, other content is refused.
        kind: what it is, checked on loading: `agent`, `training`, ...
        config: JSON values; tuples come back as lists.
        provenance: JSON values added to the version, command, date and git commit that are always recorded.

    Raises:
        CheckpointError: a leaf is not finite or not storable, `config` is not JSON, or `path` cannot be written.
    """
    path = Path(path)
    _refuse_foreign(path)
    arrays, scalars = _collect(path, tree)
    try:
        plain, record = json.loads(json.dumps([dict(config), origin() | dict(provenance or {})], allow_nan=False))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path}: config and provenance must be plain JSON ({error}).") from None

    def write(directory: Path) -> None:
        files, leaves = _write_data(directory, arrays, by_part=isinstance(tree, dict))
        _write_manifest(directory, Manifest(kind, plain, leaves, scalars, files, record))

    try:
        if path.exists():
            try:
                write(path)
            finally:
                _sweep(path)
        else:
            _create(path, write)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {path} could not be written, nothing was changed: {error}.") from error


def load(
    path: str | os.PathLike[str], like: Any = None, *, kind: str | None = None, part: str | None = None
) -> tuple[Any, Manifest]:
    """Reads a checkpoint, after checking the hashes of its files.

    Arguments:
        like: a tree of the same structure (arrays, or the `jax.ShapeDtypeStruct`s of `eqx.filter_eval_shape`). Every
            leaf must agree in shape and dtype. Without it the result is a flat dict, name to NumPy array or scalar.
        kind: if given, the checkpoint must be of this kind.
        part: read only this key of a tree that was saved as a dict; names and `like` then start below it.

    Returns:
        The tree and the manifest.

    Raises:
        CheckpointError: missing, damaged or truncated files, a newer schema, another kind, or a leaf that does not fit.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if kind is not None and manifest.kind != kind:
        raise CheckpointError(f"checkpoint {path} is of kind {manifest.kind!r}, but {kind!r} is wanted here.")
    values = _read(path, manifest, part)
    return (values if like is None else _fill(path, like, values)), manifest


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """What the checkpoint at `path` says about itself, without reading the arrays.

    Raises:
        CheckpointError: no checkpoint there, a damaged manifest, or a schema newer than this version knows.
    """
    path = Path(path)
    try:
        raw = json.loads((path / _MANIFEST).read_bytes())
        digest, schema = raw.pop("sha256"), raw["schema"]
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"no checkpoint at {path}: there is no {_MANIFEST} in it.") from None
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(path, f"{_MANIFEST} is not a complete manifest") from None
    if schema != SCHEMA:
        raise CheckpointError(
            f"checkpoint {path} has schema {schema}, this worldshift reads {SCHEMA}; use the version that wrote it."
        )
    if _digest(raw) != digest or not all(_DATA_FILE.fullmatch(name) for name in raw["files"]):
        raise _damaged(path, f"the content of {_MANIFEST} is not what was written")
    leaves = {name: Leaf(**{**leaf, "shape": tuple(leaf["shape"])}) for name, leaf in raw["leaves"].items()}
    return Manifest(**{**raw, "leaves": leaves})


def _digest(raw: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(raw, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _damaged(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f"checkpoint {path} is damaged: {what}; restore it from a copy or make it again.")


def _refuse_foreign(path: Path) -> None:
    """A directory with other content is never written into, so a mistyped path costs nothing."""
    fresh = not path.exists() or (path.is_dir() and all(map(_is_data, path.iterdir())))
    if not fresh and not (path / _MANIFEST).is_file():
        raise CheckpointError(f"{path} exists and is not a checkpoint; choose another path.")


def _is_data(file: Path) -> bool:
    return bool(_DATA_FILE.fullmatch(file.name) or _TEMPORARY.fullmatch(file.name))


# Between trees and names


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in flat]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _describe(leaf: Any) -> str:
    """What must agree between a stored leaf and the one asked for, in words."""
    return f"Python {type(leaf).__name__}" if type(leaf) in _SCALARS else f"{leaf.dtype.name} {tuple(leaf.shape)}"


def _collect(path: Path, tree: Any) -> tuple[dict[str, jax.Array | np.ndarray], dict[str, Any]]:
    """Arrays and Python scalars by name; refuses what cannot or must not be saved."""
    arrays: dict[str, jax.Array | np.ndarray] = {}
    scalars: dict[str, Any] = {}
    for name, leaf in _named_leaves(tree):
        if name in arrays or name in scalars:
            raise CheckpointError(f"checkpoint {path}: two leaves have the name {name!r}; rename a key of the tree.")
        if type(leaf) in _SCALARS:
            scalars[name] = leaf
            finite = type(leaf) is not float or np.isfinite(leaf)
        elif isinstance(leaf, jax.Array) and _is_key(leaf):
            arrays[name] = leaf
            finite = True
        elif isinstance(leaf, jax.Array | np.ndarray | np.generic) and leaf.dtype.name in _DTYPES:
            arrays[name] = array = np.asarray(leaf, order="C")
            finite = not jnp.issubdtype(array.dtype, jnp.inexact) or np.isfinite(array).all()
        elif callable(leaf):
            continue
        else:
            what = f"{leaf.dtype} array" if isinstance(leaf, jax.Array | np.ndarray) else type(leaf).__name__
            raise CheckpointError(f"checkpoint {path}: leaf {name!r} is a {what}, which cannot be stored.")
        if not finite:
            raise CheckpointError(f"checkpoint {path}: leaf {name!r} holds NaN or infinity, so it is not written.")
    return arrays, scalars


def _fill(path: Path, like: Any, values: dict[str, Any]) -> Any:
    """`like` with its leaves replaced by the stored ones."""
    wanted = {name: leaf for name, leaf in _named_leaves(like) if not callable(leaf)}
    missing, extra = sorted(wanted.keys() - values.keys()), sorted(values.keys() - wanted.keys())
    if missing or extra:
        lacks = f"it lacks {missing[0]!r} ({len(missing)} in all)" if missing else ""
        has = f"it has {extra[0]!r} that is not asked for ({len(extra)} in all)" if extra else ""
        raise CheckpointError(f"checkpoint {path} holds another tree: {' and '.join(filter(None, (lacks, has)))}.")
    for name, leaf in wanted.items():
        if _describe(leaf) != _describe(values[name]):
            raise CheckpointError(
                f"checkpoint {path}: leaf {name!r} is {_describe(values[name])} in the file, but {_describe(leaf)} "
                "is wanted; build the tree with the config in the manifest."
            )
    filled = [_like(leaf, values[name]) if name in wanted else leaf for name, leaf in _named_leaves(like)]
    return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(like), filled)


def _like(leaf: Any, value: Any) -> Any:
    if isinstance(leaf, np.generic):
        return value[()]
    if isinstance(leaf, np.ndarray) or type(leaf) in _SCALARS or _is_key(leaf):
        return value
    return jnp.array(value)


# Files


def _write_data(
    directory: Path, arrays: dict[str, jax.Array | np.ndarray], *, by_part: bool
) -> tuple[dict[str, str], dict[str, Leaf]]:
    """Writes one data file per part. Returns the hash of each file, and where each leaf went."""
    parts: dict[str, list[str]] = {}
    for name in arrays:
        part = re.sub(r"[^\w-]", "_", name.split("/")[0]) if by_part else ""
        parts.setdefault(part or "arrays", []).append(name)
    files, leaves = {}, {}
    for part, names in parts.items():
        temporary = directory / f"{part}.safetensors.tmp"
        impls = {name: str(jax.random.key_impl(arrays[name])) for name in names if _is_key(arrays[name])}
        raw = {name: jax.random.key_data(arrays[name]) if name in impls else arrays[name] for name in names}
        save_file({name: np.asarray(array) for name, array in raw.items()}, temporary)
        digest = _hash(temporary)
        file = f"{part}-{digest[:12]}.safetensors"
        _sync(temporary)
        os.replace(temporary, directory / file)
        files[file] = digest
        for name in names:
            leaves[name] = Leaf(arrays[name].shape, arrays[name].dtype.name, file, impls.get(name))
    return files, leaves


def _write_manifest(directory: Path, manifest: Manifest) -> None:
    """The moment at which the new state becomes the state of `directory`."""
    raw = asdict(manifest)
    temporary = directory / f"{_MANIFEST}.tmp"
    temporary.write_text(json.dumps({**raw, "sha256": _digest(raw)}, indent=1) + "\n", encoding="utf-8")
    _sync(temporary)
    _sync(directory)
    os.replace(temporary, directory / _MANIFEST)
    _sync(directory)


def _create(path: Path, write: Any) -> None:
    """Writes a first checkpoint beside its place and renames it, so that `path` never exists half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    beside.mkdir()
    try:
        write(beside)
        os.rename(beside, path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    _sync(path.parent)


def _sweep(path: Path) -> None:
    """Removes data files that the manifest on disk does not name: the replaced ones, or those of a failed writing."""
    kept = read_manifest(path).files if (path / _MANIFEST).is_file() else {}
    for file in filter(_is_data, path.iterdir()):
        if file.name not in kept:
            file.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, manifest: Manifest, part: str | None) -> dict[str, Any]:
    """The stored leaves by name (below `part`, if given)."""

    def inside(name: str) -> bool:
        return part is None or name == part or name.startswith(f"{part}/")

    leaves = {name: leaf for name, leaf in manifest.leaves.items() if inside(name)}
    values: dict[str, Any] = {name: value for name, value in manifest.scalars.items() if inside(name)}
    if part is not None and not leaves and not values:
        parts = sorted({name.split("/")[0] for name in [*manifest.leaves, *manifest.scalars]})
        raise CheckpointError(f"checkpoint {path} has no part {part!r}; it has {', '.join(parts)}.")
    stored: dict[str, np.ndarray] = {}
    for file in {leaf.file for leaf in leaves.values()}:
        stored |= _read_data(path, file, manifest.files[file])
    for name, leaf in leaves.items():
        values[name] = stored[name]
        if leaf.key_impl:
            values[name] = jax.random.wrap_key_data(jnp.array(stored[name]), impl=leaf.key_impl)
    return {name.removeprefix(part).removeprefix("/") if part else name: value for name, value in values.items()}


def _read_data(path: Path, file: str, digest: str) -> dict[str, np.ndarray]:
    try:
        if _hash(path / file) != digest:
            raise _damaged(path, f"the content of {file} is not what was written")
        return load_file(path / file)
    except FileNotFoundError:
        raise _damaged(path, f"{file} is missing") from None
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}.") from error
