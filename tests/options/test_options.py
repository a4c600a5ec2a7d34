from __future__ import annotations

from pathlib import Path

import pytest

from llmkit.errors import OptionError
from llmkit.options import (
    ArchitectureOptions,
    CompareOptions,
    DataOptions,
    EvalOptions,
    GateOptions,
    GenerationOptions,
    ModelOptions,
    ReadingOptions,
    ResultOptions,
    RowOptions,
    RunOptions,
    TalkOptions,
    TrainingOptions,
)
from llmkit.options.base import limits
from llmkit.options.overrides import parse_settings, parse_value
from llmkit.options.training.search_space import Categorical, Range, read_space

NAN, INF = float("nan"), float("inf")
BEAMS = {"num_beams": 2, "num_return_sequences": 2}


@pytest.mark.parametrize(
    ("group", "given", "problem"),
    [
        (TalkOptions, {"quiet": True, "verbose": True}, "--quiet and --verbose contradict"),
        (ModelOptions, {"device": "gpu"}, "--device must be cpu, cuda"),
        (ModelOptions, {"model": " "}, "--model must not be empty"),
        (ReadingOptions, {"limit": 0}, "--limit must be at least 1, not 0"),
        (ReadingOptions, {"column": ["text"]}, "--column takes role=name (text=review), not 'text'"),
        (ReadingOptions, {"column": ["text=a", "=b"]}, "not '=b'"),
        (ReadingOptions, {"column": ["text="]}, "not 'text='"),
        (DataOptions, {"limit": -1}, "--limit"),
        (DataOptions, {"max_length": 3}, "--max-length must be at least 4, not 3"),
        (TrainingOptions, {"epochs": 0.0}, "--epochs must be more than 0, not 0.0"),
        (TrainingOptions, {"epochs": NAN}, "--epochs must be more than 0, not nan"),
        (TrainingOptions, {"epochs": INF}, "--epochs"),
        (TrainingOptions, {"learning_rate": -1e-4}, "--learning-rate must be more than 0, not -0.0001"),
        (TrainingOptions, {"learning_rate": NAN}, "--learning-rate"),
        (TrainingOptions, {"learning_rate": INF}, "--learning-rate"),
        (TrainingOptions, {"max_steps": 0}, "--max-steps must be at least 1, not 0"),
        (TrainingOptions, {"batch_size": 0}, "--batch-size must be at least 1"),
        (TrainingOptions, {"seed": -1}, "--seed must be at least 0, not -1"),
        (TrainingOptions, {"seed": 2**32}, "--seed"),  # more than NumPy takes
        (TrainingOptions, {"epochs": 1.0, "max_steps": 5}, "--epochs and --max-steps exclude each other"),
        (RunOptions, {"resume": True, "overwrite": True}, "--resume and --overwrite exclude each other"),
        (RowOptions, {"batch_size": 0}, "--batch-size"),
        (RowOptions, {"limit": 0}, "--limit"),
        (RowOptions, {"input": Path("a.csv"), "output": Path("b.txt")}, "--output must end in .jsonl or .csv"),
        (RowOptions, {"output": Path("b.csv")}, "--output goes with --input"),
        (RowOptions, {"overwrite": True}, "--overwrite needs --output"),
        (GenerationOptions, {"max_new_tokens": 0}, "--max-new-tokens must be at least 1"),
        (GenerationOptions, {"temperature": 0.0}, "--temperature must be more than 0, not 0.0; leave it out for"),
        (GenerationOptions, {"temperature": NAN}, "--temperature"),
        (GenerationOptions, {"temperature": INF}, "--temperature"),
        (GenerationOptions, {"top_p": 0.0}, "--top-p must be in (0, 1], not 0.0"),
        (GenerationOptions, {"top_p": 1.01}, "--top-p"),
        (GenerationOptions, {"top_k": 0}, "--top-k must be at least 1"),
        (GenerationOptions, {"num_beams": 0}, "--num-beams must be at least 1"),
        (GenerationOptions, {"num_return_sequences": 0}, "--num-return-sequences must be at least 1"),
        (GenerationOptions, {"repetition_penalty": 0.0}, "--repetition-penalty must be more than 0"),
        (GenerationOptions, {"seed": -1}, "--seed"),
        (GenerationOptions, {"num_return_sequences": 2}, "-n above 1 gives equal answers"),
        (GenerationOptions, {"num_return_sequences": 3, "num_beams": 2}, "-n above 1"),
        (GenerationOptions, {"num_beams": 2, "top_p": 0.9}, "--num-beams searches"),
        (GenerationOptions, {"system": "Be brief.", "chat": False}, "--no-chat"),
        (GenerationOptions, {"stop": [".", ""]}, "--stop must not be empty"),
        (EvalOptions, {"batch_size": 0}, "--batch-size"),
        (EvalOptions, {"stride": 0}, "--stride must be at least 1"),
        (EvalOptions, {"seed": -1}, "--seed"),
        (EvalOptions, {"seed": 2**32}, "--seed"),
        (EvalOptions, {"resamples": -1}, "--resamples must be at least 0, not -1"),
        (EvalOptions, {"resamples": 99}, "--resamples must be 0, or at least 100 for an interval to mean anything"),
        (EvalOptions, {"check_invariance": -1}, "--check-invariance must be at least 0, not -1"),
        (EvalOptions, {"num_fewshot": -1}, "--num-fewshot must be at least 0, not -1"),
        (EvalOptions, {"label_map": ["LABEL_0"]}, "--label-map takes MODEL=DATASET (LABEL_0=negative), not 'LABEL_0'"),
        (EvalOptions, {"label_map": ["a=b", "=b"]}, "not '=b'"),
        (EvalOptions, {"label_map": ["a="]}, "not 'a='"),
        (EvalOptions, {"predictions": Path("absent.jsonl")}, "--predictions: there is no file 'absent.jsonl'"),
        (EvalOptions, {"swap": Path("absent.csv")}, "--swap: there is no file 'absent.csv'"),
        (EvalOptions, {"predictions": Path(__file__), "swap": Path(__file__)}, "--swap asks the model again"),
        (GateOptions, {"fail_under": ["f1"]}, "--fail-under takes metric=number (f1=0.85), not 'f1'"),
        (GateOptions, {"fail_under": ["f1=good"]}, "not 'f1=good'"),
        (GateOptions, {"fail_under": ["f1=nan"]}, "not 'f1=nan'"),
        (GateOptions, {"fail_under": ["=0.5"]}, "not '=0.5'"),
        (GateOptions, {"fail_under": ["f1=0.5", "accuracy=1", "f1=0.9"]}, "--fail-under names 'f1' twice"),
        (GateOptions, {"fail_above": ["perplexity"]}, "--fail-above takes metric=number (perplexity=20)"),
        (GateOptions, {"baseline": "b.json", "max_drop": ["f1"]}, "--max-drop takes metric=number (f1=0.01)"),
        (GateOptions, {"baseline": "b.json", "max_drop": ["f1=-0.01"]}, "--max-drop must not be negative"),
        (GateOptions, {"max_drop": ["f1=0.01"]}, "--max-drop needs a --baseline"),
        (GateOptions, {"max_gap": ["f1=lots"]}, "--max-gap takes metric=number (f1=0.1), not 'f1=lots'"),
        (GateOptions, {"max_gap": ["f1=-0.1"]}, "--max-gap must not be negative"),
        (ResultOptions, {"output": Path(__file__).parent}, "is a folder; a file is wanted"),
        (ResultOptions, {"junit": Path(__file__) / "report.xml"}, "--junit"),
        (ResultOptions, {"markdown": Path(__file__) / "summary.md"}, "--markdown"),
        (ResultOptions, {"plots": Path(__file__)}, "is a file; a folder is wanted"),
        (ResultOptions, {"save_predictions": Path("p.txt")}, "--save-predictions must end in .jsonl or .csv"),
        (ResultOptions, {"output": Path("a.json"), "junit": Path("b/../a.json")}, "name the same file"),
        (ResultOptions, {"markdown": Path("a.csv"), "save_predictions": Path("a.csv")}, "name the same file"),
        (CompareOptions, {"max_drop": ["f1"]}, "--max-drop takes metric=number (f1=0.01), not 'f1'"),
        (CompareOptions, {"max_drop": ["f1=-1"]}, "--max-drop must not be negative"),
        (CompareOptions, {"resamples": 0}, "--resamples must be at least 100, not 0"),
        (CompareOptions, {"seed": -1}, "--seed"),
        (CompareOptions, {"markdown": Path(__file__).parent}, "--markdown"),
        (ArchitectureOptions, {"vocab_size": 63}, "--vocab-size must be at least 64"),
        (ArchitectureOptions, {"mask_share": 0.0}, "--mask-share must lie between 0 and 1"),
        (ArchitectureOptions, {"mask_share": 1.0}, "--mask-share"),
        (ArchitectureOptions, {"mask_share": NAN}, "--mask-share"),
        (ArchitectureOptions, {"tokenizer": "gpt2", "vocab_size": 100}, "--vocab-size is for a tokenizer that is"),
    ],
)
def test_a_group_refuses_to_exist_with_this_value(group, given, problem):
    with pytest.raises(OptionError) as refusal:
        group(**given)
    assert len(refusal.value.problems) == 1
    assert problem in refusal.value.problems[0]


