"""The ranges of a search, in the syntax of Hydra's sweeps, as distributions of Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from secseg.utils.errors import UserError

if TYPE_CHECKING:
    import optuna
    from hydra.core.override_parser.types import Override


def space_of(overrides: Sequence[Override]) -> dict[str, optuna.distributions.BaseDistribution]:
    """Return the distribution of each setting that varies.

    Raises:
        UserError: if no setting varies, or a range is empty or has no logarithm.
    """
    varying = {each.get_key_element(): each for each in overrides if each.is_sweep_override()}
    if not varying:
        raise UserError("hydra/sweeper=optuna needs a range to search, for example 'decay.pos=interval(0.99,0.999)'.")
    try:
        return {key: _distribution(each) for key, each in varying.items()}
    except ValueError as error:
        raise UserError(f"The search space is not valid: {error}") from error


def _distribution(override: Override) -> optuna.distributions.BaseDistribution:
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep = override.value()
    log = "log" in getattr(sweep, "tags", ())
    if isinstance(sweep, IntervalSweep):
        low, high = sweep.start, sweep.end
        assert low is not None
        assert high is not None
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(low, high, log=log)
    if isinstance(sweep, RangeSweep):
        values, step = list(sweep.range()), abs(sweep.step)
        if isinstance(step, int) and all(isinstance(value, int) for value in values):
            return IntDistribution(min(values), max(values), log=log, step=step)
        return FloatDistribution(min(values), max(values), log=log, step=step)
    return CategoricalDistribution(list(override.sweep_string_iterator()))
