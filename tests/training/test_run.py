"""Complete runs on a few drawn images with a tiny trunk."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
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
from secseg.training.run import build_loss, compile_in_place, train, warn_about_determinism
from secseg.utils.config import compose, using_plugins
from secseg.utils.errors import UserError
from secseg.utils.files import working_in
from tests.tiny_network import tiny_network

TINY = [
    "backbone=timm",
    "backbone.trunk.model=test_efficientnet",
    "backbone.trunk.weights=null",
    "backbone.head.width=16",
    "backbone.head.dilation=2",
    "backbone.input_size=65",
    "backbone.freeze=false",
    "data.batch_size=2",
    "data.workers=0",
    "data.draw_train=6",
    "data.draw_val=3",
    "trainer.max_steps=4",
    "trainer.val_check_interval=2",
    "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu",
    "callbacks.progress=null",
    "evaluation.pictures=2",
]

QUICK = ["evaluation.crf=never", "loss=seed", "callbacks.pictures=null", "callbacks.curves=null"]

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(shapes: Path, tmp_path: Path) -> Run:
    def start(*overrides: str, folder: str = "run") -> dict[str, Any]:
        return train(compose("train", *TINY, f"data.root={shapes}", f"run_dir={tmp_path / folder}", *overrides))

    return start


def weights(result: dict[str, Any]) -> dict[str, torch.Tensor]:
    return result["module"].state_dict()


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


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")  # more than there are cores
def test_the_same_seed_gives_the_same_weights_with_any_number_of_workers(run: Run) -> None:
    first = weights(run(*QUICK, folder="a"))
    other = weights(run(*QUICK, "seed=1", folder="c"))
    for workers in (0, 1, 4):
        second = weights(run(*QUICK, f"data.workers={workers}", folder=f"workers{workers}"))
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("word", ["callbacks=default", "callbacks=ema", "decay=adaptive"])
def test_an_interrupted_run_continues_to_the_same_weights(run: Run, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    run = partial(run, word, *(["decay.adaptive.smoothing=0.5"] if word == "decay=adaptive" else []))
    whole = weights(run(folder="whole"))
    step = secseg.training.module.SECModule.training_step

    def broken(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 3:
            raise RuntimeError("power cut")
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(secseg.training.module.SECModule, "training_step", broken)
        with pytest.raises(RuntimeError, match="power cut"):
            run(folder="again/half")
    resumed = run("name=again", "resume=auto", folder="again/fresh")
    assert resumed["run"].name == "half"
    assert all(torch.equal(whole[name], value) for name, value in weights(resumed).items())


def test_the_average_of_the_weights_is_validated_and_saved(run: Run) -> None:
    plain, averaged = run(*QUICK, folder="plain"), run(*QUICK, "callbacks=ema", "callbacks.ema.decay=0.5", folder="ema")
    saved = torch.load(averaged["run"] / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(torch.equal(value, saved["current_model_state"][name]) for name, value in weights(plain).items())
    name = "network.head.classifier.weight"
    assert not torch.equal(saved["state_dict"][name], saved["current_model_state"][name])
    network = secseg.load(averaged["run"])
    assert torch.equal(network.head.classifier.weight, saved["state_dict"][name])
    assert torch.equal(averaged["module"].network.head.classifier.weight, saved["state_dict"][name])


def test_a_run_that_ended_before_its_results_were_written_writes_them_when_it_continues(run: Run) -> None:
    first = run(*QUICK)
    results = json.loads((first["run"] / "results.json").read_text())
    (first["run"] / "results.json").unlink()
    again = json.loads((run(*QUICK, "resume=auto")["run"] / "results.json").read_text())
    assert again["losses"] == results["losses"]
    assert {"loss", "seed"} <= again["losses"].keys()
    assert again["figures"] == results["figures"]


def test_a_frozen_trunk_gives_the_same_weights_with_and_without_cached_features(run: Run, tmp_path: Path) -> None:
    # SGD: AdamW turns the rounding of cached features into whole steps where a gradient is close to 0.
    frozen = ["backbone.freeze=true", "evaluation.crf=never", "optim=sgd"]
    cached = run(*frozen, f"data.feature_cache={tmp_path / 'features'}", folder="a")
    plain = run(*frozen, "data.feature_cache=off", folder="b")
    assert len(list((tmp_path / "features").rglob("*.safetensors"))) == 9
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(cached)[name], value, atol=2e-3, rtol=1e-2)
        if name.startswith("network.trunk"):
            assert torch.equal(weights(cached)[name], value)


def test_a_loss_that_is_not_finite_ends_the_run_and_the_error_names_images_and_term(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = []

    def spoilt(*inputs: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return losses.seed_loss(*inputs) * (float("nan") if len(calls) == 4 else 1)

    monkeypatch.setattr(losses.seed, "seed_loss", spoilt)
    with pytest.raises(UserError, match=r"step 3 \(term: seed\)") as error:
        run()
    assert str(error.value).count("\n  ") == 2, "two images a batch"
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["global_step"] == 2
    assert all(torch.isfinite(value).all() for value in state["state_dict"].values())


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


def test_a_checkpoint_of_another_network_is_refused_with_the_names_of_the_tensors(run: Run) -> None:
    checkpoint = run(folder="a")["run"] / "checkpoints" / "last.ckpt"
    with pytest.raises(UserError, match=r"head\..*weight"):
        run("backbone.head.width=24", f"ckpt_path={checkpoint}", folder="b")


def test_a_run_continues_from_a_given_checkpoint(run: Run) -> None:
    checkpoint = run(folder="a")["run"] / "checkpoints" / "last.ckpt"
    longer = run("trainer.max_steps=6", f"ckpt_path={checkpoint}", folder="b")
    assert longer["trainer"].global_step == 6
    assert longer["module"].step_clock.count == 2


def test_a_run_folder_that_exists_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="resume=auto"):
        run()


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


def test_two_processes_do_not_train_in_one_folder(run: Run) -> None:
    folder = run("trainer.max_steps=2", *QUICK)["run"]
    with working_in(folder), pytest.raises(UserError, match=r"Another process .* writes into"):
        run("trainer.max_steps=4", "resume=auto", *QUICK)
    assert run("trainer.max_steps=4", "resume=auto", *QUICK)["trainer"].global_step == 4


def test_partial_files_of_a_killed_run_are_removed_when_it_continues(run: Run) -> None:
    folder = run("trainer.max_steps=2", *QUICK)["run"]
    half = [folder / "checkpoints" / ".last.abcd1234.ckpt", folder / ".results.abcd1234.json"]
    for path in half:
        path.write_bytes(b"half")
    run("trainer.max_steps=4", "resume=auto", *QUICK)
    assert not any(path.exists() for path in half)
