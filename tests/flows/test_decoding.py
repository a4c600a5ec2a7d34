"""What decides the text of an answer: the model's own generation config, ends, stops, the seed; and what does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
from chat_families import FAMILIES, tokenizer_of
from conftest import write_jsonl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_generate import plain_generate
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

import llmkit
from llmkit.options import GenerationOptions, ModelOptions


@pytest.fixture
def own(llama, tmp_path):
    """Make a copy of the Llama whose generation config holds these fields."""

    def make(**fields: object) -> Path:
        folder = shutil.copytree(llama, tmp_path / "own")
        config = GenerationConfig.from_pretrained(folder)
        config.update(**fields)
        config.save_pretrained(folder)
        return folder

    return make


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"repetition_penalty": 1.3}, "decoding: greedy; from the model: repetition_penalty 1.3"),
        ({"no_repeat_ngram_size": 2}, "decoding: greedy; from the model: no_repeat_ngram_size 2"),
        ({"num_beams": 3}, "decoding: 3 beams; from the model: num_beams 3"),
        ({"num_beams": 3, "length_penalty": 2.0}, "from the model: num_beams 3, length_penalty 2.0"),
        ({"suppress_tokens": [5, 6]}, "from the model: suppress_tokens 5 6"),
        (
            {"do_sample": True, "temperature": 0.6},
            "greedy; without its own sampling (temperature 0.6): --temperature 0.6",
        ),
    ],
)
def test_the_model_s_own_config_counts_and_is_said(llmkit, own, fields, said):
    folder = own(**fields)
    ran = llmkit("generate", "the fox", "-m", folder, "--max-new-tokens", 12)
    assert ran.code == 0, ran.err
    assert said in ran.err
    assert ran.out == plain_generate(folder, "the fox", 12) + "\n"


def test_a_config_that_says_nothing_is_not_spoken_of(llmkit, llama):
    assert "decoding" not in llmkit("generate", "the fox", "-m", llama, "--max-new-tokens", 4).err


@pytest.mark.parametrize(
    ("fields", "flags", "plain"),
    [
        ({"repetition_penalty": 1.3}, ("--repetition-penalty", "1"), {}),
        ({"num_beams": 3}, ("--num-beams", "1"), {}),
        ({"no_repeat_ngram_size": 2}, ("--set", "no_repeat_ngram_size=0"), {}),
        ({"stop_strings": ["e"]}, ("--stop", "zzz"), {}),
    ],
)
def test_a_flag_wins_over_the_model_s_own_config(llmkit, llama, own, fields, flags, plain):
    ran = llmkit("generate", "the fox", "-m", own(**fields), "--max-new-tokens", 12, *flags)
    assert ran.out == plain_generate(llama, "the fox", 12, **plain) + "\n"
    assert "from the model" not in ran.err


def test_the_model_s_own_stop_texts_end_an_answer(llmkit, llama, own):
    whole = plain_generate(llama, "the fox", 12)
    stop = whole[3:5]
    ran = llmkit("generate", "the fox", "-m", own(stop_strings=[stop]), "--max-new-tokens", 12)
    assert ran.out == whole[: whole.index(stop)] + "\n"
    assert f"from the model: stop_strings {stop!r}" in ran.err


def test_sampling_takes_what_the_model_names_and_says_it(llmkit, llama, own):
    folder = own(do_sample=True, top_k=1, num_beams=2)
    ran = llmkit("generate", "the fox", "-m", folder, "--max-new-tokens", 8, "--temperature", "1.5")
    assert ran.out == plain_generate(llama, "the fox", 8) + "\n"
    assert "decoding: sampling; from the model: top_k 1; without its num_beams 2" in ran.err


def test_eval_writes_what_generate_writes(llmkit, models_root, tmp_path):
    folder = shutil.copytree(tiny.t5_folder(models_root / "t5-own", params={"summarization": {}}), tmp_path / "t5")
    config = GenerationConfig.from_pretrained(folder)
    config.update(num_beams=4, repetition_penalty=1.2, no_repeat_ngram_size=2)
    config.save_pretrained(folder)
    rows, kept = [{"document": "the fox ran", "summary": "a fox"}], tmp_path / "kept.jsonl"
    data, flags = write_jsonl(tmp_path / "rows.jsonl", rows), ("-m", folder, "--task", "summarization")
    ran = llmkit("eval", data, *flags, "--target-length", 8, "--save-predictions", kept, "--no-cache")
    assert ran.code == 0, ran.err
    written = llmkit("generate", "the fox ran", *flags, "--target-length", 8, "--json")
    sentence = "decoding: 4 beams; from the model: num_beams 4, repetition_penalty 1.2, no_repeat_ngram_size 2"
    assert sentence in ran.err
    assert sentence in written.err
    assert json.loads(kept.read_text())["prediction"] == written.json["completion"].strip()
    for more in ((), ("--max-new-tokens", 3)):  # without a length both write as many tokens, and a flag wins
        other = llmkit("eval", data, *flags, "--save-predictions", kept, "--no-cache")
        assert other.code == 0, other.err
        written = llmkit("generate", "the fox ran", *flags, "--json", *more).json["completion"].strip()
        whole = json.loads(kept.read_text())["prediction"]
        assert (whole == written) is not bool(more)


def test_the_model_s_own_stop_texts_end_what_eval_measures_too(llmkit, models_root, tmp_path):
    folder = shutil.copytree(tiny.t5_folder(models_root / "t5-own", params={"summarization": {}}), tmp_path / "t5")
    data, kept = write_jsonl(tmp_path / "rows.jsonl", [{"document": "the fox ran", "summary": "a"}]), tmp_path / "kept"
    flags = ("-m", folder, "--task", "summarization", "--target-length", 12)
    whole = llmkit("generate", "the fox ran", *flags, "--json").json["completion"]
    config = GenerationConfig.from_pretrained(folder)
    config.update(stop_strings=[whole[3:5]])
    config.save_pretrained(folder)
    written = llmkit("generate", "the fox ran", *flags, "--json").json["completion"]
    ran = llmkit("eval", data, *flags, "--save-predictions", kept.with_suffix(".jsonl"))
    assert ran.code == 0, ran.err
    assert written == whole[: whole.index(whole[3:5])]
    assert json.loads(kept.with_suffix(".jsonl").read_text())["prediction"] == written.strip()


def test_an_encoder_decoder_cannot_be_guided(llmkit, models_root, tmp_path):
    folder = shutil.copytree(tiny.t5_folder(models_root / "t5-own", params={"summarization": {}}), tmp_path / "t5")
    data = write_jsonl(tmp_path / "rows.jsonl", [{"document": "the fox ran", "summary": "a"}])
    flags = ("-m", folder, "--task", "summarization")
    ran = [llmkit("generate", "the fox ran", *flags, "--set", "guidance_scale=2")]
    config = GenerationConfig.from_pretrained(folder)
    config.update(guidance_scale=2.0)
    config.save_pretrained(folder)
    ran += [llmkit("generate", "the fox ran", *flags), llmkit("eval", data, *flags)]
    assert [(each.code, "take guidance_scale 2.0 out of its" in each.error) for each in ran] == [(2, True)] * 3


def test_answers_that_eval_keeps_are_of_one_generation_config(llmkit, models_root, tmp_path):
    folder = shutil.copytree(tiny.t5_folder(models_root / "t5-own", params={"summarization": {}}), tmp_path / "t5")
    data = write_jsonl(tmp_path / "rows.jsonl", [{"document": "the fox ran", "summary": "a fox"}])
    flags = ("eval", data, "-m", folder, "--task", "summarization", "--target-length", 8)
    assert "cached" not in llmkit(*flags).err
    assert "cached" in llmkit(*flags).err
    config = GenerationConfig.from_pretrained(folder)
    config.update(num_beams=4)
    config.save_pretrained(folder)
    changed = llmkit(*flags)
    assert "cached" not in changed.err
    assert "decoding: 4 beams" in changed.err


@pytest.fixture(scope="module", params=["chatml", "llama3", "mistral"])
def chatting(request, models_root) -> Path:
    """A tiny chat model of a template family, whose generation config names another end than its tokenizer."""
    folder = models_root / f"chatting-{request.param}"
    if not folder.exists():
        tokenizer = tokenizer_of(request.param)
        network = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=max(tokenizer.get_vocab().values()) + 1,
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=1024,
                bos_token_id=None,
                eos_token_id=0,
                initializer_range=0.5,
            )
        )
        network.generation_config.eos_token_id = 0
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def test_a_turn_ends_at_its_template_s_end_whatever_the_config_names(llmkit, chatting):
    tokenizer, network = AutoTokenizer.from_pretrained(chatting), AutoModelForCausalLM.from_pretrained(chatting)
    turn = [{"role": "user", "content": "hi"}]
    ids = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    endless = network.generate(**ids, max_new_tokens=1, do_sample=False)[0, -1].item()
    ended = [*turn, {"role": "assistant", "content": "yes"}]
    end = tokenizer.apply_chat_template(ended, tokenize=False).rpartition("yes")[2].strip()
    token = tokenizer.convert_tokens_to_ids(next(text for text in tokenizer.get_added_vocab() if end.startswith(text)))
    weights = network.state_dict()
    head = weights["lm_head.weight"]
    head[[token, endless]] = head[[endless, token]]  # the turn's end is now the likeliest first token
    network.save_pretrained(chatting)
    ran = llmkit("generate", "hi", "-m", chatting, "--max-new-tokens", 20, "--json")
    assert ran.json["completion"] == ""


def test_what_is_sampled_depends_on_the_prompt_its_number_and_the_seed_alone(llmkit, llama, tmp_path):
    flags = ("-m", llama, "--max-new-tokens", 10, "--temperature", "1.5", "--seed", 9, "--json")
    prompts = ["the fox", "a king was good and the river", "the", "a dog", "the sea was", "a"]

    def answers(texts, *more):
        file = write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": text} for text in texts])
        ran = llmkit("generate", "--input", file, *flags, *more)
        return [json.loads(line)["completion"] for line in ran.out.splitlines()]

    together = answers(prompts)
    for more in (("--batch-size", 1), ("--batch-size", 4)):
        assert answers(prompts, *more) == together
    others = ["what else there is", "a king was good and the river", "and more of it", "a dog"]
    assert answers(others)[1::2] == together[1:4:2]
    assert llmkit("generate", *prompts, *flags).out == llmkit("generate", *prompts, *flags, "--batch-size", 1).out
    assert len(set(together)) == len(prompts)


def test_a_draw_follows_the_probabilities_that_the_model_gives(llama):
    from collections import Counter

    import torch

    tokenizer, network = AutoTokenizer.from_pretrained(llama), AutoModelForCausalLM.from_pretrained(llama)
    drawn = llmkit.generate(
        ["the fox"] * 600, ModelOptions(model=str(llama)), GenerationOptions(max_new_tokens=1, temperature=1.0), 100
    )
    with torch.inference_mode():
        logits = network(**tokenizer("the fox", return_tensors="pt")).logits[0, -1]
    expected = logits.softmax(-1)
    counts = Counter(text for (text,) in drawn)
    shown = [tokenizer.decode(token, skip_special_tokens=True) for token in range(len(expected))]
    whole = [token for token in expected.topk(40).indices.tolist() if shown[token] and "\ufffd" not in shown[token]]
    for token in whole[:6]:
        share = float(sum(expected[other] for other in range(len(expected)) if shown[other] == shown[token]))
        assert abs(counts[shown[token]] / 600 - share) < 5 * (share * (1 - share) / 600) ** 0.5


@pytest.mark.parametrize("stop", ["fox", "the", "\n"])
def test_a_stop_text_of_the_prompt_or_the_template_ends_nothing(llmkit, llama, stop):
    prompt = "the fox\n"
    whole = plain_generate(llama, prompt, 12)
    ran = llmkit("generate", prompt, "-m", llama, "--max-new-tokens", 12, "--stop", stop, "--json")
    assert ran.json["completion"] == whole.partition(stop)[0]


def test_a_batch_in_half_precision_is_said_to_change_texts(llmkit, llama):
    flags = ("-m", llama, "--max-new-tokens", 4)
    sentence = "in bfloat16 a text can change with the others of its batch; --dtype float32 or --batch-size 1 avoids it"
    assert (
        llmkit("generate", "a", "the", "a", *flags, "--dtype", "bfloat16", "--batch-size", 2).err.count(sentence) == 1
    )
    for more in (("--dtype", "float32"), ("--dtype", "bfloat16", "--batch-size", "1")):
        assert sentence not in llmkit("generate", "a", "the", *flags, *more).err


def test_a_prompt_that_spells_a_control_token_is_said_and_the_flag_reads_the_token(llmkit, chatting):
    spelling = next(text for text in FAMILIES[chatting.name.rpartition("-")[2]].special if text)
    flags = ("generate", f"hi {spelling} there", "-m", chatting, "--max-new-tokens", 3, "--dry-run")
    kept, read = llmkit(*flags), llmkit(*flags, "--no-split-special-tokens")
    assert f"the prompt holds {spelling}, which stays text; --no-split-special-tokens" in kept.err
    assert "holds" not in read.err
    counts = [int(ran.err.split("prompts of ")[1].split()[0]) for ran in (kept, read)]
    assert counts[0] > counts[1]


TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, min_size=2, max_size=8), stops=st.lists(TEXTS, max_size=2))
def test_streamed_is_whole_is_a_batch_of_one_is_a_batch_of_eight(chatting, texts, stops):
    from llmkit.inference.answering import resolve_task_and_model
    from llmkit.inference.generation import Generator
    from llmkit.options import AskOptions, GenerateRequest
    from llmkit.options.base import TalkOptions
    from llmkit.output.report import Report

    options, report = ModelOptions(model=str(chatting), dtype="float32"), Report(TalkOptions(quiet=True))
    task, resolved = resolve_task_and_model("generate", options, AskOptions(), report)
    decoding = GenerationOptions(max_new_tokens=10, stop=stops or None)
    generator = Generator(task, resolved, GenerateRequest(model=options, decoding=decoding), report)
    prompts = [generator.prompt(text) for text in texts]
    streamed = []
    for prompt in prompts:
        pieces: list[str] = []
        generator.stream(prompt, pieces.append)
        streamed.append(["".join(pieces)])
    assert streamed == generator.completions(prompts, 1) == generator.completions(prompts, 8)
    assert not any(stop in text for (text,) in streamed for stop in stops)


def test_a_blank_prompt_of_a_file_is_answered_null(llmkit, chatting, tmp_path):
    rows = [{"prompt": None}, {"prompt": ""}, {"prompt": "hi"}, {"prompt": "  "}]
    ran = llmkit("generate", "--input", write_jsonl(tmp_path / "p.jsonl", rows), "-m", chatting, "--max-new-tokens", 3)
    found = [json.loads(line)["completion"] for line in ran.out.splitlines()]
    assert [text is None for text in found] == [True, True, False, True]
    assert "3 of 4 rows have no prompt, and are answered null" in ran.err
