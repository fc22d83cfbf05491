"""Test settings: jaxtyping annotations are enforced, JAX runs on the CPU, hypothesis draws the same cases each time."""

import os

# Before JAX is imported anywhere: bit-exact comparisons need one and the same back end on every machine.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests need no GL: without this, dm_control looks for one while it is imported, and warns where it finds none.
os.environ.setdefault("MUJOCO_GL", "disable")

from hypothesis import settings
from jaxtyping import install_import_hook

# The numeric tower lets an int stand where a float is asked for, as pyright does.
install_import_hook("worldshift", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

# No deadline: the first example of a test pays for the compilation.
settings.register_profile("worldshift", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("worldshift")
