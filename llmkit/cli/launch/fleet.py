"""Which processes a command runs on: the flags, accelerate's config file and the devices of the machine, together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmkit.cli.launch.config_file import LaunchConfig, read_launch_config
from llmkit.cli.launch.devices import visible_gpus
from llmkit.errors import OptionError
from llmkit.options import LaunchOptions
from llmkit.options.launch import JOIN_TIMEOUT, split_address


@dataclass(frozen=True)
class Fleet:
    """The processes of one command: so many on this machine, which is one of so many nodes."""

    processes: int = 1
    nodes: int = 1
    node_rank: int = 0
    host: str = "127.0.0.1"
    port: int | None = None  # None: any that is free
    on_cpu: bool = True
    timeout: float = JOIN_TIMEOUT
    config: LaunchConfig | None = None

    @property
    def size(self) -> int:
        """The number of processes on all nodes."""
        return self.processes * self.nodes


def fleet_of(options: LaunchOptions, device: str) -> Fleet:
    """Return the processes that a command runs on, of which `--device` is `device`.

    Raises:
        OptionError: the flags, the config file and the machine contradict each other.
    """
    config = None if options.launch_config is None else read_launch_config(options.launch_config)
    gpus = 0 if device.startswith("cpu") or (config is not None and config.use_cpu) else visible_gpus()
    nodes = _nodes(options, config)
    processes = _processes(options, config, nodes, 1 if ":" in device or device in {"mps", "xpu"} else max(gpus, 1))
    if 0 < gpus < processes:
        raise OptionError(
            f"--processes {processes} is more than the {gpus} GPUs that can be seen; --processes {gpus} takes all, "
            "--device cpu takes none"
        )
    if ":" in device and processes > 1:
        raise OptionError(f"--device {device} is one GPU, and --processes {processes} are one for each; leave one out")
    if config is not None:
        config.check(processes, on_cpu=gpus == 0)
    rank = options.node_rank if options.node_rank is not None else config.machine_rank if config else 0
    host, port = _address(options, config, nodes)
    if rank >= nodes:
        raise OptionError(f"--node-rank {rank} is none of the ranks of {nodes} nodes, which begin with 0")
    return Fleet(processes, nodes, rank, host, port, gpus == 0, options.join_timeout, config)


def _nodes(options: LaunchOptions, config: LaunchConfig | None) -> int:
    if config is None or config.num_machines is None:
        return options.nodes or 1
    if options.nodes not in (None, config.num_machines):
        raise OptionError(
            f"--launch-config {config.path} is for {config.num_machines} nodes (num_machines), and --nodes says "
            f"{options.nodes}"
        )
    return config.num_machines


def _processes(options: LaunchOptions, config: LaunchConfig | None, nodes: int, default: int) -> int:
    """Return how many processes run on this machine; the num_processes of a config file are those of all machines."""
    if config is None or config.num_processes is None:
        return options.processes or default
    if options.processes is not None and options.processes * nodes != config.num_processes:
        raise OptionError(
            f"--launch-config {config.path} is for {config.num_processes} processes (num_processes), and --processes "
            f"{options.processes} on {nodes} {'node' if nodes == 1 else 'nodes'} are {options.processes * nodes}"
        )
    if config.num_processes % nodes:
        raise OptionError(
            f"--launch-config {config.path}: num_processes {config.num_processes} is no multiple of num_machines "
            f"{nodes}; the same number of processes runs on each machine"
        )
    return config.num_processes // nodes


def _address(options: LaunchOptions, config: LaunchConfig | None, nodes: int) -> tuple[str, int | None]:
    """Return the host and port at which the nodes meet; one node alone takes any port."""
    if nodes == 1:
        return "127.0.0.1", None
    if options.main_address is not None:
        return split_address(options.main_address)
    if config is None or config.main_process_ip is None or config.main_process_port is None:
        where = "" if config is None else f", or main_process_ip and main_process_port in {config.path}"
        raise OptionError(f"{nodes} nodes need the --main-address HOST:PORT at which they meet{where}")
    return config.main_process_ip, config.main_process_port


def written_config(folder: Path) -> Path:
    """Return a config file of accelerate that says nothing, so that the user's default one does not speak."""
    path = folder / "accelerate.yaml"
    path.write_text("compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_GPU\n", encoding="utf-8")
    return path
