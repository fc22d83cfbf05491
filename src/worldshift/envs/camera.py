"""What a camera of the body sees, as small frames without a display: MuJoCo's renderer through EGL or OSMesa.

Shadows, reflections and anti-aliasing are off, which in software makes a frame of 64 x 64 ten times faster. One OpenGL
context serves all cameras of the process, so they are used from one thread.
"""

# MuJoCo ships no type stubs.
# pyright: reportAttributeAccessIssue=false

import atexit
import importlib
import os
from functools import lru_cache
from typing import Any

import mujoco
import numpy as np
from jaxtyping import UInt8

SIZE = 64
"""Width and height of a frame."""
_BACKENDS = ("egl", "osmesa")


class Camera:
    """Renders a live model; changes of its colours, lights and camera poses are seen in the next frame."""

    def __init__(self, model: mujoco.MjModel, number: int = 0):
        """`number` of the model's camera.

        Raises:
            ValueError: nothing here can draw without a display.
        """
        _context()
        quality = model.vis.quality
        before = quality.offsamples, quality.shadowsize
        quality.offsamples, quality.shadowsize = 0, 256
        self._model, self._scene = model, mujoco.MjvScene(model, maxgeom=1000)
        self._target = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        quality.offsamples, quality.shadowsize = before
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = 0
        self._options, self._view = mujoco.MjvOption(), mujoco.MjvCamera()
        self._view.type, self._view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, number
        self._area = mujoco.MjrRect(0, 0, SIZE, SIZE)

    def frame(self, data: mujoco.MjData) -> UInt8[np.ndarray, "64 64 3"]:
        """What is seen now, the top row first."""
        every = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(self._model, data, self._options, None, self._view, every, self._scene)
        # Cameras share the OpenGL context, which draws into whichever buffer was bound last, and reads from its own.
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._target)
        mujoco.mjr_render(self._area, self._scene, self._target)
        pixels = np.empty((SIZE, SIZE, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._area, self._target)
        return pixels[::-1]


@lru_cache(maxsize=1)
def _context() -> Any:
    """The OpenGL context of the process, current from now on."""
    asked = os.environ.get("MUJOCO_GL", "").lower()
    for backend in (asked,) if asked in _BACKENDS else _BACKENDS:
        try:
            context = importlib.import_module(f"mujoco.{backend}").GLContext(SIZE, SIZE)
            context.make_current()
        except Exception:  # each backend has its own ways to fail: no library, no device, another platform chosen
            continue
        atexit.register(context.free)  # while the library it needs is still there
        return context
    raise ValueError(
        "images cannot be drawn here: install EGL (apt-get install libegl1 libgl1-mesa-dri) or OSMesa "
        "(apt-get install libosmesa6); `worldshift doctor` tells what works."
    )
