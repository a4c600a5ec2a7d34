"""The memory of one GPU of several, by strategy, on paper: see `FORMULAS`, which are printed with the figures.

Sources: Li et al., PyTorch Distributed, 2020 (ddp: gradients have a copy in buckets); Rajbhandari et al., ZeRO, 2020;
Zhao et al., PyTorch FSDP, 2023 (two layers are gathered at once: one computes while the next one comes).
"""

from __future__ import annotations

from llmkit.distributed.world import world
from llmkit.training.estimates import formula
from llmkit.training.estimates.estimate import Estimate, estimate
from llmkit.training.estimates.memory import gigabytes, memory_here
from llmkit.training.estimates.tracked import Subject

MARGIN = 0.9  # of a memory that a plan fills: an estimate can be a tenth too low
FORMULAS = {  # P parameters, G gradients, O optimizer, A activations and temporary, L the largest layer, N GPUs
    "ddp": "P + 2 G + O + A (Li et al., 2020)",
    "fsdp": "(P + G + O) / N + 2 L + A (Zhao et al., 2023)",
    "fsdp-offload": "2 L + A, and (P + G + O) / N of the machine's memory for each GPU (Zhao et al., 2023)",
    "deepspeed-zero2": "P + (G + O) / N + A (Rajbhandari et al., 2020)",
    "deepspeed-zero3": "(P + G + O) / N + 2 L + A (Rajbhandari et al., 2020)",
}


def bytes_per_gpu(estimate: Estimate, strategy: str, gpus: int) -> int:
    """Return what one of several GPUs holds, each with a batch of its own, on paper."""
    of_model, held = formula.model_states(estimate.parameters, estimate.trained), estimate.memory
    rest = held.activations + held.temporary + held.teacher + held.process
    parameters = max(of_model.parameters, held.parameters)
    layers = 2 * parameters // max(1, estimate.layers)
    trained = of_model.gradients + of_model.optimizer
    if strategy == "ddp":
        copies = of_model.gradients if gpus > 1 else 0
        return parameters + trained + copies + rest
    if strategy == "deepspeed-zero2":
        return parameters + trained // gpus + rest
    if strategy == "fsdp-offload":
        return layers + rest
    return (parameters + trained) // gpus + layers + rest


def suggested_strategy(subject: Subject) -> tuple[str, str] | None:
    """Return what `choose_strategy` says of a training with --strategy auto on the GPUs of its processes; else None."""
    if subject.job.run.strategy != "auto" or subject.device.type != "cuda":
        return None
    return choose_strategy(estimate(subject), world().size, memory_here(subject.device))


def choose_strategy(estimate: Estimate, gpus: int, bytes_per_device: int) -> tuple[str, str]:
    """Return the name of the strategy that fits so many GPUs of so many bytes, the fastest first, and a reason."""
    needs = {name: bytes_per_gpu(estimate, name, gpus) for name in ("ddp", "fsdp", "fsdp-offload")}
    fitting = next((name for name, count in needs.items() if count <= MARGIN * bytes_per_device), "fsdp-offload")
    room = gigabytes(bytes_per_device)
    if fitting == "ddp":
        return "ddp", f"a whole copy, about {gigabytes(needs['ddp'])}, fits each GPU of {room}"
    if fitting == "fsdp" and gpus > 1:
        return "fsdp", (
            f"a whole copy takes about {gigabytes(needs['ddp'])} of a GPU of {room}, and divided over {gpus} "
            f"{gigabytes(needs['fsdp'])}"
        )
    over = "" if needs[fitting] <= MARGIN * bytes_per_device else ", and even so it may not fit"
    return "fsdp-offload", (
        f"divided over {gpus} it takes about {gigabytes(needs['fsdp'])} of a GPU of {room}; with its weights in the "
        f"machine's memory {gigabytes(needs['fsdp-offload'])}{over}"
    )