@pytest.mark.parametrize(
    ("group", "given"),
    [
        (ModelOptions, {"device": "cuda:1"}),
        (ReadingOptions, {"limit": 1, "column": ["text=a=b"]}),
        (DataOptions, {"max_length": 4}),
        (TrainingOptions, {"epochs": 0.1, "learning_rate": 1e-9, "batch_size": 1, "seed": 2**32 - 1}),
        (TrainingOptions, {"max_steps": 1, "seed": 0}),
        (RowOptions, {"input": Path("a.txt"), "output": Path("b.csv"), "overwrite": True, "batch_size": 1}),
        (GenerationOptions, {"top_p": 1.0, "top_k": 1, "temperature": 0.01, "num_return_sequences": 9}),
        (GenerationOptions, BEAMS),
        (GenerationOptions, {"system": "Be brief."}),
        (EvalOptions, {"stride": 1, "resamples": 0, "check_invariance": 0, "num_fewshot": 0, "seed": 2**32 - 1}),
        (EvalOptions, {"resamples": 100, "label_map": ["LABEL_0=a=b"], "swap": Path(__file__)}),
        (GateOptions, {"fail_under": ["f1=0.85", "pearson=-1e-1"], "fail_above": ["loss=0"], "max_gap": ["f1=0"]}),
        (GateOptions, {"baseline": "runs/a", "max_drop": ["f1=0"], "strict": True}),
        (ResultOptions, {"output": Path("a.json"), "junit": Path("a.xml"), "save_predictions": Path("a.csv")}),
        (ResultOptions, {"output": Path("new/folder/a.json"), "plots": Path(__file__).parent}),
        (CompareOptions, {"max_drop": ["f1=0"], "resamples": 100, "seed": 0}),
        (ArchitectureOptions, {"vocab_size": 64, "mask_share": 0.5}),
    ],
)
def test_values_at_the_limits_are_taken(group, given):
    made = group(**given)
    assert {name: getattr(made, name) for name in given} == given


