"""`worldshift adapt METHOD`: online by a reflex, or offline by a residual."""

from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from worldshift.cli.adapt_reflex import Reflex
from worldshift.cli.adapt_residual import Residual


def verb(arguments: Sequence[str]) -> Any:
    """Both methods; of the residual, the options as they are in the preset that is asked for."""
    offline = tyro.conf.subcommand("residual", default=Residual.defaults(arguments))
    return Annotated[Reflex, tyro.conf.subcommand("reflex")] | Annotated[Residual, offline]
