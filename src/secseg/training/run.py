"""A training run: opens and checks all inputs of its config, trains, evaluates, and writes the results."""

from __future__ import annotations

import logging
import os
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.accelerators import Accelerator, CPUAccelerator
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from secseg.crf import build_stage_crf, resolve_auto
from secseg.data.datamodule import ImageDataModule
from secseg.data.some_masks import SOME
from secseg.evaluation.score_warnings import score_warnings
from secseg.losses import SECLoss
from secseg.losses.adaptive_decay import AdaptiveDecay
from secseg.losses.growing import Growing
from secseg.losses.pooling import Decay, Pooling, global_weighted_rank_pooling, resolve_decay
from secseg.losses.terms import Term, build_terms, needed
from secseg.models import SegmentationNet, build_network
from secseg.models.files.load import read_checkpoint
from secseg.models.fitted_input import fit_input
from secseg.models.pretraining import stated_pretraining
from secseg.models.weights import check_state_dict
from secseg.runs.loggers import build_loggers
from secseg.runs.run_folder import RunFolder, first_process, open_run_folder
from secseg.runs.run_writer import versions, write_config, write_results, write_versions
from secseg.runs.wandb_logger import finish_wandb
from secseg.training.callbacks import build_callbacks
from secseg.training.checkpoints import CheckpointFiles, Checkpoints, RandomStates
from secseg.training.feature_cache import attach_features
from secseg.training.module import SECModule
from secseg.training.processes import cluster_environment, leave_own_folder, shared_run_folder
from secseg.training.settings import check_settings, shared_localization, without_effect
from secseg.utils.config import build, loss_weights, to_plain
from secseg.utils.device import peak_memory, resolve_precision
from secseg.utils.errors import UserError
from secseg.utils.files import working_in

log = logging.getLogger(__name__)


def train(cfg: DictConfig | Mapping[str, Any], callbacks: Sequence[pl.Callback] = ()) -> dict[str, Any]:
    """Run the training of ``cfg``, the composed ``conf/train.yaml``.

    Args:
        cfg: the config.
        callbacks: callbacks in addition to those of the config.

    Returns:
        ``run`` (the run folder), ``results`` (the content of ``results.json``), and the objects ``module``,
        ``datamodule`` and ``trainer``.

    Raises:
        UserError: for every error that the user can fix.
    """
    started = time.perf_counter()
    config = to_plain(cfg)
    check_settings(config)
    cluster_environment(config["trainer"])  # may raise
    terms = build_training_terms(config)
    config["trainer"]["precision"] = resolve_precision(config["trainer"]["precision"], config["trainer"]["accelerator"])
    config["crf"] = {**config["crf"], "test": resolve_auto(config["crf"]["test"])}
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    datamodule = build(config["data"], ImageDataModule, seed=config["seed"])
    datamodule.localization = shared_localization(config["backbone"])
    datamodule.warn(without_effect(config))
    needs = needed(terms.values())
    datamodule.open(cues=bool(needs & {"cues", "labels"}), masks="mask" in needs)
    config["backbone"] = fit_input(config["backbone"], datamodule.train_images.images)
    run = shared_run_folder(  # before the features: it may raise
        config["trainer"], lambda: open_run_folder(config["run_dir"], config["name"], config["resume"])
    )
    leave_own_folder(config["run_dir"], run)
    with working_in(run.path) if first_process() else nullcontext():
        return _train_in(run, config, datamodule, terms, started, callbacks)


def _train_in(
    run: RunFolder,
    config: Mapping[str, Any],
    datamodule: ImageDataModule,
    terms: Mapping[str, Term],
    started: float,
    more: Sequence[pl.Callback],
) -> dict[str, Any]:
    module = build_module(config, datamodule, terms)
    checkpoint = Path(config["ckpt_path"]).expanduser() if config["ckpt_path"] else run.resume_from
    if checkpoint is not None:
        check_state_dict(read_checkpoint(checkpoint)["state_dict"], module.state_dict(), f"checkpoint {checkpoint}")
    if first_process():
        write_config(run.path, config)
        write_versions(run.path)
    try:
        callbacks = [RandomStates(), Checkpoints(run.checkpoints), *build_callbacks(config["callbacks"]), *more]
        loggers = build_loggers(config["logger"], run.path, config, run.path.name)
        trainer = build_trainer(config["trainer"], run.path, callbacks, loggers)
        warn_about_determinism(config["trainer"]["deterministic"], trainer.accelerator)
        trainer.fit(module, datamodule, ckpt_path=None if checkpoint is None else str(checkpoint))
        if module.scored_at != trainer.max_steps:
            trainer.validate(module, datamodule, verbose=False)
        results = summarise(config, datamodule, module, trainer)
        if trainer.is_global_zero:
            results["time"]["seconds"] = time.perf_counter() - started
            results["warnings"] = [*datamodule.warnings, *(found := prediction_warnings(datamodule, module))]
            for warning in found:
                log.warning("%s", warning)
            write_results(run.path, results)
    finally:
        finish_wandb()
    return {"run": run.path, "results": results, "module": module, "datamodule": datamodule, "trainer": trainer}