def test_what_options_say_of_themselves():
    assert ReadingOptions(column=["text=a=b", "label=y"]).columns == {"text": "a=b", "label": "y"}
    gates = GateOptions(fail_under=["f1=0.85", "accuracy=.5"], fail_above=["loss=2"], max_gap=["recall=0.1"])
    assert limits(gates.fail_under) == {"f1": 0.85, "accuracy": 0.5}
    assert gates.named == [
        ("f1", "--fail-under"),
        ("accuracy", "--fail-under"),
        ("loss", "--fail-above"),
        ("recall", "--max-gap"),
    ]
    mapped = EvalOptions(label_map=["LABEL_0=a=b", "LABEL_1=c"]).labels_mapped
    assert mapped == {"LABEL_0": "a=b", "LABEL_1": "c"}
    sampling = [{"temperature": 0.7}, {"top_p": 0.9}, {"top_k": 5}, {}, BEAMS]
    assert [GenerationOptions(**given).sampling for given in sampling] == [True, True, True, False, False]


def test_the_problems_of_all_groups_are_reported_together(llmkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = llmkit(
        "finetune",
        "no.csv",
        "--epochs",
        0,
        "--limit",
        0,
        "--max-length",
        1,
        "--device",
        "gpu",
        "--resume",
        "--overwrite",
        "-q",
        "-v",
        "--column",
        "text",
    )
    assert (ran.code, ran.out) == (2, "")
    flags = ("--epochs", "--limit", "--max-length", "--device", "--resume and", "--quiet and", "--column")
    assert [flag for flag in flags if flag not in ran.error] == []
    assert ran.error.count("; ") == len(flags) - 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def configured(llmkit, tmp_path, monkeypatch):
    """Run finetune's checks with a config file, and return what it says of its options."""
    monkeypatch.chdir(tmp_path)

    def run(yaml: str, *flags: object):
        (tmp_path / "options.yaml").write_text(yaml, encoding="utf-8")
        return llmkit("finetune", "no.csv", "--config", "options.yaml", *flags)

    return run


def test_the_file_wins_over_the_defaults_and_flags_over_the_file(configured):
    wrong = "epochs: -3\nmax-length: 2\nlearning_rate: 1e-4\n"
    assert "--epochs must be more than 0, not -3.0" in configured(wrong).error
    assert "--max-length must be at least 4, not 2" in configured(wrong).error
    over = configured(wrong, "--epochs", "-7", "--max-length", 8).error
    assert ("not -7.0" in over, "-3" in over, "--max-length" in over) == (True, False, False)
    assert "no file or folder 'no.csv'" in configured(wrong, "--max-length", 8, "--epochs", 1).error


def test_mappings_in_the_file_stand_for_repeated_flags(configured):
    assert "'txet'" not in configured("set: {max_grad_norm: 0.5, bf16_full_eval: true}\n").error
    Path("no.csv").write_text("text,label\n", encoding="utf-8")
    assert "no field 'weight_decoy'" in configured("set:\n  weight_decoy: 0.1\n").error
    assert "--set seed: use --seed" in configured("set: [seed=1]\n").error
    assert "not '=review'" in configured('column: {"": review}\n').error
    assert "no.csv" in configured("column:\n  text: review\n  label: stars\nlimit: null\n").error


@pytest.mark.parametrize(
    ("yaml", "phrases"),
    [
        ("epoch: 3\n", ["finetune has no option 'epoch'", "did you mean 'epochs'?"]),
        ("config: other.yaml\n", ["no option 'config'"]),
        ("temperature: 1\n", ["finetune has no option 'temperature'"]),
        ("- epochs\n", ["must hold a mapping"]),
        ("", ["must hold a mapping"]),
        ("epochs: [1\n", ["is not YAML"]),
        ("epochs: many\n", ["--epochs", "number"]),
        ("dtype: float33\n", ["--dtype", "float32"]),
        ("resume: maybe\n", ["--resume"]),
    ],
)
def test_a_wrong_config_file_is_refused_in_one_sentence(configured, yaml, phrases):
    ran = configured(yaml)
    assert ran.code == 2
    assert [phrase for phrase in phrases if phrase not in ran.error] == []


def test_a_missing_config_file_is_refused(llmkit, tmp_path):
    ran = llmkit("eval", "no.csv", "--config", tmp_path / "none.yaml")
    assert (ran.code, "none.yaml: No such file" in ran.error) == (2, True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("5E3", 5000.0),
        ("-2.5e-1", -0.25),
        (".5e-3", 5e-4),
        ("3", 3),
        ("0.1", 0.1),
        ("true", True),
        ("False", False),
        ("null", None),
        ("cosine", "cosine"),
        ("[1, 2]", [1, 2]),
        ("{a: 1e-3}", {"a": 0.001}),
        ("'7'", "7"),
        ("a: b: c", "a: b: c"),
        ("no", "no"),
        ("off", "off"),
        ("1:30", "1:30"),
    ],
)
def test_a_setting_is_read_as_the_value_that_it_looks_like(text, value):
    assert parse_settings([f"key={text}"], {"key"}, {}, "Thing") == {"key": value}
    assert type(parse_value(text)) is type(value)


