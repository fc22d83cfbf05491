"""Data sets on disk: what is written is read back, foreign formats are told apart, damage is named."""

import json

import numpy as np
import pytest

from worldshift.data.episodes import DataError, Episode, Episodes, load_episodes, save_episodes


def episodes(count=3, steps=7, rewards=True):
    rng = np.random.default_rng(0)
    for i in range(count):
        t = steps + i
        reward = rng.random(t).astype(np.float32) if rewards else None
        obs, action = rng.normal(size=(t + 1, 4)), rng.uniform(-1, 1, (t, 2))
        yield Episode(obs.astype(np.float32), action.astype(np.float32), reward, i == 1)


@pytest.mark.parametrize("rewards", [True, False])
def test_round_trip(tmp_path, rewards):
    save_episodes(tmp_path / "data", episodes(rewards=rewards), {"task": "a-task", "shift": None})
    found = load_episodes(tmp_path / "data")
    assert found.about == {"task": "a-task", "shift": None} and found.transitions == 7 + 8 + 9
    for ours, theirs in zip(episodes(rewards=rewards), found.episodes, strict=True):
        np.testing.assert_array_equal(ours.obs, theirs.obs)
        np.testing.assert_array_equal(ours.action, theirs.action)
        assert ours.terminated == theirs.terminated
        assert (theirs.reward is not None) == rewards
        if rewards:
            np.testing.assert_array_equal(ours.reward, theirs.reward)


def test_the_first_transitions_end_in_the_middle_of_an_episode():
    whole = Episodes(tuple(episodes()), {})
    some = whole.first(10)
    assert [len(e.action) for e in some.episodes] == [7, 3] and some.transitions == 10
    assert [len(e.obs) for e in some.episodes] == [8, 4] and not some.episodes[1].terminated
    assert whole.first(15).episodes[1].terminated
    with pytest.raises(DataError, match="the data has 24"):
        whole.first(25)


def test_recordings_can_be_joined():
    one, two = Episodes(tuple(episodes(2)), {"by": "a"}), Episodes(tuple(episodes(1)), {"by": "b"})
    both = one + two
    assert both.transitions == one.transitions + two.transitions and both.about["joined"] == [one.about, two.about]
    other = Episodes((Episode(np.zeros((3, 5), np.float32), np.zeros((2, 2), np.float32)),), {})
    with pytest.raises(DataError, match="recordings of 4 and 5 observations"):
        one + other  # pyright: ignore[reportUnusedExpression]


def test_nothing_is_half_written(tmp_path):
    def broken():
        yield from episodes(2)
        raise RuntimeError("the robot fell")

    with pytest.raises(RuntimeError):
        save_episodes(tmp_path / "data", broken(), {})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="at least one episode"):
        save_episodes(tmp_path / "data", [], {})
    save_episodes(tmp_path / "data", episodes(), {})
    with pytest.raises(DataError, match="exists already"):
        save_episodes(tmp_path / "data", episodes(), {})


@pytest.mark.parametrize("field", ["obs", "action", "reward"])
def test_nan_is_refused_by_name(tmp_path, field):
    bad = next(iter(episodes()))
    getattr(bad, field)[3] = np.nan
    with pytest.raises(DataError, match=f"episode-00000.npz: '{field}' holds NaN or infinity, first in row 3"):
        save_episodes(tmp_path / "data", [bad], {})


