"""What every command shares: help at once, Hydra at the door, failures that end in one message, the last line."""

from __future__ import annotations

import functools
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from secseg.cli.help import help_text
from secseg.cli.messages import explain
from secseg.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

Task = Callable[["DictConfig"], Path | None]
_FULL_ERROR = "HYDRA_FULL_ERROR"


def run_command(name: str, task: Task, examples: str) -> None:
    """Run ``task`` on the composed config of ``conf/<name>.yaml`` and the command line.

    Its last line is ``run: <folder>``. A failure that the user can mend ends in one message and exit code 1;
    ``HYDRA_FULL_ERROR=1`` or a ``debug=`` preset shows the traceback instead. Ctrl-C ends with 130.

    Args:
        name: of the command and its config.
        task: config to run folder, or None for a job of a sweep that came to nothing and has said so.
        examples: lines for ``--help``.
    """
    words = sys.argv[1:]
    if {"--help", "-h"} & set(words):
        print(help_text(name, examples))
        return
    asked = os.environ.get(_FULL_ERROR) == "1"
    debugging = any(word.startswith("debug=") and word not in ("debug=null", "debug=") for word in words)
    started = False

    @functools.wraps(task)  # Hydra names the job by the module of what it wraps
    def job(cfg: DictConfig) -> None:
        nonlocal started
        started = True
        if not asked:
            os.environ.pop(_FULL_ERROR)  # not for the processes that the task starts
        try:
            with using_plugins(cfg.plugins or ()):
                folder = task(cfg)
        except SystemExit as end:  # no class of our own: torch is not imported for it
            if pass_on := getattr(end, "pass_on", None):
                pass_on()
            raise
        except Exception as error:
            with suppress(OSError):
                Path(cfg.run_dir).rmdir()  # Hydra made it; it stays where anything is in it
            if sweeping():  # the other jobs go on, and Hydra says which one failed
                raise
            raise SystemExit(1) from error  # past Hydra, which would print a line of its own
        finally:
            os.environ[_FULL_ERROR] = "1"
        if folder is not None and os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"run: {folder}", flush=True)

    try:
        # Hydra's parser takes settings in one stretch only: loss=seed -m seed=0,1 would fail.
        sys.argv[1:] = sorted(words, key=_is_setting)
        _refuse_unknown_flags()
        import hydra

        from secseg.utils.config import config_dir, sweeping, using_plugins

        os.environ[_FULL_ERROR] = "1"  # so that Hydra raises its errors instead of printing them
        try:
            hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(job)()
        finally:
            if not asked:
                os.environ.pop(_FULL_ERROR)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        # Lightning saves what there is and then turns Ctrl-C into an exit.
        if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
            print("Interrupted.", file=sys.stderr)
            sys.exit(130)
        cause = error.__cause__ if isinstance(error, SystemExit) else error
        if cause is None:
            raise
        message = None if asked or (debugging and started) else explain(cause, name, words)
        if message is None:
            raise cause from cause.__cause__
        print(message, file=sys.stderr, flush=True)
        sys.exit(1)


def command_line(name: str) -> str:
    """Return the command that this job is: its name and the settings that it was given."""
    from hydra.core.hydra_config import HydraConfig

    return f"python src/{name}.py {shlex.join(HydraConfig.get().overrides.task)}".strip()


def chosen_options() -> dict[str, str]:
    """Return the option of each group that has one (``loss: sec``), also those that an experiment chose."""
    from hydra.core.hydra_config import HydraConfig

    choices = HydraConfig.get().runtime.choices
    return {
        group: option for group, option in choices.items() if isinstance(option, str) and not group.startswith("hydra/")
    }


def _is_setting(word: str) -> bool:
    return word.startswith(("+", "~")) or ("=" in word and not word.startswith("-"))


def _refuse_unknown_flags() -> None:
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        bare = " ".join(word.lstrip("-") for word in message.split() if word.startswith("--") and "=" in word)
        hint = f" Settings have no dashes: {bare}" if bare else " Flags are -m (sweep), --cfg job and --help."
        raise UserError(f"{message[:1].upper()}{message[1:]}.{hint}")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    parser.parse_args()
