"""A wrong setting of a training is reported with its key and the legal values, before anything is imported."""

from __future__ import annotations

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from secseg.training.settings import CHOICES, WHOLE_NUMBERS, check_settings, without_effect
from secseg.utils.config import compose, config_dir, to_plain
from secseg.utils.errors import UserError

WRONG = [
    ("decay.pos=1.01", "decay.pos=1.01: give a number in [0, 1]"),
    ("decay.neg=-0.1", "decay.neg=-0.1: give a number in [0, 1]"),
    ("decay.bg=high", "decay.bg=high: give a number in [0, 1]"),
    ("decay.pos=nan", "decay.pos=nan: give a number in [0, 1]"),
    ("decay.pos=true", "decay.pos=True: give a number in [0, 1]"),
    ("decay.pos=null", "decay.pos is null"),
    ("decay.fraction=0.1", "decay.fraction=0.1: give decay=fraction, or a node such as 'decay.fraction={pos: 0.1"),
    ("decay.adaptive=true", "decay.adaptive=True: give decay=adaptive, or a node such as 'decay.adaptive={source: "),
    ("decay.adaptive={source:seeds}", "decay.adaptive has nothing to estimate: give decay.pos=null"),
    ("decay.fraction={pos:2}", "decay.fraction.pos=2: give a number in (0, 1)"),
    ("loss.seed=-1", "loss.seed=-1: give a number of at least 0"),
    ("loss.seed=inf", "loss.seed=inf: give a number of at least 0"),
    ("loss.expand=nan", "loss.expand=nan: give a number of at least 0"),
    ("loss.expand={warmup:[5,2]}", "loss.expand.warmup=[5, 2]: give two steps [a,b], 0 <= a <= b"),
    ("loss.expand={warmup:3}", "loss.expand.warmup=3: give two steps [a,b], 0 <= a <= b"),
    ("seeds.grow=2", "seeds.grow=2: give one of True, False"),
    ("seeds.foreground=1.5", "seeds.foreground=1.5: give a number in [0, 1]"),
    ("seed=null", "seed=None: give a whole number of at least 0"),
    ("seed=", "seed=: give a whole number of at least 0"),
    ("seed=one", "seed=one: give a whole number of at least 0"),
    ("optim.optimizer.lr=-1", "optim.optimizer.lr=-1: give a number of at least 0"),
    ("optim.optimizer.lr=null", "optim.optimizer.lr=None: give a number of at least 0"),
    ("optim.bias_lr=-1", "optim.bias_lr=-1: give a number of at least 0"),
    ("optim.classifier_lr=x", "optim.classifier_lr=x: give a number of at least 0"),
    ("evaluation.crf=finl", "evaluation.crf=finl: give one of final, always, never. Did you mean 'final'?"),
    ("trainer.precision=bf16-mixd", "Did you mean 'bf16-mixed'"),
    ("trainer.accelerator=gpus", "Did you mean 'gpu' or"),
    ("resume=yes", "resume=yes: give one of never, auto"),
    ("crf.train.backend=exct", "Did you mean 'exact'?"),
    ("crf.train.gradient=stopp", "Did you mean 'stop'?"),
    ("crf.test.backend=null", "crf.test.backend=None: give one of"),
    ("optim.schedule.kind=ploy", "Did you mean 'poly'?"),
    ("data.batch_size=???", "data.batch_size has no value: give data.batch_size=<value>"),
    ("data=null", "data has no option chosen: give data=<option>"),
]
for _key, _least in WHOLE_NUMBERS.items():
    for _value in (_least - 1, _least + 0.5, "true"):
        WRONG.append((f"{_key}={_value}", f"give a whole number of at least {_least}"))


@pytest.fixture(scope="module")
def default() -> DictConfig:
    return compose("train", "run_dir=runs/x")


def changed(default: DictConfig, *words: str) -> DictConfig:
    """The default config with keys set as on the command line, without composing it again."""
    cfg = default.copy()
    OmegaConf.set_struct(cfg, False)
    for override in OverridesParser.create().parse_overrides(list(words)):
        OmegaConf.update(cfg, override.key_or_group, override.value(), merge=False)
    return cfg


@pytest.mark.parametrize(("word", "said"), WRONG)
def test_a_value_out_of_range_is_refused_with_its_key_and_the_legal_values(
    default: DictConfig, word: str, said: str
) -> None:
    with pytest.raises(UserError) as error:
        check_settings(changed(default, word))
    assert said in str(error.value)
    assert word.partition("=")[0] in str(error.value)
    assert "\n" not in str(error.value), "one problem, one line"


@pytest.mark.parametrize(
    "word", ["decay.pos=0", "decay.neg=1", "loss.seed=0", "seed=0", "data.workers=0", "resume=auto"]
)
def test_the_bounds_of_a_range_are_legal(default: DictConfig, word: str) -> None:
    check_settings(changed(default, word))


