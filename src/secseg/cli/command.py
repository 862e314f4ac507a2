"""What every command shares: its help, and failures that end in one message for people."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secseg.cli.help import help_text
from secseg.errors import UserError, nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

Task = Callable[["DictConfig"], Path]
_TRACEBACK = "HYDRA_FULL_ERROR"


def run_command(name: str, task: Task, examples: str) -> None:
    """Run ``task`` on the composed config of ``conf/<name>.yaml`` and the command line.

    Its last line is ``run: <folder>``. A failure that the user can mend ends in one message and exit code 1;
    ``HYDRA_FULL_ERROR=1`` or a ``debug=`` preset shows the traceback too. Ctrl-C ends with 130.

    Args:
        name: of the command and its config.
        task: config to run folder.
        examples: lines for ``--help``.
    """
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(help_text(name, examples))
        return
    import hydra

    from secseg.config import config_dir

    wants_traceback = os.environ.get(_TRACEBACK) == "1" or any(a.startswith("debug=") for a in sys.argv[1:])

    def job(cfg: DictConfig) -> None:
        _hand_errors_to_hydra(wants_traceback)
        try:
            _refuse_parallel_sweep(cfg)
            folder = task(cfg)
        except UserError as error:
            if wants_traceback:
                raise
            sys.exit(_failed(str(error)))
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            sys.exit(130)
        print(f"run: {folder}", flush=True)

    os.environ[_TRACEBACK] = "1"  # errors of the command line come here instead of being printed by Hydra
    try:
        hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(job)()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        message = None if wants_traceback else explain(error, name)
        if message is None:
            raise
        sys.exit(_failed(message))


def explain(error: Exception, name: str) -> str | None:
    """Say in one message what is wrong with the command line; None for errors that are not about it."""
    from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        options = [str(choice) for choice in error.options or []]
        if not options:
            return str(error).partition("\n")[0]
        return f"{group}={option}: there is no such option.{nearest(option, options)} There are {', '.join(options)}."
    if isinstance(error, OverrideParseException):
        return f"Cannot read '{error.override}' on the command line: {str(error).splitlines()[0]}. Write key=value."
    if isinstance(error, ConfigCompositionException):
        found = re.search(r"Could not override '([^']+)'|Error merging override (\S+)", str(error))
        if found is None:
            return str(error)
        key = (found[1] or found[2]).partition("=")[0].lstrip("+~").split("@")[0]
        known = [*_keys(name), *_groups()]
        if key in known:
            return f"{str(error.__cause__ or error).partition(chr(10))[0]} ({key})."
        hint = nearest(key, known) or " python src/train.py --help lists the keys."
        return f"{key}: there is no such key.{hint}"
    if isinstance(error, OmegaConfBaseException):
        return str(error)
    return None


def _hand_errors_to_hydra(wants_traceback: bool) -> None:
    """From here on, what fails is no matter of the command line; processes that the job starts inherit this."""
    if not wants_traceback:
        os.environ.pop(_TRACEBACK, None)


def _refuse_parallel_sweep(cfg: DictConfig) -> None:
    """Lightning's child processes run the whole command line again, so each would start the whole sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    trainer = cfg.get("trainer")
    if trainer is None or HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    if trainer.devices not in (1, "1", "auto") or trainer.num_nodes != 1 or "ddp" in str(trainer.strategy):
        raise UserError(
            "A sweep cannot run its jobs over several devices. Use trainer.devices=1 and let the jobs run side by side "
            "(hydra/launcher=joblib), or start one run over several devices without -m."
        )


def _failed(message: str) -> int:
    print(message, file=sys.stderr, flush=True)
    return 1


def _keys(name: str) -> Iterator[str]:
    """Dotted keys of the default config."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import DictConfig, OmegaConf

    from secseg.config import config_dir

    def walk(node: Any, prefix: str) -> Iterator[str]:
        for key in node:
            yield f"{prefix}{key}"
            child = OmegaConf.to_container(node, resolve=False).get(key)  # type: ignore[union-attr]
            if isinstance(child, dict):
                yield from walk(DictConfig(child), f"{prefix}{key}.")

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        yield from walk(compose(name), "")


def _groups() -> Iterator[str]:
    from secseg.config import config_dir

    yield from (folder.name for folder in config_dir().iterdir() if folder.is_dir())
