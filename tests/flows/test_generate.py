from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import tiny
import torch
from conftest import write_csv, write_jsonl
from plain_text import whole_characters
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = ["the fox", "the king was good and the river", "a", "the house was cold and the song was sad and the day"]
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="session")
def no_pad(models_root) -> Path:
    """A Llama without a pad token, in its config or its tokenizer."""
    return tiny.llama_folder(models_root / "no_pad", pad=False, seed=3)


@pytest.fixture(scope="session")
def chatty(models_root) -> Path:
    """A Llama with a chat template."""
    return tiny.llama_folder(models_root / "chatty", chat_template=TEMPLATE, seed=4)


@pytest.fixture(params=["llama", "no_pad"])
def model(request) -> Path:
    return request.getfixturevalue(request.param)


def plain_generate(folder: Path, prompt: str, new: int, **more) -> str:
    """Return what transformers' own generate says, one prompt at a time, without llmkit."""
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=more.pop("add_special_tokens", True))
    with torch.inference_mode():
        made = network.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=new,
            pad_token_id=tokenizer.eos_token_id,
            **{"do_sample": False, **more},
        )[0]
    start = len(inputs["input_ids"][0])
    return whole_characters(tokenizer, made[start:].tolist(), made[:start].tolist())


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_text_is_that_of_plain_transformers(llmkit, model, prompt):
    ran = llmkit("generate", prompt, "-m", model, "--max-new-tokens", "20")
    assert ran.code == 0, ran.err
    assert ran.out == plain_generate(model, prompt, 20) + "\n"


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_a_batch_of_mixed_lengths_gives_each_prompt_its_own_text(llmkit, model, batch_size):
    ran = llmkit("generate", *PROMPTS, "-m", model, "--max-new-tokens", "20", "--batch-size", batch_size, "--json")
    assert ran.code == 0, ran.err
    assert ran.rows == [{"prompt": p, "completion": plain_generate(model, p, 20)} for p in PROMPTS]


def test_standard_input_is_one_prompt(llmkit, llama):
    ran = llmkit("generate", "-m", llama, "--max-new-tokens", "5", stdin="the fox\nwas\n")
    assert ran.out == plain_generate(llama, "the fox\nwas", 5) + "\n"


def test_echo_puts_the_prompt_before_its_continuation(llmkit, llama):
    bare = llmkit("generate", "the fox", "-m", llama, "--max-new-tokens", "6").out
    assert llmkit("generate", "the fox", "-m", llama, "--max-new-tokens", "6", "--echo").out == "the fox" + bare


def test_stop_cuts_before_the_first_of_the_stop_texts(llmkit, llama):
    whole = plain_generate(llama, "the fox", 20)
    stops = [whole[6:8], whole[10:12]]
    ends = min(whole.find(stop) for stop in stops)
    ran = llmkit("generate", "the fox", "-m", llama, "--max-new-tokens", "20", "--stop", stops[1], "--stop", stops[0])
    assert ran.out == whole[:ends] + "\n"


def test_beams_are_those_of_plain_transformers(llmkit, llama):
    ran = llmkit("generate", "the fox", "-m", llama, "--max-new-tokens", "8", "--num-beams", "3")
    assert ran.out == plain_generate(llama, "the fox", 8, num_beams=3) + "\n"
    several = llmkit(
        "generate", "the fox", "-m", llama, "--max-new-tokens", "8", "--num-beams", "3", "-n", "2", "--json"
    )
    assert several.json["completions"][0] == ran.out.removesuffix("\n")
    assert len(set(several.json["completions"])) == 2


def test_repetition_penalty_is_that_of_plain_transformers(llmkit, llama):
    ran = llmkit("generate", PROMPTS[1], "-m", llama, "--max-new-tokens", "15", "--repetition-penalty", "1.7")
    assert ran.out == plain_generate(llama, PROMPTS[1], 15, repetition_penalty=1.7) + "\n"


def test_a_temperature_samples_and_a_seed_makes_it_reproducible(llmkit, llama):
    def sample(*more: object) -> list[str]:
        flags = ("-m", llama, "--max-new-tokens", "12", "--temperature", "1.5", "-n", "3", "--json")
        return llmkit("generate", "the fox", *flags, *more).json["completions"]

    first = sample()
    assert len(first) == len(set(first)) == 3
    assert sample() == first == sample("--seed", "42")
    assert sample("--seed", "7") != first


def test_a_tiny_top_p_or_a_top_k_of_one_is_greedy(llmkit, llama):
    greedy = plain_generate(llama, "the fox", 10) + "\n"
    for more in (("--top-k", "1"), ("--top-p", "1e-6"), ("--temperature", "1e-4")):
        assert llmkit("generate", "the fox", "-m", llama, "--max-new-tokens", "10", *more).out == greedy


