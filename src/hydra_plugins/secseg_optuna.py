"""``hydra/sweeper=optuna``. Hydra accepts sweepers only from this namespace package, and imports it at each start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class OptunaSweeper(Sweeper):
    """Runs the trials of a search as the jobs of a sweep. ``secseg.cli.search`` chooses their settings.

    Args:
        params: settings in addition to those of the command line, by key.
        settings: the other keys of ``conf/hydra/sweeper/optuna.yaml``.
    """

    def __init__(self, params: Mapping[str, Any] | None = None, **settings: Any) -> None:
        self.params, self.settings = params or {}, settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from secseg.cli.search import Search
        from secseg.utils.config import to_plain

        assert self.config is not None
        assert self.hydra_context is not None
        words = [f"{key}={value}" for key, value in self.params.items()] + arguments
        overrides = OverridesParser.create(self.hydra_context.config_loader).parse_overrides(words)
        config = to_plain(OmegaConf.masked_copy(self.config, [str(key) for key in self.config if key != "hydra"]))
        settings = to_plain(OmegaConf.create(self.settings))
        search = Search(Path(self.config.hydra.sweep.dir), overrides, settings, config)
        with search.running():
            while batch := search.next_round():
                self.validate_batch_is_legal(batch)
                assert self.launcher is not None
                returns = self.launcher.launch(batch, initial_job_idx=search.launched)
                search.finish_round([each.return_value for each in returns])
