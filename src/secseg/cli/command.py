"""The frame of every command: help, Hydra, one message for a failure, and the last line with the run folder.

torch and other heavy packages are imported by a task only, so that help and wrong settings are answered at once.
"""

from __future__ import annotations

import argparse
import functools
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from secseg.cli.completion import completion_script
from secseg.cli.encoding import print_anything, use_utf8
from secseg.cli.flags import refuse_unknown_flags
from secseg.cli.help import help_text
from secseg.cli.messages import explain
from secseg.utils.program import command
from secseg.utils.words import hydra_words

if TYPE_CHECKING:
    from omegaconf import DictConfig

Task = Callable[[dict[str, Any]], Path | None]
FULL_ERROR = "HYDRA_FULL_ERROR"
CONTINUES = {
    "make_cues": "The same command continues.",
    "prepare_coco": "The same command continues.",
    "prepare_voc": "The same command continues.",
    "train": "The same command with resume=auto continues.",
}
"""What to do after Ctrl-C, at any stage of a command that keeps finished work. ``predict`` prints it itself."""


def run_command(name: str, task: Task, examples: str) -> None:
    """Run ``task`` with the config that is composed of ``conf/<name>.yaml`` and the command line.

    The last printed line is ``run: <folder>``. A failure that the user can fix ends in one message and exit code 1;
    ``HYDRA_FULL_ERROR=1`` shows the traceback instead. Ctrl-C ends with exit code 130, and a closed standard output, as
    by ``| head``, with 141.

    Args:
        name: the name of the command and of its config.
        task: takes the config, plain, and returns the run folder; None for a job of a sweep that failed.
        examples: lines for ``--help``.
    """
    use_utf8()
    print_anything()
    words = sys.argv[1:]
    asked = os.environ.get(FULL_ERROR) == "1"
    try:
        if {"--help", "-h"} & set(words):
            print(help_text(name, examples), flush=True)
            return
        if (script := completion_script(words)) is not None:
            print(script, flush=True)
            return
        _allow_lazy_help()
        sys.argv[1:] = hydra_words(words, name)
        refuse_unknown_flags(sys.argv[1:])
        import hydra

        from secseg.utils.config import config_dir

        with _variable(FULL_ERROR, "1"):  # Hydra raises its errors instead of printing them
            hydra.main(version_base="1.3", config_path=str(config_dir()), config_name=name)(_as_job(task, asked))()
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        _end(error, name, words, asked)


def command_line(name: str) -> str:
    """Return the command of this job, for the shell: its name and its settings."""
    return command(name, *given_settings())


def given_settings(kind: Literal["task", "hydra"] = "task") -> list[str]:
    """Return the settings of this job as they were given, with what a sweep sets; or the settings of Hydra."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    # Not resolved: in a quoted path, ${...} stands behind a backslash, which resolving would remove.
    given = OmegaConf.to_container(getattr(HydraConfig.get().overrides, kind), resolve=False)
    assert isinstance(given, list)
    return [str(word) for word in given]


def chosen_options() -> dict[str, str]:
    """Return the chosen option of each group (``loss: sec``), with those that an experiment chose."""
    from hydra.core.hydra_config import HydraConfig

    choices = HydraConfig.get().runtime.choices
    return {
        group: option for group, option in choices.items() if isinstance(option, str) and not group.startswith("hydra/")
    }


def is_first_process() -> bool:
    """Return whether this is the first process of a run on several devices, or the only one."""
    # In the order of Lightning: Slurm's number stays in processes that Lightning has started.
    numbers = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return next((number for number in numbers if number is not None), "0") == "0"


def _as_job(task: Task, asked: bool) -> Callable[[DictConfig], str | None]:
    """Return what Hydra calls; it returns the run folder, for a search. A launcher pickles both for other processes."""

    @functools.wraps(task)  # Hydra takes the job's name from the module of the task
    def job(cfg: DictConfig) -> str | None:
        print_anything()  # in the processes of a launcher, too
        with _variable(FULL_ERROR, "1" if asked else None):  # for the processes that the task starts
            folder = _run(task, cfg)
        if folder is not None and is_first_process():
            print(f"run: {folder}", flush=True)
        return None if folder is None else str(folder)

    return job


def _run(task: Task, cfg: DictConfig) -> Path | None:
    from secseg.utils.config import sweeping, to_plain, using_plugins
    from secseg.utils.device import keep_freed_memory

    try:
        config = to_plain(cfg)
        keep_freed_memory()
        with using_plugins(config["plugins"] or ()):
            return task(config)
    except SystemExit as end:  # found by its attribute: its class would need torch
        if raise_again := getattr(end, "raise_again", None):
            raise_again()
        raise
    except Exception as error:
        if sweeping():  # the other jobs continue, and Hydra reports which one failed
            raise
        raise SystemExit(1) from error  # Hydra would print a line in addition
    finally:
        if not sweeping():
            _remove_unused_folder()


def _remove_unused_folder() -> None:
    """Remove the folder that Hydra made for this command if it is empty: the command failed, or has another folder.
    The folders above it that are empty then go, too, up to the current one."""
    from hydra.core.hydra_config import HydraConfig

    made, here = Path(HydraConfig.get().runtime.output_dir), Path.cwd()
    with suppress(OSError):  # only an empty folder can be removed
        for folder in (made, *(place for place in made.parents if here in place.parents)):
            folder.rmdir()


def _end(error: BaseException, name: str, words: Sequence[str], asked: bool) -> NoReturn:
    """End the process with one message, or with the traceback of an error of ours or if it is asked for."""
    if _output_is_closed(error):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python reports it again at its end
        sys.exit(141)  # the exit code of a shell for a process that SIGPIPE ended
    # Lightning turns Ctrl-C into an exit after it has saved a checkpoint.
    if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
        advice = "The same command continues." if {"-m", "--multirun"} & set(words) else CONTINUES.get(name)
        print(" ".join(filter(None, ("Interrupted.", advice))), file=sys.stderr)
        sys.exit(130)
    in_task = isinstance(error, SystemExit)
    cause = error.__cause__ if in_task else error
    if cause is None:
        raise error
    message = None if asked else explain(cause, name, words)
    if message is None:
        raise cause from cause.__cause__
    print(message, file=sys.stderr, flush=True)
    sys.exit(1)


def _output_is_closed(error: BaseException | None) -> bool:
    """Return whether an error was raised because the program that reads standard output has ended."""
    while error is not None and not isinstance(error, BrokenPipeError):
        error = error.__cause__ or error.__context__
    if error is None or not hasattr(select, "poll"):  # Windows has other errors
        return False
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


@contextmanager
def _variable(name: str, value: str | None) -> Iterator[None]:
    """Set an environment variable, or remove it, for the length of a ``with`` block."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def _allow_lazy_help() -> None:
    """Let argparse read the help text that Hydra 1.3 creates when it is printed. Python 3.14 accepts only strings."""
    argparse.HelpFormatter._get_help_string = lambda self, action: action.help and str(action.help)  # type: ignore[method-assign]