def test_sampling_without_top_k_takes_from_the_whole_vocabulary(llmkit, llama):
    flags = ("-m", llama, "--max-new-tokens", "1", "--temperature", "1000", "-n", "150", "--json")
    found = set(llmkit("generate", "the fox", *flags).json["completions"])
    assert len(found) > 60  # transformers' own default would be the best 50


@pytest.mark.parametrize(
    ("more", "rendered"),
    [
        ((), "<user>hi\n<assistant>"),
        (("--chat",), "<user>hi\n<assistant>"),
        (("--system", "be brief"), "<system>be brief\n<user>hi\n<assistant>"),
        (("--no-chat",), None),
    ],
)
def test_a_chat_template_is_used_where_there_is_one(llmkit, chatty, more, rendered):
    ran = llmkit("generate", "hi", "-m", chatty, "--max-new-tokens", "8", *more)
    plain = plain_generate(chatty, rendered or "hi", 8, add_special_tokens=rendered is None)
    assert ran.out == plain + "\n"


@pytest.mark.parametrize("more", [("--chat",), ("--system", "be brief"), ("--no-chat", "--system", "x")])
def test_chat_flags_without_a_chat_template_are_refused(llmkit, llama, more):
    ran = llmkit("generate", "hi", "-m", llama, *more)
    assert ran.code == 2
    assert "chat" in ran.error


@pytest.mark.parametrize(
    ("more", "word"),
    [
        (("-n", "2"), "--temperature"),
        (("--num-beams", "2", "--temperature", "0.5"), "--num-beams"),
        (("--temperature", "0"), "greedy"),
        (("--top-p", "1.5"), "--top-p"),
        (("--stop", ""), "--stop"),
        (("--set", "do_sample=true"), "--temperature"),
        (("--set", "temprature=1"), "temperature"),
        (("--max-new-tokens", "0"), "--max-new-tokens"),
    ],
)
def test_what_makes_no_sense_is_refused(llmkit, llama, more, word):
    ran = llmkit("generate", "hi", "-m", llama, *more)
    assert ran.code == 2
    assert word in ran.error
    assert ran.out == ""


def test_a_prompt_longer_than_the_context_is_refused_and_one_that_leaves_little_room_is_answered_shorter(llmkit, llama):
    long = llmkit("generate", "the fox " * 60, "-m", llama)
    assert long.code == 2
    assert "64" in long.error
    prompt = "the fox was good and " * 8
    used = len(AutoTokenizer.from_pretrained(llama)(prompt)["input_ids"])
    ran = llmkit("generate", prompt, "-m", llama, "--max-new-tokens", "60")
    assert f"room for {64 - used} new tokens of the 60 asked for" in ran.err
    assert ran.out == plain_generate(llama, prompt, 64 - used) + "\n"


def test_a_dry_run_counts_the_tokens_and_generates_nothing(llmkit, llama):
    ran = llmkit("generate", "the fox", "-m", llama, "--dry-run")
    assert (ran.code, ran.out) == (0, "")
    assert str(len(AutoTokenizer.from_pretrained(llama)("the fox")["input_ids"])) in ran.err


@pytest.mark.parametrize(
    "more", [(), ("--stop", "an"), ("--temperature", "1.3"), ("--echo",), ("--temperature", "3", "--seed", "5")]
)
def test_text_streamed_to_a_terminal_is_the_text_of_a_pipe(llmkit, on_terminal, llama, more):
    flags = ("generate", PROMPTS[1], "-m", llama, "--max-new-tokens", "24", *more)
    piped, streamed = llmkit(*flags), on_terminal(*flags)
    assert streamed.code == 0
    assert streamed.out == piped.out
    assert len(piped.out) > 10


def _answers(file: Path) -> list[dict[str, str]]:
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text().splitlines()]
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
@pytest.mark.parametrize("source", ["jsonl", "csv", "txt"])
def test_a_file_of_prompts_keeps_its_columns_and_its_order(llmkit, llama, tmp_path, source, ending):
    rows = [{"id": f"r{n}", "prompt": p, "note": 'a "quoted", note'} for n, p in enumerate(PROMPTS)]
    made, output = tmp_path / f"prompts.{source}", tmp_path / f"out{ending}"
    if source == "txt":
        made.write_text("\n".join(PROMPTS) + "\n")
    else:
        (write_jsonl if source == "jsonl" else write_csv)(made, rows)
    flags = ("-m", llama, "--input", made, "--output", output, "--max-new-tokens", "6", "--batch-size", "3")
    ran = llmkit("generate", *flags)
    assert (ran.code, ran.out) == (0, "")
    kept = rows if source != "txt" else [{"text": prompt} for prompt in PROMPTS]
    expected = [{**row, "completion": plain_generate(llama, p, 6)} for row, p in zip(kept, PROMPTS)]
    assert _answers(output) == expected
    assert list(_answers(output)[0]) == list(expected[0])


