"""Checks of the settings of a training, before torch is imported: a wrong one is reported at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import yaml

from secseg.utils.checks import check_choice, check_number, check_options, check_text, check_whole, is_number, refuse
from secseg.utils.config import config_dir, loss_weights, sweeping, to_plain
from secseg.utils.device import PRECISIONS
from secseg.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig

GROUPS = ("data", "backbone", "decay", "loss", "seeds", "crf", "optim", "trainer", "callbacks", "logger", "evaluation")
BACKENDS = ("exact", "lattice", "pydensecrf", "par", "none")
CHOICES = {
    "resume": ("never", "auto"),
    "evaluation.crf": ("final", "always", "never"),
    "crf.train.backend": BACKENDS,
    "crf.train.gradient": ("stop", "diagonal", "exact"),
    "crf.train.channels": ("rgb", "bgr"),
    "crf.train.unary": ("scores", "probabilities"),
    "crf.test.channels": ("rgb", "bgr"),
    "crf.test.backend": BACKENDS,
    "optim.schedule.kind": ("step", "poly", "constant"),
    "trainer.accelerator": ("auto", "cpu", "gpu", "mps"),
    "trainer.precision": PRECISIONS,
}
WHOLE_NUMBERS = {  # the least legal value of each
    "seed": 0,
    "data.batch_size": 1,
    "data.workers": 0,
    "optim.schedule.every": 1,
    "optim.schedule.warmup": 0,
    "trainer.max_steps": 1,
    "trainer.val_check_interval": 1,
    "trainer.num_nodes": 1,
    "evaluation.pictures": 0,
}


FAST = "efficientnet_lite0_fast"
"""The option of ``conf/localization`` for a first answer."""


def check_settings(cfg: DictConfig | Mapping[str, Any]) -> None:
    """Check ``cfg`` of ``conf/train.yaml`` before anything heavy is imported.

    Raises:
        UserError: with every problem that is found, each naming its key and the legal values.
    """
    config = to_plain(cfg)
    refuse(check_options(config, GROUPS))
    checks = (_decay, _loss, _seeds, _numbers, _choices, _fused, _stated)
    refuse([line for check in checks for line in check(config)])
    _refuse_sweep_over_devices(config["trainer"])


def without_effect(config: Mapping[str, Any]) -> list[str]:
    """Return a text for each setting of a checked config, plain, that this training does not read."""
    weights, decay, seeds = loss_weights(config["loss"]), config["decay"], config["seeds"]
    lines = []
    if decay["adaptive"] and weights.get("seed") and not weights.get("expand"):
        lines.append("decay=adaptive has no effect: only expand reads the decays, and loss.expand is 0.")
    steps = config["trainer"]["max_steps"]
    for term, node in config["loss"].items():
        start, end = (isinstance(node, Mapping) and node.get("warmup")) or (0, 0)
        if end > steps and weights[term]:
            share = max(steps - start, 0) / (end - start)
            lines.append(
                f"loss.{term}.warmup=[{start},{end}] ends after trainer.max_steps={steps}: the weight reaches "
                f"{share:.0%} of loss.{term}.weight."
            )
    defaults = yaml.safe_load((config_dir() / "seeds" / "cues.yaml").read_text("utf-8"))
    estimated = (decay["adaptive"] or {}).get("source") == "seeds"
    changed = [name for name in ("foreground", "background") if seeds[name] != defaults[name]]
    if changed and not seeds["grow"] and not estimated:
        names = " and ".join(f"seeds.{name}" for name in changed)
        lines.append(f"{names} has no effect: the seeds are the cues. Seeds grow with seeds=grow.")
    return lines


def shared_localization(backbone: Mapping[str, Any]) -> str | None:
    """Return the option ``localization`` of make_cues whose fast networks use the features of ``backbone``, too; None
    for the default."""
    networks = yaml.safe_load((config_dir() / "localization" / f"{FAST}.yaml").read_text("utf-8"))
    fast, trunk = networks["foreground"]["network"], backbone["trunk"]
    same = all(trunk.get(key) == value for key, value in fast["trunk"].items())
    named = backbone.get("name") == FAST.removesuffix("_fast")
    return FAST if named and same and backbone["input_size"] == fast["input_size"] else None


def _decay(config: Mapping[str, Any]) -> Iterator[str]:
    decay = config["decay"]
    for name, example in (("fraction", "{pos: 0.1, bg: 0.3}"), ("adaptive", "{source: seeds}")):
        if decay[name] is not None and not isinstance(decay[name], Mapping):
            yield f"decay.{name}={decay[name]}: give decay={name}, or a node such as 'decay.{name}={example}'."
            return
    fraction, adaptive = decay["fraction"] or {}, decay["adaptive"]
    for name in ("pos", "neg", "bg"):
        value = decay[name]
        if value is None and name not in fraction and not adaptive:
            yield (
                f"decay.{name} is null and there is no decay.fraction.{name}: give a number, or use decay=fraction or "
                "decay=adaptive."
            )
        elif value is not None:
            note = "0 is max pooling, 1 average pooling"
            yield from check_number(f"decay.{name}", value, 0, most=1, note=note)
    for name, value in fraction.items():
        yield from check_number(f"decay.fraction.{name}", value, above=0, below=1)
    if adaptive:
        yield from _adaptive(config, adaptive)


def _adaptive(config: Mapping[str, Any], adaptive: Mapping[str, Any]) -> Iterator[str]:
    bounds: dict[str, Any] = {
        "share": {"above": 0, "below": 1},
        "smoothing": {"least": 0, "most": 1},
        "least": {"above": 0, "most": 1},
        "most": {"above": 0, "most": 1},
    }
    for name, value in adaptive.items():
        if name == "source":
            yield from check_choice("decay.adaptive.source", value, ("seeds", "prediction", "cues"))
        elif name in bounds:
            yield from check_number(f"decay.adaptive.{name}", value, **bounds[name])
        else:
            yield f"decay.adaptive.{name} is unknown: the keys are source, {', '.join(bounds)}."
    least: Any = adaptive.get("least")
    most: Any = adaptive.get("most")
    if is_number(least) and is_number(most) and most < least:
        yield f"decay.adaptive.most={most} is less than decay.adaptive.least={least}."
    if config["decay"]["pos"] is not None and config["decay"]["bg"] is not None:
        yield "decay.adaptive has nothing to estimate: give decay.pos=null, decay.bg=null, or another decay."
    if config["decay"]["fraction"]:
        yield "decay.adaptive and decay.fraction both solve the decays: give null for one of them."
    if config["decay"]["pooling"]:
        yield "decay=adaptive sets decays of ranked pooling, and decay.pooling is another one: give decay.pooling=null."
    if config["crf"]["train"]["backend"] == "none" and loss_weights(config["loss"]).get("expand"):
        yield "decay=adaptive needs a CRF in training, and crf.train.backend is none: use crf=paper or another decay."


def _loss(config: Mapping[str, Any]) -> Iterator[str]:
    loss = config["loss"]
    for term, weight in loss_weights(loss).items():
        yield from check_number(f"loss.{term}", weight, 0)
    for term, node in loss.items():
        steps = node.get("warmup") if isinstance(node, Mapping) else None
        numbers = steps if isinstance(steps, list) else []
        if steps is not None and not (len(numbers) == 2 and all(map(_is_step, numbers)) and numbers[0] <= numbers[1]):
            yield f"loss.{term}.warmup={steps}: give two steps [a,b], 0 <= a <= b: the weight rises between them."


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _seeds(config: Mapping[str, Any]) -> Iterator[str]:
    seeds = config["seeds"]
    yield from check_choice("seeds.grow", seeds["grow"], (True, False))
    for name in ("foreground", "background"):
        yield from check_number(f"seeds.{name}", seeds[name], 0, most=1)
    if seeds["grow"] is True and config["crf"]["train"]["backend"] == "none":
        yield "seeds=grow needs a CRF in training, and crf.train.backend is none: use crf=paper, or seeds=cues."


def _numbers(config: Mapping[str, Any]) -> Iterator[str]:
    for key, least in WHOLE_NUMBERS.items():
        yield from check_whole(key, _select(config, key), least)
    if (size := config["backbone"]["input_size"]) != "auto":
        yield from check_whole("backbone.input_size", size, 1, note="or auto")
    for key in ("optim.optimizer.lr", "optim.bias_lr", "optim.bias_decay", "optim.classifier_lr"):
        yield from check_number(key, _select(config, key), 0)


def _choices(config: Mapping[str, Any]) -> Iterator[str]:
    for key, legal in CHOICES.items():
        value = _select(config, key)
        if key.endswith(".backend") and _select(config, key.replace("backend", "_target_")):
            if value is not None:
                yield f"{key}={value}: give null, since _target_ names another CRF."
        else:
            yield from check_choice(key, value, legal)


def _stated(config: Mapping[str, Any]) -> Iterator[str]:
    for key, value in config["protocol"].items():
        yield from check_text(f"protocol.{key}", value, null=True)


def _fused(config: Mapping[str, Any]) -> Iterator[str]:
    """Lightning refuses to clip the gradients that a fused optimizer would scale itself."""
    trainer = config["trainer"]
    if _select(config, "optim.optimizer.fused") and trainer["gradient_clip_val"] and trainer["precision"] != "32-true":
        yield (
            f"optim.optimizer.fused=true cannot clip gradients at trainer.precision={trainer['precision']}: "
            "give optim.optimizer.fused=null, trainer.gradient_clip_val=null or trainer.precision=32-true."
        )


def _refuse_sweep_over_devices(trainer: Mapping[str, Any]) -> None:
    """Lightning's child processes run the whole command line again, so each would start the whole sweep."""
    if not sweeping():
        return
    devices = trainer["devices"]
    one = devices in (1, "1") or (isinstance(devices, list) and len(devices) == 1)
    if not one or trainer["num_nodes"] != 1 or "ddp" in str(trainer["strategy"]):
        raise UserError(
            f"A sweep (-m) cannot spread its jobs over devices: trainer.devices={devices}, "
            f"trainer.num_nodes={trainer['num_nodes']}, trainer.strategy={trainer['strategy']}. Use trainer.devices=1 "
            "and let the jobs run side by side (hydra/launcher=joblib), or start one run without -m."
        )


def _select(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
