"""LLM benchmarks: the numbers are lm-eval's, on tiny random models and tasks defined in local files."""

from __future__ import annotations

import importlib.util
import logging
import random

import pytest
import tiny
import torch
import yaml
from conftest import write_jsonl
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from llmkit import models
from llmkit.errors import DataError, HubError, ModelError, OptionError, Stopped
from llmkit.evaluation import benchmarks
from llmkit.evaluation.answer_session import AnswerSession
from llmkit.evaluation.benchmarks import BenchmarkOptions, prefix_packing, registry, results
from llmkit.evaluation.benchmarks.prefix_packing import JoinRule, ScoringRequest
from llmkit.inference.answer_cache import AnswerCache
from llmkit.options import ModelOptions
from llmkit.output.report import Report

SIZES = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "initializer_range": 0.3}
ARCHITECTURES = {
    "llama": SIZES | {"intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": tiny.CONTEXT},
    "gpt2": SIZES | {"n_positions": tiny.CONTEXT},
    "mistral": SIZES
    | {"intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": tiny.CONTEXT}
    | {"sliding_window": 48},
    "gemma2": SIZES
    | {"intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": tiny.CONTEXT}
    | {"head_dim": 8, "sliding_window": 48, "final_logit_softcapping": 5.0},
    "bloom": {"hidden_size": 32, "n_head": 4, "n_layer": 2, "initializer_range": 0.3},  # ALiBi: no tree fits it
    "mamba": {"hidden_size": 16, "state_size": 4, "num_hidden_layers": 1, "initializer_range": 0.3},  # no attention
}
TREES = {"llama", "gpt2", "mistral", "gemma2"}


@pytest.fixture(autouse=True, scope="module")
def _calm():
    logging.getLogger("lm_eval").setLevel(logging.CRITICAL)


@pytest.fixture(scope="module")
def tokenizer(llama):
    return AutoTokenizer.from_pretrained(llama)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def pair(request, tokenizer):
    """Our model class and lm-eval's around one random model."""
    return made(request.param, tokenizer)


def made(kind, tokenizer, batch_size=None, dtype=torch.float32, **settings):
    from lm_eval.models.huggingface import HFLM

    from llmkit.evaluation.benchmarks.language_model import PrefixSharingLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        **ARCHITECTURES[kind] | settings,
    )
    model = AutoModelForCausalLM.from_config(config).to(dtype).eval()
    length = None if kind in {"llama", "gpt2", "mistral", "gemma2"} else tiny.CONTEXT
    ours = PrefixSharingLM(model, tokenizer, batch_size, max_length=length)
    return ours, HFLM(model, tokenizer=tokenizer, batch_size=3, max_length=length)


def questions(vocabulary, seed=0):
    """Random requests: shared contexts, one to many tokens of continuation, and more than the model can read."""
    dice = random.Random(seed)

    def tokens(count):
        return [dice.randrange(3, vocabulary) for _ in range(count)]

    requests, opening = [], tokens(9)
    for _ in range(30):
        context = opening[: dice.choice([0, 4, 9])] + tokens(dice.choice([1, 2, 8, 30, 62, 70]))
        stem = tokens(dice.choice([0, 0, 3]))
        for _ in range(dice.choice([1, 2, 4])):
            requests.append((("", ""), context, stem + tokens(dice.choice([1, 1, 2, 5, 12]))))
    return requests


def packed(ours):
    requests = [ours.scoring_request(i, request) for i, request in enumerate(questions(400))]
    return prefix_packing.pack_requests(requests, ours.join_rule)


def assert_same(ours, theirs):
    assert [answer[0] for answer in ours] == pytest.approx([answer[0] for answer in theirs], rel=1e-5, abs=1e-5)
    assert [answer[1] for answer in ours] == [answer[1] for answer in theirs]


