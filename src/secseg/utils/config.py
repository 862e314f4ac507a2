"""Configs: composed with Hydra, as plain values, and built into objects. Apart from the commands, only this file
and ``words.py`` use Hydra."""

from __future__ import annotations

import copy
import itertools
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from secseg.utils.errors import UserError, nearest
from secseg.utils.words import hydra_words

PACKAGES = ("secseg", "torch", "timm", "pytorch_lightning")
"""Packages whose classes a config may name, in addition to the plugins of this run (see ``using_plugins``)."""
START_SETTINGS = ("run_dir", "resume", "ckpt_path", "plugins")
"""Settings of how a run is started."""
CIRCUMSTANCES = (
    *START_SETTINGS,
    "name",
    "random_seeds",
    "own_cues",
    "logger",
    *(f"callbacks.{name}" for name in ("progress", "scores", "pictures", "curves", "predictions", "seeds")),
    "protocol",
    "data.workers",
    "data.feature_cache",
)
"""Settings of a training that do not change its results. Other callbacks can change them, such as ``ema``."""

Kind = TypeVar("Kind")

_plugins: tuple[str, ...] = ()


def config_dir() -> Path:
    """Return the folder of the config files: ``conf/`` of the checkout, else the one inside the installed package."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1] / "conf"
    return checkout if (checkout / "train.yaml").is_file() else package / "conf"


def compose(command: str, *words: str) -> DictConfig:
    """Return ``conf/<command>.yaml``, composed with the words of a command line: ``compose("train", "loss=seed")``.

    Paths are taken literally, as on the command line: ``"data.root=/data/red, green"``.
    """
    from hydra import compose as compose_config
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    # The caller may run under Hydra itself, which has one state for the whole process.
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return compose_config(command, hydra_words(words, command))
    finally:
        GlobalHydra.instance().hydra = before


def _run_folder(parent: str) -> str:
    """Return the run folder: in a command the one that ``_new_folder`` made, else a new ``<parent>/<time>``."""
    from hydra.core.hydra_config import HydraConfig

    if HydraConfig.initialized():
        return str(HydraConfig.get().runtime.output_dir)
    return str(next(folder for folder in _folders_of_now(parent) if not folder.exists()).absolute())


def _new_folder(parent: str) -> str:
    """Make ``<parent>/<time>`` and return it. If it exists, as for two commands of the same second, ``_2`` follows."""
    for folder in _folders_of_now(parent):
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError:  # Hydra makes the folder, too, and its error is reported
            pass
        return str(folder)
    raise AssertionError


def _folders_of_now(parent: str) -> Iterator[Path]:
    """Yield the names of a folder that is made now, without end: ``<parent>/<time>``, ``<parent>/<time>_2``, ..."""
    now = time.strftime("%Y-%m-%d_%H-%M-%S")
    yield Path(parent, now)
    yield from (Path(parent, f"{now}_{number}") for number in itertools.count(2))


def _data_name(*, _root_: DictConfig) -> Any:
    """Return the chosen option of the group ``data``; outside a command, which records it, that of the class."""
    from hydra.core.hydra_config import HydraConfig

    if HydraConfig.initialized():
        return OmegaConf.select(HydraConfig.get(), "runtime.choices.data")  # type: ignore[arg-type]
    node = _root_.get("data")
    return None if node is None else find(node["_target_"], object).title  # type: ignore[attr-defined]


OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)
OmegaConf.register_new_resolver("new_folder", _new_folder, use_cache=True, replace=True)
OmegaConf.register_new_resolver("data_name", _data_name, replace=True)


def to_plain(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Resolve ``cfg`` into plain dicts, lists and values. A plain config is copied.

    Raises:
        UserError: if a mandatory value (``???``) is missing.
    """
    if not isinstance(cfg, DictConfig):
        return copy.deepcopy(dict(cfg))
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError("\n".join(f"{key} has no value: give {key}=<value>." for key in missing))
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one dict with dotted keys: ``{"data.root": ...}``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that differ, by their dotted keys, each as ``'old' -> 'new'``."""
    before, now = flatten(before), flatten(now)
    changed = (key for key in sorted({*before, *now}) if before.get(key) != now.get(key))
    return {key: f"{before.get(key)!r} -> {now.get(key)!r}" for key in changed}


def sweeping() -> bool:
    """Whether this process runs a job of a sweep (-m)."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return bool(HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN)


