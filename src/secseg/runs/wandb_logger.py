"""The W&B run of a training. A failure of W&B does not end the training."""

from __future__ import annotations

import logging
import netrc
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import DummyExperiment, rank_zero_experiment

from secseg.utils.errors import UserError, require_package
from secseg.utils.files import write_text
from secseg.utils.quoting import shell_command

log = logging.getLogger(__name__)

HOSTS = ("api.forge.coreweave.com", "api.wandb.ai")  # W&B's own host has two names; a key may be stored under either
BEST_AND_LAST = ("val/miou", "val/miou_crf")
_own_folders: dict[str, str] = {}

INIT_TIMEOUT, FINISH_TIMEOUT = 120.0, 300.0
"""Seconds to wait for W&B when a run starts, and when it ends. In between, a run does not wait for W&B."""


class WandbRunLogger(WandbLogger):
    """Lightning's W&B logger, with the best and the last mean IoU in its summary: ``val/miou.max``, ``.last``.

    Once W&B could not start, or its process has ended (``lost``), this logger does nothing.
    """

    lost = False
    _warned: frozenset[str] = frozenset()

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self.lost or self._experiment is not None:
            return DummyExperiment() if self.lost else super().experiment
        try:
            run = self._open()
            for key in BEST_AND_LAST:
                run.define_metric(key, step_metric="trainer/global_step", step_sync=True, summary="max,last")
        except UserError:
            raise
        except Exception as error:  # W&B raises various exceptions, for example if it cannot write its files
            if self._wandb_init["mode"] == "online":
                raise UserError(
                    f"W&B cannot start: {type(error).__name__}: {error}\nFix this, or leave logger=wandb out."
                ) from error
            self.lost = True
            log.warning(
                "W&B cannot start (%s: %s). The run continues without W&B; metrics.csv has the same figures.",
                type(error).__name__,
                error,
            )
            return DummyExperiment()
        return run

    def _open(self) -> Any:
        import wandb

        self._wandb_init.pop("anonymous", None)  # W&B warns about this argument of Lightning
        try:
            return super().experiment
        except wandb.errors.CommError as error:
            if self._wandb_init["mode"] == "online":
                raise UserError(
                    f"W&B does not accept this run: {error}\nFix this, or keep the run on this machine with "
                    "logger.wandb.mode=offline. `wandb sync` sends it later."
                ) from None
            log.warning("W&B does not accept this run (%s), so the run is offline.", error)
            wandb.teardown()  # W&B's process keeps the id of the run that it could not open
            self._wandb_init |= {"mode": "offline", "resume": None}
            run = super().experiment
            log.warning("Send it later with: %s", _sync_command(Path(run.dir).parent))
            return run

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        return None  # W&B gets the whole config when the run opens

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._unless_lost(lambda: super(WandbRunLogger, self).log_metrics(metrics, step))

    def send(self, values: Callable[[], Mapping[str, Any]]) -> None:
        """Log the tables and images that ``values`` makes with W&B's classes."""
        self._unless_lost(lambda: self.experiment.log(dict(values())))

    def _unless_lost(self, log_values: Callable[[], None]) -> None:
        """Log; no exception of W&B ends the run. Continue without W&B if its process has ended."""
        if self.lost:
            return
        try:
            log_values()
        except UserError:
            raise
        except ConnectionError as error:
            self.lost = True
            log.warning("W&B's process has ended (%s). The run continues without W&B.", error)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if text not in self._warned:
                self._warned |= {text}
                log.warning("W&B could not log some values (%s). The run continues.", text)


def build_wandb(
    options: Mapping[str, Any], folder: Path, run_config: Mapping[str, Any], run_name: str
) -> WandbRunLogger:
    """Return the W&B logger of a run, which opens at its first use. Arguments and errors as for ``build_loggers``."""
    require_package("logger=wandb", "wandb", install="wandb")
    import wandb

    mode = options.get("mode") or os.environ.get("WANDB_MODE") or None
    if mode is None and not has_wandb_key():
        mode = "offline"
        log.info(
            "W&B: there is no key, so the run is offline. Send it later with: %s/offline-run-*",
            _sync_command(folder / "wandb"),
        )
    elif mode == "online" and not has_wandb_key():
        raise UserError(
            "logger.wandb.mode=online needs a W&B key. Log in with `wandb login`, set WANDB_API_KEY, "
            "or choose logger.wandb.mode=offline."
        )
    finish_wandb()  # an open run of other code would receive the logs of this run
    _keep_folders_in(folder / "wandb")
    offline = mode in ("offline", "dryrun", "disabled")
    return WandbRunLogger(
        name=options.get("name") or run_name,
        project=options.get("project"),
        save_dir=folder,
        id=_wandb_id(folder),
        entity=options.get("entity"),
        group=options.get("group"),
        job_type="train",
        tags=list(options.get("tags") or []),
        mode=mode,
        resume=None if offline else "allow",  # offline, the same id suffices
        config=dict(run_config),
        settings=wandb.Settings(
            console="off",
            silent=offline,
            init_timeout=INIT_TIMEOUT,
            finish_timeout=FINISH_TIMEOUT,
            finish_timeout_raises=True,
        ),
    )


def finish_wandb() -> None:
    """Close the W&B run, so that the next run of this process opens another one. For a ``finally`` block.

    During an exception, the run is marked as failed. If W&B does not receive everything in time, the rest is on disk,
    and a warning says how to send it.
    """
    wandb: Any = sys.modules.get("wandb")
    if wandb is None or wandb.run is None:
        return
    folder = Path(wandb.run.dir).parent
    try:
        wandb.finish(exit_code=0 if sys.exc_info()[0] is None else 1)
    except TimeoutError:
        log.warning(
            "W&B did not receive all of this run within %g seconds of its end. The rest is on disk. Send it later "
            "with: %s",
            FINISH_TIMEOUT,
            _sync_command(folder),
        )
    except Exception as error:  # W&B raises various exceptions if its process has ended
        log.warning("W&B could not end this run (%s). Send what is on disk with: %s", error, _sync_command(folder))
        with suppress(Exception):
            wandb.teardown()  # otherwise W&B would try again when Python ends
        wandb.run = None


def has_wandb_key() -> bool:
    """Return whether W&B can log in without a prompt: with a key from the environment or from netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    own = os.environ.get("WANDB_BASE_URL")
    hosts = HOSTS if own is None or urlsplit(own).netloc in HOSTS else (urlsplit(own).netloc,)
    names = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for name in names:
        try:
            stored = netrc.netrc(Path(name).expanduser()).hosts
        except (OSError, RuntimeError, netrc.NetrcParseError):  # RuntimeError: there is no home folder
            continue
        if any(host in stored for host in hosts):
            return True
    return False


def _keep_folders_in(folder: Path) -> None:
    """Let W&B keep its files in the run folder, not in the home folder, which may not exist or may not be writable.

    A user who has set W&B's variables decides. Those that were set here, for the run before, are replaced.
    """
    for name, part in (("WANDB_DATA_DIR", "data"), ("WANDB_CACHE_DIR", "cache")):
        if os.environ.get(name) == _own_folders.get(name):
            os.environ[name] = _own_folders[name] = str(folder / part)


def _sync_command(folder: Path) -> str:
    return shell_command("wandb", "sync", folder)


def _wandb_id(folder: Path) -> str:
    path = folder / "wandb_id.txt"
    if path.is_file():
        return path.read_text("utf-8").strip()
    run_id = secrets.token_hex(4)
    write_text(path, run_id + "\n")
    return run_id
