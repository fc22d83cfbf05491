"""`worldshift adapt METHOD`: online by a reflex, or offline by a residual."""

from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from worldshift.cli.adapt_reflex import Reflex
from worldshift.cli.adapt_residual import Published, Residual
from worldshift.cli.shared import chosen


def verb(arguments: Sequence[str]) -> Any:
    """Both methods; of the residual, the options as they are in the preset that is asked for."""
    residual = Published if chosen("preset", arguments) == "paper" else Residual
    offline: Any = Annotated[residual, tyro.conf.subcommand("residual")]
    return Annotated[Reflex, tyro.conf.subcommand("reflex")] | offline
