"""The examples for clusters, checked without one: what they would run, and what they do with exit codes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from example_results import EXAMPLES

from llmkit.cli.app import _load

SCRIPT = EXAMPLES / "slurm.sbatch"

SRUN = """#!/bin/bash
printf '%s\\n' "$*" >> srun.log
while [[ $1 == --* ]]; do shift; done
code=0
for node in $(seq 0 $((SLURM_NNODES - 1))); do
    SLURM_NODEID=$node "$@" || { last=$?; [ "$last" -gt "$code" ] && code=$last; }
done
exit "$code"
"""
SCONTROL = """#!/bin/bash
printf '%s\\n' "$*" >> scontrol.log
[ "$1" = requeue ] || printf 'gpu07\\ngpu09\\n'
"""
LLMKIT = """#!/bin/bash
printf '%s\\0' "$@" >> llmkit.log; printf '\\n' >> llmkit.log
exit "${CODE:-0}"
"""
LATE = {  # an srun that passes signals on, as SLURM's does, and a training that saves when it is told to stop
    "srun": '#!/bin/bash\nwhile [[ $1 == --* ]]; do shift; done\nSLURM_NODEID=0 exec "$@"\n',
    "llmkit": f"""#!{sys.executable}
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}})
print("begun", flush=True)
signal.sigwait({{signal.SIGTERM}})
open("llmkit.log", "a").write("saved\\n")
sys.exit(75)
""",
}


@dataclass(frozen=True)
class Cluster:
    """A folder in which the script runs, with a stand-in for each program that it calls."""

    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        job = {"SLURM_JOB_ID": "41234", "SLURM_JOB_NODELIST": "gpu[07,09]", "SLURM_NNODES": "2"}
        return {"PATH": f"{self.folder}:{os.environ['PATH']}", **job, **more}

    def run(self, **more: str) -> int:
        return subprocess.run(["bash", SCRIPT], cwd=self.folder, env=self.environment(**more), timeout=60).returncode

    def calls(self, program: str) -> list[str]:
        log = self.folder / f"{program}.log"
        return log.read_text().splitlines() if log.exists() else []

    def put(self, **programs: str) -> None:
        for name, text in programs.items():
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)


@pytest.fixture
def cluster(tmp_path) -> Cluster:
    cluster = Cluster(tmp_path)
    cluster.put(srun=SRUN, scontrol=SCONTROL, llmkit=LLMKIT)
    return cluster


def parsed(arguments: list[str]) -> dict[str, Any]:
    """Return the values of a command line of llmkit, by llmkit's own parser."""
    verb, *rest = arguments
    return _load(verb).make_context(verb, rest).params


def test_the_sbatch_script_is_bash_that_shellcheck_likes():
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", SCRIPT], check=True)


def test_the_sbatch_script_says_before_its_commands_what_slurm_is_to_do():
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    commands = [number for number, line in enumerate(lines) if line and not line.startswith("#")]
    given = dict(
        re.fullmatch(r"#SBATCH --([\w-]+)(?:=(\S+))?", line).groups()
        for line in lines[: commands[0]]  # SLURM looks no further
        if line.startswith("#SBATCH")
    )
    assert sum(line.startswith("#SBATCH") for line in lines) == len(given)
    assert (given["nodes"], given["ntasks-per-node"]) == ("2", "1")
    assert given["signal"].startswith("B:USR1@")
    assert given["open-mode"] == "append"
    assert "requeue" in given


def test_each_node_runs_the_same_command_with_its_own_rank(cluster):
    assert cluster.run(DATASET="my data", RUN="/shared/a run") == 0
    lines = [line.split("\0")[:-1] for line in cluster.calls("llmkit")]
    values = [parsed(line) for line in lines]
    assert [each["node_rank"] for each in values] == [0, 1]
    for each in values:
        assert (each["nodes"], each["main_address"]) == (2, f"gpu07:{20000 + 41234 % 20000}")
        assert (each["dataset"], str(each["output"]), each["resume"]) == (["my data"], "/shared/a run", True)
        assert each["processes"] is None  # one for each GPU of the node
    assert cluster.calls("scontrol") == ["show hostnames gpu[07,09]"]
    (step,) = cluster.calls("srun")
    assert "--kill-on-bad-exit=0" in step  # a node that has saved first does not end the others


@pytest.mark.parametrize("code", [1, 2, 11, 12, 130, 137])
def test_a_failure_is_passed_on_and_not_queued_again(cluster, code):
    assert cluster.run(CODE=str(code)) == code
    assert not any(call.startswith("requeue") for call in cluster.calls("scontrol"))


def test_a_run_that_stopped_and_saved_is_queued_again(cluster):
    assert cluster.run(CODE="75") == 75
    assert cluster.calls("scontrol")[1:] == ["requeue 41234"]


@pytest.mark.parametrize("to_script", [[signal.SIGUSR1], [signal.SIGTERM, signal.SIGUSR1]])
def test_at_the_end_of_its_time_a_run_is_asked_to_save_and_is_queued_again(cluster, to_script):
    cluster.put(**LATE)
    with subprocess.Popen(
        ["bash", SCRIPT], cwd=cluster.folder, env=cluster.environment(), stdout=subprocess.PIPE, text=True
    ) as script:
        assert script.stdout.readline() == "begun\n"
        for number in to_script:
            script.send_signal(number)
        assert script.wait(60) == 75
    assert cluster.calls("llmkit") == ["saved"]
    assert cluster.calls("scontrol")[1:] == ["requeue 41234"]


