"""Shifts of what a camera sees, and of nothing else: colours, light, and where the camera stands.

An agent of pixels meets them (`pixels:<task>`); states stay as they are. ReDRAW (arXiv 2504.02252) corrects dynamics
and trusts its encoder: these show how far an encoder carries.
"""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

from dataclasses import dataclass, field

import mujoco
import numpy as np

from worldshift.shifts.body import named_ids
from worldshift.shifts.kinds import ModelShift
from worldshift.shifts.parameters import Names, Number, Numbers, names, number


@dataclass(frozen=True)
class Colours(ModelShift):
    """Moves every colour towards its complement: at strength s, c becomes c + invert·s·(1 - 2·c).

    Colours multiply textures. Edits `mat_rgba` and `geom_rgba`.
    """

    invert: Number = field(
        default=1.0, metadata=number(low=0.0, high=1.0, doc="share of the way to the complement at full strength")
    )
    writes = ("mat_rgba", "geom_rgba")

    def check_model(self, model: mujoco.MjModel) -> None:
        """Every model has colours."""

    def edit(self, model: mujoco.MjModel, strength: float) -> None:
        """Blends; what is see-through stays so."""
        for colours in (model.mat_rgba, model.geom_rgba):
            colours[:, :3] += self.invert * strength * (1 - 2 * colours[:, :3])


@dataclass(frozen=True)
class Lighting(ModelShift):
    """Scales all light by 1 + (scale - 1)·strength. Edits the lights' and the headlight's diffuse and ambient parts."""

    scale: Number = field(default=0.3, metadata=number(low=0.0, high=10.0, doc="factor at full strength"))
    writes = ("light_diffuse", "light_ambient", "vis.headlight.diffuse", "vis.headlight.ambient")

    def check_model(self, model: mujoco.MjModel) -> None:
        """Every model has a headlight."""

    def edit(self, model: mujoco.MjModel, strength: float) -> None:
        """Scales."""
        head = model.vis.headlight
        for light in (model.light_diffuse, model.light_ambient, head.diffuse, head.ambient):
            light *= 1.0 + (self.scale - 1.0) * strength


@dataclass(frozen=True)
class CameraPose(ModelShift):
    """Moves cameras, and turns them about their own axes (x to the right, y up, looking along -z), times strength.

    Edits `cam_pos` and `cam_quat`; a camera that tracks a body keeps doing so from its new place.
    """

    move: Numbers = field(
        default=(0.0, 0.0, 0.0), metadata=number(low=-100.0, high=100.0, unit="m", per=3, doc="in the parent's frame")
    )
    turn: Numbers = field(
        default=(0.0, 0.0, 0.1),
        metadata=number(low=-np.pi, high=np.pi, unit="rad", per=3, doc="rotation vector about the camera's axes"),
    )
    cameras: Names = field(default=(), metadata=names(doc="which cameras; none named: all of them"))
    writes = ("cam_pos", "cam_quat")
    derives = True

    def check_model(self, model: mujoco.MjModel) -> None:
        """The cameras must exist."""
        if model.ncam == 0:
            raise ValueError("this model has no camera that CameraPose could move.")
        named_ids(model, "camera", self.cameras)

    def edit(self, model: mujoco.MjModel, strength: float) -> None:
        """Moves and turns."""
        vector = strength * np.asarray(self.turn, float)
        angle, turn = np.linalg.norm(vector), np.zeros(4)
        mujoco.mju_axisAngle2Quat(turn, vector / angle if angle else np.array([1.0, 0.0, 0.0]), angle)
        for camera in named_ids(model, "camera", self.cameras):
            turned = np.zeros(4)
            mujoco.mju_mulQuat(turned, model.cam_quat[camera], turn)
            model.cam_quat[camera] = turned
            model.cam_pos[camera] += strength * np.asarray(self.move)