def test_log_likelihoods_are_those_of_lm_evals_own_model(pair):
    ours, theirs = pair
    requests = questions(len(ours.tokenizer))
    # a few continuations that the model itself would write, so that some are greedy
    for context in ([5], [7, 9, 11], [5, 6, 7, 8]):
        with torch.inference_mode():
            best = int(theirs.model(torch.tensor([context])).logits[0, -1].argmax())
        requests.append((("", ""), context, [best]))
    expected = theirs._loglikelihood_tokens(requests, disable_tqdm=True)
    assert_same(ours._loglikelihood_tokens(requests), expected)
    assert any(greedy for _, greedy in expected)


def test_only_architectures_that_attend_by_a_mask_take_trees(pair):
    ours, _ = pair
    kind = ours.model.config.model_type
    assert ours.forward.takes_trees == (kind in TREES)
    assert ours.forward.gathers
    rows = packed(ours)
    assert any(not row.is_chain for row in rows) == (kind in TREES)
    assert all(len(row) <= ours.forward.longest_tree for row in rows if not row.is_chain)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 1000])
def test_the_batch_size_changes_no_score(tokenizer, batch_size):
    ours, _ = made("llama", tokenizer)
    requests = questions(len(tokenizer), seed=1)
    assert_same(
        made("llama", tokenizer, batch_size)[0]._loglikelihood_tokens(requests), ours._loglikelihood_tokens(requests)
    )


def test_rows_stay_below_the_limits_of_a_batch(tokenizer):
    ours, _ = made("llama", tokenizer)
    rows = packed(ours)
    made_of = list(prefix_packing.row_batches(rows, max_rows=5, max_tokens=200, max_scored=40))
    assert sorted(map(id, rows)) == sorted(id(row) for batch in made_of for row in batch)
    for batch in made_of:
        assert len(batch) <= 5
        assert len({row.is_chain for row in batch}) == 1
        assert len(batch) * max(map(len, batch)) <= 200 or len(batch) == 1
        assert sum(row.scored for row in batch) <= 40 or len(batch) == 1


def test_a_context_shared_by_all_answers_is_computed_once():
    context = tuple(range(10, 30))
    answers = [(1, 2, 3), (1, 2, 4, 5), (6,), (7,)]
    wanted = [ScoringRequest(i, (context + answer)[:-1], answer) for i, answer in enumerate(answers)]
    (row,) = prefix_packing.pack_requests(wanted, JoinRule(hidden=10**6, longest_tree=10**6))  # what shares joins
    assert len(row) == len(context) + 3  # 1 2 and 4: last tokens are predicted, never read
    assert sorted(read.key for read in row.reads) == [0, 1, 2, 3]
    for read in row.reads:
        length = len(context) + len(answers[read.key]) - 1
        ancestors = row.mask(len(row))[read.nodes[-1]].nonzero().flatten().tolist()
        assert [row.tokens[node] for node in ancestors] == list(wanted[read.key].inputs)
        assert [row.positions[node] for node in ancestors] == list(range(length))


def test_a_continuation_that_goes_on_from_another_is_read_at_its_own_place(tokenizer):
    # lm-eval groups these two by what the model reads, and with its cache on reads the second at the first's place
    from lm_eval.models.huggingface import HFLM

    ours, theirs = made("llama", tokenizer)
    uncached = HFLM(theirs.model, tokenizer=tokenizer, batch_size=3, logits_cache=False)
    requests = [(("", ""), [4, 5], [6, 7, 8]), (("", ""), [4, 5, 6, 7], [9])]
    assert_same(ours._loglikelihood_tokens(requests), uncached._loglikelihood_tokens(requests, disable_tqdm=True))


def test_texts_are_split_into_tokens_as_lm_eval_does(pair):
    from lm_eval.api.instance import Instance

    ours, theirs = pair
    theirs.logits_cache = False  # with it on, the first and the last text below meet: see the test above
    texts = [("", "the film was good"), ("the film ", "was bad"), ("the film", " was bad"), ("the film", " was bad.")]
    requests = [Instance("loglikelihood", {}, text, i) for i, text in enumerate(texts)]
    assert_same(ours.loglikelihood(requests), theirs.loglikelihood(requests, disable_tqdm=True))
    theirs.logits_cache = True
    long = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate([tiny.corpus(40), "the fox"])]
    expected = theirs.loglikelihood_rolling(long, disable_tqdm=True)
    assert ours.loglikelihood_rolling(long) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_half_precision_takes_trees_and_stays_near_float32(tokenizer, kind):
    ours, _ = made(kind, tokenizer, dtype=torch.bfloat16)
    exact, _ = made(kind, tokenizer)
    assert ours.forward.takes_trees
    requests = questions(len(tokenizer))
    found, expected = ours._loglikelihood_tokens(requests), exact._loglikelihood_tokens(requests)
    assert [answer[0] for answer in found] == pytest.approx([answer[0] for answer in expected], rel=0.05, abs=0.5)


