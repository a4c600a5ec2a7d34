"""Any metric of `evaluate`, by name on the Hub or path of its script: Python code of others, run when allowed."""

from __future__ import annotations

import numbers
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llmkit.errors import HubError, OptionError, did_you_mean, one_line
from llmkit.hub import DEADLINE
from llmkit.metrics import METRICS
from llmkit.metrics.observations import ChoiceIds, Classes, Floats, Ints, LabelSets, Numbers, Observations, Spans, Texts
from llmkit.output.result_parts import Label

if TYPE_CHECKING:
    import evaluate


class HubMetric:
    """A metric that is not llmkit's own: `value` calls its `compute` with predictions and references."""

    def __init__(self, name: str, module: evaluate.EvaluationModule) -> None:
        self.name = name
        self._module = module

    def value(self, observations: Observations) -> dict[str, float]:
        """Return each number that the metric computes, by the key that it gives it.

        Class ids for classes, floats for numbers; texts with their references (a list for each row where any has
        several).

        Raises:
            OptionError: the metric refused such inputs, or returned no number.
        """
        try:
            computed = self._module.compute(**_inputs(observations, self.name))
        except Exception as error:  # it is the code of others: whatever it raises, the metric is what to change
            raise OptionError(
                f"--metric {self.name}: its code failed: {type(error).__name__}: {one_line(error, 300)}"
            ) from error
        values = {key: float(value) for key, value in (computed or {}).items() if _is_number(value)}
        if not values:
            raise OptionError(f"--metric {self.name}: it returned no number; it gave {one_line(computed, 300)}")
        return values

    def weighted_values(self, observations: Observations, weights: Floats) -> dict[str, Floats]:
        """Return `value` as though unit i stood weights[b, i] times, a whole number; a call for each row of weights.

        NaN where the metric refuses such units, as one of two classes may when it is given one.
        """
        resamples = [self._value_or_nothing(observations, row.astype(np.int64)) for row in weights]
        keys = dict.fromkeys(key for values in resamples for key in values)
        return {key: np.array([values.get(key, np.nan) for values in resamples]) for key in keys}

    def _value_or_nothing(self, observations: Observations, times: Ints) -> dict[str, float]:
        try:
            return self.value(observations.take(np.repeat(np.arange(len(observations)), times)))
        except OptionError:
            return {}


def open_hub_metric(name: str, trust_remote_code: bool) -> HubMetric:
    """Return a metric that is not in llmkit's table, from the Hub, the cache or a local script.

    Raises:
        OptionError: it may not run, there is none of that name, or a library that it needs is not installed.
        HubError: the Hub could not be reached.
    """
    if not trust_remote_code:
        raise OptionError(
            f"--metric: {name!r} is not one of llmkit's own metrics{did_you_mean(name, METRICS)}; one from the Hub "
            "runs Python code of its author: --trust-remote-code allows it"
        )
    import evaluate

    try:
        return HubMetric(name, evaluate.load(name, keep_in_memory=True))
    except FileNotFoundError as error:
        raise _missing(name) from error
    except ConnectionError as error:
        raise HubError(f"--metric {name}: the Hub could not be reached: {one_line(error, 300)}") from error
    except ImportError as error:
        raise OptionError(f"--metric {name}: {one_line(error, 300)}") from error
    except Exception as error:
        raise OptionError(
            f"--metric {name}: it could not be loaded: {type(error).__name__}: {one_line(error, 300)}"
        ) from error


def _missing(name: str) -> OptionError | HubError:
    """Return why there is no such metric: `evaluate` says the same of a wrong name and of a Hub that is away."""
    from huggingface_hub import HfApi, constants, errors

    if name.endswith(".py") or Path(name).exists():
        return OptionError(f"--metric {name}: there is no metric script at that path")
    if constants.HF_HUB_OFFLINE:
        return HubError(f"--metric {name}: it is not on this machine and the Hub cannot be asked (offline)")
    try:
        HfApi().space_info(name if "/" in name else f"evaluate-metric/{name}", timeout=DEADLINE)
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        return OptionError(f"--metric: there is no metric {name!r}{did_you_mean(name, METRICS)}, nor on the Hub")
    except Exception as error:
        return HubError(
            f"--metric {name}: the Hub could not be asked for it ({one_line(error, 300)}); check the network"
        )
    return OptionError(f"--metric {name}: its page on the Hub holds no metric script")


def _inputs(observations: Observations, name: str) -> dict[str, list[Label] | None]:
    if isinstance(observations, Classes | Numbers | ChoiceIds):
        return {"predictions": observations.predicted.tolist(), "references": observations.truth.tolist()}
    if isinstance(observations, LabelSets):
        truth, predicted = observations.truth.astype(int), observations.predicted.astype(int)
        return {"predictions": predicted.tolist(), "references": truth.tolist()}
    if isinstance(observations, Spans):
        return {"predictions": observations.predictions(), "references": observations.labels()}
    if isinstance(observations, Texts):
        multiple = any(len(row) > 1 for row in observations.references)
        references: list[Label] = [list(row) if multiple else row[0] for row in observations.references]
        return {"predictions": observations.predictions(), "references": references}
    raise OptionError(f"--metric {name}: a metric from the Hub takes predictions and references; this task has neither")


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real | np.number) and not isinstance(value, bool)
