"""One message for each failure that a user can fix, with the nearest valid keys and options."""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from secseg.cli.cluster import refusal
from secseg.utils.errors import UserError, nearest
from secseg.utils.program import command

# The extra that installs each launcher.
LAUNCHERS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm"}


def explain(error: BaseException, name: str, words: Sequence[str]) -> str | None:
    """Return the message for an error that the user can fix; None for any other error.

    Args:
        error: the exception.
        name: the name of the command.
        words: its command line.
    """
    from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    if (user_error := _user_error(error)) is not None:
        return _without_worker(str(user_error))
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_option(error, words)
    if isinstance(error, OverrideParseException):
        problem = str(error).splitlines()[0]
        problem = "" if problem.startswith("Error parsing override") else f" ({problem})"
        return (
            f"Cannot read the setting '{error.override}'{problem}. Write key=value or group=option; "
            "a value that holds '=', ',' or brackets is quoted twice: 'key=\"a=b\"'."
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
        return "A group was set to a value that is not a name. Choose an option (group=<option>); --help lists them."
    if _is_shared_memory(error):
        from secseg.data.shared_memory import PLACE, advice

        return f"No shared memory is left for the batches of the loader processes ({PLACE}). {advice()}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"No space is left on the disk of {error.filename or 'the run folder'}. Free some space."
    if type(error).__name__ == "OutOfMemoryError":  # torch's: by its name, since torch may not be imported
        return f"The memory of the device is full. Lower data.batch_size or backbone.input_size.\n{error}"
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):  # torch's
        return f"{_ended_loader(_with_cause(error))} {_resumption(name)}\n{_with_cause(error)}"
    if (refused := refusal(error)) is not None:
        return refused
    if isinstance(error, RuntimeError) and str(error).startswith('Could not detect "srun"'):  # submitit's
        return "There is no srun on this machine: give this command on a machine of the cluster that can submit jobs."
    if type(error).__name__ in ("TerminatedWorkerError", "FailedJobError", "UncompletedJobError"):  # of launchers
        return f"The process of a job could not be started, or was killed. The same command resumes the sweep.\n{error}"
    return None


def _with_cause(error: BaseException) -> str:
    """Return an error of torch's loader as text. Only its cause may name the signal that ended a process."""
    return f"{error} {error.__cause__ or ''}".strip()


def _ended_loader(text: str) -> str:
    """Return why a loader process ended, from torch's message: its signal by the system's name, or an exit code."""
    if "killed by signal: Killed" in text:
        return "A loader process was killed, probably for lack of memory. Lower data.workers."
    if "killed by signal: Terminated" in text:
        return "A loader process was ended by another process or a person (SIGTERM)."
    return "A loader process ended unexpectedly. data.workers=0 loads the images without it, and may show the cause."


def _resumption(name: str) -> str:
    return "resume=auto resumes the training." if name == "train" else "The same command resumes the work."


def _is_shared_memory(error: BaseException) -> bool:
    """Return whether shared memory is full: for a batch, for a page of it (a bus error), or for a semaphore."""
    text = _with_cause(error)
    if isinstance(error, RuntimeError):
        return any(words in text for words in ("shared memory(shm)", "write to file </torch_", "signal: Bus error"))
    if not (isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None):
        return False
    return any(Path(frame.filename).name == "synchronize.py" for frame in traceback.extract_tb(error.__traceback__))