def test_damage_is_named(tmp_path):
    folder = tmp_path / "data"
    save_episodes(folder, episodes(), {})
    file = folder / "episode-00001.npz"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"episode-00001.npz is not what was written"):
        load_episodes(folder)
    file.unlink()
    with pytest.raises(DataError, match=r"episode-00001.npz is missing"):
        load_episodes(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(DataError, match=r"manifest.json is damaged"):
        load_episodes(folder)


def test_lengths_must_fit(tmp_path):
    e = next(iter(episodes()))
    with pytest.raises(DataError, match=r"T actions need T\+1 observations.*7 obs, 7 action"):
        save_episodes(tmp_path / "data", [e._replace(obs=e.obs[:-1], reward=None)], {})


def test_what_is_no_data_set(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        load_episodes(tmp_path / "nothing")
    with pytest.raises(DataError, match="none of the known data sets"):
        load_episodes(tmp_path)


def chunk(path, name, first, steps=6, **changed):
    rng = np.random.default_rng(steps)
    rows = {
        "orientation": rng.normal(size=(steps, 2)),
        "velocity": rng.normal(size=(steps, 1)),
        "image": np.zeros((steps, 4, 4, 3), np.uint8),
        "image_complement": np.zeros((steps, 1)),
        "gt_state": np.zeros((steps, 3)),
        "action": rng.uniform(-1, 1, (steps, 1)),
        "reward": np.arange(steps, dtype=np.float32),
        "is_first": np.isin(np.arange(steps), first),
        "is_terminal": np.zeros(steps, bool),
    }
    rows |= changed
    np.savez_compressed(path / name, **{k: v for k, v in rows.items() if v is not None})
    return rows


def test_redraw_chunks(tmp_path):
    """Two episodes in one chunk; row t's action follows row t's observation, its reward came before."""
    rows = chunk(tmp_path, "20250101T000000-abc-def-1024.npz", first=[0, 4])
    found = load_episodes(tmp_path)
    assert [len(e.action) for e in found.episodes] == [3, 1]
    whole = np.concatenate([rows["orientation"], rows["velocity"]], axis=-1).astype(np.float32)
    np.testing.assert_array_equal(found.episodes[0].obs, whole[:4])
    np.testing.assert_array_equal(found.episodes[1].obs, whole[4:])
    np.testing.assert_array_equal(found.episodes[0].action, rows["action"][:3].astype(np.float32))
    np.testing.assert_array_equal(found.episodes[0].reward, [1, 2, 3])


def test_mislabelled_chunks(tmp_path):
    name = "20250101T000000-abc-def-1024.npz"
    chunk(tmp_path, name, [0], action=None)
    with pytest.raises(DataError, match=f"{name} has no field 'action'"):
        load_episodes(tmp_path)
    chunk(tmp_path, name, [0], velocity=np.zeros((3, 1)))
    with pytest.raises(DataError, match="'velocity' has 3 rows, 'action' has 6"):
        load_episodes(tmp_path)
    chunk(tmp_path, name, [0], velocity=np.full((6, 1), np.inf))
    with pytest.raises(DataError, match="'obs' holds NaN or infinity"):
        load_episodes(tmp_path)
    (tmp_path / name).write_bytes(b"PK not a zip")
    with pytest.raises(DataError, match="cut short or damaged"):
        load_episodes(tmp_path)


def test_minari(tmp_path):
    h5py = pytest.importorskip("h5py")
    (tmp_path / "data").mkdir()
    ours = list(episodes(2))
    with h5py.File(tmp_path / "data" / "main_data.hdf5", "w") as store:
        for i, e in enumerate(ours):
            group = store.create_group(f"episode_{i}")
            group["observations"], group["actions"], group["rewards"] = e.obs, e.action, e.reward
            group["terminations"] = np.append(np.zeros(len(e.action) - 1, bool), e.terminated)
    (tmp_path / "data" / "metadata.json").write_text(json.dumps({"dataset_id": "mujoco/pusher/expert-v0"}))
    found = load_episodes(tmp_path)
    assert found.about["dataset_id"] == "mujoco/pusher/expert-v0"
    for mine, theirs in zip(ours, found.episodes, strict=True):
        np.testing.assert_array_equal(mine.obs, theirs.obs)
        assert mine.terminated == theirs.terminated
    with h5py.File(tmp_path / "data" / "main_data.hdf5", "a") as store:
        del store["episode_1"]["actions"]
    with pytest.raises(DataError, match="episode_1 has no field 'actions'"):
        load_episodes(tmp_path)
    (tmp_path / "data" / "main_data.hdf5").write_bytes(b"not hdf5")
    with pytest.raises(DataError, match="cannot be read"):
        load_episodes(tmp_path)


def images(count=2, steps=5):
    rng = np.random.default_rng(1)
    for _ in range(count):
        obs, action = rng.normal(size=(steps + 1, 2)).astype(np.float32), np.zeros((steps, 1), np.float32)
        yield Episode(obs, action, image=rng.integers(0, 256, (steps + 1, 64, 64, 3)).astype(np.uint8))


def test_images_stay_bytes(tmp_path):
    save_episodes(tmp_path / "data", images(), {})
    found = load_episodes(tmp_path / "data")
    for ours, theirs in zip(images(), found.episodes, strict=True):
        np.testing.assert_array_equal(ours.image, theirs.image)
        assert theirs.image.dtype == np.uint8 and theirs.seen.shape == (6, 64 * 64 * 3 + 2)
        np.testing.assert_array_equal(theirs.seen[:, -2:], ours.obs)
        np.testing.assert_array_equal(theirs.seen[3, :12288], ours.image[3].ravel())
    assert found.first(7).episodes[1].image.shape == (3, 64, 64, 3)


def test_images_of_another_kind_are_refused(tmp_path):
    episode = next(images())
    with pytest.raises(DataError, match="'image' must be bytes"):
        save_episodes(tmp_path / "data", [episode._replace(image=episode.image.astype(np.float32))], {})
    with pytest.raises(DataError, match="5 image"):
        save_episodes(tmp_path / "data", [episode._replace(image=episode.image[:-1])], {})


def test_chunks_with_images_for_an_agent_of_pixels(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (8, 64, 64, 3)).astype(np.uint8)
    rows = {"image": image, "image_complement": rng.normal(size=(8, 1)), "action": rng.normal(size=(8, 1))}
    first = np.zeros(8, bool)
    first[[0, 5]] = True
    np.savez_compressed(tmp_path / "20250101T000000-a-b-8.npz", **rows, is_first=first)
    found = load_episodes(tmp_path, pixels=True)
    assert [len(e.action) for e in found.episodes] == [4, 2]
    np.testing.assert_array_equal(found.episodes[1].image, image[5:8])
    np.testing.assert_allclose(found.episodes[1].obs, rows["image_complement"][5:8], rtol=1e-6)
    with pytest.raises(DataError, match="images only"):
        load_episodes(tmp_path)
    np.savez_compressed(
        tmp_path / "20250101T000000-a-b-8.npz", action=rows["action"], is_first=first, position=image[:, 0, 0]
    )
    with pytest.raises(DataError, match="has no images"):
        load_episodes(tmp_path, pixels=True)