def build_trainer(
    options: Mapping[str, Any], folder: Path, callbacks: list[pl.Callback], loggers: list[Logger]
) -> pl.Trainer:
    """Build Lightning's Trainer for a run that counts steps, not epochs.

    Raises:
        UserError: if Lightning does not accept an option, for example an accelerator that does not exist.
    """
    # Lightning's messages at this level are tips and advertisement.
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    # A frozen trunk is in evaluation mode on purpose.
    warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
    # A run is resumed within its only epoch. The training sampler continues with the right image.
    warnings.filterwarnings("ignore", message=r".*resuming from a checkpoint that ended before the epoch ended")
    # Short runs have few log lines.
    warnings.filterwarnings("ignore", message=r"The number of training batches \(\d+\) is smaller than the logging")
    # Whichever environment is chosen, Lightning looks for Slurm again at the start of fit. One process needs no srun.
    warnings.filterwarnings("ignore", message=r"The `srun` command is available on your system but is not used")
    # Lightning 2.6 uses a function that torch 2.14 deprecates.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")
    environment = cluster_environment(options)
    try:
        return pl.Trainer(
            **options,
            default_root_dir=folder,
            callbacks=callbacks,
            logger=loggers,
            plugins=[CheckpointFiles(), *([] if environment is None else [environment])],
            max_epochs=-1,
            check_val_every_n_epoch=None,
            use_distributed_sampler=False,
            enable_model_summary=False,
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        )
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise UserError(
            f"Lightning does not accept these trainer settings: {error} Check trainer.* on the command line."
        ) from error


def warn_about_determinism(deterministic: bool | str, accelerator: Accelerator) -> None:
    """Log what ``trainer.deterministic`` guarantees on a GPU, where sums have no fixed order."""
    if deterministic and not isinstance(accelerator, CPUAccelerator):
        log.warning(
            "trainer.deterministic=%s: the CRF's sums and the backward passes of pooling and resizing use torch's "
            "slower deterministic algorithms. An operation without one %s. Runs can be equal only on the same device, "
            "driver and torch (docs/reliability.md).",
            deterministic,
            "gives a warning" if deterministic == "warn" else "ends the run",
        )


def build_training_terms(config: dict[str, Any]) -> dict[str, Term]:
    """Build the terms of the loss.

    With ``data.masks=some``, the term ``supervised`` gets weight 1 in ``config``, unless it has one. If training has no
    CRF (``crf=off``, ``crf=test_only``), terms that need one get weight 0 in ``config``, with a warning.

    Raises:
        UserError: as ``build_terms``.
    """
    if config["data"].get("masks") == SOME and not loss_weights(config["loss"]).get("supervised"):
        config["loss"] = {**config["loss"], "supervised": 1.0}
    growing, adaptive = config["seeds"]["grow"], bool(config["decay"]["adaptive"])
    terms = build_terms(config["loss"], growing, adaptive)
    unused = [name for name, term in terms.items() if "crf" in term.needs]
    if not unused or config["crf"]["train"]["backend"] != "none":
        return terms
    log.warning("crf.train.backend is none, so the loss leaves out the terms that need a CRF: %s.", ", ".join(unused))
    config["loss"] = {**config["loss"], **dict.fromkeys(unused, 0.0)}
    return build_terms(config["loss"], growing, adaptive)


def build_loss(config: Mapping[str, Any], terms: Mapping[str, Term], pixels: int, classes: int) -> SECLoss:
    """Build the loss with the decays, pooling and CRF of ``config``, for a mask of so many pixels and classes."""
    decay, seeds = dict(config["decay"]), dict(config["seeds"])
    node, adaptive, grow = decay.pop("pooling"), decay.pop("adaptive"), seeds.pop("grow")
    pooling = global_weighted_rank_pooling if node is None else build(node, Pooling, "decay.pooling")
    crf = build_stage_crf(config["crf"]["train"]) if "crf" in needed(terms.values()) else None
    growing = Growing(**seeds)
    if adaptive:
        decays: Any = AdaptiveDecay((decay["pos"], decay["neg"], decay["bg"]), classes, growing, **adaptive)
    else:
        decays = resolve_decay(**decay, n=pixels)
    return SECLoss(terms, decays, crf, pooling, growing if grow else None)


