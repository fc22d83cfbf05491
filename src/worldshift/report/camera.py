"""Where a body lies in a flat picture: the view that shows it and the outlines of its geoms, without OpenGL.

Every convex geom is outlined, orthographically, by its support function: the farthest point in each of 64 directions.
"""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import mujoco
import numpy as np
from jaxtyping import Float

Plane = Literal["side", "top"]

_ANGLES = np.linspace(0.0, 2.0 * np.pi, 64, endpoint=False)
DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1)
"""Unit vectors (64, 2) in which outlines are sampled."""
_VISIBLE_GROUPS = 3
"""MuJoCo's viewers show geom groups 0 to 2; the rest are collision shapes and helpers."""
_POSES = 16


@dataclass(frozen=True)
class View:
    """Where the camera stands: what it sees is `span` metres around `centre`, more in the direction that has room.

    Attributes:
        plane: `side` shows x to the right and z upwards, seen along +y; `top` shows x and y, seen along -z.
        centre: of the picture (m): right and up; relative to the followed body in the directions that follow it.
        span: width and height that must be visible (m).
        follow: body that the camera follows (x from the side, x and y from the top), or None.
    """

    plane: Plane
    centre: tuple[float, float]
    span: tuple[float, float]
    follow: int | None

    @property
    def axes(self) -> list[int]:
        """World axes that point right and up in the picture."""
        return [0, 2] if self.plane == "side" else [0, 1]

    def aim(self, data: mujoco.MjData) -> Float[np.ndarray, "2"]:
        """World coordinates (right, up; m) of the middle of the picture."""
        aim = np.array(self.centre, float)
        if self.follow is not None:
            followed = data.xpos[self.follow][self.axes]
            aim += followed * ([1.0, 0.0] if self.plane == "side" else [1.0, 1.0])
        return aim


def view_of(model: mujoco.MjModel, plane: Plane | Literal["auto"] = "auto") -> View:
    """The view that shows the body wherever its joints can take it.

    A body that travels is followed; anything fixed to the world is framed with room for its joints' ranges. `auto`
    takes the plane that more of the joints move in. The view depends on the model alone: compute it once for a film.
    """
    if plane not in ("auto", "side", "top"):
        raise ValueError(f"The view must be 'side', 'top' or 'auto', not {plane!r}.")
    chosen: Plane = _plane_of_motion(model) if plane == "auto" else plane
    follow = _traveller(model)
    low, high = _reach(model, chosen, follow)
    pad = 0.06 * float(max(high - low)) + 1e-3
    low, high = low - pad, high + pad
    if follow is not None:  # room to fall over, in every direction
        length = _body_length(model, follow)
        height = 0.0 if chosen == "top" else float(model.body_pos[follow, 2])
        low = np.minimum(low, [-length, -length if chosen == "top" else height - 0.4 * length])
        high = np.maximum(high, [length, length if chosen == "top" else height + 0.4 * length])
    floor = floor_plane(model) if chosen == "side" else None
    if floor is not None:
        ground = model.geom_pos[floor, 2]
        if low[1] < ground + 0.5 * (high[1] - ground):
            low[1] = ground - 0.16 * (high[1] - ground)
    centre, span = (low + high) / 2, high - low
    return View(chosen, (float(centre[0]), float(centre[1])), (float(span[0]), float(span[1])), follow)


def outline(model: mujoco.MjModel, geom: int, axes: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "directions 2"]:
    """Outline (64, 2) about the geom's centre (m): the farthest point each way, from the projected axes (2, 3)."""
    size, kind, d = model.geom_size[geom], model.geom_type[geom], DIRECTIONS
    along = np.sign(d @ axes)  # which end of each axis lies farther out
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return size[0] * d
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        return size[0] * d + size[1] * along[:, 2:] * axes[:, 2]
    if kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        return _ellipse(axes * size)
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        return _ellipse(size[0] * axes[:, :2]) + size[1] * along[:, 2:] * axes[:, 2]
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return along @ (axes * size).T
    mesh = model.geom_dataid[geom]
    start, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    corners = model.mesh_vert[start : start + count] @ axes.T
    return corners[np.argmax(d @ corners.T, axis=1)]


def _ellipse(radii: np.ndarray) -> np.ndarray:
    """Outline (64, 2) of the shadow of an ellipsoid (or disc) whose projected half-axes are the columns of `radii`."""
    image = DIRECTIONS @ radii
    return image @ radii.T / np.maximum(np.linalg.norm(image, axis=1, keepdims=True), 1e-12)


