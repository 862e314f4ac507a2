"""Complete runs on a few drawn images with a tiny trunk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning.accelerators import CPUAccelerator, CUDAAccelerator

import secseg
import secseg.training.module
import secseg.training.run
from secseg import losses
from secseg.models.files.export import export_checkpoint
from secseg.training.run import build_loss, compile_in_place, warn_about_determinism
from secseg.utils.config import using_plugins
from secseg.utils.errors import UserError
from tests.tiny_network import tiny_network
from tests.training.tiny_run import QUICK, Run


def test_a_run_writes_config_versions_metrics_curves_pictures_checkpoints_and_results(run: Run) -> None:
    folder = run()["run"]
    for name in ("config.yaml", "versions.json", "metrics.csv", "curves.png", "results.json"):
        assert (folder / name).is_file(), name
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert {path.name for path in (folder / "pictures").iterdir()} == {"step_000002.png", "step_000004.png"}
    header = (folder / "metrics.csv").read_text().partition("\n")[0].split(",")
    logged = {"train/loss", "train/seed", "train/expand", "train/constrain", "val/miou", "val/miou_crf"}
    assert logged | {"val/iou/background", "train/crf_share"} <= set(header)


def test_results_have_the_protocol_of_the_figures(run: Run) -> None:
    results = json.loads((run()["run"] / "results.json").read_text())
    assert 0 <= results["figures"]["without_crf"]["miou"] <= 1
    assert 0 <= results["figures"]["with_crf"]["miou"] <= 1
    protocol = results["protocol"]
    assert (protocol["data"], protocol["val_split"], protocol["val_images"]) == ("shapes", "val", 3)
    assert protocol["training_masks"] is None
    assert (protocol["labels"], protocol["scored_masks"]) == ("the cue file", "SegmentationClassAug")
    assert (protocol["trunk_pretraining"], protocol["tuned_on"]) == ("no pretraining (random weights)", None)
    assert protocol["labels_restrict_predictions"] is False
    assert protocol["crf"]["backend"] == "lattice"
    assert protocol["decay"] == {"pos": 0.996, "neg": 0.0, "bg": 0.999}
    assert "torch" in json.dumps(results["versions"])


def test_a_run_that_predicts_background_alone_reports_it(run: Run, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    def background(logits: torch.Tensor, photos: list[np.ndarray], crf: object) -> list[tuple[np.ndarray, None]]:
        return [(np.zeros(photo.shape[:2], dtype=np.uint8), None) for photo in photos]

    monkeypatch.setattr(secseg.training.module, "predict_masks", background)
    results = json.loads((run(*QUICK)["run"] / "results.json").read_text())
    (line,) = (line for line in results["warnings"] if "background alone" in line)
    assert line.startswith("All 3 masks show background alone, without a pixel of ")
    assert line in caplog.messages


@pytest.mark.parametrize("loss", ["seed", "seed_expand", "seed_constrain", "expand_constrain"])
def test_each_subset_of_the_terms_trains_and_shows_only_its_terms(run: Run, loss: str) -> None:
    result = run(f"loss={loss}", "trainer.max_steps=1", "trainer.val_check_interval=1", "evaluation.crf=never")
    assert set(result["results"]["losses"]) == {*loss.split("_"), "loss"}
    assert result["results"]["figures"]["with_crf"] is None


def test_a_term_named_by_its_class_is_trained_and_shown_like_the_others(run: Run) -> None:
    node = "+loss.second={_target_: secseg.losses.seed.SeedTerm, weight: 0.5}"
    result = run("loss=seed", node, "trainer.max_steps=1", "trainer.val_check_interval=1", "evaluation.crf=never")
    losses = result["results"]["losses"]
    assert losses["loss"] == pytest.approx(losses["seed"] + 0.5 * losses["second"])
    assert result["results"]["protocol"]["loss"]["second"]["weight"] == 0.5
    assert "train/second" in (result["run"] / "metrics.csv").read_text()


def test_cues_grow_and_options_of_terms_are_in_the_protocol(run: Run) -> None:
    words = ("seeds=grow", "loss=dsrg", "loss.crf_energy={weight: 0.5, xy: 4, warmup: [0, 2]}")
    result = run(*words, "trainer.max_steps=1", "trainer.val_check_interval=1", "evaluation.crf=never")
    losses = result["results"]["losses"]
    assert losses["loss"] == pytest.approx(losses["balanced_seed"] + losses["constrain"]), "the energy warms up"
    assert 0 < losses["crf_energy"] < 1
    assert result["results"]["protocol"]["seeds"] == {"grow": True, "foreground": 0.85, "background": 0.99}
    assert result["results"]["protocol"]["loss"]["crf_energy"]["xy"] == 4


class Maximum(losses.Pooling):
    def __call__(self, scores: torch.Tensor, decay: float) -> torch.Tensor:
        return scores.amax(-1)


def test_the_expansion_loss_pools_with_the_pooling_of_the_config() -> None:
    decay = {"pos": 0.996, "neg": 0.0, "bg": 0.999, "fraction": None, "adaptive": None}
    terms = losses.build_terms({"expand": 1.0})
    with using_plugins("tests"):
        pooling = {"_target_": "tests.training.test_run.Maximum"}
        own = build_loss({"decay": {**decay, "pooling": pooling}, "seeds": {"grow": False}}, terms, 81, 3)
    assert isinstance(own.pooling, Maximum)
    default = build_loss({"decay": {**decay, "pooling": None}, "seeds": {"grow": False}}, terms, 81, 3)
    assert default.pooling is losses.global_weighted_rank_pooling


def test_an_unknown_term_is_refused_before_the_run_folder_is_created(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss\.sed is not a term of the loss.*Did you mean 'seed'"):
        run("+loss.sed=1")
    assert not (tmp_path / "run").exists()


def test_without_a_training_crf_the_loss_and_the_protocol_have_no_constrain_term(run: Run, caplog) -> None:
    protocol = run("crf=off", "trainer.max_steps=1", "trainer.val_check_interval=1")["results"]["protocol"]
    assert protocol["loss"]["constrain"] == 0
    assert protocol["training_crf"] is protocol["crf"] is None
    assert "the loss leaves out the terms that need a CRF: constrain." in caplog.text


def test_the_protocol_states_how_decays_are_estimated(run: Run) -> None:
    words = (
        "decay=adaptive",
        "decay.bg=0.999",
        "trainer.max_steps=1",
        "trainer.val_check_interval=1",
        "crf.test.backend=none",
    )
    decay = run(*words)["results"]["protocol"]["decay"]
    assert (decay["pos"], decay["neg"], decay["bg"]) == (None, 0.0, 0.999)
    assert (decay["adaptive"]["source"], decay["adaptive"]["share"]) == ("seeds", 0.8)


def test_compiling_in_place_changes_neither_scores_nor_names(monkeypatch: pytest.MonkeyPatch) -> None:
    network, seen = tiny_network(), []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        seen.extend(node.name for node in graph.graph.nodes)
        return graph.forward

    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled(module, backend=backend))
    names = list(network.state_dict())
    levels = [torch.rand(2, channels, 9, 9) for channels in network.trunk.channels]
    with torch.no_grad():
        before = network.classify(levels)
        compile_in_place(network)
        torch.testing.assert_close(network.classify(levels), before)
    assert any("conv" in name for name in seen), "nothing was compiled"
    assert list(network.state_dict()) == names
    monkeypatch.setattr(secseg.training.run.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"compile=true needs a C\+\+ compiler"):
        compile_in_place(network)


def test_a_missing_accelerator_is_reported_in_one_message(run: Run) -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    with pytest.raises(UserError, match=r"trainer\.\*"):
        run("trainer.accelerator=gpu")


@pytest.mark.parametrize(("setting", "then"), [(True, "ends the run"), ("warn", "gives a warning")])
def test_deterministic_logs_what_it_guarantees_on_a_gpu(setting: bool | str, then: str, caplog) -> None:
    warn_about_determinism(setting, CUDAAccelerator())
    assert then in caplog.text
    caplog.clear()
    warn_about_determinism(setting, CPUAccelerator())
    warn_about_determinism(False, CUDAAccelerator())
    assert not caplog.text


def test_only_the_supervised_loss_trains_on_masks_and_the_protocol_has_their_source(
    run: Run, tmp_path: Path, shapes: Path
) -> None:
    with pytest.raises(UserError, match=r"data\.masks"):
        run("loss=supervised", folder="a")
    with pytest.raises(UserError, match="loss=supervised"):
        run("data.masks=dataset", folder="b")
    predicted = tmp_path / "predicted"
    predicted.mkdir()
    for path in (shapes / "SegmentationClassAug").iterdir():
        Image.open(path).point(lambda v: 0 if v == 255 else v).save(predicted / path.name)
    for masks in ("dataset", str(predicted)):
        result = run("loss=supervised", f"data.masks={masks}", "evaluation.crf=never", folder=f"c{len(masks)}")
        assert result["results"]["protocol"]["training_masks"] == masks
        assert result["results"]["protocol"]["cues"] is None
        assert set(result["results"]["losses"]) == {"supervised", "loss"}


def test_a_trained_network_loads_from_its_run_folder_and_as_exported(run: Run, tmp_path: Path) -> None:
    result = run()
    assert export_checkpoint(result["run"], tmp_path / "exported")["figures"] is not None
    images = torch.randint(0, 256, (2, 3, 65, 65), dtype=torch.uint8)
    for folder in (result["run"], tmp_path / "exported"):
        network = secseg.load(folder)
        assert network.class_names == result["module"].class_names
        with torch.inference_mode():
            assert torch.equal(network(images), result["module"].network.eval()(images))


def test_metrics_can_also_go_to_a_tensorboard_and_an_offline_wandb_run(run: Run) -> None:
    result = run("logger=[csv,wandb,tensorboard]", "logger.wandb.mode=offline", "evaluation.crf=never")
    assert list(result["run"].rglob("events.out.tfevents*"))
    assert list(result["run"].rglob("*.wandb"))