def test_without_an_output_file_the_rows_go_to_standard_output(llmkit, llama, tmp_path):
    made = write_jsonl(tmp_path / "p.jsonl", [{"q": p, "n": n} for n, p in enumerate(PROMPTS)])
    ran = llmkit(
        "generate", "-m", llama, "--input", made, "--column", "prompt=q", "--max-new-tokens", "3", "--limit", 2
    )
    assert [(row["q"], row["n"]) for row in ran.rows] == [(PROMPTS[0], 0), (PROMPTS[1], 1)]


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
@pytest.mark.parametrize("cut", ["in a line", "between lines", "before the first chunk was whole"])
def test_a_run_that_was_killed_goes_on_to_the_same_file(llmkit, llama, tmp_path, ending, cut):
    rows = [{"id": n, "prompt": f"the {word}\r\nwas, and"} for n, word in enumerate(tiny.GOOD + tiny.BAD + tiny.THINGS)]
    made, output = write_jsonl(tmp_path / "p.jsonl", rows), tmp_path / f"out{ending}"
    sampled = ("--temperature", "1.2", "--max-new-tokens", "4", "--batch-size", "1")  # chunks of 8 rows
    flags = ("generate", "-m", llama, "--input", made, "--output", output, *sampled)
    assert llmkit(*flags).code == 0
    whole = output.read_bytes()
    ends = [number + 1 for number, byte in enumerate(whole) if byte == 0x0A]
    far = len(whole) * 2 // 3
    place = {"in a line": far, "between lines": min(e for e in ends if e > far), "before the first chunk was whole": 90}
    output.write_bytes(whole[: place[cut]])
    again = llmkit(*flags)
    assert again.code == 0, again.err
    assert ("going on" in again.err) == (cut != "before the first chunk was whole")
    assert output.read_bytes() == whole


def test_a_finished_file_is_left_as_it_is_and_another_commands_file_is_refused(llmkit, llama, tmp_path):
    made, output = write_jsonl(tmp_path / "p.jsonl", [{"prompt": p} for p in PROMPTS]), tmp_path / "out.jsonl"
    flags = ("generate", "-m", llama, "--input", made, "--output", output, "--max-new-tokens", "3")
    llmkit(*flags)
    whole = output.read_bytes()
    assert llmkit(*flags).code == 0
    assert output.read_bytes() == whole
    for more in (("--temperature", "0.5"), ("--seed", "1"), ("--dtype", "float16")):
        refused = llmkit(*flags, *more)
        assert refused.code == 2, more
        assert "--overwrite" in refused.error
        assert output.read_bytes() == whole
    assert llmkit(*flags, "--temperature", "0.5", "--overwrite").code == 0
    assert output.read_bytes() != whole


def test_another_model_in_the_same_folder_does_not_go_on_with_the_old_ones_file(llmkit, tmp_path):
    model = tiny.llama_folder(tmp_path / "model", seed=1)
    made, output = write_jsonl(tmp_path / "p.jsonl", [{"prompt": p} for p in PROMPTS]), tmp_path / "out.jsonl"
    flags = ("generate", "-m", model, "--input", made, "--output", output, "--max-new-tokens", "3")
    assert llmkit(*flags).code == 0
    tiny.llama_folder(model, seed=2)
    assert llmkit(*flags).code == 2


def test_a_row_that_does_not_fit_is_named_before_anything_is_written(llmkit, llama, tmp_path):
    rows = [{"prompt": "the fox"}, {"prompt": "the fox " * 60}]
    made, output = write_jsonl(tmp_path / "p.jsonl", rows), tmp_path / "out.jsonl"
    ran = llmkit("generate", "-m", llama, "--input", made, "--output", output)
    assert ran.code == 2
    assert "row 2" in ran.error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.jsonl"]


def test_the_answer_does_not_repeat_a_column_of_its_own_name(llmkit, llama, tmp_path):
    made = write_jsonl(tmp_path / "p.jsonl", [{"prompt": "the fox", "completion": "gold"}])
    row = llmkit("generate", "-m", llama, "--input", made, "--max-new-tokens", "3").json
    assert row["input_completion"] == "gold"
    assert row["completion"] == plain_generate(llama, "the fox", 3)
