"""Distillation: a teacher that is found and checked, and a student that is cut from its layers.

Source: Sanh et al., DistilBERT, 2019: a student begins with evenly spaced layers of its teacher, with its embeddings
and its head. What it learns is in `loop.distillation_loss`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
import transformers
from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit import models
from llmkit.data.labels import Labels
from llmkit.errors import ModelError, OptionError, brief, listing
from llmkit.models import ResolvedModel, modules
from llmkit.models.config import output_names
from llmkit.options import DistillingOptions, ModelOptions
from llmkit.output.report import Report
from llmkit.runs.record import TeacherRecord
from llmkit.tasks import TASKS, Task, TaskSettings

LISTED_BY_LAYER = re.compile("layer|attention")  # in the names of what a config lists by layer
ROWS_COMPARED = 64  # training rows that teacher and student must read as the same tokens


@dataclass(frozen=True)
class Teacher:
    """A teacher that was found: its files but not yet its weights, and the student that is cut from it."""

    resolved: ResolvedModel
    opening: ModelOptions
    options: DistillingOptions
    kept_layers: tuple[int, ...] = ()  # those, from 0, that a student cut from it has
    student: ResolvedModel | None = None

    @property
    def description(self) -> str:
        """Sentences for the user on what is learned from whom."""
        alpha, temperature, weight = self.options.alpha, self.options.temperature, self.options.hidden_state_weight
        with_states = f", its hidden states with weight {weight:g}" if weight else ""
        shares = f"{alpha:g} of the loss, at temperature {temperature:g}{with_states}; the labels give {1 - alpha:g}"
        sentence = f"teacher: {self.resolved.name} gives {shares}"
        if not self.kept_layers:
            return sentence
        numbers = f"{_plural(len(self.kept_layers))} {listing([layer + 1 for layer in self.kept_layers])}"
        return f"{sentence}\nstudent: {numbers} of the teacher's {layers_of(self.resolved.config)}"

    def as_dict(self) -> TeacherRecord:
        """Return what run.json says of it; layers are counted from 1."""
        options = self.options
        layers = {"layers": [layer + 1 for layer in self.kept_layers]} if self.kept_layers else {}
        loss = {"mix": options.alpha, "temperature": options.temperature, "states": options.hidden_state_weight}
        return cast("TeacherRecord", {**models.origin(self.resolved), **layers, **loss})


def find_teacher(options: DistillingOptions, student: ModelOptions, adapts: bool, report: Report) -> Teacher | None:
    """Return the teacher that is named, if one is; no weights are loaded. `adapts`: the student gets an adapter.

    Raises:
        OptionError: a student that is cut from it is named too, is to get an adapter, or has no fewer layers.
        ModelError, HubError: there is no such model.
    """
    if options.teacher is None:
        return None
    count = options.student_layers
    if count is not None and student.model is not None:
        raise OptionError("--student-layers cuts the student from the teacher: leave out it, or --model")
    if count is not None and adapts:
        raise OptionError("--student-layers cuts a new model, and an adapter needs a base on the disk: leave out one")
    opening = replace(student, model=options.teacher, revision=student.revision if count else None)
    resolved = models.resolve_model(opening, report)
    if count is None:
        return Teacher(resolved, opening, options)
    kept_layers = evenly(count, layers_of(resolved.config), resolved.name)
    name = f"{resolved.name.rstrip('/')}-{count}-{_plural(count)}"
    cut = replace(resolved, name=name, config=_cut_config(resolved.config, kept_layers), base=None)
    return Teacher(resolved, opening, options, kept_layers, cut)


def _plural(count: int) -> str:
    return "layer" if count == 1 else "layers"


def layers_of(config: PretrainedConfig) -> int:
    """Return how many layers a model has.

    Raises:
        ModelError: its config does not say.
    """
    layers = getattr(config, "num_hidden_layers", None)
    if not isinstance(layers, int):
        raise ModelError(f"--student-layers: a {config.model_type} does not say how many layers it has")
    return layers


def evenly(count: int, layers: int, name: str) -> tuple[int, ...]:
    """Return `count` of the layers, from 0, evenly spaced with the first and the last; of one the first.

    DistilBERT's six of BERT's twelve are 0, 2, 4, 7, 9 and 11.

    Raises:
        OptionError: there are no more layers than that.
    """
    if count >= layers:
        raise OptionError(f"--student-layers {count}: {name!r} has {layers} layers, and a student has fewer")
    return (0,) if count == 1 else tuple(round(place * (layers - 1) / (count - 1)) for place in range(count))


def _cut_config(config: PretrainedConfig, kept_layers: Sequence[int]) -> PretrainedConfig:
    """Return the config of a model of these layers alone; what it lists by layer is cut too.

    Raises:
        ModelError: its layers are no plain number of it.
    """
    layers, shorter = layers_of(config), copy.deepcopy(config)
    try:
        shorter.num_hidden_layers = len(kept_layers)
        for name, value in vars(config).items():
            if LISTED_BY_LAYER.search(name) and isinstance(value, list | tuple) and len(value) == layers:
                setattr(shorter, name, [value[layer] for layer in kept_layers])
    except Exception as error:  # what a config raises depends on the family
        raise _uncut(config.model_type, len(kept_layers), error) from error
    return shorter


def _uncut(kind: str, count: int, error: Exception) -> ModelError:
    return ModelError(f"--student-layers: a {kind} cannot be cut to {count} {_plural(count)}: {brief(error)}")


def refuse_teachers_folder(teacher: Teacher | None, path: Path) -> None:
    """Refuse to write a run where its teacher is.

    Raises:
        OptionError: they are one folder.
    """
    if teacher is not None and path.exists() and path.resolve() == teacher.resolved.path.resolve():
        raise OptionError(f"--output {str(path)!r} holds the teacher; name another folder")


def training_tokenizer(
    teacher: Teacher | None,
    task: Task,
    settings: TaskSettings,
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    report: Report,
) -> PreTrainedTokenizerBase:
    """Return the tokenizer of the training rows, the student's unless the teacher reads more, after checking the two.

    A DistilBERT reads no token types and its teacher, a BERT, does.

    Raises:
        OptionError: the task is not learned so.
        ModelError: the teacher is of another task, other labels, another tokenizer, or reads fewer tokens.
    """
    if teacher is None:
        return tokenizer
    resolved = teacher.resolved
    _require_task(teacher, task)
    if settings.labels is not None:
        _require_labels(teacher, Labels(output_names(resolved.config)), settings.labels)
    _require_stack(teacher, task)
    report.say(teacher.description)
    theirs = models.load_tokenizer(resolved, teacher.opening)
    _require_tokenizer(teacher, theirs, tokenizer)
    sample = rows.select(range(min(ROWS_COMPARED, len(rows))))
    ids = [task.encoding.encode(sample, each, settings, training=True)["input_ids"][:] for each in (tokenizer, theirs)]
    if ids[0] != ids[1]:
        raise ModelError(f"--teacher {resolved.name!r} has another tokenizer than the student: it cuts texts otherwise")
    context = models.context_length(resolved.config, theirs)
    if context < settings.max_length:
        raise ModelError(f"--teacher {resolved.name!r} reads at most {context} tokens: --max-length {context}")
    return theirs if set(theirs.model_input_names) > set(tokenizer.model_input_names) else tokenizer


def _require_task(teacher: Teacher, task: Task) -> None:
    resolved, kind = teacher.resolved, (teacher.resolved.config.architectures or ["model without a head"])[0]
    if not task.supports_distillation:
        able = listing([name for name, each in TASKS.items() if each.supports_distillation])
        raise OptionError(f"--teacher: {task.name} is not learned from a teacher; these tasks are: {able}")
    if not task.supports(resolved.config):
        raise ModelError(f"--teacher {resolved.name!r} is a {kind}, which does not do {task.name}: finetune it first")


def _require_labels(teacher: Teacher, theirs: Labels, ours: Labels) -> None:
    if theirs.names != ours.names:
        names = [listing(labels.names) if labels.names else "a number" for labels in (theirs, ours)]
        raise ModelError(
            f"--teacher {teacher.resolved.name!r} has other labels ({names[0]}) than the data ({names[1]}): "
            "finetune it on this data first"
        )


def _require_tokenizer(teacher: Teacher, theirs: PreTrainedTokenizerBase, ours: PreTrainedTokenizerBase) -> None:
    first, second = theirs.get_vocab(), ours.get_vocab()
    if first != second:
        sizes = f"{len(first)} tokens and {len(second)}" if len(first) != len(second) else "other tokens"
        raise ModelError(
            f"--teacher {teacher.resolved.name!r} has another tokenizer than the student ({sizes}), and they must "
            "share one: -m names a student of its family, --student-layers cuts one from it"
        )


def _require_stack(teacher: Teacher, task: Task) -> None:
    """Look for the layers of a teacher that a student is cut from, on a skeleton of the teacher.

    Raises:
        ModelError: as `stack_of`.
    """
    if teacher.student is not None:
        config = teacher.resolved.config
        stack_of(modules.skeleton(config, task.auto_class_for(config), teacher.opening.trust_remote_code))


def stack_of(model: PreTrainedModel) -> str:
    """Return the name of the one list that holds all layers of a model.

    Raises:
        ModelError: there is none, or several, as of an encoder and a decoder.
    """
    layers = layers_of(model.config)
    names = [name for name, members in modules.stacks(model) if len(members) == layers]
    if len(names) != 1:
        kind = type(model).__name__
        raise ModelError(f"--student-layers: {kind} is no single stack of layers to cut from; -m names a student")
    return names[0]


def open_teacher(teacher: Teacher, task: Task) -> PreTrainedModel:
    """Load the teacher in the precision of training; it is never trained.

    Raises:
        ModelError: its weights cannot be used.
    """
    tokenizer = models.load_tokenizer(teacher.resolved, teacher.opening)
    model = models.load_model(
        teacher.resolved,
        task.auto_class_for(teacher.resolved.config),
        tokenizer,
        teacher.opening,
        training=True,
        merged=True,
    )
    return model.eval().requires_grad_(False)


def cut_student(
    teacher: Teacher, model: PreTrainedModel, task: Task, config_values: dict[str, object], trust_remote_code: bool
) -> PreTrainedModel:
    """Return a student made of some layers of an open teacher, and of all that stands before and after them.

    Raises:
        ModelError: with fewer layers it would be another model than the teacher.
    """
    assert teacher.student is not None
    config, stack, kind = teacher.student.config, stack_of(model), type(model).__name__
    prefixes = {f"{stack}.{new}.": f"{stack}.{old}." for new, old in enumerate(teacher.kept_layers)}
    weights = model.state_dict()
    try:
        network = getattr(transformers, task.auto_class_for(config))
        student: PreTrainedModel = network.from_config(
            models.with_config_values(config, config_values), trust_remote_code=trust_remote_code, dtype=torch.float32
        )
        student.load_state_dict({name: weights[_source(name, prefixes)] for name in student.state_dict()})
    except Exception as error:  # what a model raises depends on the family
        raise _uncut(kind, len(prefixes), error) from error
    return student.to(model.device)


def _source(name: str, prefixes: dict[str, str]) -> str:
    """Return the name that a weight of the student has in the teacher; `prefixes` are of layers, by the new ones."""
    new = next((new for new in prefixes if name.startswith(new)), None)
    return name if new is None else prefixes[new] + name.removeprefix(new)
