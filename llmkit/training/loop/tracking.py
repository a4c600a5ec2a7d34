"""Trackers: TensorBoard files in the run folder, and other programs that draw the figures of runs."""

from __future__ import annotations

import netrc
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from transformers import TrainerCallback

from llmkit.errors.extras import is_installed
from llmkit.output.report import Report
from llmkit.runs import RunFolder

PROJECT = "llmkit"  # what Weights & Biases and trackio file a run under, unless told otherwise
WANDB_HOST = "api.wandb.ai"


def chosen(asked: Sequence[str] | None) -> list[str]:
    """Return the trackers of a run: those that are asked for, else TensorBoard where it is installed."""
    if asked is None:
        return ["tensorboard"] if is_installed("tensorboard") else []
    return [name for name in dict.fromkeys(asked) if name != "none"]


def callbacks(names: Sequence[str], folder: RunFolder, offline: bool, report: Report) -> list[TrainerCallback]:
    """Return transformers' own callbacks for these trackers, set up to write beside the run or where their user says.

    None of them asks for a login: Weights & Biases writes files for `wandb sync` where there is none.
    """
    from transformers.integrations.integration_utils import get_reporting_integration_callbacks

    made = []
    for name in names:
        if name == "tensorboard":
            made.append(_tensorboard(folder, report))
            continue
        if name == "wandb":
            _prepare_wandb(folder.path, folder.resume_from is not None, offline, report)
        else:
            report.say(f"tracking: {name}, run {folder.path.name}")
        made += [callback() for callback in get_reporting_integration_callbacks([name])]
    return made


def _tensorboard(folder: RunFolder, report: Report) -> TrainerCallback:
    """Return what writes event files; a run that goes on takes back the steps after its checkpoint."""
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    files, checkpoint = folder.path / "tensorboard", folder.resume_from
    report.say(f"tracking: TensorBoard files in {files}")
    again = int(checkpoint.name.rpartition("-")[2]) + 1 if checkpoint is not None else None
    return TensorBoardCallback(SummaryWriter(str(files), purge_step=again))


def _prepare_wandb(folder: Path, resumed: bool, offline: bool, report: Report) -> None:
    """Tell Weights & Biases, by its own variables, where to write, and which run it is that goes on."""
    mode = os.environ.get("WANDB_MODE") or ("offline" if offline or not _logged_in() else "online")
    note = folder / "wandb" / "run-id.txt"
    if not (resumed and note.is_file()):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(uuid.uuid4().hex[:12], encoding="utf-8")
    variables = {"WANDB_MODE": mode, "WANDB_DIR": str(folder), "WANDB_PROJECT": PROJECT, "WANDB_RESUME": "allow"}
    variables |= {"WANDB_RUN_ID": note.read_text(encoding="utf-8"), "WANDB_SILENT": "true"}
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    how = f"{mode} in {folder / 'wandb'}: `wandb sync` sends it" if mode == "offline" else mode
    report.say(f"tracking: wandb, {how}")


def _logged_in() -> bool:
    """Tell whether Weights & Biases has a key; without one it would ask for it on the terminal."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(WANDB_HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False
