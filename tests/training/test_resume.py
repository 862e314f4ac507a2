"""The same seed gives the same run, also after an interruption, and a folder keeps one run."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import secseg
import secseg.training.module
from secseg import losses
from secseg.utils.errors import UserError
from secseg.utils.files import working_in
from tests.training.tiny_run import QUICK, Run, weights


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