def exact(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """Return the schema of an object with these properties alone: a field that is spelled wrongly is none of them."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


TEXT, WHOLE, NAMED = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "object"}
METADATA = exact({"name": TEXT, "labels": {"type": "object", "additionalProperties": TEXT}})
ON_CODES = exact(
    {
        "containerName": TEXT,
        "operator": {"enum": ["In", "NotIn"]},
        "values": {"type": "array", "items": {"type": "integer", "minimum": 1}, "uniqueItems": True},
    },
    "operator",
    "values",
)
RULE = {
    **exact(
        {
            "action": {"enum": ["Ignore", "Count", "FailJob", "FailIndex"]},
            "onExitCodes": ON_CODES,
            "onPodConditions": {"type": "array", "items": exact({"type": TEXT, "status": TEXT}, "type")},
        },
        "action",
    ),
    "oneOf": [{"required": ["onExitCodes"]}, {"required": ["onPodConditions"]}],
}
CONTAINER = exact(
    {
        "name": TEXT,
        "image": TEXT,
        "command": {"type": "array", "items": TEXT},
        "args": {"type": "array", "items": TEXT},
        "env": {"type": "array", "items": exact({"name": TEXT, "value": TEXT, "valueFrom": NAMED}, "name")},
        "ports": {"type": "array", "items": exact({"containerPort": WHOLE}, "containerPort")},
        "resources": exact({"requests": NAMED, "limits": NAMED}),
        "volumeMounts": {"type": "array", "items": exact({"name": TEXT, "mountPath": TEXT}, "name", "mountPath")},
    },
    "name",
    "image",
)
VOLUME = exact({"name": TEXT, "persistentVolumeClaim": exact({"claimName": TEXT}), "emptyDir": NAMED}, "name")
POD = exact(
    {
        "restartPolicy": {"enum": ["Never", "OnFailure"]},
        "subdomain": TEXT,
        "terminationGracePeriodSeconds": WHOLE,
        "containers": {"type": "array", "items": CONTAINER, "minItems": 1},
        "volumes": {"type": "array", "items": VOLUME},
    },
    "restartPolicy",
    "containers",
)
JOB = exact(
    {
        "apiVersion": {"const": "batch/v1"},
        "kind": {"const": "Job"},
        "metadata": METADATA,
        "spec": exact(
            {
                "completionMode": {"enum": ["Indexed", "NonIndexed"]},
                "completions": WHOLE,
                "parallelism": WHOLE,
                "backoffLimit": WHOLE,
                "podReplacementPolicy": {"enum": ["Failed", "TerminatingOrFailed"]},
                "podFailurePolicy": exact({"rules": {"type": "array", "items": RULE, "maxItems": 20}}, "rules"),
                "template": exact({"metadata": METADATA, "spec": POD}, "spec"),
            },
            "template",
        ),
    },
    "apiVersion",
    "kind",
    "metadata",
    "spec",
)


@pytest.fixture(scope="module")
def manifest() -> dict[str, dict[str, Any]]:
    documents = yaml.safe_load_all((EXAMPLES / "kubernetes-job.yaml").read_text(encoding="utf-8"))
    return {document["kind"]: document for document in documents}


def test_the_job_has_only_fields_that_there_are(manifest):
    assert set(manifest) == {"Service", "Job"}
    jsonschema.validate(manifest["Job"], JOB)
    with pytest.raises(jsonschema.ValidationError, match="backofLimit"):
        jsonschema.validate({**manifest["Job"], "spec": {**manifest["Job"]["spec"], "backofLimit": 1}}, JOB)


def test_the_nodes_of_the_job_meet_at_its_first_pod(manifest):
    service, job = manifest["Service"], manifest["Job"]
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["/bin/sh", "-c"]
    (line,) = container["args"]
    line = line.removeprefix("exec llmkit ").replace('"$JOB_COMPLETION_INDEX"', "1")
    values = parsed(shlex.split(line))
    assert values["nodes"] == spec["completions"] == spec["parallelism"]
    assert (spec["completionMode"], values["node_rank"]) == ("Indexed", 1)
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"].items() <= spec["template"]["metadata"]["labels"].items()
    (port,) = service["spec"]["ports"]
    name, within = job["metadata"]["name"], service["metadata"]["name"]
    assert pod["subdomain"] == within
    assert values["main_address"] == f"{name}-0.{within}:{port['port']}"
    assert container["ports"] == [{"containerPort": port["port"]}]
    assert values["resume"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    shared = next(volume for volume in pod["volumes"] if volume["name"] == mounts["/shared"])
    assert str(values["output"]).startswith("/shared/")
    assert "persistentVolumeClaim" in shared
    assert container["resources"]["limits"]["nvidia.com/gpu"] >= 1


def test_the_job_goes_on_after_75_and_gives_up_what_a_new_start_does_not_mend(manifest):
    spec = manifest["Job"]["spec"]
    actions = {
        code: rule["action"]
        for rule in spec["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {}).get("values", [])
    }
    assert actions == {75: "Ignore", 2: "FailJob", 5: "FailJob", 11: "FailJob", 12: "FailJob"}
    names = {
        rule["onExitCodes"]["containerName"] for rule in spec["podFailurePolicy"]["rules"] if "onExitCodes" in rule
    }
    assert names == {container["name"] for container in spec["template"]["spec"]["containers"]}
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # as a failure policy wants it
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] >= 60
