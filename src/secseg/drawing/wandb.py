"""What W&B shows: tables and images of a run, and the dashboard of a project."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from secseg.data.classes import VOID
from secseg.drawing.overlays import GalleryItem
from secseg.losses.terms import TERMS
from secseg.runs.wandb_logger import has_wandb_key
from secseg.utils.errors import UserError, require_package
from secseg.utils.quoting import shell_override
from secseg.utils.resizing import resize_mask

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

CRF_SUFFIX = {"without_crf": "", "with_crf": " with CRF"}
STEP = "trainer/global_step"  # optimiser steps; W&B's own step counts calls of log
MARGIN = 128  # grey
MOST_LINES = 50  # in one plot; a study has more than W&B's default of 10


def iou_table(ious: Mapping[str, Mapping[str, float]]) -> Any:
    """Return a ``wandb.Table`` with a row for each class and a column for each variant (without and with CRF)."""
    import wandb

    names = next(iter(ious.values()))
    rows = [[name, *(iou[name] for iou in ious.values())] for name in names]
    return wandb.Table(columns=["class", *(f"IoU{CRF_SUFFIX[variant]}" for variant in ious)], data=rows)


def confusion_table(counts: Mapping[str, np.ndarray], class_names: Sequence[str]) -> Any:
    """Return a ``wandb.Table`` of confusion matrices.

    A row has a true class, a predicted class, and the share in [0, 1] of the true class's pixels with this prediction.
    Classes without pixels are left out. ``counts`` has, for each variant, pixels (C, C) by (truth, prediction).
    """
    import wandb

    pixels = next(iter(counts.values())).sum(1)  # all variants have the same truth
    rows = [
        [class_names[truth], name, *(float(of[truth, predicted] / pixels[truth]) for of in counts.values())]
        for truth in np.flatnonzero(pixels).tolist()
        for predicted, name in enumerate(class_names)
    ]
    shares = (f"share{CRF_SUFFIX[variant]}" for variant in counts)
    return wandb.Table(columns=["truth", "prediction", *shares], data=rows)


def wandb_images(items: Sequence[GalleryItem], class_names: Sequence[str]) -> list[Any]:
    """Return a ``wandb.Image`` of each item, with its masks as overlays and with class names.

    W&B shows the images of a list in the size of the first. Smaller images get a grey margin, right and below.
    """
    height, width = (max((item.image.shape[axis] for item in items), default=0) for axis in (0, 1))
    return [_wandb_image(item, class_names, (height, width)) for item in items]


def _wandb_image(item: GalleryItem, class_names: Sequence[str], size: tuple[int, int]) -> Any:
    import wandb

    masks = {
        "cues": item.cues,
        "prediction": item.prediction,
        "prediction with CRF": item.prediction_crf,
        "ground truth": item.mask,
    }
    labels = {**dict(enumerate(class_names)), VOID: "none"}
    margin = [(0, most - own) for most, own in zip(size, item.image.shape, strict=False)]
    overlays = {
        name: {
            "mask_data": np.pad(resize_mask(mask, item.image.shape[:2]), margin, constant_values=VOID),
            "class_labels": labels,
        }
        for name, mask in masks.items()
        if mask is not None
    }
    image = np.pad(item.image, [*margin, (0, 0)], constant_values=MARGIN)
    return wandb.Image(image, caption=item.name, masks=overlays)


def build_dashboard(project: str, entity: str, group_by: Sequence[str], terms: Sequence[str]) -> Workspace:
    """Return the definition of the dashboard. It shows the keys of ``docs/wandb.md``.

    Args:
        project, entity: name and owner of the W&B project.
        group_by: the runs with equal values of these are one line, their mean: a column of W&B, such as ``Group``,
            ``Name`` or ``Tags``, or a setting (``decay.pos``).
        terms: names of terms of the loss from other packages, in addition to ``TERMS``.
    """
    from wandb_workspaces import expr
    from wandb_workspaces.reports import v2 as panels
    from wandb_workspaces.workspaces import RunsetSettings, Section, Workspace, WorkspaceSettings

    def lines(*keys: str) -> list[Any]:
        return [panels.LinePlot(title=key, x=STEP, y=[key]) for key in keys]

    def best(key: str) -> Any:
        return panels.BarPlot(title=f"{key}, best", metrics=[f"{key}.max"], max_bars_to_show=MOST_LINES)

    classes = panels.LinePlot(title="val/iou", x=STEP, metric_regex="val/iou/.+")
    tables = [panels.WeavePanelSummaryTable(table_name=f"tables/{name}") for name in ("iou", "confusion")]
    pictures = panels.MediaBrowser(title="pictures/val", media_keys=["pictures/val"], num_columns=2)
    return Workspace(
        project=project,
        entity=entity,
        name="secseg",
        sections=[
            Section(name="Losses", panels=lines(*(f"train/{term}" for term in ("loss", *TERMS, *terms))), is_open=True),
            Section(
                name="Validation",
                panels=[*lines("val/miou", "val/miou_crf"), best("val/miou"), best("val/miou_crf")],
                is_open=True,
            ),
            Section(name="Classes", panels=[classes, *tables], is_open=True),
            Section(name="Pictures", panels=[pictures], is_open=True),
            Section(name="Time", panels=lines("train/images_per_second", "train/crf_share")),
        ],
        settings=WorkspaceSettings(x_axis=STEP, max_runs=MOST_LINES),
        runset_settings=RunsetSettings(
            groupby=[expr.Metric(word) if word in expr.FE_METRIC_NAME_MAP else expr.Config(word) for word in group_by],
            pinned_columns=["summary:val/miou.max", "summary:val/miou_crf.max"],
        ),
    )


def save_dashboard(project: str, entity: str | None, group_by: Sequence[str], terms: Sequence[str]) -> str:
    """Create the dashboard of ``project`` on W&B, or update the existing one, and print its address.

    The dashboard is a saved view. For the arguments, see :func:`build_dashboard`; ``entity`` None is the owner of the
    key. The result is the definition that was sent, as JSON.

    Raises:
        UserError: if the package or the key is missing, ``group_by`` or ``terms`` is not a list of names, the project
            does not exist, or W&B cannot be reached.
    """
    require_package("The dashboard", "wandb_workspaces", install="'secseg[dashboard]'")
    for key, names, example in (("group_by", group_by, "[Group,Name]"), ("terms", terms, "[size]")):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{key}={names}: give a list of names: {key}={example}.")
    if not has_wandb_key():
        raise UserError("The dashboard needs a W&B key. Log in with `wandb login`, or set WANDB_API_KEY.")
    import wandb
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError
    from wandb_workspaces.workspaces import internal
    from wandb_workspaces.workspaces.errors import SpecVersionError

    try:
        owner = entity or wandb.Api().default_entity
        if owner is None:
            raise UserError("W&B reports no owner for this key: name the owner of the project with entity=<team>.")
        view = build_dashboard(project, owner, group_by, terms)._to_model()
        view.name, view.id = _saved_view(project, owner)
        internal.upsert_view2(view)
    except (wandb.Error, WandbApiFailedError, SpecVersionError) as error:
        raise UserError(
            f"The dashboard of {entity or 'your'}/{project} could not be saved: {error} "
            "Check the network, the key (`wandb login`) and your permissions in the project."
        ) from error
    # Workspace.save() would choose a random name and print an incomplete address.
    word = internal._internal_name_to_url_query_str(view.name)
    print(f"{wandb.setup().settings.app_url}/{owner}/{project}?nw={word}")
    return view.spec.model_dump_json(by_alias=True, exclude_none=True, indent=2)


def _saved_view(project: str, entity: str) -> tuple[str, str]:
    """Return the name of the view and its id, which is empty if the view does not exist yet.

    The name, ``nw-<word>-v``, depends only on the project, so the next call finds the same view.
    """
    from wandb_workspaces.workspaces import internal

    word = hashlib.sha256(f"secseg {entity}/{project}".encode()).hexdigest()[:11]  # as long as W&B's own
    name = internal._url_query_str_to_internal_name(word)
    try:
        return name, internal.get_view_dict(entity, project, word)["id"]
    except ValueError as error:
        if "not found in project" in str(error):
            return name, ""
        raise UserError(
            f"W&B has no project {entity}/{project}: {error} Send a run to it first (logger=wandb "
            f"{shell_override('logger.wandb.project', project)}), or choose another one with project= and entity=."
        ) from error