def drawn_geoms(model: mujoco.MjModel) -> list[int]:
    """Geoms that have an outline and are meant to be seen."""
    kinds = mujoco.mjtGeom
    convex = [kinds.mjGEOM_SPHERE, kinds.mjGEOM_CAPSULE, kinds.mjGEOM_ELLIPSOID, kinds.mjGEOM_CYLINDER]
    shaped = np.isin(model.geom_type, [int(kind) for kind in (*convex, kinds.mjGEOM_BOX, kinds.mjGEOM_MESH)])
    return np.flatnonzero(shaped & (model.geom_rgba[:, 3] > 0) & (model.geom_group < _VISIBLE_GROUPS)).tolist()


def _plane_of_motion(model: mujoco.MjModel) -> Plane:
    """A hinge votes for the plane it turns in, a slide for the planes that contain it, a free body for the side."""
    votes = np.zeros(2)  # side (normal y), top (normal z)
    for kind, axis in zip(model.jnt_type, np.abs(model.jnt_axis), strict=True):
        if kind == mujoco.mjtJoint.mjJNT_HINGE:
            votes += axis[1:]
        elif kind == mujoco.mjtJoint.mjJNT_SLIDE:
            votes += 1 - axis[1:]
        else:
            votes += [1.0, 0.0]
    return "top" if votes[1] > votes[0] else "side"


def _traveller(model: mujoco.MjModel) -> int | None:
    """The body that moves through the world without limits: the most articulated one, or else the only one."""
    free, slide = mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_SLIDE
    travels = (model.jnt_type == free) | ((model.jnt_type == slide) & (model.jnt_limited == 0))
    roots = sorted({int(body) for body in model.jnt_bodyid[travels] if model.body_parentid[body] == 0})
    parts = [int((model.body_rootid == root).sum()) for root in roots]
    if not roots:
        return None
    best = int(np.argmax(parts))
    alone = bool((model.jnt_bodyid == roots[best]).all())
    return roots[best] if parts[best] > 1 or alone else None


def _reach(model: mujoco.MjModel, plane: Plane, follow: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner (right, up; m) of what the geoms cover, as seen from a followed body if there is one."""
    eye = View(plane, (0.0, 0.0), (1.0, 1.0), follow)
    geoms = [g for g in drawn_geoms(model) if model.geom_rbound[g] < 3 * model.stat.extent]
    if follow is not None:
        geoms = [g for g in geoms if model.body_rootid[model.geom_bodyid[g]] == follow]
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    corners = [np.zeros((1, 2))]
    for pose in range(_POSES if follow is None else 1):
        if pose:
            data.qpos[:] = _some_pose(model, rng)
        mujoco.mj_kinematics(model, data)
        for geom in geoms:
            edge = outline(model, geom, data.geom_xmat[geom].reshape(3, 3)[eye.axes])
            corners.append(data.geom_xpos[geom][eye.axes] - eye.aim(data) + edge)
    points = np.concatenate(corners[1:] or corners)
    return points.min(0), points.max(0)


def _body_length(model: mujoco.MjModel, root: int) -> float:
    """Distance from a body's origin to the farthest geom hung on it, in its nominal pose (m)."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    own = [g for g in drawn_geoms(model) if model.body_rootid[model.geom_bodyid[g]] == root]
    away = np.linalg.norm(data.geom_xpos[own] - data.xpos[root], axis=1) + model.geom_rbound[own]
    return float(away.max(initial=0.0))


def _some_pose(model: mujoco.MjModel, rng: np.random.Generator) -> np.ndarray:
    pose = model.qpos0.copy()
    for joint in range(model.njnt):
        slide = model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE
        if slide or model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE:
            free_range = 0.3 * model.stat.extent * np.array([-1, 1]) if slide else np.array([-np.pi, np.pi])
            low, high = model.jnt_range[joint] if model.jnt_limited[joint] else free_range
            pose[model.jnt_qposadr[joint]] = rng.uniform(low, high)
    return pose


def floor_plane(model: mujoco.MjModel) -> int | None:
    """The first horizontal plane that is fixed to the world."""
    for geom in np.flatnonzero(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE):
        normal = np.zeros(3)
        mujoco.mju_rotVecQuat(normal, np.array([0.0, 0.0, 1.0]), model.geom_quat[geom])
        if model.geom_bodyid[geom] == 0 and normal[2] > 0.7:
            return int(geom)
    return None