def result_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a training, plain, without those that do not change its results (``CIRCUMSTANCES``)."""
    kept = {
        key: {name: one for name, one in value.items() if f"{key}.{name}" not in CIRCUMSTANCES}
        if isinstance(value, Mapping)
        else value
        for key, value in config.items()
        if key not in CIRCUMSTANCES
    }
    return {key: value for key, value in kept.items() if key != "callbacks" or value}


@contextmanager
def using_plugins(packages: Iterable[str]) -> Iterator[None]:
    """Let configs name classes of further packages with ``_target_``, for the length of a ``with`` block.

    The packages come from the command line of this run, or from a caller in Python. A config that was stored, in a
    checkpoint, a run folder or an exported model, never adds one: it would decide which code is run.

    Args:
        packages: names of packages or modules, or a single name. They are imported once a config names a class of them.

    Raises:
        UserError: for a name that is not a package's, or a package that is not installed.
    """
    global _plugins
    before = _plugins
    added = (packages,) if isinstance(packages, str) else tuple(packages)
    for name in added:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise UserError(f"plugins={list(added)}: give a list of names of packages: plugins=[my_package].")
        top = name.partition(".")[0]
        if top not in sys.modules and find_spec(top) is None:
            raise UserError(
                f"plugins: the package {name} cannot be found. Install it (pip install --editable <its folder>), or "
                "add the folder that holds it to the variable PYTHONPATH."
            )
    _plugins = (*before, *added)
    try:
        yield
    finally:
        _plugins = before


def loss_weights(loss: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weight of each term in a ``loss`` node, whose values are weights, or nodes with a ``weight``."""
    return {term: node.get("weight", 1.0) if isinstance(node, Mapping) else node for term, node in loss.items()}


def find(target: str, kind: type[Kind], packages: Sequence[str] = PACKAGES) -> type[Kind]:
    """Return the class with the full name ``target``. Nothing is called.

    A stored config can name anything, and the attributes of a module lead out of its package (``torch.os.system``). So
    only a subclass of ``kind`` is returned.

    Args:
        target: name of the class, with that of its module: ``torch.optim.SGD``.
        kind: the base class.
        packages: packages that it may come from, in addition to the plugins of this run.

    Raises:
        UserError: if ``target`` is not in these packages, does not exist, or is not a subclass of ``kind``.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import get_object, log

    allowed = (*packages, *_plugins)
    if not any(target.startswith(f"{package}.") for package in allowed):
        package = target.partition(".")[0]
        advice = f" If you trust the code of {package}, give plugins=[{package}]." if package else ""
        raise UserError(f"_target_={target or 'nothing'} is not allowed: only what is in {', '.join(allowed)}.{advice}")
    before, log.disabled = log.disabled, True  # Hydra would also print the error
    try:
        made = get_object(target)
    except (ImportError, AttributeError, ValueError, InstantiationException) as error:
        raise UserError(f"_target_={target} cannot be found: {_missing(target, error)}") from error
    finally:
        log.disabled = before
    if not (isinstance(made, type) and issubclass(made, kind)):
        raise UserError(
            f"_target_={target} is no {kind.__name__}, which is needed here. It was not run. "
            f"Name a subclass of {kind.__module__}.{kind.__qualname__}."
        )
    return made


def _missing(target: str, error: Exception) -> str:
    """Return which part of ``target`` does not exist, with similar names, or why its module cannot be imported."""
    cause = error.__cause__
    absent = cause.name if isinstance(cause, ModuleNotFoundError) else None
    if absent is None or not f"{target}.".startswith(f"{absent}."):
        return f"{type(cause).__name__}: {cause}" if cause else str(error)
    module, _, name = absent.rpartition(".")
    there = sys.modules[module]
    submodules = [found.name for found in iter_modules(getattr(there, "__path__", ()))]
    public = [one for one in (*vars(there), *submodules) if not one.startswith("_")]
    return f"{module} has no {name}.{nearest(name, public)}"


def build(node: Mapping[str, Any], kind: type[Kind], key: str = "", **extra: Any) -> Kind:
    """Build the object of a config node: the class that ``_target_`` names, with the other keys as arguments.

    Args:
        node: from ``conf/``, or from the config that a run or a network stored.
        kind: the base class that the object must have.
        key: the key of the node, for the message about refused arguments.
        extra: further arguments.

    Raises:
        UserError: as ``find``; if the class refuses the arguments; and any UserError of the class, unchanged.
    """
    options = {str(key): value for key, value in node.items()}
    target = str(options.pop("_target_", ""))
    make = find(target, kind)
    try:
        return make(**options, **extra)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{name}={value}" for name, value in options.items())
        where = f"{key}: " if key else ""
        raise UserError(f"{where}{target} cannot be made with {given or 'no options'}: {error}") from error
