"""Generation configs that models come with, field by field, and the fields of --set: used and said, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from conftest import write_jsonl
from test_generate import plain_generate
from transformers import AutoModelForCausalLM, AutoTokenizer

import llmkit
from llmkit.errors import DataError, OptionError
from llmkit.options import GenerationOptions, ModelOptions

PROMPTS = ["the fox", "a king was good and the river", "the", "a dog", "the sea was", "a"]


@pytest.fixture
def own(llama, tmp_path):
    """Make a copy of the Llama, or of another model, whose generation config holds these fields."""

    def make(base: Path = llama, **fields: object) -> Path:
        folder = shutil.copytree(base, tmp_path / "own", dirs_exist_ok=True)
        file = folder / "generation_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
        return folder

    return make


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"return_dict_in_generate": True, "output_scores": True}, None),
        ({"prompt_lookup_num_tokens": 3}, None),
        ({"penalty_alpha": 0.6}, "without its penalty_alpha 0.6, for transformers has no contrastive search any more"),
        ({"dola_layers": "low"}, "without its dola_layers low"),
        ({"token_healing": True}, "without its token_healing"),
        ({"do_sample": True, "typical_p": 1.0, "eta_cutoff": 0.0}, "without its own sampling: --temperature 1.0 "),
        ({"do_sample": True, "temperature": 0.0}, "(temperature 0.0): --temperature 1.0 samples"),
    ],
)
def test_fields_that_do_not_count_change_no_text(llmkit, llama, own, fields, said):
    folder = own(**fields)
    ran = llmkit("generate", *PROMPTS[:2], "-m", folder, "--max-new-tokens", 8, "--json")
    assert [row["completion"] for row in ran.rows] == [plain_generate(llama, text, 8) for text in PROMPTS[:2]]
    assert ("decoding" not in ran.err) if said is None else (said in ran.err)


def test_a_penalty_that_is_a_whole_number_counts(llmkit, llama, own):
    ran = llmkit("generate", "the fox", "-m", own(repetition_penalty=2), "--max-new-tokens", 8)
    assert ran.out == plain_generate(llama, "the fox", 8, repetition_penalty=2.0) + "\n"
    assert "from the model: repetition_penalty 2" in ran.err


def test_a_watermark_counts_and_is_said(llmkit, llama, own):
    from transformers import WatermarkingConfig

    ran = llmkit("generate", "the fox", "-m", own(watermarking_config={"bias": 9.0}), "--max-new-tokens", 8)
    expected = plain_generate(llama, "the fox", 8, watermarking_config=WatermarkingConfig(bias=9.0))
    assert ran.out == expected + "\n"
    assert "from the model: watermarking_config" in ran.err
    flag = llmkit("generate", "the fox", "-m", llama, "--max-new-tokens", 8, "--set", 'watermarking_config={"bias": 9}')
    assert flag.out == ran.out


def test_a_length_of_the_model_s_own_is_said_where_no_flag_sets_one(llmkit, own):
    folder = own(max_new_tokens=5)
    assert "without its max_new_tokens 5, for a flag sets the length" in llmkit("generate", "a", "-m", folder).err
    assert "decoding" not in llmkit("generate", "a", "-m", folder, "--max-new-tokens", 6).err


@pytest.mark.parametrize(
    ("fields", "flags", "wrong"),
    [
        ({"repetition_penalty": 0}, (), "strictly positive"),
        ({"num_return_sequences": 3}, (), "num_return_sequences"),
        ({"temperature": 0.0}, ("--top-p", "0.9"), "temperature"),
        ({"eos_token_id": "</s>"}, (), "eos_token_id '</s>'"),
        ({"suppress_tokens": 5}, (), "not iterable"),
    ],
)
def test_a_config_that_nothing_can_use_is_blamed_itself(llmkit, own, fields, flags, wrong):
    ran = llmkit("generate", "a", "-m", own(**fields), "--max-new-tokens", 3, *flags)
    assert ran.code == 2
    assert "generation_config.json" in ran.error
    assert wrong in ran.error


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("return_dict_in_generate=true", "only texts are answered"),
        ("penalty_alpha=0.6", "no contrastive search any more"),
        ("num_beam_groups=2", "no search in groups of beams any more"),
        ("suppress_tokens=5", "takes a list, as [5, 6], not 5"),
        ("exponential_decay_length_penalty=3", "takes a list"),
        ("eos_token_id=foo", "takes numbers of tokens, as 2 or [2, 5], not 'foo'"),
        ("bos_token_id=x", "takes the number of a token"),
        ("min_new_tokens=30", "no more than 3 new tokens are asked for"),
        ("cache_implementation=foo", "cache_implementation"),
    ],
)
def test_a_field_that_cannot_be_set_is_refused(llmkit, llama, setting, wrong):
    ran = llmkit("generate", "a", "-m", llama, "--max-new-tokens", 3, "--set", setting)
    assert ran.code == 2
    assert wrong in ran.error
    assert "Warning" not in ran.err


@pytest.mark.parametrize("setting", ["typical_p=0", "epsilon_cutoff=1", "eta_cutoff=1"])
def test_a_cutoff_that_leaves_nothing_is_refused(llmkit, llama, setting):
    ran = llmkit("generate", "a", "-m", llama, "--max-new-tokens", 3, "--set", setting, "--temperature", 1)
    assert ran.code == 2
    assert setting.partition("=")[0] in ran.error


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("min_p=0.1", "greedy; without --set min_p, which sampling alone reads: --temperature 1.0 samples"),
        ("length_penalty=2.0", "greedy; without --set length_penalty, which a search with beams alone reads"),
    ],
)
def test_a_field_of_another_search_is_said(llmkit, llama, setting, said):
    flags = ("generate", "a", "-m", llama, "--max-new-tokens", 3, "--set", setting)
    assert said in llmkit(*flags).err
    other = ("--temperature", "1") if "min_p" in setting else ("--num-beams", "2")
    assert "without" not in llmkit(*flags, *other).err


@pytest.fixture(scope="module")
def padded_with_a_word(models_root) -> Path:
    """A Llama whose tokenizer pads with a token that the model writes, which nearly ends its texts."""
    base = tiny.llama_folder(models_root / "no-pad-penalties", pad=False, seed=3)
    folder = shutil.copytree(base, models_root / "padded-with-a-word")
    tokenizer, network = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)
    inputs, end = tokenizer("the fox", return_tensors="pt"), tokenizer.eos_token_id
    with torch.inference_mode():
        made = network.generate(**inputs, max_new_tokens=25, do_sample=False, pad_token_id=end)[0].tolist()
    fourth = made[-22]
    network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.detach().clone())
    with torch.no_grad():
        network.lm_head.weight[end] = network.lm_head.weight[fourth] * 1.01
    network.config.tie_word_embeddings = False
    network.save_pretrained(folder)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(fourth)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "fields",
    [
        {"repetition_penalty": 0.3},
        {"repetition_penalty": 0.3, "num_beams": 2},
        {"min_length": 12},
        {"no_repeat_ngram_size": 1},
        {"encoder_repetition_penalty": 0.5},
        {"encoder_no_repeat_ngram_size": 1},
    ],
)
def test_padding_is_not_penalized(llmkit, own, padded_with_a_word, fields, tmp_path):
    folder = own(padded_with_a_word, **fields)
    file = write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": text} for text in PROMPTS])
    ran = llmkit("generate", "--input", file, "-m", folder, "--max-new-tokens", 25, "--batch-size", 8)
    assert [row["completion"] for row in ran.rows] == [plain_generate(folder, text, 25) for text in PROMPTS]


def test_eval_does_not_penalize_padding_either(llmkit, tmp_path, models_root):
    from transformers import GenerationConfig

    folder = shutil.copytree(
        tiny.t5_folder(models_root / "t5-penalties", params={"summarization": {}}), tmp_path / "t5"
    )
    config = GenerationConfig.from_pretrained(folder)
    config.update(encoder_no_repeat_ngram_size=1, encoder_repetition_penalty=3.0)
    config.save_pretrained(folder)
    rows = [{"document": text, "summary": "a fox"} for text in PROMPTS]
    kept, flags = tmp_path / "kept.jsonl", ("-m", folder, "--task", "summarization", "--target-length", 8)
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    assert llmkit("eval", data, *flags, "--save-predictions", kept, "--no-cache", "--batch-size", 8).code == 0
    together = [json.loads(line)["prediction"] for line in kept.read_text().splitlines()]
    alone = [llmkit("generate", text, *flags, "--json").json["completion"].strip() for text in PROMPTS]
    assert together == alone


def test_a_stop_text_that_spells_a_control_token_ends_at_the_token(llmkit, assistant, tmp_path):
    tokenizer, network = AutoTokenizer.from_pretrained(assistant), AutoModelForCausalLM.from_pretrained(assistant)
    folder = shutil.copytree(assistant, tmp_path / "marked")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|note|>"]})
    network.resize_token_embeddings(len(tokenizer))
    note = tokenizer.convert_tokens_to_ids("<|note|>")
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        written = network.generate(**ids, max_new_tokens=8, do_sample=False)[0, ids["input_ids"].shape[1] :].tolist()
    third = written[2]
    with torch.no_grad():  # the third token is the note now
        for weight in {network.get_input_embeddings().weight, network.get_output_embeddings().weight}:
            weight[[note, third]] = weight[[third, note]]
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    flags = ("generate", "hi", "-m", folder, "--max-new-tokens", 8, "--json")
    whole, stopped = llmkit(*flags).json["completion"], llmkit(*flags, "--stop", "<|note|>").json["completion"]
    assert stopped == tokenizer.decode(written[: written.index(third)], skip_special_tokens=True)
    assert whole != stopped


@pytest.mark.parametrize("prompts", [[None], [5], [[{"role": "user", "content": "hi"}]]])
def test_prompts_of_python_that_are_no_texts_are_refused(llama, prompts):
    with pytest.raises(DataError, match=r"prompt 1 is a .*; a text is wanted"):
        llmkit.generate(prompts, ModelOptions(model=str(llama)))


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_nothing_is_refused(llama, size):
    with pytest.raises(OptionError, match="batch_size must be at least 1"):
        llmkit.generate(["a"], ModelOptions(model=str(llama)), GenerationOptions(max_new_tokens=2), size)


@pytest.mark.parametrize("values", [{"stop": "ab"}, {"stop": [5]}, {"set": "min_p=0.1"}])
def test_one_text_for_a_list_of_them_is_refused(values):
    with pytest.raises(OptionError, match="takes a list of texts"):
        GenerationOptions(**values)


def test_rows_that_spell_control_tokens_are_counted_once(llmkit, assistant, tmp_path):
    spelling = AutoTokenizer.from_pretrained(assistant).eos_token
    rows = [{"prompt": "a"}, *({"prompt": f"{text} {spelling}"} for text in PROMPTS)]
    file = write_jsonl(tmp_path / "prompts.jsonl", rows)
    ran = llmkit("generate", "--input", file, "-m", assistant, "--max-new-tokens", 2)
    assert ran.err.count("stays text") == 1
    assert f"6 of 7 rows hold {spelling}, which stays text; --no-split-special-tokens reads it as a" in ran.err


def test_a_system_message_and_a_turn_that_spell_one_are_said(llmkit, assistant):
    spelling = AutoTokenizer.from_pretrained(assistant).eos_token
    flags = ("-m", assistant, "--max-new-tokens", 2, "--system", f"be {spelling}")
    assert f"--system holds {spelling}, which stays text" in llmkit("generate", "a", *flags).err
    err = llmkit("chat", *flags, stdin=f"hi {spelling}\nand {spelling}\n").err
    assert err.count(f"the turn holds {spelling}, which stays text") == 1
    assert err.count(f"the system message holds {spelling}, which stays text") == 1