def build_module(config: Mapping[str, Any], datamodule: ImageDataModule, terms: Mapping[str, Term]) -> SECModule:
    """Build the network, loss and module of ``config``, and the samples of the data module for this network."""
    backbone = config["backbone"]
    network = build_network(backbone, datamodule.class_names)
    height, width = network.mask_size(backbone["input_size"])
    loss = build_loss(config, terms, height * width, len(datamodule.class_names))
    attach_features(datamodule, network, backbone["input_size"])
    if config["compile"]:
        compile_in_place(network)
    shown = config["evaluation"]["pictures"]
    return SECModule(
        network,
        loss,
        config["optim"],
        datamodule.palette,
        scored=datamodule.scored,
        test_crf=build_stage_crf(config["crf"]["test"]),
        crf_when=config["evaluation"]["crf"],
        pictures=shown - shown // 2,
        gallery_samples=datamodule.gallery_samples(shown // 2),
        record={
            "config": dict(config),
            "class_names": list(datamodule.class_names),
            "masked_images": list(datamodule.masked or ()),
        },
    )


def compile_in_place(network: SegmentationNet) -> None:
    """Compile trunk and head at their first call. The names of their tensors do not change.

    Raises:
        UserError: if there is no C++ compiler, which ``torch.compile`` needs.
    """
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++", "cl")):
        raise UserError("compile=true needs a C++ compiler: install g++ or clang++, or give compile=false.")
    network.trunk.compile()
    network.head.compile()


def prediction_warnings(datamodule: ImageDataModule, module: SECModule) -> list[str]:
    """Return a line for each thing that is wrong with the masks of the last validation."""
    seen, cues = datamodule.val_classes() or set(), datamodule.cues
    trained = None if cues is None else np.flatnonzero(cues.labelled(datamodule.train_images.names).any(0)).tolist()
    return score_warnings(
        module.val_confusion,
        datamodule.class_names,
        len(datamodule.val_images.names),
        datamodule.scored,
        trained,
        module.val_pixels,
        labelled=seen,
    )


def stated_protocol(config: Mapping[str, Any], network: SegmentationNet) -> dict[str, Any]:
    """Return what the protocol states of the choices before the run: pretraining, and the split of the settings."""
    stated = config["protocol"]
    pretraining = stated_pretraining(network.trunk.pretraining, stated["pretraining"])
    return {"trunk_pretraining": pretraining, "tuned_on": stated["tuned_on"]}


def stated_decay(node: Mapping[str, Any], decay: Decay | AdaptiveDecay) -> dict[str, Any]:
    """Return the decays for the protocol: numbers, or None with the settings of the estimate."""
    if isinstance(decay, Decay):
        return decay._asdict()
    return {name: node[name] for name in ("pos", "neg", "bg", "adaptive")}


def summarise(
    config: Mapping[str, Any], datamodule: ImageDataModule, module: SECModule, trainer: pl.Trainer
) -> dict[str, Any]:
    """Return the figures of the run, with the protocol of their measurement."""
    test = config["crf"]["test"]
    pooling = {"pooling": node} if (node := config["decay"]["pooling"]) else {}
    step_seconds = module.step_clock.seconds
    return {
        "figures": {"without_crf": module.val_scores, "with_crf": module.val_scores_crf},
        "losses": {term: float(value) for term, value in module.losses.items() if term in (*module.loss.terms, "loss")},
        "protocol": {
            **datamodule.protocol(),
            **stated_protocol(config, module.network),
            "labels_restrict_predictions": False,
            "checkpoint": "the last step's weights",
            "steps": trainer.global_step,
            "seed": config["seed"],
            "backbone": config["backbone"]["name"],
            "input_size": config["backbone"]["input_size"],
            "precision": config["trainer"]["precision"],
            "scales": [1.0],
            "mirror": False,
            "crf": None if module.val_scores_crf is None else dict(test),
            "training_crf": None if module.loss.crf is None else dict(config["crf"]["train"]),
            "loss": dict(config["loss"]),
            "decay": {**stated_decay(config["decay"], module.loss.decay), **pooling},
            "seeds": dict(config["seeds"]),
        },
        "time": {
            "step_seconds": step_seconds / max(module.step_clock.count, 1),
            "crf_share": module.crf_clock.seconds / step_seconds if step_seconds else 0.0,
            "peak_bytes": peak_memory(),
            "peak_gpu_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        },
        "versions": versions(),
    }
