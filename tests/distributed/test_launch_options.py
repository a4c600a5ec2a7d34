"""The flags of a launch: limits, contradictions, and what they make of a config file and a machine's devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmkit.cli.launch import devices, fleet
from llmkit.cli.launch.fleet import Fleet, fleet_of
from llmkit.errors import OptionError
from llmkit.options import FinetuneRequest, LaunchOptions
from llmkit.options.launch import split_address


@pytest.fixture
def gpus(monkeypatch):
    """Let the machine have four GPUs."""
    monkeypatch.setattr(fleet, "visible_gpus", lambda: 4)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(fleet, "visible_gpus", lambda: 0)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"processes": 0}, "--processes must be at least 1, not 0"),
        ({"nodes": 0}, "--nodes must be at least 1, not 0"),
        ({"nodes": 2}, "--nodes 2 needs --node-rank and --main-address, such as --node-rank 0 --main-address H:29500"),
        ({"nodes": 2, "node_rank": 0}, "--nodes 2 needs --main-address, such as --main-address H:29500"),
        ({"nodes": 2, "main_address": "h:1"}, "--nodes 2 needs --node-rank, such as --node-rank 0"),
        ({"node_rank": 1}, "--node-rank is for several nodes: add --nodes"),
        ({"node_rank": 1, "main_address": "h:1"}, "--node-rank and --main-address are for several nodes: add --nodes"),
        (
            {"nodes": 2, "node_rank": 2, "main_address": "h:1"},
            "--node-rank 2 is none of the ranks of --nodes 2, which go from 0 to 1",
        ),
        ({"join_timeout": 0}, "--join-timeout must be at least 1, not 0"),
    ],
)
def test_what_does_not_go_together_is_refused(given, says):
    with pytest.raises(OptionError) as refused:
        LaunchOptions(**given)
    assert says in refused.value.problems


@pytest.mark.parametrize(
    "address", ["host", "host:", ":29500", "host:0", "host:65536", "host:1x", "http://host:80", "fe80::1:80", "a b:1"]
)
def test_an_address_without_a_port_is_refused(address):
    with pytest.raises(OptionError, match="--main-address must be HOST:PORT"):
        LaunchOptions(nodes=2, node_rank=0, main_address=address)


@pytest.mark.parametrize(
    ("address", "parts"),
    [("10.0.0.1:29500", ("10.0.0.1", 29500)), ("[fe80::1]:80", ("fe80::1", 80)), ("node-0.job:1", ("node-0.job", 1))],
)
def test_an_address_is_a_host_and_a_port(address, parts):
    assert split_address(address) == parts


def test_a_training_is_the_same_on_any_number_of_processes():
    one, four = (FinetuneRequest(dataset=["a.csv"], launch=LaunchOptions(processes=n)) for n in (1, 4))
    assert one.identity == four.identity


def test_all_gpus_are_taken_and_one_process_on_a_cpu(gpus):
    assert fleet_of(LaunchOptions(), "auto").processes == 4
    assert fleet_of(LaunchOptions(), "cuda").processes == 4
    assert fleet_of(LaunchOptions(), "cuda:1").processes == 1
    assert fleet_of(LaunchOptions(), "cpu") == Fleet()
    assert fleet_of(LaunchOptions(processes=2), "cpu") == Fleet(processes=2, on_cpu=True)
    assert fleet_of(LaunchOptions(processes=2), "auto") == Fleet(processes=2, on_cpu=False)


def test_without_a_gpu_one_process_is_the_default(no_gpu):
    assert fleet_of(LaunchOptions(), "auto") == Fleet()
    assert fleet_of(LaunchOptions(processes=3), "auto").size == 3
    two = LaunchOptions(nodes=2, node_rank=1, main_address="127.0.0.2:29500", processes=3)
    assert fleet_of(two, "auto") == Fleet(processes=3, nodes=2, node_rank=1, host="127.0.0.2", port=29500)


def test_more_processes_than_gpus_are_refused(gpus):
    with pytest.raises(OptionError, match="--processes 5 is more than the 4 GPUs that can be seen"):
        fleet_of(LaunchOptions(processes=5), "auto")
    with pytest.raises(OptionError, match="--device cuda:1 is one GPU, and --processes 2"):
        fleet_of(LaunchOptions(processes=2), "cuda:1")


@pytest.mark.parametrize("named", ["", "-1", " "])
def test_hidden_gpus_are_none(monkeypatch, named):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    monkeypatch.setattr(devices, "DRIVERS", ("/dev/null",))
    assert devices.visible_gpus() == 0


def config(tmp_path: Path, text: str) -> LaunchOptions:
    file = tmp_path / "accelerate.yaml"
    file.write_text(text, encoding="utf-8")
    return LaunchOptions(launch_config=file)


PLAIN = """compute_environment: LOCAL_MACHINE
distributed_type: MULTI_CPU
num_machines: 2
num_processes: 4
machine_rank: 1
main_process_ip: 127.0.0.2
main_process_port: 29501
use_cpu: true
"""


def test_a_config_file_says_what_the_flags_do_not(tmp_path, gpus):
    options = config(tmp_path, PLAIN)
    made = fleet_of(options, "auto")
    assert (made.processes, made.nodes, made.node_rank, made.host, made.port) == (2, 2, 1, "127.0.0.2", 29501)
    assert made.on_cpu
    flags = LaunchOptions(launch_config=options.launch_config, node_rank=0, main_address="h:1", processes=2, nodes=2)
    made = fleet_of(flags, "auto")
    assert (made.node_rank, made.host, made.port) == (0, "h", 1)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"processes": 4}, "is for 4 processes (num_processes), and --processes 4 on 2 nodes are 8"),
        ({"nodes": 3}, "is for 2 nodes (num_machines), and --nodes says 3"),
        ({"node_rank": 2}, "--node-rank 2 is none of the ranks of 2 nodes"),
    ],
)
def test_a_config_for_another_world_is_refused(tmp_path, no_gpu, flags, says):
    options = LaunchOptions(launch_config=config(tmp_path, PLAIN).launch_config, **flags)
    with pytest.raises(OptionError) as refused:
        fleet_of(options, "auto")
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "is not YAML"),
        ("- a", "must hold a mapping as `accelerate config` writes it"),
        ("", "must hold a mapping"),
        ("distributed_type: MULTI_CPU\nnum_proceses: 2", "accelerate has no key 'num_proceses' (did you mean 'num_pro"),
        ("num_processes: 2", "names no distributed_type"),
        ("distributed_type: XLA", "distributed_type is XLA; llmkit launches NO, MULTI_CPU"),
        ("compute_environment: AMAZON_SAGEMAKER", "compute_environment is AMAZON_SAGEMAKER"),
        ("distributed_type: MULTI_CPU\nnum_processes: two", "num_processes must be a whole number of at least 1"),
        ("distributed_type: MULTI_CPU\nnum_processes: true", "num_processes must be a whole number"),
        ("distributed_type: MULTI_CPU\nnum_processes: 3\nnum_machines: 2", "num_processes 3 is no multiple"),
        ("distributed_type: MULTI_CPU\nnum_processes: 2\nnum_machines: 2", "2 nodes need the --main-address HOST:PORT"),
        ("distributed_type: FSDP\nnum_processes: 2", "FSDP shards over GPUs, and none is used"),
        ("distributed_type: DEEPSPEED\nnum_processes: 2", "DEEPSPEED shards over GPUs, and none is used"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(tmp_path, no_gpu, text, says):
    with pytest.raises(OptionError) as refused:
        fleet_of(config(tmp_path, text), "auto")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_config_that_is_not_there_is_refused(tmp_path, no_gpu):
    with pytest.raises(OptionError, match="No such file"):
        fleet_of(LaunchOptions(launch_config=tmp_path / "no.yaml"), "auto")


def test_an_unquoted_no_is_one_process(tmp_path, no_gpu):
    assert fleet_of(config(tmp_path, "distributed_type: NO"), "auto").size == 1


def test_fewer_gpu_ids_than_processes_are_refused(tmp_path, gpus):
    with pytest.raises(OptionError, match="gpu_ids names 2 GPUs for 3 processes"):
        fleet_of(config(tmp_path, "distributed_type: MULTI_GPU\nnum_processes: 3\ngpu_ids: 0,1"), "auto")


@pytest.mark.parametrize("command", ["generate", "classify", "embed"])
def test_texts_on_the_command_line_run_in_one_process(llmkit, command):
    done = llmkit(command, "a text", "--processes", "2")
    assert done.code == 2
    assert done.err.startswith("error: 2 processes are asked for, and ")
    assert "--input FILE is for many" in done.err


def test_a_world_of_another_size_is_refused(monkeypatch):
    from llmkit.cli.launch.starting import _check_world

    _check_world(LaunchOptions(processes=2), 2, None)
    _check_world(LaunchOptions(), 2, None)
    with pytest.raises(OptionError, match="a launcher started 2 processes, and --processes and --nodes ask for 3"):
        _check_world(LaunchOptions(processes=3), 2, None)
    with pytest.raises(OptionError, match="a launcher started 2 processes, and prompts"):
        _check_world(LaunchOptions(), 2, "prompts are answered in one")


def test_more_processes_than_rows_are_refused_by_a_dry_run_too():
    says = "--processes 3: 6 processes share 5 rows; fewer processes do"
    options = LaunchOptions(processes=3, nodes=2, node_rank=0, main_address="h:1")
    for processes in (6, 1):  # a dry run is one process
        with pytest.raises(OptionError) as refused:
            options.require_enough(5, processes)
        assert str(refused.value) == says
    options.require_enough(6, 6)
    LaunchOptions().require_enough(1, 8)  # of GPUs that nobody named
