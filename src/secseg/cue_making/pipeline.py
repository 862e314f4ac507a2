"""What each stage of cue making does: two networks, their maps, cues, an audit, an export."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

import secseg
from secseg.crf import build_stage_crf
from secseg.cue_making.audit.write import masks_of
from secseg.cue_making.classifier import LocalizationNet, build_localization_net
from secseg.cue_making.classifier_file import load_localization
from secseg.cue_making.cues import CueSettings, make_cue_map
from secseg.cue_making.exports import audit_file, export_file
from secseg.cue_making.fingerprints import digest, file_digests
from secseg.cue_making.map_files import read_maps, write_maps
from secseg.cue_making.refinement import refine
from secseg.cue_making.stages import Stage, WorkFolder
from secseg.cue_making.training import NAME, open_cache, train_classifier
from secseg.data.cues.cue_files import Cues, CueStore
from secseg.data.datamodule import ImageDataModule
from secseg.data.images import read_image
from secseg.data.labels import Labels
from secseg.data.splits import ImageSet
from secseg.runs.loggers import build_loggers
from secseg.runs.wandb_logger import finish_wandb
from secseg.utils.device import pick_device
from secseg.utils.files import sha256
from secseg.utils.parallel import results_of
from secseg.utils.progress import ImageMeter

MAP_KEYS = ("scales", "mirror", "grid")
"""Keys of ``conf/cues`` that are about the maps; the others are ``CueSettings``."""


@dataclass(frozen=True)
class Pipeline:
    """The stages for one data set.

    Attributes:
        config: ``conf/make_cues.yaml``, composed, plain and checked.
        data: opened with ``open_train``.
        out: the work folder.
        run: the run folder, for the loggers.
    """

    config: Mapping[str, Any]
    data: ImageDataModule
    out: Path
    run: Path

    @cached_property
    def settings(self) -> CueSettings:
        return cue_settings(self.config["cues"])

    @cached_property
    def images(self) -> ImageSet:
        return self.data.train_images

    @cached_property
    def labels(self) -> Labels:
        return self.data.image_labels()

    @cached_property
    def image_digests(self) -> dict[str, str]:
        return file_digests(dict(zip(self.images.names, self.images.images, strict=True)))

    @cached_property
    def work(self) -> WorkFolder:
        return WorkFolder(self.out)

    @property
    def cue_file(self) -> Path:
        return self.out / "cues.safetensors"

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks that the settings need."""
        return ("foreground", "background") if self.settings.background == "saliency" else ("foreground",)

    def check_networks(self) -> None:
        """Build the networks without computing or storing anything.

        Raises:
            UserError: for settings that do not fit.
        """
        for name in self.networks:
            with torch.device("meta"):
                self._build(name, weights=False)

    def _build(self, name: str, weights: bool) -> LocalizationNet:
        node, key = self.config["localization"][name]["network"], f"localization.{name}.network"
        return build_localization_net(node, self.images.class_names[1:], weights, key)

    def stages(self) -> list[Stage]:
        """Return the stages that the settings ask for, in their order."""
        stages = [
            Stage(name, self.out / name / NAME, self._network_inputs(name), self._train(name)) for name in self.networks
        ]
        stages += [
            Stage("maps", self.out / "maps", self._map_inputs, self._make_maps, self.networks),
            Stage("cues", self.cue_file, self._cue_inputs, self._make_cues, ("maps",)),
            Stage("audit", self.out / "audit", self._audit_inputs, self._audit, ("cues",)),
        ]
        if self.config["export"] is not None:
            stages.append(Stage("export", self.out / "export", self._export_inputs, self._export, ("cues",)))
        return stages

    def _network_inputs(self, name: str) -> Any:
        def inputs(_: Mapping[str, str]) -> dict[str, Any]:
            node = self.config["localization"][name]
            weights = node["network"]["trunk"].get("weights")
            file = None if weights is None else Path(str(weights)).expanduser()
            return {
                "settings": node,
                "seed": self.config["seed"],
                "precision": self.config["precision"],
                "first weights": sha256(file) if file is not None and file.is_file() else None,
                "class names": list(self.images.class_names),
                "images": self.image_digests,
                "labels": self.labels,
            }

        return inputs

    def _train(self, name: str) -> Any:
        def work(goes_on: bool) -> dict[str, Any]:
            node, folder = self.config["localization"][name], self.out / name
            pl.seed_everything(self.config["seed"], workers=True, verbose=False)
            network = self._build(name, weights=True)
            try:
                loggers = build_loggers(self.config["logger"], self.run / name, self.config, f"{self.run.name}_{name}")
                figures = train_classifier(
                    network,
                    self.images,
                    self.labels,
                    node,
                    folder,
                    trainer=trainer_options(self.config["device"], self.config["precision"], node["steps"]),
                    workers=self.data.workers,
                    feature_cache=self.data.feature_cache,
                    seed=self.config["seed"],
                    loggers=loggers,
                    resume=goes_on,
                )
            finally:
                finish_wandb()
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # only for going on
            return figures

        return work

    def _map_inputs(self, outputs: Mapping[str, str]) -> dict[str, Any]:
        return {
            "settings": {key: self.config["cues"][key] for key in MAP_KEYS},
            "foreground network": outputs["foreground"],
            "background network": outputs.get("background"),
            "images": self.image_digests,
            "labels": self.labels,
        }

    def _make_maps(self, _: bool) -> dict[str, Any]:
        device, cues = pick_device(self.config["device"]), self.config["cues"]
        networks = [load_localization(self.out / name / NAME).to(device) for name in self.networks]
        mirror = self.config["localization"]["foreground"]["mirror"]
        cache = open_cache(networks[0], mirror, self.data.feature_cache)
        if cache is not None and (mirror or not cues["mirror"]):
            cache.prepare(self.images.images, networks[0].features)
        else:
            cache = None  # it has no mirror images
        write_maps(
            self.out / "maps",
            self.images,
            self.labels,
            networks[0],
            networks[1] if len(networks) > 1 else None,
            cues["scales"],
            cues["mirror"],
            (cues["grid"], cues["grid"]),
            self.config["workers"],
            cache,
        )
        return {"images": len(self.images.names)}

    def _cue_inputs(self, outputs: Mapping[str, str]) -> dict[str, Any]:
        return {
            "settings": asdict(self.settings),
            "crf": self.crf_node(),
            "maps": outputs["maps"],
            "images": self.image_digests if self.settings.refine else None,
            "labels": self.labels,
        }

    def crf_node(self) -> dict[str, Any] | None:
        """Return the settings of the CRF that refines the maps; None where none does."""
        if not self.settings.refine:
            return None
        node = {key: value for key, value in self.config["crf"]["train"].items() if key != "gradient"}
        return {**node, "input_size": self.config["localization"]["foreground"]["network"]["input_size"]}

    def _make_cues(self, _: bool) -> dict[str, Any]:
        settings, classes = self.settings, len(self.images.class_names) - 1
        crf = build_stage_crf(self.config["crf"]["train"]) if settings.refine else None
        input_size = self.config["localization"]["foreground"]["network"]["input_size"]

        def one(item: tuple[str, Path]) -> np.ndarray:
            name, path = item
            labels = self.labels[name]
            maps, scores, saliency = read_maps(self.out / "maps", name, labels, classes)
            probs = None
            if crf is not None and labels:
                probs = refine(maps, labels, read_image(path), input_size, crf, settings.background_score)
            return make_cue_map(maps, saliency, labels, settings, scores, probs)

        items = list(zip(self.images.names, self.images.images, strict=True))
        cues = {}
        with (
            ImageMeter("cues", len(items)) as meter,
            closing(results_of(one, items, self.config["workers"])) as results,
        ):
            for (name, _path), result in results:
                cues[name] = Cues(self.labels[name], result)
                meter.update()
        CueStore.from_dict(cues, self._provenance()).save(self.cue_file)
        return {"images": len(cues)}

    def _provenance(self) -> dict[str, Any]:
        """What a cue file says of how it was made."""
        networks = {name: digest(self.out / name / NAME) for name in self.networks}
        return {
            "source": "secseg make_cues",
            "data": self.images.title,
            "labels": self.data.label_source(),
            "class_names": list(self.images.class_names),
            "localization": self.config["localization"]["name"],
            "networks": {"background": None, **networks},
            "cues": dict(self.config["cues"]),
            "crf": self.crf_node(),
            "secseg": secseg.__version__,
        }

    def _audit_inputs(self, outputs: Mapping[str, str]) -> dict[str, Any]:
        against = self.config["against"]
        return {
            "scored": self.data.scored,
            "cues": outputs["cues"],
            "against": None if against is None else digest(Path(against).expanduser()),
            "images": self.image_digests,
            "masks": file_digests(masks_of(self.images)),
        }

    def _audit(self, _: bool) -> dict[str, Any]:
        return audit_file(self.cue_file, self.images, self.out / "audit", self.config["against"], self.data.scored)

    def _export_inputs(self, outputs: Mapping[str, str]) -> dict[str, Any]:
        return {"format": self.config["export"], "cues": outputs["cues"]}

    def _export(self, _: bool) -> dict[str, Any]:
        return export_file(self.cue_file, self.images, self.out / "export", self.config["export"])


def cue_settings(node: Mapping[str, Any]) -> CueSettings:
    """Return the settings of a node of ``conf/cues`` that are not about the maps.

    Raises:
        UserError: for values out of range, all of them told.
    """
    return CueSettings(**{key: value for key, value in node.items() if key not in ("name", *MAP_KEYS)})


def trainer_options(device: str, precision: str, steps: int) -> dict[str, Any]:
    """Return the options of Lightning's Trainer for so many steps on one device, named as for ``pick_device``."""
    kind = pick_device(device)
    devices: Any = [kind.index] if kind.index is not None else 1
    return {
        "accelerator": "gpu" if kind.type == "cuda" else kind.type,
        "devices": devices,
        "precision": precision,
        "log_every_n_steps": min(10, steps),
        "num_sanity_val_steps": 0,
    }
