"""`--launch-config`: what llmkit has to know of a file as `accelerate config` writes it; the rest is accelerate's."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmkit.errors import OptionError, did_you_mean, listing
from llmkit.options.config_file import read_yaml

KINDS = ("NO", "MULTI_CPU", "MULTI_GPU", "FSDP", "DEEPSPEED")
NUMBERS = {"num_processes": 1, "num_machines": 1, "machine_rank": 0, "main_process_port": 1}  # and the least of each


@dataclass(frozen=True)
class LaunchConfig:
    """What a config file of accelerate says of the processes; None where it says nothing."""

    path: Path
    kind: str = "MULTI_GPU"
    use_cpu: bool = False
    gpu_ids: str = "all"
    num_processes: int | None = None
    num_machines: int | None = None
    machine_rank: int = 0
    main_process_ip: str | None = None
    main_process_port: int | None = None

    def check(self, processes: int, on_cpu: bool) -> None:
        """Refuse what cannot run here.

        Raises:
            OptionError: the file is for other devices, or for a library that is not installed.
        """
        gpus = [name for name in self.gpu_ids.split(",") if name.strip()]
        if self.gpu_ids != "all" and not on_cpu and len(gpus) < processes:
            raise OptionError(f"--launch-config {self.path}: gpu_ids names {len(gpus)} GPUs for {processes} processes")
        if self.kind in {"FSDP", "DEEPSPEED"} and on_cpu:
            raise OptionError(
                f"--launch-config {self.path}: {self.kind} shards over GPUs, and none is used; on a CPU accelerate "
                "would train without it"
            )
        if self.kind == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
            raise OptionError(f"--launch-config {self.path} asks for DeepSpeed: pip install deepspeed")


def read_launch_config(path: Path) -> LaunchConfig:
    """Return what a config file of accelerate says.

    Raises:
        OptionError: there is no such file, it is broken, or it is for what llmkit does not launch.
    """
    flag = f"--launch-config {path}"
    values = read_yaml(path, "--launch-config")
    if not isinstance(values, Mapping):
        raise OptionError(f"{flag} must hold a mapping as `accelerate config` writes it")
    _check_keys(flag, values)
    kind = _kind(flag, values)
    address = values.get("main_process_ip")
    return LaunchConfig(
        path,
        kind,
        values.get("use_cpu") is True or kind == "MULTI_CPU",
        str(values.get("gpu_ids") or "all"),
        _number(flag, values, "num_processes") or (1 if kind == "NO" else None),
        _number(flag, values, "num_machines"),
        _number(flag, values, "machine_rank") or 0,
        None if address is None else str(address),
        _number(flag, values, "main_process_port"),
    )


def _check_keys(flag: str, values: Mapping[object, object]) -> None:
    from accelerate.commands.config.config_args import ClusterConfig

    known = {*ClusterConfig.__dataclass_fields__, "fp16", "dynamo_backend"}
    unknown = [str(key) for key in values if key not in known]
    if unknown:
        named = listing([repr(key) for key in unknown], 4)
        raise OptionError(f"{flag}: accelerate has no key {named}{did_you_mean(unknown[0], known)}")


def _kind(flag: str, values: Mapping[object, object]) -> str:
    """Return what kind of training a config is for: YAML reads an unquoted NO as false."""
    place = values.get("compute_environment", "LOCAL_MACHINE")
    if place != "LOCAL_MACHINE":
        raise OptionError(f"{flag}: compute_environment is {place}; llmkit launches on LOCAL_MACHINE")
    kind = values.get("distributed_type")
    if kind is None:
        raise OptionError(f"{flag} names no distributed_type; one of {', '.join(KINDS)} is wanted")
    kind = "NO" if kind is False else str(kind)
    if kind not in KINDS:
        raise OptionError(f"{flag}: distributed_type is {kind}; llmkit launches {', '.join(KINDS)}")
    return kind


def _number(flag: str, values: Mapping[object, object], key: str) -> int | None:
    value, least = values.get(key), NUMBERS[key]
    if value is None or value == -1:  # accelerate writes -1 for what the command line has to say
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OptionError(f"{flag}: {key} must be a whole number of at least {least}, not {value!r}")
    return value
