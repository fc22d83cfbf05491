"""Drawings against geometry: silhouettes of the analytic area and place, films with the right frames, no display."""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

import os
import subprocess
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest
from dm_control import suite
from PIL import Image

from worldshift.report import film

VIEW = film.View("side", centre=(0.0, 0.0), span=(4.0, 3.0), follow=None)
SIZE = (400, 300)  # 100 pixels a metre
FINE = (1600, 1200)  # 400 pixels a metre
TRAVELLER = """
<mujoco><worldbody>
  <geom type="plane" size="0 0 1"/>
  <body name="cart" pos="0 0 0.2">
    <joint name="x" type="slide" axis="1 0 0"/>
    <joint name="y" type="slide" axis="0 1 0"/>
    <geom type="box" size="0.3 0.2 0.1" rgba="0 0 1 1"/>
  </body>
</worldbody></mujoco>
"""


def _one_geom(geom: str, assets: str = "") -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = mujoco.MjModel.from_xml_string(
        f"<mujoco><asset>{assets}</asset><worldbody><body>"
        '<joint name="x" type="slide" axis="1 0 0" limited="true" range="-99 99"/>'
        '<joint name="z" type="slide" axis="0 0 1" limited="true" range="-99 99"/>'
        f'<geom rgba="1 0 0 1" {geom}/></body></worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def _move(model: mujoco.MjModel, data: mujoco.MjData, **joints: float) -> mujoco.MjData:
    for name, value in joints.items():
        data.joint(name).qpos[:] = value
    mujoco.mj_forward(model, data)
    return data


def _silhouette(model: mujoco.MjModel, data: mujoco.MjData, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Pixels that the body colours: the picture against that of the same world with the body far away."""
    with_body = film.frame(model, data, size=size, view=VIEW)
    without = film.frame(model, _move(model, data, x=90.0), size=size, view=VIEW)
    return (with_body != without).any(-1)


@pytest.mark.parametrize(
    ("geom", "area"),
    [
        ('type="sphere" size="0.4"', np.pi * 0.16),
        ('type="capsule" size="0.2 0.5" euler="0 30 0"', np.pi * 0.04 + 4 * 0.2 * 0.5),
        ('type="capsule" size="0.2 0.5" euler="60 0 0"', np.pi * 0.04 + 4 * 0.2 * 0.25),
        ('type="box" size="0.3 0.2 0.5" euler="0 20 0"', 4 * 0.3 * 0.5),
        ('type="box" size="0.3 0.2 0.5" euler="0 0 90"', 4 * 0.2 * 0.5),
        ('type="cylinder" size="0.2 0.5"', 4 * 0.2 * 0.5),
        ('type="cylinder" size="0.3 0.1" euler="90 0 0"', np.pi * 0.09),
        ('type="ellipsoid" size="0.2 0.3 0.5" euler="0 40 0"', np.pi * 0.2 * 0.5),
        ('type="ellipsoid" size="0.2 0.3 0.5" euler="90 0 0"', np.pi * 0.2 * 0.3),
    ],
)
def test_silhouette_has_the_analytic_area(geom: str, area: float) -> None:
    assert _silhouette(*_one_geom(geom), FINE).sum() / 400.0**2 == pytest.approx(area, rel=0.015)


def test_mesh_is_drawn_as_its_hull() -> None:
    pyramid = '<mesh name="m" vertex="-.5 -.5 0  .5 -.5 0  .5 .5 0  -.5 .5 0  0 0 1"/>'
    silhouette = _silhouette(*_one_geom('type="mesh" mesh="m"', pyramid), FINE)
    assert silhouette.sum() / 400.0**2 == pytest.approx(0.5, rel=0.015)


def test_capsule_lands_where_the_projection_says() -> None:
    """Both end caps of a tilted, shifted capsule: red just inside the rim's outline, sky just outside."""
    model, data = _one_geom('type="capsule" size="0.1 0.6" euler="0 35 0"')
    _move(model, data, x=0.4, z=-0.3)
    axis = np.array([np.sin(np.radians(35)), np.cos(np.radians(35))])
    silhouette = _silhouette(model, data)
    for end in (1, -1):
        for distance, inside in ((0.08, True), (0.12, False)):
            point = np.array([0.4, -0.3]) + end * (0.6 + distance) * axis
            column, row = 200 + 100 * point[0], 150 - 100 * point[1]
            assert silhouette[int(row), int(column)] == inside
    rows, columns = np.nonzero(silhouette)
    assert columns.mean() == pytest.approx(240, abs=1)
    assert rows.mean() == pytest.approx(180, abs=1)


def test_colour_comes_from_the_model_or_the_tint() -> None:
    model, data = _one_geom('type="sphere" size="0.4"')
    assert film.frame(model, data, size=SIZE, view=VIEW)[150, 200].tolist() == [255, 0, 0]
    assert film.frame(model, data, size=SIZE, view=VIEW, tint="#2a7f9e")[150, 200].tolist() == [0x2A, 0x7F, 0x9E]


def test_nearer_geoms_hide_farther_ones() -> None:
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody>"
        '<geom type="sphere" size="0.2" pos="0 -1 0" rgba="1 0 0 1"/>'
        '<geom type="sphere" size="0.4" pos="0 1 0" rgba="0 1 0 1"/>'
        '<geom type="sphere" size="0.4" pos="0 1 1" rgba="0 0 1 1"/>'
        "</worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    picture = film.frame(model, data, size=SIZE, view=VIEW)
    assert picture[150, 200].tolist() == [255, 0, 0]
    assert picture[150, 230].tolist() == [0, 255, 0]
    above = film.View("top", centre=(0.0, 0.0), span=(4.0, 3.0), follow=None)
    assert film.frame(model, data, size=SIZE, view=above)[50, 200].tolist() == [0, 0, 255]


def test_hidden_geoms_are_not_drawn() -> None:
    assert not _silhouette(*_one_geom('type="sphere" size="0.4" group="3"')).any()
    model, data = _one_geom('type="sphere" size="0.4"')
    model.geom_rgba[0, 3] = 0.0
    assert not _silhouette(model, data).any()


def test_camera_follows_and_the_ground_scrolls() -> None:
    model = mujoco.MjModel.from_xml_string(TRAVELLER)
    data, view = mujoco.MjData(model), film.view_of(model, "side")
    pictures = [film.frame(model, _move(model, data, x=x), view=view) for x in (0.0, 0.1, 123.4)]
    bodies = [(picture == [0, 0, 255]).all(-1) for picture in pictures]
    assert bodies[0].any()
    np.testing.assert_array_equal(bodies[0], bodies[1])
    np.testing.assert_array_equal(bodies[0], bodies[2])
    assert (pictures[0][-5] != pictures[1][-5]).any()


@pytest.mark.parametrize(
    ("domain", "task", "plane", "followed"),
    [
        ("walker", "walk", "side", "torso"),
        ("cheetah", "run", "side", "torso"),
        ("quadruped", "walk", "side", "torso"),
        ("ball_in_cup", "catch", "side", None),
        ("pendulum", "swingup", "side", None),
        ("cartpole", "swingup", "side", None),
        ("point_mass", "easy", "top", None),
        ("reacher", "easy", "top", None),
        ("swimmer", "swimmer6", "top", "head"),
        ("manipulator", "bring_ball", "side", None),
    ],
)
def test_view_is_chosen_by_the_joints(domain: str, task: str, plane: str, followed: str | None) -> None:
    """And the whole body is in the picture, wherever the episode starts."""
    physics = suite.load(domain, task, task_kwargs={"random": 0}).physics
    model, data = physics.model.ptr, physics.data.ptr
    view = film.view_of(model)
    assert view.plane == plane
    assert (None if view.follow is None else model.body(view.follow).name) == followed
    assert film.view_of(model, "top").plane == "top"
    moving = np.flatnonzero(model.body_weldid != 0)
    away = np.abs(data.xpos[moving][:, view.axes] - view.aim(data)) * 2
    assert (away <= view.span).all()
    tinted = film.frame(model, data, view=view, tint="#ff00ff")
    assert (tinted != film.frame(model, data, view=view)).any()


def test_string_of_the_cup_is_drawn() -> None:
    physics = suite.load("ball_in_cup", "catch", task_kwargs={"random": 0}).physics
    model, data = physics.model.ptr, physics.data.ptr
    with_string = film.frame(model, data)
    model.tendon_rgba[:, 3] = 0
    assert (with_string != film.frame(model, data)).any()


def test_bars_show_action_and_correction() -> None:
    """Grey from the middle to the base action, orange from there to the sum; full scale is the headroom."""
    model, data = _one_geom('type="sphere" size="0.1"')
    action, correction = np.array([1.0, -1.0]), np.array([1.0, 0.0])
    plain = film.frame(model, data)
    picture = film.frame(model, data, action=action, correction=correction, headroom=2.0)
    rows, columns = np.nonzero((picture != plain).any(-1))
    assert rows.max() < 40 and columns.min() > 200
    grey, orange = ((picture == colour).all(-1) for colour in (film.BASE_BAR, film.CORRECTION_BAR))
    assert orange[:, :227].any() and not orange[:, 227:].any()
    assert abs(int(orange.any(1).sum()) - 7) <= 1  # half of the 14 pixels above the middle
    assert grey[:22, :227].any() and not grey[:22, 227:].any()
    assert grey[24:, 227:].any()


def test_same_state_same_bytes(tmp_path: Path) -> None:
    model = mujoco.MjModel.from_xml_string(TRAVELLER)
    for name in ("a", "b"):
        data = mujoco.MjData(model)
        frames = [film.frame(model, _move(model, data, x=0.05 * t), title=f"{t}") for t in range(5)]
        film.gif({"left": frames, "right": frames[::-1]}, tmp_path / f"{name}.gif")
        film.film_strip({"row": frames}, tmp_path / f"{name}.png")
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_gif_has_every_frame_and_the_right_pace(tmp_path: Path) -> None:
    model = mujoco.MjModel.from_xml_string(TRAVELLER)
    data = mujoco.MjData(model)
    frames = [film.frame(model, _move(model, data, x=0.05 * t)) for t in range(30)]
    film.gif(frames, tmp_path / "one.gif", fps=20)
    film.gif({"long": frames, "short": frames[:10]}, tmp_path / "two.gif", fps=10)
    with Image.open(tmp_path / "one.gif") as one, Image.open(tmp_path / "two.gif") as two:
        assert (one.n_frames, one.size, one.info["duration"], one.info["loop"]) == (30, (240, 180), 50, 0)
        assert (two.n_frames, two.size, two.info["duration"]) == (30, (484, 200), 100)
        two.seek(29)
        last = np.asarray(two.convert("RGB"), int)
    np.testing.assert_allclose(last[20:, :240], frames[29], atol=24)  # palette
    np.testing.assert_allclose(last[20:, 244:], frames[9], atol=24)


def test_gif_is_small(tmp_path: Path) -> None:
    """10 s of two walkers at 20 frames/s stay below 3 MB."""
    frames: list[list[np.ndarray]] = [[], []]
    for seed, sequence in enumerate(frames):
        env = suite.load("walker", "walk", task_kwargs={"random": seed})
        env.reset()
        view, rng = film.view_of(env.physics.model.ptr), np.random.default_rng(seed)
        for _ in range(200):
            env.step(rng.uniform(-1, 1, 6))
            env.step(rng.uniform(-1, 1, 6))
            sequence.append(film.frame(env.physics.model.ptr, env.physics.data.ptr, view=view))
    film.gif({"frozen": frames[0], "adapted": frames[1]}, tmp_path / "walkers.gif")
    assert (tmp_path / "walkers.gif").stat().st_size < 3e6


def test_film_strip_has_a_labelled_row_for_each_entry(tmp_path: Path) -> None:
    red, blue = (np.full((20, 30, 3), colour, np.uint8) for colour in ([255, 0, 0], [0, 0, 255]))
    film.film_strip({"up": [red, red, red], "down": [blue]}, tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as picture:
        sheet = np.asarray(picture)
    assert sheet.shape[0] == 2 * 20 + 3
    assert (sheet == [255, 0, 0]).all(-1).sum() == 3 * 600
    assert (sheet[23:] == [0, 0, 255]).all(-1).sum() == 600
    assert (sheet[:20, :30] != 255).any()  # the label


def test_what_cannot_be_drawn_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    small, large = np.zeros((20, 30, 3), np.uint8), np.zeros((40, 30, 3), np.uint8)
    target = tmp_path / "film.gif"
    target.write_bytes(b"before")
    with pytest.raises(ValueError, match="one size"):
        film.gif([small, large], target)
    with pytest.raises(ValueError, match="nothing to draw"):
        film.gif({"a": [small], "b": []}, target)
    with pytest.raises(ValueError, match="nothing to draw"):
        film.film_strip({}, target)
    with pytest.raises(ValueError, match="fps"):
        film.gif([small], target, fps=60)
    with pytest.raises(ValueError, match="does not exist"):
        film.gif([small], tmp_path / "nowhere" / "film.gif")
    with pytest.raises(ValueError, match="is a folder"):
        film.gif([small], tmp_path)
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_bad_frames_are_refused() -> None:
    model, data = _one_geom('type="sphere" size="0.1"')
    with pytest.raises(ValueError, match="16 x 16"):
        film.frame(model, data, size=(8, 8))
    with pytest.raises(ValueError, match="purplish"):
        film.frame(model, data, tint="purplish")
    data.geom_xpos[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        film.frame(model, data)


def test_no_display_and_no_gl_needed(tmp_path: Path) -> None:
    """In a process of its own, without DISPLAY and MUJOCO_GL: no GL library is even loaded."""
    script = (
        "import sys, mujoco\n"
        "from worldshift.report import film\n"
        f"model = mujoco.MjModel.from_xml_string('''{TRAVELLER}''')\n"
        "data = mujoco.MjData(model)\n"
        "mujoco.mj_forward(model, data)\n"
        "film.gif([film.frame(model, data)], sys.argv[1])\n"
        "maps = open('/proc/self/maps').read() if sys.platform == 'linux' else ''\n"
        "assert not any(library in maps for library in ('libGL.so', 'libEGL.so', 'libOSMesa.so'))\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "MUJOCO_GL", "PYOPENGL_PLATFORM")}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.gif")], env=environment, check=True, cwd=tmp_path)
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.size == (240, 180)
