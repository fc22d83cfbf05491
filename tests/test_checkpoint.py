"""Checkpoints: exact round trips, refusal of bad content, damage told apart, and one complete state after any crash."""

import json
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldshift import checkpoint
from worldshift.checkpoint import CheckpointError
from worldshift.provenance import origin


class Net(eqx.Module):
    mlp: eqx.nn.MLP
    table: jax.Array
    key: jax.Array
    steps: int
    rate: float
    label: str = eqx.field(static=True)

    def __init__(self, width: int = 8, *, seed: int):
        self.mlp = eqx.nn.MLP(3, 2, width, 2, key=jax.random.key(seed))
        self.table = jnp.arange(5, dtype=jnp.bfloat16) / 3
        self.key = jax.random.split(jax.random.key(seed, impl="rbg"), 2)
        self.steps, self.rate, self.label = 10**30 + seed, 0.1 + seed, "fixed"


def tree(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "net": Net(seed=seed),
        "replay": {"obs": rng.normal(size=(7, 3)), "done": rng.random(7) < 0.5, "empty": np.zeros((0, 4), np.float32)},
        "rng": rng.bit_generator.state,
        "count": np.int16(seed),
        "key": jax.random.key(seed),
        "none": None,
    }


def bits(leaf) -> object:
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return str(jax.random.key_impl(leaf)), np.asarray(jax.random.key_data(leaf)).tobytes()
    if isinstance(leaf, jax.Array | np.ndarray | np.generic):
        return type(leaf), str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()
    return type(leaf), leaf


def assert_same(one, other) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert bits(a) == bits(b)


def save(path: Path, content, **more) -> None:
    checkpoint.save(path, content, kind=more.pop("kind", "test"), config=more.pop("config", {}), **more)


def data_files(path: Path) -> list[Path]:
    return sorted(path.glob("*.safetensors"))


def test_round_trip_is_bit_exact_for_every_kind_of_leaf(tmp_path):
    save(tmp_path / "c", tree(1), config={"width": 8, "sizes": (1, 2)})
    loaded, manifest = checkpoint.load(tmp_path / "c", tree(2), kind="test")
    assert_same(loaded, tree(1))
    assert loaded["net"].mlp.activation is tree(1)["net"].mlp.activation
    assert manifest.config == {"width": 8, "sizes": [1, 2]}
    assert manifest.leaves["replay/obs"].shape == (7, 3)
    loaded["replay"]["obs"][0] = 0.0  # NumPy leaves come back writable
    rng = np.random.default_rng()
    rng.bit_generator.state = loaded["rng"]
    expected = np.random.default_rng(1)
    expected.bit_generator.state = tree(1)["rng"]
    assert rng.random() == expected.random()


def test_skeleton_of_shapes_is_enough_to_load(tmp_path):
    save(tmp_path / "c", Net(seed=3))
    skeleton = eqx.filter_eval_shape(lambda: Net(seed=0))
    skeleton = eqx.tree_at(lambda net: (net.steps, net.rate), skeleton, (0, 0.0))
    loaded, _ = checkpoint.load(tmp_path / "c", skeleton)
    assert_same(loaded, Net(seed=3))


def test_without_like_a_flat_dict_comes_back(tmp_path):
    save(tmp_path / "c", tree(1))
    flat, _ = checkpoint.load(tmp_path / "c")
    assert np.array_equal(flat["replay/obs"], tree(1)["replay"]["obs"])
    assert flat["net/steps"] == 10**30 + 1
    assert flat["rng/bit_generator"] == "PCG64"
    assert flat["net/table"].dtype == jnp.bfloat16
    assert str(jax.random.key_impl(flat["net/key"])) == "rbg"


def test_a_part_is_read_without_the_files_of_the_others(tmp_path):
    save(tmp_path / "c", tree(1))
    for file in data_files(tmp_path / "c"):
        if not file.name.startswith("net-"):
            file.unlink()
    net, _ = checkpoint.load(tmp_path / "c", Net(seed=0), part="net")
    assert_same(net, Net(seed=1))
    with pytest.raises(CheckpointError, match=r"no part 'nets'; it has .*net"):
        checkpoint.load(tmp_path / "c", part="nets")


def test_a_single_array_and_awkward_memory_layouts(tmp_path):
    arrays = {"view": np.arange(24.0).reshape(4, 6)[::2, ::3], "fortran": np.asfortranarray(np.arange(6).reshape(2, 3))}
    arrays |= {"big-endian": np.arange(4, dtype=">f4"), "scalar": np.array(2.5)}
    save(tmp_path / "many", arrays)
    flat, _ = checkpoint.load(tmp_path / "many")
    for name, array in arrays.items():
        assert np.array_equal(flat[name], array) and flat[name].shape == array.shape
    save(tmp_path / "one", jnp.eye(3))
    assert_same(checkpoint.load(tmp_path / "one", jnp.zeros((3, 3)))[0], jnp.eye(3))


