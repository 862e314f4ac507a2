"""With the commands, the only place that knows Hydra: where conf/ is, plain values, objects, cross-checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from secseg.errors import UserError, nearest

# A stored config names code that is run: only these packages may be named.
PACKAGES = ("secseg", "torch", "timm", "pytorch_lightning")


def config_dir() -> Path:
    """Return the folder of the config files: ``conf/`` of the checkout, else the one inside the installed package."""
    checkout = Path(__file__).resolve().parents[2] / "conf"
    return checkout if (checkout / "train.yaml").is_file() else Path(__file__).resolve().parent / "conf"


def to_plain(cfg: DictConfig) -> dict[str, Any]:
    """Resolve ``cfg`` into plain dicts, lists and values.

    Raises:
        UserError: where a mandatory value (``???``) is missing.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError("\n".join(f"{key} has no value: give {key}=<value>." for key in missing))
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def build(node: Mapping[str, Any], **extra: Any) -> Any:
    """Make the object that ``node`` describes with ``_target_``, the other keys and ``extra`` as its arguments.

    Raises:
        UserError: for a target outside the allowed packages, one that does not exist, arguments that it does not take,
            or whatever UserError the object raises itself, unchanged.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import get_object

    options = {str(key): value for key, value in node.items()}
    target = str(options.pop("_target_", ""))
    if target.split(".")[0] not in PACKAGES:
        raise UserError(f"_target_={target or 'nothing'} is not allowed: only what is in {', '.join(PACKAGES)}.")
    try:
        make = get_object(target)
    except (ImportError, AttributeError, ValueError, InstantiationException) as error:
        raise UserError(f"_target_={target} cannot be found: {error}") from error
    try:
        return make(**options, **extra)
    except UserError:
        raise
    except TypeError as error:
        raise UserError(f"{target} cannot be made with {', '.join(options) or 'no options'}: {error}") from error


def validate(cfg: DictConfig) -> None:
    """Check ``cfg`` of ``conf/train.yaml`` before anything heavy is imported.

    Raises:
        UserError: with every problem that is found, each naming its key and the legal values.
    """
    config = to_plain(cfg)
    problems = [*_ranges(config), *_choices(config)]
    if problems:
        raise UserError("\n".join(problems))


def _ranges(config: Mapping[str, Any]) -> list[str]:
    problems = []
    for name in ("pos", "neg", "bg"):
        value = config["decay"][name]
        if value is not None and not (_number(value) and 0 <= value <= 1):
            problems.append(f"decay.{name}={value}: give a number in [0, 1] (0 is max pooling, 1 average pooling).")
    for term, weight in config["loss"].items():
        if not (_number(weight) and weight >= 0):
            problems.append(f"loss.{term}={weight}: a weight is a number of at least 0.")
    for node, key in (
        ("data", "batch_size"),
        ("backbone", "input_size"),
        ("trainer", "max_steps"),
        ("trainer", "val_check_interval"),
    ):
        value = config[node].get(key)
        if not (isinstance(value, int) and value >= 1):
            problems.append(f"{node}.{key}={value}: give a whole number of at least 1.")
    if not (isinstance(config["data"]["workers"], int) and config["data"]["workers"] >= 0):
        problems.append(f"data.workers={config['data']['workers']}: give a whole number of at least 0.")
    return problems


def _choices(config: Mapping[str, Any]) -> list[str]:
    choices = {
        "evaluation.crf": (config["evaluation"]["crf"], ("final", "always", "never")),
        "resume": (config["resume"], ("never", "auto")),
        "crf.train.backend": (config["crf"]["train"]["backend"], ("exact", "lattice", "pydensecrf", "none")),
        "crf.test.backend": (config["crf"]["test"]["backend"], ("lattice", "pydensecrf", "exact", "none")),
    }
    return [
        f"{key}={value}: give one of {', '.join(legal)}.{nearest(str(value), legal)}"
        for key, (value, legal) in choices.items()
        if value not in legal
    ]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
