"""`completion`: the scripts that let bash, zsh and fish ask what fits at the cursor."""

from __future__ import annotations

import os
from typing import Annotated, Literal

from typer import Argument
from typer.completion import completion_init, get_completion_script

from .console import answer, dry_run
from .flags import Shared

VARIABLE = "_GENLEARN_COMPLETE"


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Argument(metavar="SHELL", help="bash, zsh or fish.")],
    shared: Shared = None,  # type: ignore[assignment]
) -> None:
    """Print the script that lets a shell complete verbs, flags, models, their settings, runs and data sets.

    Examples:
        $ eval "$(genlearn completion bash)"    # a line for ~/.bashrc
        $ eval "$(genlearn completion zsh)"     # a line for ~/.zshrc, below compinit
        $ genlearn completion fish --out ~/.config/fish/completions/genlearn.fish
    """
    if dry_run(shared, "completion", {"shell": shell, "out": shared.out or "stdout"}):
        return
    script = get_completion_script(prog_name="genlearn", complete_var=VARIABLE, shell=shell)
    answer(shared, {"shell": shell, "script": script}, script, file=f"{script}\n")


def line_so_far() -> list[str] | None:
    """Return the words before the cursor where a shell asks what fits there; None if no shell asks."""
    if VARIABLE not in os.environ:
        return None
    completion_init()
    return (os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")).split()[1:]
