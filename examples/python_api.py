# %% [markdown]
# llmkit from Python: the same functions that the commands call. Run it from the repository's root:
# `python examples/python_api.py` (a minute on two cores, no network). Each cell also works in a notebook.

# %%
from pathlib import Path
from tempfile import mkdtemp

import llmkit
from llmkit.options import EvalOptions, GenerationOptions, RunOptions, TrainingOptions

examples = Path(__file__).parent
folder = Path(mkdtemp())

# %% Ask a model. Without a name it is the built-in one; for each prompt there is a list of continuations.
prompts = ["Once upon a time", "The king said"]
continuations = llmkit.generate(prompts, decoding=GenerationOptions(max_new_tokens=30))
for prompt, answers in zip(prompts, continuations, strict=True):
    print(prompt + answers[0])

# %% Finetune it to tell good reviews from bad ones: the task and its columns are inferred from the data.
trained = llmkit.finetune(
    str(examples / "reviews"),
    "built-in",
    training_options=TrainingOptions(epochs=1),
    run=RunOptions(output=folder / "reviews"),
)
assert trained is not None  # None is the answer to a dry run
print(trained.evaluation.metrics)

# %% Measure it on rows that it has not seen.
evaluation = llmkit.evaluate(str(examples / "reviews"), str(trained.folder), evaluation=EvalOptions(split="test"))
assert evaluation is not None
print(evaluation.n, evaluation.figures["accuracy"])  # the value, and its 95% interval

# %% Use it.
for row in llmkit.classify(["A kind and funny book.", "It broke after two days."], str(trained.folder)):
    print(row["label"], round(row["score"], 3), row["text"])
