"""What a user gets wrong: one sentence, the right exit code, before anything costly, and nothing left behind.

The models of this file hold one useless weight unless weights are the point, so a sentence about anything else proves
that it came before they were loaded.
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import socket
from pathlib import Path

import pytest
import tiny
import torch
from conftest import hub_session
from hub_server import serve
from safetensors.torch import save_file

from llmkit.output.report import to_json

LONG = "the fox was good and " * 30
SIDES = ("positive", "negative")
GOOD = "text,label\ngood film,positive\nbad film,negative\nfine soup,positive\npoor soup,negative\n"
FILES = {
    "good.csv": GOOD,
    "corpus.txt": "the king was good. the fox was bad.\n" * 40,
    "empty.csv": "",
    "empty.txt": "",
    "empty.jsonl": "",
    "blank.txt": " \n\n \n",
    "header.csv": "text,label\n",
    "unlabelled.csv": "text,title\nx,y\nz,w\n",
    "numbers.csv": "a,b\n1,2\n3,4\n",
    "broken.csv": GOOD + "a,b,c\nd,positive\n",
    "short.csv": GOOD + "alone\n",
    "broken.jsonl": '{"text": "a", "label": "x"}\n{"text": "b", "label": \n',
    "list.jsonl": '{"text": "a"}\n[1, 2]\n',
    "mixed.jsonl": '{"text": "a", "label": "x"}\n{"text": "b", "label": 3}\n',
    "broken.json": '[\n{"text": "a"},\n{"text" "b"}]\n',
    "scalar.json": "3\n",
    "not.parquet": "no parquet",
    "not.arrow": "no arrow",
    "plain.csv.gz": GOOD,
    "report.docx": "x",
    "latin.csv": GOOD.encode() + "caf\xe9,positive\n".encode("latin-1"),
    "latin.txt": "one\ncaf\xe9\n".encode("latin-1"),
    "latin.jsonl": '{"text": "a"}\n{"text": "caf\xe9"}\n'.encode("latin-1"),
    "twice.csv": "text,text,label\na,b,c\n",
    "one_class.csv": "text,label\na,positive\nb,positive\nc,positive\n",
    "no_text.csv": 'text,label\n"",positive\n"  ",negative\n"",positive\n',
    "no_label.csv": "text,label\na,\nb,\nc,\n",
    "one_row.csv": "text,label\na,positive\n",
    "three.csv": "text,label\na,positive\nb,negative\nc,mixed\n",
    "scores.csv": "text,label\na,0.5\nb,1.5\n",
    "unseen/train.csv": GOOD,
    "unseen/validation.csv": "text,label\na,positive\nb,mixed\n",
    "only_train/train.csv": GOOD,
    "no_data/notes.docx": "nothing",
    "prompts.jsonl": '{"prompt": "the fox"}\n{"prompt": "the king"}\n',
    "long.jsonl": json.dumps({"prompt": "the fox"}) + "\n" + json.dumps({"prompt": LONG}) + "\n",
    "full/notes.txt": "mine",
    "file_out": "mine",
    "answers.jsonl": '{"mine": true}\n',
    "bad.yaml": "epochs: [\n",
    "unknown.yaml": "epoch: 3\n",
    "scalar.yaml": "3\n",
    "space.yaml": "learning_rate: [1e-4, 1e-3]\n",
    "unknown.space.yaml": "learning_rat: [1e-4, 1e-3]\n",
    "backwards.space.yaml": "learning_rate: {low: 1e-3, high: 1e-4}\nbatch_size: {low: 0, high: 4}\n",
    "rank.space.yaml": "lora_rank: [4, 8]\n",
    "smooth.space.yaml": "label_smoothing: {low: 0, high: 0.2}\n",
    "epochs.space.yaml": "epochs: {low: 1, high: 3}\n",
    "sets.jsonl": "".join(json.dumps({"text": f"a {n} b", "labels": ["x", "y"][: n % 3]}) + "\n" for n in range(12)),
    "groups.csv": "text,label,genre,author\ngood film,positive,a,x\nbad film,negative,b,x\nfine soup,positive,a,x\n",
    "many.csv": "text,label,number\n" + "".join(f"film {n},{SIDES[n % 2]},{n}\n" for n in range(60)),
    "terms.csv": "film,book\n",
    "unmet_terms.csv": "he,she\n",
    "broken_terms.csv": "he,she\nman\n",
    "answers.csv": "text,prediction\ngood film,positive\nbad film,negative\nfine soup,positive\npoor soup,negative\n",
    "missing_answer.csv": "text,prediction\ngood film,positive\nbad film,negative\nfine soup,positive\n",
    "extra_answer.csv": "text,prediction\ngood film,a\nbad film,b\nfine soup,a\npoor soup,b\na song,a\n",
    "unknown_answer.csv": "text,prediction\ngood film,positive\nbad film,negatve\nfine soup,positive\npoor soup,a\n",
    "no_answer.csv": "text,title\ngood film,x\n",
    "empty_answers.jsonl": "",
    "key.suite.yaml": "evals:\n- dataset: good.csv\nmetrics: [f1]\n",
    "member.suite.yaml": "evals:\n- name: mine\n  split: test\n",
    "evals.suite.yaml": "name: mine\n",
    "kind.suite.yaml": "evals: [good.csv]\nresamples: many\n",
    "limits.suite.yaml": "evals: [good.csv]\nresamples: 5\n",
    "not_json.json": "{",
}


def _edit_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.fixture(scope="session")
def zoo(tmp_path_factory, classifier, masked, llama) -> Path:
    """Folders of models, sound but for one thing each."""
    zoo = tmp_path_factory.mktemp("zoo")
    sound = {
        "bert": classifier,
        "mlm": masked,
        "llama": llama,
        "score": tiny.bert_folder(zoo / "whole_score", ["score"]),
    }
    for name, folder in sound.items():
        shutil.copytree(folder, zoo / name)
        save_file({"useless": torch.zeros(1)}, zoo / name / "model.safetensors", {"format": "pt"})

    def variant(name: str, of: Path) -> Path:
        return Path(shutil.copytree(of, zoo / name))

    _edit_config(variant("headless", zoo / "bert"), architectures=["BertModel"])
    _edit_config(variant("own_code", zoo / "bert"), auto_map={"AutoConfig": "configuration.Own"})
    _edit_config(variant("unknown_type", zoo / "bert"), model_type="no_such_type")
    _edit_config(variant("odd_sizes", zoo / "bert"), hidden_size="wide")
    (variant("broken_config", zoo / "bert") / "config.json").write_text('{"model_type": ')
    (variant("list_config", zoo / "bert") / "config.json").write_text("[1]")
    (zoo / "hollow").mkdir()
    (variant("no_config", zoo / "bert") / "config.json").unlink()
    (variant("broken_tokenizer", zoo / "bert") / "tokenizer.json").write_text('{"version": "1.0", "model"')

    for name, whole in {"bert": classifier, "llama": llama}.items():
        weights = (whole / "model.safetensors").read_bytes()
        (variant(f"truncated_{name}", whole) / "model.safetensors").write_bytes(weights[: len(weights) // 2])
        (variant(f"garbled_{name}", whole) / "model.safetensors").write_bytes(b"<html>not found</html>" * 9)
        (variant(f"zero_{name}", whole) / "model.safetensors").write_bytes(b"")
        (variant(f"without_{name}", whole) / "model.safetensors").unlink()
        (variant(f"pickle_{name}", zoo / f"without_{name}") / "pytorch_model.bin").write_bytes(b"no pickle")
    for file in variant("mute_bert", classifier).glob("tokenizer*"):
        file.unlink()
    _edit_config(variant("wider_llama", llama), intermediate_size=128)
    _edit_config(variant("deeper_bert", classifier), num_hidden_layers=3)
    return zoo


@pytest.fixture
def bench(tmp_path, monkeypatch, zoo, classifier) -> Path:
    """A working directory with the files above and the models beside them."""
    folder = tmp_path / "bench"
    (folder / "nothing").mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    for model in zoo.iterdir():
        (folder / model.name).symlink_to(model)
    (folder / "whole").symlink_to(classifier)
    monkeypatch.chdir(folder)
    return folder


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def refused(llmkit, bench, zoo):
    """Run a command line that must fail; return its sentence."""

    def run(line: str, code: int, stdin: str | bytes | None = None) -> str:
        before = tree(bench), tree(zoo)
        ran = llmkit(*shlex.split(line), stdin=stdin)
        assert ran.code == code, ran.err
        assert ran.out == ""
        assert (tree(bench), tree(zoo)) == before
        assert ran.err.splitlines()[-1].startswith("error: "), ran.err
        return ran.error

    return run


WRONG_NAMES = {
    "generat x": "'generate'",
    "fine-tune good.csv": "'finetune'",
    "evaluate good.csv -m bert": "'eval'",
    "finetune good.csv -m bert --epoch 3": "--epochs",
    "pretrain corpus.txt --learning-rat 1": "--learning-rate",
    "generate x -m llama --temprature 1": "--temperature",
    "classify x -m bert --tops 1": "--top",
    "eval good.csv -m bert --fail-undr f1=1": "--fail-under",
    "finetune good.csv -m bert --metric acuracy": "'accuracy'",
    "pretrain corpus.txt --metric perplxity": "'perplexity'",
    "eval good.csv -m bert --fail-under acuracy=0.5": "'accuracy'",
    "eval corpus.txt -m llama --fail-under bits_per_bytes=1": "'bits_per_byte'",
    "finetune good.csv -m bert --task text-clasification": "'text-classification'",
    "eval good.csv -m bert --task text-clasification": "'text-classification'",
    "pretrain corpus.txt --task causal-llm": "'causal-lm'",
    "finetune good.csv -m bert --set weight_decy=0.1": "'weight_decay'",
    "finetune good.csv -m bert --search 2 --search-space unknown.space.yaml": "'learning_rate'",
    "pretrain corpus.txt --set weight_decy=0.1": "'weight_decay'",
    "generate x -m llama --set min_pp=0.1": "'min_p'",
    "finetune good.csv -m bert --config unknown.yaml": "'epochs'",
    "finetune good.csv -m bert --train-split trian": "'train'",
    "finetune good.csv -m bert --column text=txet": "'text'",
    "eval good.csv -m bert --column label=labl": "'label'",
    "eval good.csv -m bert --positive postive": "'positive'",
    "finetune god.csv -m bert": "'good.csv'",
    "data god.csv": "'good.csv'",
    "data good.csv --nera": "--near",
    "data good.csv --task text-clasification": "'text-classification'",
    "data good.csv --column lable=label": "'label'",
    "eval god.csv -m bert": "'good.csv'",
    "eval good.csv -m bert --metric acuracy": "'accuracy'",
    "eval good.csv -m bert --fail-above breir=0.5": "'brier'",
    "eval good.csv -m bert --baseline whole --max-drop accuracyy=0.1": "'accuracy'",
    "eval groups.csv -m bert --slice genre --max-gap recal=0.1": "'recall'",
    "eval groups.csv -m bert --slice genr": "'genre'",
    "eval good.csv -m bert --label-map negativ=negative": "'negative'",
    "eval key.suite.yaml -m bert": "'metric'",
    "eval keys.suite.yaml -m bert": "'key.suite.yaml'",
    "compar a.json b.json": "'compare'",
    "compare a.json b.json --metrics f1": "--metric",
    "pretrain corpsu.txt": "'corpus.txt'",
    "finetune good.csv -m bert --column txet=text": "'text'",
    "eval good.csv -m bert --column lable=label": "'label'",
    "classify -i good.csv -m bert --column txt=text": "'text'",
    "generate -i prompts.jsonl -m llama --column promt=prompt": "'prompt'",
}


@pytest.mark.parametrize(("line", "near"), WRONG_NAMES.items())
def test_a_wrong_name_is_answered_with_the_nearest_one(refused, line, near):
    sentence = refused(line, 2)
    assert near in sentence
    assert "did you mean" in sentence.lower() or "Possible options" in sentence


BAD_FLAGS = {
    "finetune": "Missing argument",
    "eval": "Missing argument",
    "pretrain": "Missing argument",
    "eval good.csv": "-m",
    "finetune good.csv -m bert --epochs many": "--epochs",
    "finetune good.csv -m bert --epochs nan": "--epochs",
    "finetune good.csv -m bert --epochs inf": "--epochs",
    "finetune good.csv -m bert --learning-rate -1": "--learning-rate",
    "finetune good.csv -m bert --learning-rate inf": "--learning-rate",
    "finetune good.csv -m bert --seed 4294967296": "--seed",
    "generate x -m llama --seed 4294967296": "--seed",
    "generate x -m llama --seed -1": "--seed",
    "finetune good.csv -m bert --epochs 1 --max-steps 1": "exclude",
    "finetune good.csv -m bert --resume --overwrite": "exclude",
    "finetune good.csv -m bert --schedule zigzag": "--schedule",
    "finetune good.csv -m bert --schedule linear --set lr_scheduler_type=cosine": "give one of them",
    "finetune good.csv -m bert --accumulate 0": "--accumulate must be at least 1",
    "finetune good.csv -m bert --patience 0": "--patience must be at least 1",
    "finetune good.csv -m bert --warmup 2.5": "--warmup takes a share of the steps below 1, or a whole number",
    "finetune good.csv -m bert --weight-decay nan": "--weight-decay must be at least 0, not nan",
    "finetune good.csv -m bert --label-smoothing 1": "--label-smoothing must be at least 0 and less than 1",
    "finetune good.csv -m bert --class-weight heavy": "--class-weight",
    "finetune good.csv -m bert --seeds 1": "--seeds must be at least 2, not 1",
    "finetune good.csv -m bert --search 0": "--search must be at least 2, not 0",
    "finetune good.csv -m bert --search 4 --seeds 2": "--seeds and --search exclude each other",
    "finetune good.csv -m bert --search-space space.yaml": "--search-space is for --search",
    "finetune good.csv -m bert --search 2 --search-space gone.yaml": "there is no file 'gone.yaml'",
    "finetune good.csv -m bert --search 2 --search-space scalar.yaml": "must hold a mapping",
    "finetune good.csv -m bert --search 2 --search-space bad.yaml": "is not YAML",
    "finetune good.csv -m bert --search 2 --search-space backwards.space.yaml": "0.001 is not less than 0.0001; ",
    "finetune good.csv -m bert --search 2 --search-space rank.space.yaml": "with --lora or --qlora alone",
    "finetune good.csv -m bert --search 2 --search-space space.yaml --learning-rate 1": "leave one out",
    "finetune good.csv -m bert --search 2 --search-space epochs.space.yaml --max-steps 1": "--epochs and --max-steps",
    "finetune scores.csv -m bert --class-weight balanced": "text-classification of a number (regression) has none",
    "finetune scores.csv -m bert --label-smoothing 0.1": "text-classification of a number (regression) does not",
    "finetune scores.csv -m bert --search 2 --search-space smooth.space.yaml": "has no label_smoothing to search",
    "finetune good.csv -m bert --streaming --max-steps 1 --seeds 2": "--seeds needs all rows at once",
    "finetune sets.jsonl -m bert --class-weight balanced": "multi-label-classification has none",
    "finetune good.csv -m bert --quiet --verbose": "contradict",
    "finetune good.csv -m bert --max-length 4096": "at most 64",
    "eval good.csv -m bert --max-length 4096": "at most 64",
    "pretrain corpus.txt -m llama --max-length 4096": "at most 64",
    "finetune good.csv -m bert --device tpu": "--device",
    "classify x -m bert --device cuda:x": "--device",
    "generate x -m llama --device cuda:x": "--device",
    "eval good.csv -m bert --device cuda:x": "--device",
    "finetune good.csv -m bert --dtype int8": "--dtype",
    "finetune good.csv -m bert --dtype float16 --device cpu": "float16",
    "finetune good.csv -m bert --column text": "role=name",
    "finetune good.csv -m bert --set weight_decay": "key=value",
    "finetune good.csv -m bert --set learning_rate=1": "--learning-rate",
    "finetune good.csv -m bert --set weight_decay=heavy": "weight_decay",
    "finetune good.csv -m bert --set lr_scheduler_type=zigzag": "zigzag",
    "pretrain corpus.txt --set lr_scheduler_type=zigzag": "zigzag",
    "finetune good.csv -m bert --set gradient_accumulation_steps=2": "use --accumulate",
    "generate x -m llama --set do_sample=true": "--temperature",
    "generate x -m llama --set min_p=lots": "min_p",
    "generate x -m llama --set min_p=3 --temperature 1": "min_p",
    "finetune good.csv -m bert --train-split train[:oops]": "oops",
    "finetune good.csv -m bert --validation absent.csv": "absent.csv",
    "finetune good.csv -m bert --config absent.yaml": "absent.yaml",
    "finetune good.csv -m bert --config bad.yaml": "YAML",
    "finetune good.csv -m bert --config scalar.yaml": "mapping",
    "eval good.csv -m bert --split test": "'test'",
    "eval good.csv -m bert --split train[50:90]": "train[50:90]",
    "finetune good.csv -m bert --train-split train[50:90]": "train[50:90]",
    "finetune good.csv -m bert --column text=label": "label",
    "eval good.csv -m bert --fail-under f1": "metric=number",
    "eval good.csv -m bert --fail-under f1=high": "metric=number",
    "eval good.csv -m bert --stride 8": "--stride",
    "eval corpus.txt -m llama --positive positive": "--positive",
    "eval corpus.txt -m llama --task masked-lm": "causal-lm",
    "eval scores.csv -m score --positive positive": "--positive",
    "pretrain corpus.txt --arch bert --task causal-lm": "bert",
    "pretrain corpus.txt --task text-classification": "not pretrained",
    "pretrain corpus.txt -m llama --vocab-size 100": "leave out",
    "pretrain corpus.txt --arch t6": "t5",
    "pretrain corpus.txt --size huge": "huge",
    "pretrain corpus.txt --model-config absent.json": "absent.json",
    "pretrain corpus.txt --model-config broken.json": "broken.json",
    "pretrain corpus.txt --tokenizer ./absent": "absent",
    "pretrain corpus.txt --arch bert --tokenizer llama": "mask token",
    "classify a b -m bert --pair c": "2 texts and 1 --pair",
    "classify x -m bert --top 0": "--top",
    "classify x -i good.csv -m bert": "not both",
    "classify x -m bert -o out.jsonl": "--input",
    "classify -i good.csv -m bert -o out.parquet": ".jsonl or .csv",
    "classify -i good.csv -m bert --overwrite": "--output",
    "eval good.csv --predictions good.csv --threshold 0.3": "--threshold",
    "eval good.csv -m ''": "--model",
    "data": "Missing argument",
    "data good.csv --near-threshold 0.7": "--near",
    "data good.csv --near --near-threshold 0.4": "from 0.5 to 1",
    "data good.csv --near --near-threshold nan": "from 0.5 to 1",
    "data good.csv --batch-size 0": "--batch-size",
    "data good.csv --picture a.jpg": ".png",
    "data good.csv --picture file_out/a.png": "--picture",
    "data good.csv -o full": "--output 'full' is a folder",
    "data good.csv -m bert --max-length 4096": "at most 64",
    "data good.csv --threshold 0.3 --task text-classification": "--threshold",
}


@pytest.mark.parametrize(("line", "words"), BAD_FLAGS.items())
def test_a_bad_flag_is_named(refused, line, words):
    assert words in refused(line, 2)


NONSENSE = {
    "-n 3": "equal answers",
    "-n 3 --num-beams 2": "equal answers",
    "--num-beams 2 --temperature 0.7": "one kind",
    "--num-beams 2 --top-k 5": "one kind",
    "--temperature 0": "greedy",
    "--temperature nan": "--temperature",
    "--top-p 1.5": "--top-p",
    "--top-k 0": "--top-k",
    "--repetition-penalty 0": "--repetition-penalty",
    "--max-new-tokens 0": "--max-new-tokens",
    "--stop ''": "--stop",
    "--chat": "no chat template",
    "--system x": "no chat template",
    "--system x --no-chat": "--no-chat",
    "-i prompts.jsonl": "not both",
    "-o out.jsonl": "--input",
}


@pytest.mark.parametrize(("flags", "words"), NONSENSE.items())
def test_generate_refuses_flags_that_make_no_sense(refused, flags, words):
    assert words in refused(f"generate x -m llama {flags}", 2)


def test_complaints_about_flags_of_several_groups_come_together(refused):
    sentence = refused("generate -i prompts.jsonl -m llama --limit 0 --batch-size 0 -n 0", 2)
    assert all(flag in sentence for flag in ("--limit", "--batch-size", "--num-return-sequences"))


def test_three_bad_flags_are_three_complaints_in_one_error(refused):
    sentence = refused("finetune absent.csv -m ./absent --epochs -1 --batch-size 0 --column text --limit 0", 2)
    assert [flag for flag in ("--epochs", "--batch-size", "--column", "--limit") if flag not in sentence] == []
    assert sentence.count(";") == 3


FILES_OF_EACH_COMMAND = {
    "finetune": "finetune {} -m bert",
    "eval": "eval {} -m bert",
    "pretrain": "pretrain {}",
    "data": "data {}",
    "classify": "classify -i {} -m bert",
    "generate": "generate -i {} -m llama",
}
EVERY = tuple(FILES_OF_EACH_COMMAND)
DATASETS = ("finetune", "eval", "pretrain", "data")
BAD_FILES = [
    ("absent.csv", 2, "absent.csv", EVERY),
    ("./absent", 2, "absent", EVERY),
    ("nothing", 2, "nothing", EVERY),
    ("no_data", 2, "no_data", EVERY),
    ("report.docx", 2, "csv, tsv, json, jsonl, parquet, txt, arrow", EVERY),
    ("empty.csv", 5, "empty.csv", EVERY),
    ("empty.txt", 5, "empty.txt", EVERY),
    ("empty.jsonl", 5, "empty.jsonl", EVERY),
    ("blank.txt", 5, "blank.txt", EVERY),
    ("header.csv", 5, "header.csv", EVERY),
    ("broken.csv", 2, "line 6", EVERY),
    ("short.csv", 2, "line 6", EVERY),
    ("broken.jsonl", 2, "line 2", EVERY),
    ("list.jsonl", 2, "line 2", EVERY),
    ("mixed.jsonl", 2, "row 2", tuple(verb for verb in DATASETS if verb != "pretrain")),
    ("broken.json", 2, "line 3", EVERY),
    ("scalar.json", 2, "list of objects", EVERY),
    ("not.parquet", 2, "not.parquet", EVERY),
    ("not.arrow", 2, "not.arrow", EVERY),
    ("plain.csv.gz", 2, "plain.csv.gz", EVERY),
    ("latin.csv", 2, "line 6: byte 0xe9 is not utf-8; name the file's encoding, for example --encoding latin-1", EVERY),
    ("latin.txt", 2, "line 2", EVERY),
    ("latin.jsonl", 2, "line 2", EVERY),
    ("twice.csv", 2, "text", EVERY),
    ("good.csv --encoding klingon", 2, "klingon", EVERY),
    ("good.csv --column text=body", 2, "text, label", ("finetune", "eval", "pretrain", "data", "classify")),
    ("good.csv --column prompt=body", 2, "text, label", ("generate",)),
    ("numbers.csv", 2, "a, b", EVERY),
    ("unlabelled.csv --task text-classification", 2, "text, title", ("finetune", "eval", "data")),
    ("no_text.csv", 5, "no usable row", ("finetune", "eval")),
    ("no_text.csv --column text=text", 5, "no_text.csv", ("pretrain",)),
    ("no_label.csv", 5, "no usable row", ("finetune",)),
    ("one_row.csv", 5, "too few", ("finetune",)),
    ("one_class.csv", 2, "only the label 'positive'", ("finetune",)),
    ("unseen", 2, "'mixed'", ("finetune",)),
    ("no_label.csv", 5, "no row of 'no_label.csv' has a label to measure by", ("eval",)),
    ("only_train", 2, "--split", ("eval",)),
]


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        pytest.param(FILES_OF_EACH_COMMAND[verb].format(file), code, words, id=f"{verb} {file}")
        for file, code, words, verbs in BAD_FILES
        for verb in verbs
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(refused, line, code, words):
    assert words in refused(line, code)


@pytest.mark.parametrize("line", ["finetune - -m bert", "eval - -m bert", "pretrain -", "data -"])
def test_an_empty_standard_input_is_nothing_to_work_on(refused, line):
    assert "standard input is empty" in refused(line, 5, stdin="")


def test_no_lines_to_classify_is_nothing_to_work_on(refused):
    assert "empty" in refused("classify -m bert", 5, stdin="")


def test_a_label_that_training_never_saw_is_named_beside_those_it_has(refused):
    sentence = refused("finetune unseen -m bert", 2)
    assert "'mixed' (first in row 2)" in sentence
    assert "'negative', 'positive'" in sentence


def test_labels_that_the_model_lacks_are_shown_beside_those_it_has(refused):
    sentence = refused("eval three.csv -m bert", 2)
    assert "dataset's labels are 'mixed', 'negative', 'positive'" in sentence
    assert "model's 'negative', 'positive'" in sentence


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("eval scores.csv -m bert", "holds numbers and the model predicts classes"),
        ("eval good.csv -m score", "holds classes and the model predicts numbers"),
    ],
)
def test_numbers_and_classes_are_not_confused(refused, line, words):
    assert words in refused(line, 2)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("eval good.csv -m bert --fail-under perplexity=3", "'perplexity'"),
        ("eval corpus.txt -m llama --fail-under f1=0.85", "perplexity, loss, bits_per_byte"),
        ("eval corpus.txt -m llama --fail-under perplexity=3", "lower is better"),
        ("eval scores.csv -m score --fail-under f1=0.85", "pearson, spearman, mse"),
    ],
)
def test_a_gate_on_a_metric_that_the_task_lacks_is_refused(refused, line, words):
    assert words in refused(line, 2)


BAD_MEASURES = {
    "eval good.csv -m bert --metric perplexity": "there is no metric 'perplexity'",
    "eval good.csv -m bert --metric no_such_metric": "no_such_metric",
    "eval corpus.txt -m llama --metric f1": "perplexity, loss, bits_per_byte",
    "eval good.csv -m bert --fail-above f1=0.5": "--fail-above f1: higher is better",
    "eval good.csv -m bert --fail-under brier=0.5": "--fail-under brier: lower is better",
    "eval good.csv -m bert --fail-under brier=0.5 --baseline whole --max-drop brier=0.1": "--fail-under brier",
    "eval good.csv -m bert --fail-above mcc=0.5": "--fail-above matthews_correlation: higher is better",
    "eval good.csv -m bert --fail-under f1=0.5 --fail-under f1=0.9": "names 'f1' twice",
    "eval good.csv -m bert --fail-above swap_flips=0.1": "swap_flips",
    "eval good.csv -m bert --max-drop f1=0.01": "--max-drop needs a --baseline",
    "eval good.csv -m bert --baseline whole --max-drop f1=-0.01": "--max-drop must not be negative",
    "eval good.csv -m bert --baseline whole --max-drop f1": "metric=number",
    "eval groups.csv -m bert --max-gap f1=0.1": "--max-gap needs a --slice",
    "eval groups.csv -m bert --slice genre --max-gap f1=-1": "--max-gap must not be negative",
    "eval groups.csv -m bert --slice nothing": "there are text, label, genre, author",
    "eval groups.csv -m bert --slice author": "--slice author: it has one value",
    "eval many.csv -m bert --slice number": "--slice number: it has 60 values",
    "eval corpus.txt -m llama --slice text": "--per-row",
    "eval good.csv -m bert --label-map LABEL_9=negative": "the model has no label 'LABEL_9'",
    "eval good.csv -m bert --label-map negative=bad": "the dataset has no label 'bad'",
    "eval good.csv -m bert --label-map negative=positive": "--label-map leaves the model without",
    "eval corpus.txt -m llama --label-map a=b": "causal-lm has none",
    "eval scores.csv -m score --label-map a=b": "holds numbers",
    "eval good.csv -m bert --label-map negative": "MODEL=DATASET",
    "eval good.csv -m bert --label-map =negative": "MODEL=DATASET",
    "eval good.csv -m bert --resamples 5": "at least 100",
    "eval good.csv -m bert --resamples -1": "--resamples",
    "eval good.csv -m bert --resamples 0 --strict --fail-under f1=0.5": "--strict looks at the bounds",
    "eval good.csv -m bert --resamples 0 --baseline whole --max-drop f1=0.1": "--max-drop looks at the bounds",
    "eval lm-eval:piqa -m llama --resamples 0 --strict --fail-under acc=0.5": "--strict looks at the bounds",
    "eval good.csv -m bert --num-fewshot 5": "--num-fewshot is for lm-eval",
    "eval good.csv -m bert --apply-chat-template": "--apply-chat-template is for lm-eval benchmarks (lm-eval:NAME)",
    "eval good.csv -m bert --system Hi": "--system-instruction (--system) is for lm-eval benchmarks (lm-eval:NAME)",
    "eval good.csv --predictions answers.csv --apply-chat-template": "--apply-chat-template must not stand beside it",
    "eval good.csv --predictions answers.csv --system Hi": "--system-instruction (--system) must not stand beside it",
    "eval good.csv -m bert --check-invariance -1": "--check-invariance",
    "eval lm-eval:piqa -m llama --split test --stride 8": "--split, --stride",
    "eval lm-eval: -m llama": "lm-eval",
    "eval good.csv -m bert --swap absent.csv": "--swap: there is no file 'absent.csv'",
    "eval good.csv -m bert --swap broken_terms.csv": "broken_terms.csv, line 2",
    "eval good.csv -m bert --swap unmet_terms.csv": "no row holds one of its terms",
    "eval good.csv -m bert --swap empty.csv": "empty.csv",
    "eval scores.csv -m score --swap terms.csv": "--swap counts flipped classes, and a regression predicts none",
    "eval corpus.txt -m llama --swap terms.csv": "--swap counts flipped classes, and causal-lm predicts none",
    "eval good.csv --predictions absent.jsonl": "--predictions: there is no file 'absent.jsonl'",
    "eval good.csv --predictions answers.csv -m bert": "--model must not stand beside it",
    "eval good.csv --predictions answers.csv --swap terms.csv": "--swap asks the model again",
    "eval good.csv --predictions answers.csv --baseline whole": "a saved result",
    "eval good.csv --predictions answers.csv --task causal-lm": "--task causal-lm",
    "eval good.csv --predictions missing_answer.csv": "1 of the dataset's rows is missing from it",
    "eval good.csv --predictions extra_answer.csv": "1 of its rows is not in the dataset",
    "eval good.csv --predictions unknown_answer.csv": "'negatve' is none of the dataset's labels",
    "eval good.csv --predictions no_answer.csv": "no column 'prediction'",
    "eval good.csv --predictions answers.csv --metric roc_auc": "'roc_auc' needs",
    "eval good.csv --predictions answers.csv --metric bleu": "--column reference=NAME",
    "eval good.csv -m bert --save-predictions answers.parquet": "must end in .jsonl or .csv",
    "eval good.csv -m bert -o a.json --markdown a.json": "name the same file",
    "eval good.csv -m bert --save-predictions ./a.csv --junit full/../a.csv": "name the same file",
    "eval good.csv -m bert --junit file_out/report.xml": "--junit 'file_out/report.xml' cannot be made",
    "eval good.csv -m bert --markdown full": "--markdown 'full' is a folder",
    "eval good.csv -m bert --save-predictions file_out/a.csv": "--save-predictions 'file_out/a.csv' cannot be made",
    "eval good.csv -m bert --plots file_out": "is a file; a folder is wanted",
    "eval absent.yaml -m bert": "there is no suite 'absent.yaml'",
    "eval bad.yaml -m bert": "bad.yaml is not YAML",
    "eval scalar.yaml -m bert": "must hold a mapping",
    "eval evals.suite.yaml -m bert": "`evals` must be a list",
    "eval member.suite.yaml -m bert": "member 'mine': `dataset` is missing",
    "eval kind.suite.yaml -m bert": "resamples must be a whole number, not 'many'",
    "eval limits.suite.yaml -m bert": "good.csv: --resamples must be 0, or at least 100",
    "eval key.suite.yaml --predictions answers.csv": "--predictions is of one dataset",
    "compare": "Missing argument",
    "compare absent.json absent.json": "the result 'absent.json' cannot be read",
    "compare not_json.json not_json.json": "'not_json.json' is not JSON",
    "compare scalar.json scalar.json": "holds no rows to compare with",
    "cache show --older-than 3": "--older-than is for `llmkit cache clear`",
    "cache clear --older-than -1": "in days from 0",
    "cache clear --older-than nan": "in days from 0",
    "cache drop": "drop",
}


@pytest.mark.parametrize(("line", "words"), BAD_MEASURES.items())
def test_what_cannot_be_measured_or_demanded_is_refused_before_the_work(refused, line, words):
    assert words in refused(line, 2)


def test_predictions_of_no_row_are_nothing_to_score(refused):
    assert "empty_answers.jsonl" in refused("eval good.csv --predictions empty_answers.jsonl", 5)


def test_junit_without_its_library_is_refused_with_what_to_install(refused, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "junitparser" else found(name))
    sentence = refused("eval good.csv -m bert --junit report.xml", 2)
    assert sentence == "--junit needs junitparser: pip install 'llmkit[eval]'"


@pytest.fixture(scope="module")
def saved_result(tmp_path_factory, classifier) -> dict:
    """What `llmkit eval good.csv -m whole --output` writes."""
    from llmkit.evaluation import evaluate

    data = tmp_path_factory.mktemp("saved") / "good.csv"
    data.write_text(GOOD)
    return json.loads(to_json(evaluate(str(data), str(classifier)).as_dict(rows=True)))


def without_rows(result: dict) -> dict:
    return {key: value for key, value in result.items() if key != "rows"}


def with_rows(result: dict, **changes: object) -> dict:
    return {**result, "rows": {**result["rows"], **changes}}


FAILED = {"schema": 1, "status": "error", "exit_code": 2, "name": "a", "dataset": "a", "model": None, "error": "broken"}
NOT_A_BASELINE = {
    "failed": (lambda result: FAILED, "a run that failed (broken)"),
    "suite": (lambda result: {"schema": 1, "suite": "mine", "results": [result]}, "the results of a suite"),
    "no rows": (without_rows, "holds no rows to compare with"),
    "no ids": (lambda result: with_rows(result, id=None), "holds no rows to compare with"),
    "unequal columns": (lambda result: with_rows(result, label=result["rows"]["label"][1:]), "holds no rows"),
    "a list": (lambda result: [result], "holds no rows to compare with"),
    "text": (lambda result: "words", "holds no rows to compare with"),
    "of a later schema": (lambda result: {**result, "schema": 2}, "is of schema 2, and this llmkit reads 1"),
}


@pytest.mark.parametrize("kind", NOT_A_BASELINE)
def test_what_is_no_baseline_is_refused_before_the_work(refused, bench, saved_result, kind):
    change, words = NOT_A_BASELINE[kind]
    (bench / "old.json").write_text(json.dumps(change(saved_result)))
    (bench / "new.json").write_text(json.dumps(saved_result))
    assert words in refused("eval good.csv -m bert --baseline old.json", 2)
    assert words in refused("compare old.json new.json", 2)
    assert words in refused("compare new.json old.json", 2)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("absent.json", "the result 'absent.json' cannot be read"),
        ("not_json.json", "'not_json.json' is not JSON"),
        ("good.csv", "'good.csv' is not JSON"),
        ("./absent", "there is no model folder './absent'"),
        ("llama", "causal-lm"),
    ],
)
def test_a_baseline_that_is_not_there_is_refused_before_the_work(refused, path, words):
    assert words in refused(f"eval good.csv -m bert --baseline {path}", 2)


OF_OTHER_ROWS = {
    "another task": (lambda result: {**result, "task": "causal-lm"}, "is of causal-lm"),
    "other rows": (lambda result: with_rows(result, id=["0", *result["rows"]["id"][1:]]), "1 of 4 are not in it"),
    "other labels": (lambda result: with_rows(result, label=result["rows"]["label"][::-1]), "4 rows have another"),
    "other classes": (
        lambda result: json.loads(json.dumps(result).replace('"negative"', '"bad"')),
        "has the classes bad, positive",
    ),
}


@pytest.mark.parametrize("kind", OF_OTHER_ROWS)
def test_a_baseline_of_other_rows_is_refused(refused, bench, saved_result, kind):
    change, words = OF_OTHER_ROWS[kind]
    (bench / "old.json").write_text(json.dumps(change(saved_result)))
    (bench / "new.json").write_text(json.dumps(saved_result))
    assert words in refused("eval good.csv -m whole --baseline old.json", 2)
    assert words in refused("compare old.json new.json", 2)


def test_a_metric_that_two_results_do_not_have_is_named(refused, bench, saved_result):
    for name in ("old.json", "new.json"):
        (bench / name).write_text(json.dumps(saved_result))
    assert "did you mean 'f1'" in refused("compare old.json new.json --metric f11", 2)
    assert "--max-drop: there is no metric 'perplexity'" in refused(
        "compare old.json new.json --max-drop perplexity=1", 2
    )
    (bench / "old.json").write_text(json.dumps({**saved_result, "metrics": {}}))
    assert "no metric in common" in refused("compare old.json new.json", 2)


USES = {
    "generate": "generate x -m {}",
    "classify": "classify x -m {}",
    "eval": "eval good.csv -m {}",
    "finetune": "finetune good.csv -m {}",
    "pretrain": "pretrain corpus.txt -m {}",
    "data": "data good.csv -m {}",
}
BAD_MODELS = [
    ("./absent", "there is no model folder './absent'", USES),
    ("hollow", "config.json", USES),
    ("no_config", "config.json", USES),
    ("full", "config.json", USES),
    ("good.csv", "good.csv", USES),
    ("broken_config", "config.json", USES),
    ("list_config", "config.json", USES),
    ("unknown_type", "no_such_type", USES),
    ("odd_sizes", "config.json", USES),
    ("own_code", "--trust-remote-code", USES),
    ("bert", "text-classification", ("generate", "pretrain")),
    ("llama", "causal-lm", ("classify",)),
    ("mlm", "masked-lm", ("classify",)),
    ("mlm", "the text has no [MASK]", ("generate",)),
    ("headless", "finetune it first", ("generate", "classify", "eval")),
    ("headless", "sentence-similarity", ("pretrain",)),
    ("mute_bert", "tokenizer", ("classify", "eval", "finetune", "data")),
    ("broken_tokenizer", "tokenizer", ("classify", "eval", "finetune", "data")),
]
BAD_WEIGHTS = [
    ("truncated_{}", "model.safetensors"),
    ("garbled_{}", "model.safetensors"),
    ("zero_{}", "model.safetensors"),
    ("pickle_{}", "weights"),
    ("without_{}", "no weights"),
]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param(USES[verb].format(name), words, id=f"{verb} {name}")
        for name, words, of in BAD_MODELS
        for verb in of
    ],
)
def test_a_bad_model_is_named_with_what_is_wrong(refused, line, words):
    assert words in refused(line, 2)


@pytest.mark.parametrize(
    ("line", "model", "words"),
    [
        pytest.param(line, name.format(family), words, id=f"{line.split()[0]} {name.format(family)}")
        for name, words in BAD_WEIGHTS
        for line, family in (
            ("generate x -m {}", "llama"),
            ("classify x -m {}", "bert"),
            ("eval good.csv -m {}", "bert"),
            ("finetune good.csv -m {} -o out", "bert"),
            ("pretrain corpus.txt -m {} -o out", "llama"),
        )
    ],
)
def test_bad_weights_are_found_before_they_are_used(refused, line, model, words):
    assert words in refused(line.format(model), 2)


@pytest.mark.parametrize(
    ("line", "weight"),
    [
        ("classify x -m deeper_bert", "bert.encoder.layer.2"),
        ("finetune good.csv -m deeper_bert -o out", "bert.encoder.layer.2"),
        ("generate x -m wider_llama", "model.layers.0.mlp"),
    ],
)
def test_weights_that_do_not_fit_the_architecture_are_named(refused, line, weight):
    assert weight in refused(line, 2)


@pytest.mark.parametrize(
    "flags", ["--metric perplxity", "--task causal-llm", "--model-config absent.json", "-o full", "-m ./absent"]
)
def test_pretrain_checks_its_flags_before_it_trains_a_tokenizer(llmkit, bench, flags):
    ran = llmkit("pretrain", "corpus.txt", *shlex.split(flags))
    assert (ran.code, "tokenizer:" in ran.err) == (2, False)


@pytest.mark.parametrize("line", ["finetune good.csv -m bert -o full", "pretrain corpus.txt -o full"])
def test_a_run_folder_that_is_not_empty_is_left_alone(refused, line):
    sentence = refused(line, 2)
    assert all(flag in sentence for flag in ("--resume", "--overwrite", "-o"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("finetune good.csv -m bert -o file_out", "is a file"),
        ("pretrain corpus.txt -o file_out", "is a file"),
        ("finetune good.csv -m bert -o file_out/run", "file_out"),
        ("pretrain corpus.txt -o file_out/run", "file_out"),
        ("finetune good.csv -m bert -o full --resume", "no run"),
        ("eval good.csv -m bert -o full", "full"),
        ("eval good.csv -m bert -o file_out/result.json", "file_out"),
        ("classify -i good.csv -m bert -o answers.jsonl", "--overwrite"),
        ("generate -i prompts.jsonl -m llama -o answers.jsonl", "--overwrite"),
        ("classify -i good.csv -m bert -o file_out/x.jsonl", "file_out"),
    ],
)
def test_an_output_that_cannot_be_had_is_refused_before_the_work(refused, line, words):
    assert words in refused(line, 2)


def test_answers_are_not_continued_by_another_command(llmkit, bench, llama):
    first = ("generate", "-i", "prompts.jsonl", "-m", llama, "-o", "out.jsonl", "--max-new-tokens", 2)
    assert llmkit(*first).code == 0
    before = tree(bench)
    other = llmkit(*first[:-1], 3)
    assert (other.code, tree(bench)) == (2, before)
    assert "another command" in other.error
    assert llmkit(*first).code == 0
    assert tree(bench) == before


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"generate '{LONG}' -m llama", "takes 64 in all"),
        (f"generate short '{LONG}' -m llama", "prompt 2"),
        ("generate -i long.jsonl -m llama", "row 2"),
    ],
)
def test_a_prompt_longer_than_the_context_is_refused(refused, line, words):
    assert words in refused(line, 2)


@pytest.mark.parametrize(
    "line",
    [
        "classify x -m acme/absent",
        "generate x -m acme/absent",
        "eval good.csv -m acme/absent",
        "finetune good.csv -m acme/absent",
        "finetune good.csv",
        "pretrain corpus.txt -m acme/absent",
        "pretrain corpus.txt --tokenizer acme/absent",
        "finetune glue/mrpc -m bert",
        "eval acme/absent -m bert",
        "pretrain acme/absent",
    ],
)
def test_offline_and_not_in_the_cache_is_exit_4(refused, line):
    assert "is not on this machine" in refused(line, 4)


@pytest.mark.parametrize("line", ["finetune - -m bert", "pretrain -", "classify -m bert", "generate -m llama"])
def test_standard_input_in_another_encoding_is_refused(refused, line):
    assert "--encoding" in refused(line, 2, stdin="text,label\ncaf\xe9,positive\n".encode("latin-1"))


def refused_all(lines: list[str], code: int, endpoint: str, home: Path) -> list[str]:
    """Run command lines that must all fail alike; return their sentences."""
    before = tree(Path.cwd())
    ran = hub_session(lines, endpoint, home)
    assert {line: (one.code, one.out) for line, one in zip(lines, ran)} == dict.fromkeys(lines, (code, ""))
    assert tree(Path.cwd()) == before
    return [one.error for one in ran]


def test_what_the_hub_does_not_have_is_exit_2(bench, tmp_path):
    lines = [
        "classify x -m acme/absent",
        "classify x -m absent",
        "classify x -m a/b/c",
        "generate x -m acme/absent",
        "eval good.csv -m acme/absent",
        "finetune good.csv -m acme/absent",
        "pretrain corpus.txt -m acme/absent",
        "pretrain corpus.txt --tokenizer acme/absent",
        "finetune acme/absent -m bert",
        "finetune absent -m bert",
        "eval acme/absent -m bert",
        "pretrain acme/absent",
    ]
    with serve([bench]) as hub:
        sentences = refused_all(lines, 2, hub.endpoint, tmp_path / "home")
    assert [line for line, sentence in zip(lines, sentences) if "neither here on disk nor" not in sentence] == []


def test_without_a_network_is_exit_4(bench, tmp_path):
    lines = [
        "classify x",
        "generate x -m acme/absent",
        "eval good.csv -m acme/absent",
        "finetune good.csv",
        "finetune glue/mrpc -m bert",
        "pretrain corpus.txt --tokenizer acme/absent",
        "pretrain acme/absent",
    ]
    with socket.socket() as taken:  # bound and not listening: the port answers nobody
        taken.bind(("127.0.0.1", 0))
        sentences = refused_all(lines, 4, f"http://127.0.0.1:{taken.getsockname()[1]}", tmp_path / "home")
    assert [line for line, sentence in zip(lines, sentences) if "cannot be reached" not in sentence] == []