@pytest.mark.parametrize("bad", [np.nan, np.inf, jnp.array([1.0, jnp.nan], jnp.bfloat16), np.array([0.0, -np.inf])])
def test_non_finite_leaves_are_refused_by_name_and_nothing_is_written(tmp_path, bad):
    with pytest.raises(CheckpointError, match="'a/b' holds NaN or infinity"):
        save(tmp_path / "c", {"a": {"b": bad}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [np.array(["x"]), np.array([{}], object), 1j, np.complex128(1), jnp.zeros(2, jnp.int4)])
def test_leaves_that_cannot_be_stored_are_named(tmp_path, bad):
    with pytest.raises(CheckpointError, match=r"'a/0' is a .*, which cannot be stored"):
        save(tmp_path / "c", {"a": [bad]})


def test_two_leaves_of_one_name_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="two leaves have the name 'a/b'"):
        save(tmp_path / "c", {"a": {"b": 1}, "a/b": 2})


@pytest.mark.parametrize("config", [{"f": len}, {"x": float("nan")}, {"path": Path()}])
def test_config_must_be_json(tmp_path, config):
    with pytest.raises(CheckpointError, match="must be plain JSON"):
        save(tmp_path / "c", {"a": 1}, config=config)
    assert list(tmp_path.iterdir()) == []


def test_config_with_integer_keys_survives(tmp_path):
    save(tmp_path / "c", {"a": 1}, config={"levels": {2: "two", 10: "ten"}})
    assert checkpoint.read_manifest(tmp_path / "c").config == {"levels": {"2": "two", "10": "ten"}}


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"w": jnp.zeros((3, 2)), "n": 0}, r"leaf 'w' is float32 \(2, 3\) in the file, but float32 \(3, 2\) is wanted"),
        ({"w": jnp.zeros((2, 3), int), "n": 0}, r"'w' is float32 \(2, 3\) in the file, but int32 \(2, 3\)"),
        ({"w": jnp.zeros((2, 3)), "n": 0.0}, "'n' is Python int in the file, but Python float"),
        ({"w": jnp.zeros((2, 3)), "n": 0, "b": jnp.zeros(1)}, r"it lacks 'b' \(1 in all\)"),
        ({"w": jnp.zeros((2, 3))}, r"it has 'n' that is not asked for \(1 in all\)"),
    ],
)
def test_a_leaf_that_does_not_fit_is_named_with_both_shapes(tmp_path, like, message):
    save(tmp_path / "c", {"w": jnp.ones((2, 3)), "n": 4})
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(tmp_path / "c", like)


def test_random_keys_of_another_implementation_do_not_fit(tmp_path):
    save(tmp_path / "c", {"key": jax.random.key(0)})
    with pytest.raises(CheckpointError, match=r"'key' is key<fry> \(\) in the file, but key<rbg>"):
        checkpoint.load(tmp_path / "c", {"key": jax.random.key(0, impl="rbg")})


def test_kind_and_schema_are_checked(tmp_path):
    save(tmp_path / "c", {"a": 1}, kind="agent")
    with pytest.raises(CheckpointError, match="of kind 'agent', but 'training' is wanted"):
        checkpoint.load(tmp_path / "c", kind="training")
    manifest = tmp_path / "c" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema": 99}))
    with pytest.raises(CheckpointError, match="has schema 99, this worldshift reads 1"):
        checkpoint.load(tmp_path / "c")


def test_provenance_is_recorded_without_paths_of_the_machine(tmp_path):
    save(tmp_path / "c", {"a": 1}, provenance={"task": "walker-walk"})
    provenance = checkpoint.read_manifest(tmp_path / "c").provenance
    assert provenance["task"] == "walker-walk" and provenance["created"].endswith("+00:00")
    assert not provenance["command"].startswith("/")


@pytest.mark.parametrize("out", [["--out", "/home/me/rows"], ["--out=/home/me/rows"], []])
def test_a_recorded_command_does_not_say_where_it_wrote(monkeypatch, out):
    monkeypatch.setattr(sys, "argv", ["/bin/worldshift", "study", "drift", *out, "--methods", "fast, coupled"])
    assert origin()["command"] == "worldshift study drift --methods 'fast, coupled'"