def test_settings_split_at_the_first_equals_sign_and_the_last_one_wins():
    assert parse_settings(["a=b=c", "n=1", "n=2"], {"a", "n"}, {}, "Thing") == {"a": "b=c", "n": 2}
    assert parse_settings(None, set(), {}, "Thing") == {}


def test_all_wrong_settings_are_reported_together():
    with pytest.raises(OptionError) as refusal:
        parse_settings(
            ["alone", "weight_decoy=1", "seed=2", "fine=1"],
            {"weight_decay", "seed", "fine"},
            {"seed": "--seed"},
            "TrainingArguments",
        )
    assert refusal.value.problems == (
        "--set takes key=value, not 'alone'",
        "--set: TrainingArguments has no field 'weight_decoy' (did you mean 'weight_decay'?)",
        "--set seed: use --seed",
    )


@pytest.mark.parametrize(
    ("command", "setting", "phrase"),
    [
        ("finetune", "warmup_stps=3", "did you mean 'warmup_steps'?"),
        ("finetune", "learning_rate=1e-4", "--set learning_rate: use --learning-rate"),
        ("finetune", "lr_scheduler_type=sawtooth", "sawtooth"),
        ("pretrain", "weight_decoy=1", "did you mean 'weight_decay'?"),
        ("generate", "top_q=1", "did you mean 'top_"),
        ("generate", "do_sample=true", "--set do_sample: use --temperature"),
    ],
)
def test_set_is_checked_before_anything_costly(
    llmkit, tmp_path, reviews, corpus, classifier, llama, command, setting, phrase
):
    first = {"finetune": reviews, "pretrain": corpus, "generate": "a prompt"}[command]
    model = {"finetune": ["-m", classifier], "pretrain": [], "generate": ["-m", llama]}[command]
    output = [] if command == "generate" else ["-o", tmp_path / "run"]
    ran = llmkit(command, first, *model, *output, "--set", setting)
    assert (ran.code, ran.out) == (2, "")
    assert phrase in ran.error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("rate: [1, 2]", "there is no 'rate' to search"),
        ("batch_sise: [1, 2]", "there is no 'batch_sise' to search (did you mean 'batch_size'?)"),
        ("learning_rate: 1e-4", "learning_rate takes {low: NUMBER, high: NUMBER}, with log: true if wanted, or a list"),
        ("learning_rate: {low: 1e-4, hihg: 1e-3}", "learning_rate takes {low: NUMBER, high: NUMBER}"),
        ("learning_rate: {low: 1e-3, high: 1e-3}", "0.001 is not less than 0.001"),
        ("learning_rate: {low: 1e-3, high: .inf}", "learning_rate takes {low: NUMBER"),
        ("weight_decay: {low: 0, high: 1, log: true}", "a range with log: true begins above 0, not at 0"),
        ("weight_decay: {low: -1, high: 1}", "--weight-decay must be at least 0, not -1"),
        ("batch_size: {low: 0, high: 8}", "--batch-size must be at least 1, not 0"),
        ("batch_size: {low: 1.5, high: 8}", "batch_size takes whole numbers, not 1.5 to 8"),
        ("batch_size: [8, 16.5]", "batch_size takes whole numbers, not 16.5"),
        ("batch_size: [8]", "batch_size takes two or more different values, not [8]"),
        ("batch_size: [8, 8]", "two or more different values"),
        ("batch_size: [8, true]", "whole numbers, not True"),
        ("schedule: [linear, cosin]", "not 'cosin' (did you mean 'cosine'?)"),
        ("schedule: {low: 1, high: 2}", "schedule takes"),
        ("label_smoothing: {low: 0, high: 1}", "--label-smoothing must be at least 0 and less than 1, not 1"),
    ],
)
def test_an_impossible_search_space_is_refused(tmp_path, written, problem):
    file = tmp_path / "space.yaml"
    file.write_text(written)
    with pytest.raises(OptionError) as caught:
        read_space(file)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"--search-space {file}: ")


def test_a_search_space_reads_as_it_is_written(tmp_path):
    example = read_space(Path(__file__).parents[2] / "examples" / "search_space.yaml")
    assert list(example) == ["learning_rate", "batch_size", "epochs", "weight_decay", "schedule"]
    file = tmp_path / "space.yaml"
    file.write_text(
        "learning_rate: {low: 1e-5, high: 1e-3, log: true}\nepochs: {low: 1, high: 3}\nschedule: [linear, cosine]\n"
    )
    assert read_space(file) == {
        "learning_rate": Range(1e-5, 1e-3, log=True),
        "epochs": Range(1, 3, integer=True),
        "schedule": Categorical(("linear", "cosine")),
    }
