"""What went wrong, in one message for people: unknown keys and options with the nearest valid ones."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from typing import Any

from secseg.utils.errors import UserError, nearest

# Launchers that come with an extra.
LAUNCHERS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm"}


def explain(error: BaseException, name: str, words: Sequence[str]) -> str | None:
    """Return the message for an error that the user of the command ``name`` can mend; None for any other.

    Args:
        error: what was raised.
        name: the command's.
        words: its command line.
    """
    from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if (mendable := _user_error(error)) is not None:
        return _without_worker(str(mendable))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_option(error)
    if isinstance(error, OverrideParseException):
        problem = str(error).splitlines()[0]
        problem = "" if problem.startswith("Error parsing override") else f" ({problem})"
        return (
            f"Cannot read '{error.override}' on the command line{problem}. Write key=value or group=option; "
            "a value with '=', ',' or brackets of its own is quoted twice: 'key=\"a=b\"'."
        )
    if isinstance(error, ConfigCompositionException):
        unknown = re.search(r"Could not override '([^']+)'", str(error))
        if unknown is not None:
            return _unknown_key(unknown[1].split("@")[0], name, words)
        text = str(error).strip() or str(error.__cause__ or error.__context__ or "The config cannot be composed.")
        return f"{text}\n{error.__cause__}" if error.__cause__ and str(error).strip() else text
    if isinstance(error, OmegaConfBaseException):
        return str(error)
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):  # Hydra's, for group=null
        return "A group was set to something that is no name: choose an option (group=<option>), --help lists them."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"No space is left on the disk of {error.filename or 'the run folder'}: free some, or choose another."
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which need not have been imported
        return f"The device's memory is full: lower data.batch_size or backbone.input_size.\n{error}"
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):  # torch's
        goes_on = "with resume=auto training goes on" if name == "train" else "the same command goes on"
        return f"A loader process was killed, as when memory runs out: lower data.workers; {goes_on}.\n{error}"
    if type(error).__name__ in ("TerminatedWorkerError", "FailedJobError", "UncompletedJobError"):  # of launchers
        return f"A job's process could not be started, or was killed; the same command goes on.\n{error}"
    return None


def _user_error(error: BaseException | None) -> UserError | None:
    """The UserError that ``error`` is, or was raised from, by Hydra or a sweep's launcher."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error


def _without_worker(message: str) -> str:
    """Leave out the traceback that torch writes into the message of an error from a loader process."""
    if "Original Traceback" not in message:
        return message
    return message.rpartition("UserError: ")[2].strip()


def _unknown_option(error: Any) -> str:
    from secseg.utils.config import config_dir

    group, _, option = str(error.missing_cfg_file).removesuffix(".yaml").rpartition("/")
    there = (path.stem for path in (config_dir() / group).glob("*.yaml"))
    options = sorted(str(choice) for choice in error.options or there)
    if group == "hydra/launcher" and option in LAUNCHERS:
        return f"hydra/launcher={option} needs a package that is missing: pip install 'secseg[{LAUNCHERS[option]}]'"
    if not group or not options:
        return str(error).partition("\n")[0]
    return f"{group}={option}: there is no such option.{nearest(option, options)} There are {', '.join(options)}."


def _unknown_key(key: str, name: str, words: Sequence[str]) -> str:
    known = sorted({*_keys(name, words), *_groups()})
    parent, _, last = key.rpartition(".")
    namesakes = [k for k in known if k.rpartition(".")[2] == last]
    if key in known:
        return f"{key} cannot be set to that: choose an option ({key}=<option>), or set its keys one by one."
    siblings = [k for k in known if k.rpartition(".")[0] == parent]
    hint = nearest(key, namesakes)
    if not hint and 0 < len(namesakes) <= 3:
        hint = f" Did you mean {' or '.join(repr(k) for k in namesakes)}?"
    hint = hint or nearest(key, _close(last, siblings)) or nearest(key, _close(last, known))
    if not hint and siblings and parent:
        hint = f" {parent} has {', '.join(k.rpartition('.')[2] for k in siblings)}."
    return f"{key}: there is no such key.{hint or f' python src/{name}.py --help lists them.'}"


def _close(last: str, keys: Sequence[str]) -> list[str]:
    return [key for key in keys if nearest(last, [key.rpartition(".")[2]])]


def _keys(name: str, words: Sequence[str]) -> Iterator[str]:
    """Dotted keys of the config with the groups that the command line chooses."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    from secseg.utils.config import config_dir

    groups = list(_groups())
    chosen = [word for word in words if re.fullmatch(rf"({'|'.join(groups)})=(\w+|\[[\w,]*\])", word)]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose(name, chosen)
    yield from _walk(OmegaConf.to_container(cfg, resolve=False), "")


def _walk(node: Any, prefix: str) -> Iterator[str]:
    for key, child in node.items():
        yield f"{prefix}{key}"
        if isinstance(child, dict):
            yield from _walk(child, f"{prefix}{key}.")


def _groups() -> Iterator[str]:
    from secseg.utils.config import config_dir

    yield from (folder.name for folder in config_dir().iterdir() if folder.is_dir())