def test_rows_never_meet_where_rotary_angles_depend_on_the_longest(tokenizer):
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    ours, theirs = made("llama", tokenizer, rope_parameters=rope)
    assert ours.forward.rope_depends_on_length
    assert not ours.forward.takes_trees
    theirs.batch_size_per_gpu = 1
    requests = questions(len(tokenizer))
    assert_same(ours._loglikelihood_tokens(requests), theirs._loglikelihood_tokens(requests, disable_tqdm=True))


def test_a_model_whose_mask_is_not_obeyed_is_found_out(tokenizer, monkeypatch):
    from llmkit.evaluation.benchmarks.forward import Forward

    ours, _ = made("llama", tokenizer)
    honest = ours.model.forward
    for ignored in ("attention_mask", "position_ids"):

        def deaf(self, ignored=ignored, **inputs):
            return honest(**{key: value for key, value in inputs.items() if key != ignored})

        monkeypatch.setattr(type(ours.model), "forward", deaf)
        assert not Forward(ours.model, 64).takes_trees
        ours.model.to(torch.bfloat16)
        assert not Forward(ours.model, 64).takes_trees
        ours.model.to(torch.float32)
        monkeypatch.undo()


def test_a_model_that_refuses_a_gathered_head_is_read_whole(tokenizer, monkeypatch):
    from llmkit.evaluation.benchmarks.language_model import PrefixSharingLM

    ours, theirs = made("llama", tokenizer)
    monkeypatch.setattr(type(ours.model), "get_output_embeddings", lambda self: None)
    whole = PrefixSharingLM(ours.model, tokenizer)
    assert not whole.forward.gathers
    monkeypatch.undo()
    requests = questions(len(tokenizer))
    assert_same(whole._loglikelihood_tokens(requests), theirs._loglikelihood_tokens(requests, disable_tqdm=True))


# --- tasks

THINGS = [
    {"question": f"the {thing} was", "choices": list(words), "label": i % 4}
    for i, (thing, words) in enumerate((thing, tiny.GOOD[k : k + 4]) for k in range(3) for thing in tiny.THINGS)
]