def test_every_damaged_byte_and_every_truncation_is_noticed(tmp_path):
    path = tmp_path / "c"
    save(path, {"w": jnp.arange(6.0), "n": 4}, config={"rate": 0.5})
    for file in path.iterdir():
        good = file.read_bytes()
        damaged = [good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :] for i in range(0, len(good) - 1, 3)]
        for bad in [*damaged, b"", good[: len(good) // 2], good[:-2]]:
            file.write_bytes(bad)
            with pytest.raises(CheckpointError) as caught:
                checkpoint.load(path, {"w": jnp.zeros(6), "n": 0})
            assert "\n" not in str(caught.value) and str(path) in str(caught.value)
        file.write_bytes(good)
    checkpoint.load(path, {"w": jnp.zeros(6), "n": 0})


def test_missing_pieces_are_told_apart(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*nowhere"):
        checkpoint.load(tmp_path / "nowhere")
    save(tmp_path / "c", {"w": jnp.arange(6.0)})
    data_files(tmp_path / "c")[0].unlink()
    with pytest.raises(CheckpointError, match=r"w-\w+.safetensors is missing"):
        checkpoint.load(tmp_path / "c")


def test_a_manifest_cannot_point_outside_its_directory(tmp_path):
    save(tmp_path / "other", {"w": jnp.arange(6.0)})
    save(tmp_path / "c", {"w": jnp.arange(6.0)})
    file = data_files(tmp_path / "c")[0].name
    manifest = tmp_path / "c" / "manifest.json"
    raw = json.loads(manifest.read_text().replace(file, f"../other/{file}"))
    raw["sha256"] = checkpoint._digest({k: v for k, v in raw.items() if k != "sha256"})
    manifest.write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoint.load(tmp_path / "c")


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="is not a checkpoint; choose another path"):
        save(tmp_path, {"a": 1})
    with pytest.raises(CheckpointError, match="is not a checkpoint; choose another path"):
        save(tmp_path / "notes.txt", {"a": 1})
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_replacing_removes_the_old_data_and_keeps_other_files(tmp_path):
    path = tmp_path / "c"
    save(path, {"w": jnp.arange(6.0), "old": jnp.zeros(2)})
    (path / "card.md").write_text("a card")
    save(path, {"w": jnp.arange(3.0)})
    assert checkpoint.load(path)[0]["w"].shape == (3,)
    assert len(data_files(path)) == 1 and len(list(path.iterdir())) == 3
    assert (path / "card.md").read_text() == "a card"
    assert [file.name for file in tmp_path.iterdir()] == ["c"]


def test_a_place_that_cannot_be_written_gives_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not be written, nothing was changed"):
        save(tmp_path / "file" / "c", {"a": 1})


_CRASH = """
import os, signal, sys, warnings
import numpy as np
from worldshift import checkpoint

warnings.simplefilter("ignore")  # forking after importing JAX: the child uses NumPy only
path, value, calls = sys.argv[1], float(sys.argv[2]), 0

def dying(function, last):
    def call(*arguments, **named):
        global calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return call

for last in range(1, 100):
    child = os.fork()
    if child == 0:
        for module, name in [(os, "fsync"), (os, "replace"), (os, "rename"), (os, "unlink"), (checkpoint, "save_file")]:
            setattr(module, name, dying(getattr(module, name), last))
        checkpoint.save(path, {"a": np.full(3, value), "b": np.full(4, value)}, kind="test", config={"value": value})
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    try:
        flat, manifest = checkpoint.load(path)
        seen = {manifest.config["value"], *flat["a"].tolist(), *flat["b"].tolist()}
        print("mixed" if len(seen) > 1 else seen.pop())
    except checkpoint.CheckpointError as error:
        print("none" if not os.path.exists(path) else error)
    if status == 0:
        break
"""


def states_after_each_crash(path: Path, value: float) -> list[str]:
    run = [sys.executable, "-c", _CRASH, str(path), str(value)]
    return subprocess.run(run, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()


def test_killed_at_any_point_there_is_one_complete_state(tmp_path):
    fresh = states_after_each_crash(tmp_path / "c", 1.0)
    assert set(fresh) == {"none", "1.0"} and fresh == sorted(fresh, reverse=True) and fresh[-1] == "1.0"
    replaced = states_after_each_crash(tmp_path / "c", 2.0)
    assert set(replaced) == {"1.0", "2.0"} and replaced == sorted(replaced) and replaced.count("1.0") > 5
    assert len(data_files(tmp_path / "c")) == 2 and len(list((tmp_path / "c").iterdir())) == 3
