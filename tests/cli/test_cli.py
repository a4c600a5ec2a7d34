"""The command line itself: help, completion, lazy imports, signals, pipes, and what happens when llmkit fails."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import typer
from conftest import llmkit_command

from llmkit import __version__
from llmkit.cli.app import COMMANDS, app

PANELS = {
    "generate": {"Arguments", "Model", "Decoding", "Prompt", "Knowledge", "Data", "Output"},
    "serve": {"Model", "Endpoint", "Output"},
    "plan": {"Arguments", "Plan", "Output"},
    "chat": {"Model", "Decoding", "Prompt", "Output"},
    "classify": {"Arguments", "Model", "Labels", "Data", "Output"},
    "embed": {"Arguments", "Model", "Vectors", "Data", "Output"},
    "data": {"Arguments", "Model", "Data", "Survey", "Output"},
    "finetune": {
        "Arguments",
        "Model",
        "Data",
        "Training",
        "Recipe",
        "Adapters",
        "Distillation",
        "Series",
        "Run",
        "Output",
    },
    "merge": {"Arguments", "Merge", "Model", "Data", "Output"},
    "push": {"Arguments", "Hub", "Output"},
    "pretrain": {"Arguments", "Model", "Architecture", "Data", "Training", "Recipe", "Run", "Output"},
    "eval": {"Arguments", "Model", "Data", "Evaluation", "Language models", "Gates", "Output"},
    "compare": {"Arguments", "Comparison", "Gates", "Output"},
    "cache": {"Arguments", "Cache", "Output"},
}
EVERYWHERE = {"--dry-run", "--json", "--quiet", "-q", "--verbose", "-v", "--version", "--config", "--help"}
OF_MODELS = {
    "--offline",
    "--limit",
    "--batch-size",
    "--revision",
    "--trust-remote-code",
    "--device",
    "--dtype",
    "--model",
    "-m",
    "--output",
    "-o",
    "--column",
}
OF_ROWS = {"--limit", "--batch-size", "--output", "-o", "--column"}
WITHOUT_MODEL = {"compare", "cache", "push", "plan"}  # they read files that were written, or another command's flags
WITHOUT_ROWS = {"chat", "serve"}
ORDER = [
    "generate",
    "chat",
    "classify",
    "embed",
    "serve",
    "data",
    "finetune",
    "plan",
    "merge",
    "push",
    "pretrain",
    "eval",
    "compare",
    "cache",
]


def command(verb: str):
    group = typer.main.get_command(app)
    return group.resolve_command(typer.Context(group, info_name="llmkit"), [verb])[1]


def examples(verb: str) -> list[list[str]]:
    """The arguments of each example on the help page, without what stands before and after a pipe."""
    lines = command(verb).epilog.replace(r"\[", "[").split("\n\n")[1:]
    words = [shlex.split(line) for line in lines]
    begun = [line[line.index("llmkit") + 1 :] for line in words]
    return [line[: line.index("|")] if "|" in line else line for line in begun]


def test_help_lists_the_commands(llmkit):
    ran = llmkit("--help")
    assert (ran.code, ran.err) == (0, "")
    listed = [line.split()[1] for line in ran.out.partition("─ Commands ─")[2].splitlines() if line.startswith("│ ")]
    assert [name for name in listed if name in COMMANDS] == ORDER
    assert set(COMMANDS) == set(PANELS) == set(ORDER)


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_help_of_a_command_has_panels_and_examples(llmkit, verb):
    ran = llmkit(verb, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert {name for name in PANELS[verb] if f"─ {name} ─" not in ran.out} == set()
    shown = ran.out.partition("Examples")[2].split()
    assert shown.count("llmkit") == len(examples(verb)) >= 4


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_flag_explains_itself_and_the_common_ones_are_everywhere(verb):
    parameters = [parameter for parameter in command(verb).params if parameter.name != "help"]
    assert [parameter.name for parameter in parameters if not parameter.help] == []
    flags = {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    assert EVERYWHERE - flags == set()
    wanted = OF_MODELS - OF_ROWS if verb in WITHOUT_ROWS else OF_MODELS
    assert OF_MODELS & flags == (set() if verb in WITHOUT_MODEL else wanted)


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_examples_of_a_command_parse(verb):
    for line in examples(verb):
        assert line[0] == verb
        command(verb).make_context(verb, line[1:])


def test_without_arguments_it_shows_the_help(llmkit):
    assert llmkit() == llmkit("--help")


def test_the_version_is_told(llmkit):
    assert llmkit("--version").out == f"llmkit {__version__}\n"


def test_the_module_and_the_console_script_are_one(llmkit_process):
    ran = llmkit_process("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"llmkit {__version__}\n", "")
    (script,) = metadata.entry_points(group="console_scripts", name="llmkit")
    assert script.value == "llmkit.__main__:run"


def test_help_and_import_leave_the_heavy_libraries_alone():
    script = (
        "import sys; import llmkit, llmkit.cli, llmkit.inference.answer_cache; "
        "codes = [llmkit.cli.main([*verb, '--help']) for verb in "
        "([], *([name] for name in llmkit.cli.COMMANDS))]; print(codes, sorted({'torch', 'transformers', 'datasets', "
        "'evaluate', 'accelerate', 'huggingface_hub', 'numpy', 'scipy', 'sklearn', 'matplotlib', 'pyarrow', "
        "'sacrebleu', 'junitparser', 'lm_eval', 'peft', 'optuna'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == f"{[0] * (len(COMMANDS) + 1)} []\n"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("llmkit ", set(ORDER)),
        ("llmkit fi", {"finetune"}),
        ("llmkit pu", {"push"}),
        ("llmkit c", {"chat", "classify", "compare", "cache"}),
        ("llmkit eval --fail", {"--fail-under", "--fail-above"}),
        ("llmkit eval --max-", {"--max-drop", "--max-gap", "--max-length"}),
        ("llmkit compare --max", {"--max-drop"}),
        ("llmkit finetune --lora-", {"--lora-rank", "--lora-alpha", "--lora-targets"}),
        ("llmkit cache ", {"show", "clear"}),
        ("llmkit generate --num", {"--num-beams", "--num-return-sequences"}),
        ("llmkit pretrain --arch ", {"llama", "gpt2", "bert", "t5"}),
    ],
)
def test_the_shell_completes(llmkit_process, typed, offered):
    place = len(typed.split()) - (not typed.endswith(" "))
    env = {"_LLMKIT_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(place)}
    ran = llmkit_process(env=env)
    assert (ran.code, set(ran.out.split()), ran.err) == (0, offered, "")


@pytest.mark.parametrize("arguments", [("--help",), ("classify", "-q", "-m", "{bert}", "good", "bad")])
def test_a_reader_that_went_away_is_no_error(classifier, arguments):
    read, write = os.pipe()
    os.close(read)
    line = llmkit_command(*(word.format(bert=classifier) for word in arguments))
    done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")  # as a process that SIGPIPE ended; 1 is for gates


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [("--help",), ("classify", "-q", "-m", "{bert}", "good", "bad")])
def test_a_full_disk_is_one_line_and_exit_12(classifier, arguments):
    line = llmkit_command(*(word.format(bert=classifier) for word in arguments))
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with Path("/dev/full").open("w") as full:
        streams = {"stdin": subprocess.DEVNULL, "stdout": full, "stderr": subprocess.PIPE}
        done = subprocess.run(line, **streams, text=True, env=buffered)
    assert done.returncode == 12
    assert done.stderr.startswith("error: no space left")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def broken(monkeypatch, tmp_path, classifier):
    """A bug in llmkit; the traceback goes to tmp_path/logs."""
    (tmp_path / "logs").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "logs"))

    def explode(*args: object) -> None:
        raise ZeroDivisionError("a bug\nof two lines")

    monkeypatch.setattr("llmkit.inference.prediction.Predictor.answer", explode)
    return ("classify", "good", "-m", classifier)


def test_a_bug_is_one_line_exit_3_and_a_traceback_in_a_file(llmkit, broken, tmp_path):
    ran = llmkit(*broken)
    (log,) = (tmp_path / "logs").iterdir()
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == f"error: llmkit failed (ZeroDivisionError: a bug of two lines); the traceback is in {log}\n"
    assert "in explode" in log.read_text()


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
def test_a_traceback_is_shown_only_when_asked_for(llmkit, broken, monkeypatch, value, shown):
    monkeypatch.setenv("LLMKIT_DEBUG", value)
    ran = llmkit(*broken)
    assert (ran.code, "Traceback" in ran.err, "in explode" in ran.err) == (3, shown, shown)


def test_a_mistake_has_a_traceback_too_when_asked_for(llmkit, monkeypatch):
    monkeypatch.setenv("LLMKIT_DEBUG", "1")
    ran = llmkit("eval", "absent.csv", "-m", "./absent")
    assert (ran.code, "Traceback" in ran.err) == (2, True)
    assert ran.err.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize("arguments", [("classify", "-m", "{bert}"), ("generate", "-m", "{llama}")])
def test_an_interrupt_before_anything_is_quiet_and_exit_130(classifier, llama, arguments):
    line = llmkit_command(*(word.format(bert=classifier, llama=llama) for word in arguments))
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        process.stdin.write(b"good film\n" * 50_000)  # more than a pipe holds: back here, it is reading
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, b"")
    assert err == b"error: interrupted, nothing was saved\n"


def test_json_is_all_that_stdout_holds(llmkit, tmp_path, monkeypatch, classifier, llama, reviews, corpus):
    monkeypatch.chdir(tmp_path)
    brief = ("--max-steps", 1, "--batch-size", 4, "--json")
    (record,) = llmkit("data", reviews, "--json").rows
    assert record["schema"] == 1
    (record,) = llmkit("finetune", reviews, "-m", classifier, "-o", "tuned", *brief).rows
    assert record["run"] == "tuned"
    (record,) = llmkit("pretrain", corpus, "-o", "fresh", "--max-length", 16, *brief).rows
    assert record["task"] == "causal-lm"
    (record,) = llmkit("eval", reviews, "-m", "tuned", "-o", "result.json", "--json").rows
    assert record["schema"] == 1
    (record,) = llmkit("compare", "result.json", "result.json", "--json").rows
    assert record["metrics"]["f1"]["difference"] == 0
    (record,) = llmkit("cache", "--json").rows
    assert (record["model"], record["rows"]) == ("tuned", 24)
    (record,) = llmkit("eval", corpus, "-m", "fresh", "--json").rows
    assert record["metrics"]["perplexity"]["value"] > 1
    assert len(llmkit("classify", "good", "bad", "-m", classifier, "--json").rows) == 2
    assert len(llmkit("generate", "the fox", "the king", "-m", llama, "--max-new-tokens", 3, "--json").rows) == 2
    (record,) = llmkit("cache", "clear", "--json").rows
    assert record["removed"] == 2


@pytest.mark.parametrize("flags", [("--json",), ()])
def test_a_dry_run_prints_nothing_on_stdout_and_writes_nothing(
    llmkit, tmp_path, monkeypatch, classifier, llama, reviews, corpus, flags
):
    monkeypatch.chdir(tmp_path)
    assert llmkit("eval", reviews, "-m", classifier, "-o", "saved.json").code == 0
    before = sorted(tmp_path.rglob("*"))
    for line in (
        ("data", reviews, "-m", classifier, "-o", "survey.json", "--picture", "survey.png"),
        ("finetune", reviews, "-m", classifier),
        ("pretrain", corpus),
        ("eval", reviews, "-m", classifier, "-o", "result.json", "--junit", "report.xml", "--plots", "plots"),
        ("compare", "saved.json", "saved.json", "--markdown", "comparison.md"),
        ("classify", "-i", reviews / "train.csv", "-m", classifier, "-o", "out.jsonl"),
        ("generate", "-i", reviews / "train.csv", "-m", llama, "-o", "out.jsonl"),
    ):
        ran = llmkit(*line, "--dry-run", *flags)
        assert (ran.code, ran.out, "dry run" in ran.err) == (0, "", True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "flags",
    [
        ("--column", "label=Class Index", "text=Description"),
        ("--column", "label=Class Index", "--column", "text=Description"),
        ("--column", "text=Description", "--limit", "4", "--column", "label=Class Index"),
    ],
)
def test_one_column_flag_takes_several_columns(llmkit, tmp_path, flags):
    file = tmp_path / "news.csv"
    rows = ["1,A goal,The cup is won at last", "2,A law,The law is passed today"] * 2
    file.write_text("\n".join(["Class Index,Title,Description", *rows]))
    ran = llmkit("data", file, *flags)
    assert ran.code == 0, ran.err
    assert "columns text=Description, label=Class Index" in ran.err


def test_a_file_whose_name_looks_like_a_column_is_a_file(llmkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text=1.csv").write_text("body,label\nThe sun is out,a\nThe rain is back,b\n")
    ran = llmkit("data", "--column", "text=body", "text=1.csv")
    assert ran.code == 0, ran.err
    assert "columns text=body, label=label" in ran.err
