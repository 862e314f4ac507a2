"""Every option in conf/ composes, is valid, and builds the objects that it describes."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import nn

from secseg.cli.help import describe
from secseg.crf import build_stage_crf
from secseg.data.datamodule import ImageDataModule
from secseg.losses import build_terms
from secseg.losses.pooling import resolve_decay
from secseg.models import build_network
from secseg.runs.loggers import build_loggers
from secseg.runs.wandb_logger import finish_wandb
from secseg.training.callbacks import build_callbacks
from secseg.training.optimizers import build_optimizer
from secseg.training.settings import GROUPS, check_settings
from secseg.utils.config import build, config_dir, flatten, to_plain
from secseg.utils.errors import UserError
from tests.conftest import REPOSITORY

CONF = config_dir()
FILES = sorted(path for path in CONF.rglob("*.yaml") if path.parent.name != "local")
# Groups that are not training's.
OTHER_COMMANDS = ("inference", "localization", "classifier", "cues", "launcher", "sweeper", "job_logging")
OPTIONS = sorted((p.parent.name, p.stem) for p in FILES if p.parent != CONF and p.parent.name not in OTHER_COMMANDS)
# What an option needs beyond the core, recognised by what it sets.
EXTRAS = {"crf": ("backend: pydensecrf", "pydensecrf"), "logger": ("tensorboard:", "tensorboard")}
EXTRAS |= {"backbone": ("variant: [12]", "lite")}

Compose = Callable[..., DictConfig]


def options(group: str) -> list[str]:
    return [option for other, option in OPTIONS if other == group]


@pytest.fixture(scope="module")
def composed() -> Compose:
    return compose_from_conf


def compose_from_conf(*words: str, folder: Path = CONF) -> DictConfig:
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose("train", ["run_dir=runs/x", *words])


@pytest.fixture
def node(composed: Compose) -> Callable[[str, str], dict[str, Any]]:
    return lambda group, option: to_plain(composed(f"{group}={option}"))[group]


def test_the_folder_is_that_of_the_checkout_and_has_all_groups() -> None:
    assert CONF == REPOSITORY / "conf"
    groups = {group for group, _ in OPTIONS}
    assert set(GROUPS) - {"evaluation"} <= groups
    assert {"experiment", "debug"} <= groups


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONF).as_posix())
def test_each_file_starts_with_a_comment_that_describes_it(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    first = next(line for line in lines if "@package" not in line)
    assert re.match(r"# \S+ \S+", first), first
    assert describe(path) == first.lstrip("# ").strip()
    if any("@package" in line for line in lines):
        assert lines[0] == "# @package _global_"


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_each_option_composes_into_a_config_that_is_valid(composed: Compose, group: str, option: str) -> None:
    cfg = composed(f"{group}={option}")
    check_settings(cfg)
    assert "???" not in OmegaConf.to_yaml(cfg, resolve=True)


@pytest.mark.parametrize(("group", "option"), [(g, o) for g, o in OPTIONS if g in EXTRAS])
def test_an_option_that_needs_an_extra_names_it_in_its_first_line(group: str, option: str) -> None:
    text = (CONF / group / f"{option}.yaml").read_text("utf-8")
    mark, extra = EXTRAS[group]
    named = re.findall(r"pip install 'secseg\[(\w+)\]'", text.partition("\n")[0])
    settings = "\n".join(line.partition("#")[0] for line in text.splitlines())
    assert named == ([extra] if re.search(mark, settings) else [])
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert extra in extras


def leaves(value: Any, prefix: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {prefix}
    return {key for name, child in value.items() for key in leaves(child, f"{prefix}.{name}")}


@pytest.mark.parametrize("group", ["crf", "decay", "loss", "optim", "trainer"])
def test_the_options_of_a_group_set_the_same_keys(node: Any, group: str) -> None:
    """So that a key on the command line is there whichever option is chosen."""
    keys = {option: leaves(node(group, option)) for option in options(group)}
    solved = (".fraction", ".adaptive")  # null, or a node
    keys = {o: {k for k in found if not k.startswith(solved)} for o, found in keys.items()}
    keys = {o: found - {".optimizer.momentum"} for o, found in keys.items()}
    assert len({frozenset(found) for found in keys.values()}) == 1, keys


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CONF).as_posix())
def test_an_option_with_a_base_sets_only_what_differs_from_it(path: Path) -> None:
    settings = yaml.safe_load(path.read_text("utf-8")) or {}
    bases = [base for base in settings.pop("defaults", []) if isinstance(base, str) and base != "_self_"]
    group = path.parent.relative_to(CONF)
    for base in bases if "hydra" not in group.parts else []:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            if group == Path("experiment"):  # it changes the options of other groups, so it cannot be composed alone
                composed = OmegaConf.load(CONF / group / f"{base}.yaml")
            else:
                composed = OmegaConf.select(compose((group / base).as_posix()), ".".join(group.parts))
        inherited = flatten(OmegaConf.to_container(composed))
        repeated = {key for key, value in flatten(settings).items() if inherited.get(key, "absent") == value}
        assert not repeated, f"{base} sets {repeated} to the same values"


@pytest.mark.parametrize("option", options("backbone"))
def test_each_backbone_is_built_and_has_a_mask_of_41(node: Any, option: str) -> None:
    backbone = node("backbone", option)
    if option == "timm":
        assert backbone["trunk"]["model"] is None, "no model is a good guess"
        backbone["trunk"]["model"] = "test_efficientnet"
    with torch.device("meta"):
        network = build_network(backbone, ["background", "cat", "dog"], weights=False)
    assert network.class_names == ("background", "cat", "dog")
    assert all(p.requires_grad is not backbone["freeze"] for p in network.trunk.parameters())
    if option != "timm":
        assert network.mask_size(backbone["input_size"]) == (41, 41)


def test_backbone_timm_without_a_model_is_refused(node: Any) -> None:
    with pytest.raises(UserError, match=r"backbone\.trunk\.model"):
        build_network(node("backbone", "timm"), ["background", "cat"], weights=False)


@pytest.mark.parametrize("stage", ["train", "test"])
@pytest.mark.parametrize("option", options("crf"))
def test_each_crf_is_built_with_the_kernels_of_the_paper(node: Any, option: str, stage: str) -> None:
    settings = node("crf", option)[stage]
    if settings["backend"] == "pydensecrf" and not os.environ.get("CI"):
        pytest.importorskip("pydensecrf")
    crf = build_stage_crf(settings)
    assert (crf is None) == (settings["backend"] == "none")
    if option in ("relative", "objects") and stage == "test":
        crf = crf.of_divisor(1.0)
    if crf is not None:
        scale = 12 if stage == "train" else 1
        p = (crf.crf if settings["channels"] == "bgr" else crf).params
        assert (p.bilateral_weight, p.bilateral_rgb, p.gaussian_weight, p.iterations) == (10, 13, 3, 10)
        assert (p.bilateral_xy, p.gaussian_xy) == (80 / scale, 3 / scale)


@pytest.mark.parametrize("option", options("decay"))
def test_each_decay_gives_three_numbers_for_a_mask_of_41(node: Any, option: str) -> None:
    settings = node("decay", option)
    assert settings.pop("pooling") is None
    if settings.pop("adaptive"):
        return
    decay = resolve_decay(**settings, n=41 * 41)
    assert all(0 <= value <= 1 for value in decay)
    # Half of the weight on 10 and 30 % of 1681: 1 - d is near ln 2 / 168 and ln 2 / 504.
    expected = {
        "paper": (0.996, 0, 0.999),
        "small_objects": (0.99, 0, 0.999),
        "large_objects": (0.998, 0, 0.999),
        "max": (0, 0, 0),
        "average": (1, 1, 1),
        "fraction": (0.9959, 0, 0.9989),
    }
    assert (decay.pos, decay.neg, decay.bg) == pytest.approx(expected[option], abs=3e-4)


@pytest.mark.parametrize("option", options("loss"))
def test_each_loss_has_the_terms_of_its_name(node: Any, option: str) -> None:
    terms = build_terms(node("loss", option))
    several = {
        "sec": {"seed", "expand", "constrain"},
        "sec_plus": {"balanced_seed", "expand", "constrain"},
        "dsrg": {"balanced_seed", "constrain"},
    }
    named = several.get(option) or set(option.split("_"))
    assert {name: term.weight for name, term in terms.items()} == dict.fromkeys(named, 1.0)


@pytest.mark.parametrize("option", options("optim"))
def test_each_optimizer_takes_a_step_with_its_schedule(node: Any, option: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    before = network[1].weight.detach().clone()
    optimizer, schedule = build_optimizer(network, network[1], node("optim", option), steps=10)
    network(torch.rand(2, 3, 4, 4)).square().sum().backward()
    optimizer.step()
    schedule.step()
    assert not torch.equal(before, network[1].weight)


@pytest.mark.parametrize("option", options("data"))
def test_each_data_set_is_built_with_all_its_keys(node: Any, option: str, tmp_path: Path) -> None:
    settings = {**node("data", option), "root": str(tmp_path)}
    data = build(settings, ImageDataModule, seed=3)
    for key in ("train_split", "val_split", "batch_size", "workers", "mirror", "limit"):
        assert getattr(data, key) == settings[key]


@pytest.mark.parametrize("option", options("trainer"))
def test_each_trainer_accepts_its_keys(node: Any, option: str, tmp_path: Path) -> None:
    settings = {**node("trainer", option), "logger": False, "default_root_dir": tmp_path}
    settings |= {"accelerator": "cpu"}  # a test machine need not have a GPU
    trainer = pl.Trainer(**settings, enable_progress_bar=False, enable_checkpointing=False)
    assert trainer.max_steps == settings["max_steps"]
    assert trainer.num_devices == settings["devices"]


@pytest.mark.parametrize("option", options("logger"))
def test_each_logger_is_built_and_the_csv_logger_always(node: Any, option: str, tmp_path: Path) -> None:
    settings = node("logger", option)
    if option == "wandb":
        settings["wandb"]["mode"] = "disabled"
    try:
        loggers = build_loggers(settings, tmp_path, {}, "test")
        names = [type(logger).__name__.lower() for logger in loggers]
    finally:
        finish_wandb()
    assert names[0] == "metricsfile"
    assert option == "csv" or option in names[1]


def test_several_loggers_at_once_compose(composed: Compose) -> None:
    assert set(composed("logger=[csv,wandb,tensorboard]").logger) == {"csv", "wandb", "tensorboard"}


def test_the_default_callbacks_are_built_and_null_leaves_one_out(composed: Compose) -> None:
    every = build_callbacks(to_plain(composed())["callbacks"])
    fewer = build_callbacks(to_plain(composed("callbacks.pictures=null"))["callbacks"])
    names = {type(callback).__name__ for callback in every}
    assert {"Progress", "ScoreTable", "Pictures", "Curves"} <= names
    assert names - {type(callback).__name__ for callback in fewer} == {"Pictures"}


def test_experiment_paper_is_the_recipe_of_the_paper(composed: Compose) -> None:
    cfg = to_plain(composed("experiment=paper"))
    assert cfg["backbone"]["name"] == "vgg16_largefov"
    assert cfg["backbone"]["input_size"] == 321
    assert (cfg["backbone"]["head"]["dilation"], cfg["backbone"]["head"]["width"]) == (12, 1024)
    assert cfg["decay"] == {"pos": 0.996, "neg": 0.0, "bg": 0.999, "fraction": None, "adaptive": None, "pooling": None}
    assert {name: weight for name, weight in cfg["loss"].items() if weight} == {"seed": 1, "expand": 1, "constrain": 1}
    assert (cfg["crf"]["train"]["backend"], cfg["crf"]["test"]["backend"]) == ("lattice", "lattice")
    sgd = {"_target_": "torch.optim.SGD", "lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4, "fused": None}
    assert cfg["optim"]["optimizer"] == sgd
    assert [cfg["optim"][key] for key in ("bias_lr", "bias_decay", "classifier_lr")] == [2, 0, 10]
    assert [cfg["optim"]["schedule"][key] for key in ("kind", "every", "gamma")] == ["step", 2000, 0.1]
    assert (cfg["data"]["batch_size"], cfg["data"]["mirror"]) == (15, False)
    assert cfg["trainer"]["max_steps"] == 8000


def test_a_preset_overrides_an_experiment_and_the_command_line_overrides_both(composed: Compose) -> None:
    cfg = composed("experiment=paper", "debug=smoke", "data.limit=3")
    assert (cfg.name, cfg.trainer.max_steps, cfg.data.limit) == ("smoke", 4, 3)
    assert composed("experiment=paper", "trainer.max_steps=7").trainer.max_steps == 7
    overfit = to_plain(composed("debug=overfit"))["data"]
    assert overfit["train_split"] == overfit["val_split"], "the same images are trained on and scored"


def test_machine_paths_in_local_override_groups_and_experiments(tmp_path: Path) -> None:
    for path in FILES:
        copy = tmp_path / path.relative_to(CONF)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text("utf-8"))
    example = re.search(r"```yaml\n(.*?)```", (CONF / "local" / "README.md").read_text("utf-8"), re.DOTALL)
    assert example is not None
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "default.yaml").write_text(example[1])
    local = compose_from_conf("experiment=voc_animals", folder=tmp_path)
    assert local.data.root == yaml.safe_load(example[1])["data"]["root"]
    assert compose_from_conf("experiment=voc_animals", "data.root=/mine", folder=tmp_path).data.root == "/mine"