@pytest.fixture(scope="module")
def task_file(tmp_path_factory):
    """Write the YAML of a task over a local file: `task_file("name", output_type=...)`."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = {
        name: str(write_jsonl(folder / f"{name}.jsonl", some))
        for name, some in {"test": THINGS[:20], "train": THINGS[20:]}.items()
    }

    def write(name, **changed):
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": rows, "cache_dir": str(folder / "cache")},
            "output_type": "multiple_choice",
            "training_split": "train",
            "test_split": "test",
            "doc_to_text": "{{question}}",
            "doc_to_choice": "choices",
            "doc_to_target": "label",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
            "metadata": {"version": 2.0},
        } | changed
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in task.items() if value is not None}))
        return str(path)

    return write


KINDS = {
    "choosing": {},
    "guessing": {
        "output_type": "loglikelihood",
        "doc_to_choice": None,
        "doc_to_target": "{{' ' + choices[label]}}",
        "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
    },
    "reading": {
        "output_type": "loglikelihood_rolling",
        "doc_to_choice": None,
        "doc_to_text": "",
        "doc_to_target": "{{question}}",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    },
    "writing": {
        "output_type": "generate_until",
        "doc_to_choice": None,
        "doc_to_target": "{{choices[label]}}",
        "generation_kwargs": {"until": ["."], "max_gen_toks": 6},
        "metric_list": [{"metric": "exact_match"}],
        "filter_list": [
            {"name": "strict-match", "filter": [{"function": "take_first"}]},
            {
                "name": "first-word",
                "filter": [{"function": "regex", "regex_pattern": r"(\w+)"}, {"function": "take_first"}],
            },
        ],
    },
}


@pytest.fixture(scope="module")
def run(llama):
    options = ModelOptions(model=str(llama), dtype="float32", device="cpu")
    resolved = models.resolve_model(options, Report())
    return lambda names, session=None, **settings: benchmarks.run(
        names, resolved, options, Report(), BenchmarkOptions(**settings), session
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_fewshot", [None, 2])
def test_figures_are_those_of_lm_evals_own_run(run, task_file, tokenizer, llama, kind, num_fewshot, capsys):
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    file = task_file(kind, **KINDS[kind])
    capsys.readouterr()
    (found,) = run([file], num_fewshot=num_fewshot, limit=15)
    assert capsys.readouterr().out == ""
    model = HFLM(AutoModelForCausalLM.from_pretrained(llama), tokenizer=tokenizer, batch_size=4)
    settings = {"limit": 15, "bootstrap_iters": 1000, "task_manager": TaskManager(include_defaults=False)}
    theirs = lm_eval.simple_evaluate(model, tasks=[file], num_fewshot=num_fewshot, **settings)
    figures = {key: value for key, value in theirs["results"][kind].items() if "," in key and value != "N/A"}
    named = {key.replace(",none", "").replace(",", "/"): value for key, value in figures.items()}
    assert found.metrics == pytest.approx({k: v for k, v in named.items() if "_stderr" not in k}, rel=1e-5)
    stderrs = {k.replace("_stderr", ""): v for k, v in named.items() if "_stderr" in k}
    assert found.stderrs == pytest.approx(stderrs, rel=1e-4)
    assert (found.name, found.n, found.num_fewshot, found.version) == (kind, 15, num_fewshot or 0, "2.0")
    samples = theirs["samples"][kind]
    assert found.ids == [sample["doc_hash"][:16] for sample in samples[:15]]
    for metric, values in found.observations.values.items():
        base, _, filtered = metric.partition("/")
        assert values.tolist() == [s[base] for s in samples if s["filter"] == (filtered or "none")]
        assert values.mean() == pytest.approx(found.metrics[metric])
    means = {"choosing": {"acc", "acc_norm"}, "guessing": {"acc"}, "reading": set()}
    assert set(found.observations.values) == means.get(kind, {"exact_match/strict-match", "exact_match/first-word"})


def test_each_row_has_its_target_and_the_models_answer(run, task_file):
    (chosen,) = run([task_file("choosing")])
    assert chosen.targets == [row["choices"][row["label"]] for row in THINGS[:20]]
    right = [answer == target for answer, target in zip(chosen.answers, chosen.targets)]
    assert right == chosen.observations.values["acc"].astype(bool).tolist()
    (guessed,) = run([task_file("guessing", **KINDS["guessing"])])
    hits = guessed.observations.values["acc"].astype(bool)
    assert [answer is not None for answer in guessed.answers] == hits.tolist()
    (written,) = run([task_file("writing", **KINDS["writing"])], limit=3)
    assert all(isinstance(answer, str) for answer in written.answers)


def test_a_documents_id_depends_on_its_content_alone(run, task_file, tmp_path):
    (straight,) = run([task_file("choosing")])
    files = {"test": str(write_jsonl(tmp_path / "turned.jsonl", THINGS[19::-1]))}
    turned = {"data_files": files, "cache_dir": str(tmp_path / "cache")}
    (turned,) = run([task_file("turned", dataset_kwargs=turned, training_split=None)])
    assert turned.ids == straight.ids[::-1]
    assert len(set(straight.ids)) == 20
    assert turned.prompt_sha != straight.prompt_sha


def test_the_same_run_twice_asks_the_same_and_the_batch_size_changes_no_figure(run, task_file):
    file = task_file("choosing")
    (one,) = run([file], num_fewshot=3)
    for again in run([file], num_fewshot=3) + run([file], num_fewshot=3, batch_size=1):
        assert again.prompt_sha == one.prompt_sha
        assert again.metrics == one.metrics
    (other,) = run([file], num_fewshot=2)
    assert other.prompt_sha != one.prompt_sha


def test_a_benchmark_that_fails_does_not_hide_the_others(run, task_file, tmp_path):
    nowhere = {"data_files": {"test": str(tmp_path / "nowhere.jsonl")}}
    missing = task_file("missing", dataset_kwargs=nowhere, training_split=None)
    far = task_file("far", dataset_path="somebody/something", dataset_kwargs=None)
    broken = task_file("broken", doc_to_text="{{question}")
    unsafe = task_file("unsafe", unsafe_code=True)
    found = run([missing, far, broken, unsafe, task_file("choosing")], limit=2)
    assert [type(one).__name__ for one in found] == ["FailedBenchmark"] * 4 + ["BenchmarkResult"]
    assert [type(one.error) for one in found[:2]] == [DataError, HubError]
    assert "nowhere.jsonl" in str(found[0].error)
    assert "somebody/something" in str(found[1].error) or "far.yaml" in str(found[1].error)
    assert "broken" in str(found[2].error)
    assert isinstance(found[3].error, OptionError)
    assert "code that the model writes" in str(found[3].error)
    assert all("\n" not in str(one.error) for one in found[:4])


def test_a_missing_split_of_examples_matters_only_where_examples_are_wanted(run, task_file, monkeypatch):
    from lm_eval.tasks import TaskManager

    file = task_file("unshot", training_split="nosuch")
    monkeypatch.setattr(registry, "definitions", dict)
    monkeypatch.setattr(
        registry, "every_task", lambda: TaskManager(include_defaults=False, include_path=file.rpartition("/")[0])
    )
    (plain,) = run(["unshot"])
    assert plain.num_fewshot == 0
    (failed,) = run(["unshot"], num_fewshot=2)
    assert isinstance(failed.error, DataError)
    assert "no split 'nosuch'" in str(failed.error)
    assert "--num-fewshot 0" in str(failed.error)


def test_known_answers_are_not_computed_again_nor_the_weights_read(llama, task_file, monkeypatch, tmp_path):
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path))
    options = ModelOptions(model=str(llama), dtype="float32", device="cpu")
    files = [task_file(kind, **KINDS[kind]) for kind in KINDS]

    def run(names, **settings):
        answers = AnswerCache.open({"model": "a"}, {}, Report())
        try:
            resolved, session = models.resolve_model(options, Report()), AnswerSession(answers)
            return benchmarks.run(names, resolved, options, Report(), BenchmarkOptions(**settings), session)
        finally:
            answers.close()

    first = run(files, limit=5)
    longer = run(files, limit=8)
    for done in (first, longer):
        # what the guesses ask, the choices asked before
        assert [one.name for one in done if not one.cached] == ["choosing", "reading", "writing"]
    monkeypatch.setattr(models, "load_model", None)
    for again, before in [*zip(run(files, limit=8), longer), *zip(run(files, limit=5), first)]:
        assert again.cached
        assert again.metrics == before.metrics


class Asked:
    """Signals that ask to stop as long as there are no more answers than so many."""

    def __init__(self, answers, count):
        self.answers, self.count = answers, count

    @property
    def asked(self):
        return len(self.answers.done) <= self.count


def test_a_stopped_run_goes_on_from_the_answers_that_it_has(run, task_file):
    file = task_file("choosing")
    answers = AnswerCache()
    with pytest.raises(Stopped, match="answers missing"):
        run([file], AnswerSession(answers, Asked(answers, 10**6)), num_fewshot=2, batch_size=1)
    kept = dict(answers.done)
    assert kept
    (whole,) = run([file], AnswerSession(answers, Asked(answers, len(kept))), num_fewshot=2)
    assert not whole.cached
    assert {key: answers.done[key] for key in kept} == kept
    (straight,) = run([file], num_fewshot=2)
    assert whole.metrics == straight.metrics


def test_a_model_that_cannot_be_loaded_fails_no_task_but_the_run(task_file, llama, tmp_path):
    import shutil

    folder = tmp_path / "broken"
    shutil.copytree(llama, folder)
    resolved = models.resolve_model(ModelOptions(model=str(folder)), Report())
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="truncated"):
        benchmarks.run([task_file("choosing")], resolved, ModelOptions(model=str(folder)), Report())


CHATS = {
    "roles": (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
        "{% if add_generation_prompt %}[assistant] {% endif %}"
    ),
    # refuses a system message, as Gemma's does: lm-eval leaves it out
    "no system": (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}<{{ m.role }}> {{ m.content }} {% endfor %}"
    ),
    "dropped": "{% for m in messages if m.role != 'system' %}<{{ m.role }}> {{ m.content }} {% endfor %}",
}


@pytest.fixture(scope="module")
def chatty(tmp_path_factory):
    """Return the folder of a model with one of the templates in CHATS, made once for each."""
    folder = tmp_path_factory.mktemp("chatty")

    def made_once(name):
        path = folder / name.replace(" ", "_")
        return path if path.exists() else tiny.llama_folder(path, chat_template=CHATS[name])

    return made_once


def run_as_chat(folder, file, **settings):
    options, report = ModelOptions(model=str(folder), dtype="float32", device="cpu"), Report()
    resolved = models.resolve_model(options, report)
    (found,) = benchmarks.run([file], resolved, options, report, BenchmarkOptions(**settings))
    return found, report.warnings


@pytest.mark.parametrize(
    ("kind", "template", "num_fewshot", "system"),
    [
        ("choosing", "roles", None, None),
        ("choosing", "roles", 2, "Say what is true."),
        ("choosing", "no system", 2, None),
        ("guessing", "roles", 2, None),
        ("writing", "roles", 2, "Write one word."),
        ("reading", "roles", None, None),
    ],
)
def test_figures_and_prompts_of_a_chat_are_those_of_lm_evals_own_run(
    chatty, task_file, kind, template, num_fewshot, system
):
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from lm_eval.utils import hash_string

    file, folder = task_file(kind, **KINDS[kind]), chatty(template)
    settings = {"num_fewshot": num_fewshot, "limit": 6}
    found, _ = run_as_chat(folder, file, apply_chat_template=True, system_instruction=system, **settings)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = HFLM(AutoModelForCausalLM.from_pretrained(folder), tokenizer=tokenizer, batch_size=4)
    theirs = lm_eval.simple_evaluate(
        model,
        tasks=[file],
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
        apply_chat_template=True,  # fewshot_as_multiturn is its default
        system_instruction=system,
        **settings,
    )
    figures = {key: value for key, value in theirs["results"][kind].items() if "," in key and "_stderr" not in key}
    named = {key.replace(",none", "").replace(",", "/"): value for key, value in figures.items()}
    assert found.metrics == pytest.approx(named, rel=1e-5)
    first = theirs["samples"][kind][0]["filter"]
    samples = [sample for sample in theirs["samples"][kind] if sample["filter"] == first]
    assert found.prompt_sha == results.prompt_sha(samples)
    assert found.chat_template_sha == hash_string(CHATS[template])
    prompt = samples[0]["arguments"][0][0]
    if kind != "reading":  # a text whose likelihood is asked for is no question of a chat
        assert prompt.count("user") == 1 + (num_fewshot or 0)
        assert (system is not None and template == "roles") == prompt.startswith(f"[system] {system}")
    plain, _ = run_as_chat(folder, file, **settings)
    assert plain.chat_template_sha is None
    assert (plain.prompt_sha == found.prompt_sha) == (kind == "reading")


def test_a_system_instruction_without_a_chat_stands_before_the_prompt_as_lm_eval_has_it(chatty, task_file):
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    file, folder = task_file("choosing"), chatty("roles")
    found, _ = run_as_chat(folder, file, limit=4, system_instruction="Say what is true.")
    model = HFLM(AutoModelForCausalLM.from_pretrained(folder), tokenizer=AutoTokenizer.from_pretrained(folder))
    theirs = lm_eval.simple_evaluate(
        model,
        tasks=[file],
        limit=4,
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
        system_instruction="Say what is true.",
    )
    assert found.prompt_sha == results.prompt_sha(theirs["samples"]["choosing"])
    assert found.metrics["acc"] == theirs["results"]["choosing"]["acc,none"]


@pytest.mark.parametrize("template", ["no system", "dropped"])
def test_a_system_instruction_that_the_chat_template_does_not_write_is_refused(chatty, task_file, llama, template):
    file, folder = task_file("choosing"), chatty(template)
    with pytest.raises(ModelError, match="no chat template; leave --apply-chat-template out"):
        run_as_chat(llama, file, apply_chat_template=True)
    with pytest.raises(ModelError, match=r"system message; leave --system-instruction \(--system\) out"):
        run_as_chat(folder, file, limit=1, apply_chat_template=True, system_instruction="Be kind.")
    assert run_as_chat(folder, file, limit=1, apply_chat_template=True)[1] == []
    assert run_as_chat(folder, file, limit=1, system_instruction="Be kind.")[1] == []  # text before the prompt
    assert run_as_chat(chatty("roles"), file, limit=1, apply_chat_template=True, system_instruction="Be kind.")[1] == []


@pytest.mark.parametrize(("template", "lost"), [("no system", True), ("dropped", True), ("roles", False)])
def test_a_description_that_the_chat_template_does_not_write_is_said(chatty, task_file, template, lost):
    file = task_file("described", **KINDS["choosing"], description="Choose what is true.")
    _, warnings = run_as_chat(chatty(template), file, limit=1, apply_chat_template=True)
    assert ["described: its description" in warning for warning in warnings] == [True] * lost
    assert run_as_chat(chatty(template), file, limit=1)[1] == []


# --- names


def test_names_are_split_and_groups_stay_whole(task_file):
    assert benchmarks.is_benchmark("lm-eval:hellaswag")
    assert not benchmarks.is_benchmark("glue/mrpc")
    assert benchmarks.task_names("lm-eval: hellaswag, arc_easy,") == ["hellaswag", "arc_easy"]
    file = task_file("choosing")
    assert benchmarks.task_names(f"lm-eval:{file}") == [file]


@pytest.fixture
def small_index(task_file, monkeypatch):
    """Replace lm-eval's thousands of tasks, which take long to read, by a few."""
    from lm_eval.tasks import TaskManager

    file = task_file("choosing")
    manager = TaskManager(include_defaults=False, include_path=file.rpartition("/")[0])
    monkeypatch.setattr(registry, "every_task", lambda: manager)