def test_gradients_that_a_fused_optimizer_scales_itself_cannot_be_clipped(default: DictConfig) -> None:
    fused = ("optim.optimizer.fused=true", "trainer.gradient_clip_val=10")
    check_settings(changed(default, *fused))
    check_settings(changed(default, "optim.optimizer.fused=true", "trainer.precision=bf16-mixed"))
    with pytest.raises(UserError, match=r"fused=true cannot clip gradients at trainer\.precision=bf16-mixed: give"):
        check_settings(changed(default, *fused, "trainer.precision=bf16-mixed"))


def test_cues_cannot_grow_without_a_crf(default: DictConfig) -> None:
    check_settings(changed(default, "seeds.grow=true"))
    with pytest.raises(UserError, match=r"seeds=grow needs a CRF in training, and crf\.train\.backend is none"):
        check_settings(changed(default, "seeds.grow=true", "crf.train.backend=none"))


def test_decays_that_are_estimated_need_a_crf_and_ranked_pooling(default: DictConfig) -> None:
    adaptive = "decay.adaptive={source: seeds, share: 0.5, smoothing: 0, least: 0.01, most: 1}"
    solved = (adaptive, "decay.pos=null", "decay.bg=null")
    check_settings(changed(default, *solved))
    for word, message in (
        ("crf.train.backend=none", r"decay=adaptive needs a CRF in training, and crf\.train\.backend is none"),
        ("decay.fraction={pos: 0.1, bg: 0.3}", r"decay\.adaptive and decay\.fraction both solve the decays"),
        ("decay.pooling={_target_: a.B}", r"decay\.pooling is another one"),
        ("decay.adaptive.source=masks", r"decay\.adaptive\.source=masks: .*seeds.*prediction.*cues"),
        ("decay.adaptive.share=1", r"decay\.adaptive\.share=1: give a number in \(0, 1\)"),
        ("decay.adaptive.most=0.001", r"decay\.adaptive\.most=0\.001 is less than decay\.adaptive\.least=0\.01"),
        ("+decay.adaptive.size=1", r"decay\.adaptive\.size is unknown: the keys are source, share"),
    ):
        with pytest.raises(UserError, match=message):
            check_settings(changed(default, *solved, word))


def test_all_problems_are_reported_at_once(default: DictConfig) -> None:
    with pytest.raises(UserError) as error:
        check_settings(changed(default, "decay.pos=2", "loss.seed=-1", "data.batch_size=0", "resume=yes"))
    assert len(str(error.value).splitlines()) == 4


def test_the_comments_in_conf_name_every_legal_choice() -> None:
    for key, legal in CHOICES.items():
        folder = config_dir() / key.split(".")[0]
        files = folder.glob("*.yaml") if folder.is_dir() else [config_dir() / "train.yaml"]
        text = "\n".join(path.read_text("utf-8") for path in files)
        comments = re.findall(rf"^ *{key.rpartition('.')[2]}: [^#]*# (.*\|.*)$", text, re.MULTILINE)
        assert comments, key
        for comment in comments:
            assert set(legal) <= set(re.findall(r"[\w-]+", comment)), key


ADAPTIVE = "decay.adaptive={source: seeds, share: 0.5, smoothing: 0, least: 0.01, most: 1}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([ADAPTIVE, "loss.expand=0"], "decay=adaptive has no effect: only expand reads the decays"),
        (["loss.expand={weight: 1, warmup: [100, 300]}", "trainer.max_steps=200"], "the weight reaches 50% of"),
        (["loss.expand={weight: 1, warmup: [300, 400]}", "trainer.max_steps=200"], "the weight reaches 0% of"),
        (["seeds.foreground=0.6"], "seeds.foreground has no effect: the seeds are the cues"),
    ],
)
def test_a_setting_that_the_training_does_not_read_is_named(default: DictConfig, words: list[str], said: str) -> None:
    lines = without_effect(to_plain(changed(default, *words)))
    assert len(lines) == 1
    assert said in lines[0]


@pytest.mark.parametrize(
    "words",
    [
        [],
        [ADAPTIVE],
        [ADAPTIVE, "seeds.foreground=0.6"],
        ["seeds.grow=true", "seeds.foreground=0.6"],
        ["loss.expand={weight: 1, warmup: [0, 200]}", "trainer.max_steps=200"],
        ["loss.expand={weight: 0, warmup: [0, 300]}", "trainer.max_steps=200"],
    ],
)
def test_no_line_names_a_setting_that_the_training_reads(default: DictConfig, words: list[str]) -> None:
    assert without_effect(to_plain(changed(default, *words))) == []