def _user_error(error: BaseException | None) -> UserError | None:
    """Return the UserError that ``error`` is or was raised from, by Hydra or by the launcher of a sweep."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error


def _without_worker(message: str) -> str:
    """Return the message without the traceback that torch adds if the error comes from a loader process."""
    if "Original Traceback" not in message:
        return message
    return message.rpartition("UserError: ")[2].strip()


def _unknown_option(error: Any, words: Sequence[str]) -> str:
    from secseg.utils.config import config_dir

    group, _, option = str(error.missing_cfg_file).removesuffix(".yaml").rpartition("/")
    there = (path.stem for path in (config_dir() / group).glob("*.yaml"))
    options = sorted(str(choice) for choice in error.options or there)
    if group == "hydra/launcher" and option in LAUNCHERS:
        return f"hydra/launcher={option} needs a package that is missing: pip install 'secseg[{LAUNCHERS[option]}]'"
    if not group or not options:
        return str(error).partition("\n")[0]
    own = any(word.startswith("plugins=") for word in words) and not any("hydra.searchpath=" in word for word in words)
    advice = " For the options of your own package, add hydra.searchpath=[pkg://my_package.conf]." if own else ""
    return f"{group}={option}: unknown option.{nearest(option, options)} The options are {', '.join(options)}.{advice}"


def _unknown_key(key: str, name: str, words: Sequence[str]) -> str:
    groups = _groups(name)
    others = [other for other in _commands() if key in _groups(other)]
    if key not in groups and others:
        own = f"Its groups are {', '.join(groups)}" if groups else "It has no groups"
        return f"{command(name)} has no group '{key}', which {', '.join(map(command, others))} has. {own}."
    if options := _options_with(key) if key.partition(".")[0] in groups else []:
        return f"{key}: unknown key. It exists with {' or '.join(options)}."
    known = sorted({*_keys(name, words), *groups})
    parent, _, last = key.rpartition(".")
    namesakes = [k for k in known if k.rpartition(".")[2] == last]
    if key in known:
        return f"{key} cannot be set to this value. Choose an option ({key}=<option>), or set its keys one by one."
    siblings = [k for k in known if k.rpartition(".")[0] == parent]
    hint = nearest(key, namesakes)
    if not hint and 0 < len(namesakes) <= 3:
        hint = f" Did you mean {' or '.join(repr(k) for k in namesakes)}?"
    hint = hint or nearest(key, _close(last, siblings))
    if not hint and siblings and parent:
        hint = f" The keys of {parent} are {', '.join(k.rpartition('.')[2] for k in siblings)}."
    hint = hint or nearest(key, _close(last, known))
    if any(word.startswith(f"{key}=") and "_target_" in word for word in words):
        hint += f" To add a part of your own, write +{key}=..., with a plus sign."
    return f"{key}: unknown key.{hint or f' {command(name)} --help lists the keys.'}"


def _close(last: str, keys: Sequence[str]) -> list[str]:
    return [key for key in keys if nearest(last, [key.rpartition(".")[2]])]


def _keys(name: str, words: Sequence[str]) -> Iterator[str]:
    """Yield the dotted keys of the config, with the options that the command line chooses."""
    from omegaconf import OmegaConf

    from secseg.utils.config import compose

    groups = [*_groups(name), "hydra.searchpath"]
    chosen = [word for word in words if re.fullmatch(rf"({'|'.join(groups)})=(\w+|\[[^=]*\])", word)]
    yield from _walk(OmegaConf.to_container(compose(name, *chosen), resolve=False), "")


def _options_with(key: str) -> list[str]:
    """Return the options of the group of a dotted key that have it: ``decay=adaptive`` for ``decay.adaptive.share``."""
    from omegaconf import OmegaConf

    from secseg.utils.config import config_dir

    group, _, rest = key.partition(".")
    files = sorted((config_dir() / group).glob("*.yaml"))
    nodes = {path.stem: OmegaConf.to_container(OmegaConf.load(path), resolve=False) for path in files}
    return [f"{group}={option}" for option, node in nodes.items() if rest in _walk(node, "")]


def _walk(node: Any, prefix: str) -> Iterator[str]:
    for key, child in node.items():
        yield f"{prefix}{key}"
        if isinstance(child, dict):
            yield from _walk(child, f"{prefix}{key}.")


def _groups(name: str) -> list[str]:
    from secseg.cli.help import groups_of
    from secseg.utils.config import config_dir

    return [group for group, *_ in groups_of(config_dir() / f"{name}.yaml")]


def _commands() -> list[str]:
    from secseg.utils.config import config_dir

    return sorted(path.stem for path in config_dir().glob("*.yaml"))