def test_wrong_names_are_refused_together(small_index):
    with pytest.raises(OptionError) as caught:
        benchmarks.task_names("lm-eval:chosing,hellaswag,hellaswag,nowhere.yaml")
    assert len(caught.value.problems) == 3
    assert "'chosing' (did you mean 'choosing'?)" in str(caught.value)
    assert "no task file 'nowhere.yaml'" in str(caught.value)
    assert "'hellaswag' is named twice" in str(caught.value)
    with pytest.raises(OptionError, match="names no task"):
        benchmarks.task_names("lm-eval: ,")


def test_without_lm_eval_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"pip install 'llmkit\[lm-eval\]'"):
        benchmarks.task_names("lm-eval:hellaswag")


@pytest.mark.slow
def test_the_tasks_of_fairness_and_all_others_are_found_where_lm_eval_finds_them():
    names = ["crows_pairs", "bbq", "toxigen", "winogender", "crows_pairs_english", "winogender_all", "arc_easy", "mmlu"]
    assert benchmarks.task_names(f"lm-eval:{','.join(names)}") == names
    index = registry.every_task().task_index
    assert all(index[name].yaml_path == file for name, file in registry.definitions().items())
    assert registry.definition_of("toxigen").dataset == index["toxigen"].cfg["dataset_path"]
    assert registry.definition_of("winogender").manager is registry.every_task()
