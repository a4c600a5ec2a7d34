from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sacrebleu
import tiny
import torch
import transformers
from conftest import write_csv, write_jsonl
from datasets import Dataset
from plain_text import whole_characters
from tokenizers import processors
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerFast

from llmkit.errors import OptionError
from llmkit.models.tokenizer_training import train_bpe
from llmkit.options import TaskFlags
from llmkit.tasks import TASKS, TaskSettings
from llmkit.tasks.base.generated_texts import TextToTextSettings
from llmkit.tasks.encoding import language_codes

TASK = TASKS["translation"]
ROWS = tiny.translations(24)
TEXTS = [row["en"] for row in ROWS]
CHINESE = [{"en": "the fox was good", "zh": "狐狸很好"}, {"en": "the king was sad", "zh": "国王很伤心"}] * 6
COLUMNS = {"text": "text"}
WORDS = sorted({word for row in ROWS for text in row.values() for word in text.split()})


def save(config, tokenizer, folder: Path, **generation) -> Path:
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(config)
    model.generation_config.update(**generation)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def config_for(kind: str, vocabulary: int, **more):
    return AutoConfig.for_model(
        kind,
        vocab_size=vocabulary,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=tiny.CONTEXT,
        init_std=0.3,
        dropout=0.0,
        **more,
    )


def bart(folder: Path) -> Path:
    """Save a BART whose tokenizer puts a text in <s> ... </s>."""
    tokenizer = train_bpe([text for row in ROWS for text in row.values()], 300, tiny.CONTEXT)
    backend = tokenizer.backend_tokenizer
    backend.add_special_tokens(["<s>", "</s>"])
    ids = {name: backend.token_to_id(name) for name in ("<s>", "</s>")}
    backend.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=list(ids.items()))
    own = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<|pad|>", model_max_length=tiny.CONTEXT
    )
    config = config_for(
        "bart",
        len(own),
        bos_token_id=ids["<s>"],
        eos_token_id=ids["</s>"],
        decoder_start_token_id=ids["</s>"],
        pad_token_id=own.pad_token_id,
        forced_eos_token_id=None,
    )
    return save(config, own, folder, num_beams=2)


def mbart(folder: Path, tokenizer=transformers.MBartTokenizer, **more) -> Path:
    vocabulary = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary += [(f"▁{word}", -3.0) for word in WORDS] + [("▁", -5.0)]
    own = tokenizer(vocab=vocabulary, model_max_length=tiny.CONTEXT)
    more |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "forced_eos_token_id": None}
    return save(config_for("mbart", len(own), **more), own, folder)


def mbart50(folder: Path) -> Path:
    return mbart(folder, transformers.MBart50Tokenizer, decoder_start_token_id=2)


def nllb(folder: Path) -> Path:
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    vocabulary |= {piece: 4 + n for n, piece in enumerate(["▁", *sorted({c for word in WORDS for c in word})])}
    own = transformers.NllbTokenizer(vocab=vocabulary, merges=[], model_max_length=tiny.CONTEXT)
    config = config_for("m2m_100", len(own), pad_token_id=1, bos_token_id=0, eos_token_id=2, decoder_start_token_id=2)
    return save(config, own, folder)


def pieces(folder: Path, name: str) -> list[str]:
    """Train sentencepiece on the sentences, into `name`, and return its pieces."""
    sentencepiece = pytest.importorskip("sentencepiece", reason="this family's tokenizer is a sentencepiece model")
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for row in ROWS for text in row.values()]),
        model_prefix=str(folder / "spm"),
        vocab_size=60,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    (folder / "spm.model").rename(folder / name)
    own = sentencepiece.SentencePieceProcessor(model_file=str(folder / name))
    return [own.id_to_piece(number) for number in range(len(own))]


def marian(folder: Path, marks: tuple[str, ...] = ()) -> Path:
    known = pieces(folder / "raw", "source.spm")
    (folder / "raw" / "target.spm").write_bytes((folder / "raw" / "source.spm").read_bytes())
    names = ["</s>", "<unk>", *(piece for piece in known if not piece.startswith("<")), *marks, "<pad>"]
    (folder / "raw" / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    files = (str(folder / "raw" / name) for name in ("source.spm", "target.spm", "vocab.json"))
    own = transformers.MarianTokenizer(*files, source_lang="en", target_lang="de", model_max_length=tiny.CONTEXT)
    pad = len(names) - 1
    config = config_for(
        "marian", len(names), pad_token_id=pad, eos_token_id=0, decoder_start_token_id=pad, forced_eos_token_id=None
    )
    return save(config, own, folder / "model", bad_words_ids=[[pad]])


def m2m(folder: Path) -> Path:
    known = pieces(folder / "raw", "sentencepiece.bpe.model")
    names = ["<s>", "<pad>", "</s>", "<unk>", *(piece for piece in known if not piece.startswith("<"))]
    (folder / "raw" / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}))
    own = transformers.M2M100Tokenizer(
        str(folder / "raw" / "vocab.json"),
        str(folder / "raw" / "sentencepiece.bpe.model"),
        model_max_length=tiny.CONTEXT,
    )
    config = config_for(
        "m2m_100",
        len(names) + len(own.lang_code_to_id) + 8,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    return save(config, own, folder / "model")


def t5(folder: Path) -> Path:
    return tiny.t5_folder(folder, seed=1)


FAMILIES = {"t5": t5, "bart": bart, "mbart": mbart, "mbart50": mbart50, "nllb": nllb, "marian": marian, "m2m": m2m}
SPELLED = {"mbart": ("en_XX", "de_DE"), "mbart50": ("en_XX", "de_DE"), "nllb": ("eng_Latn", "deu_Latn")}


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """Return a function that makes the tiny model of a family once."""
    made: dict[str, Path] = {}
    root = tmp_path_factory.mktemp("families")

    def family(name: str) -> Path:
        if name not in made:
            made[name] = FAMILIES[name](root / name)
        return made[name]

    return family


def written(folder: Path, texts: list[str], prefix: str = "", source=None, target=None, **more) -> list[str]:
    """Translate with transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    if source is not None:
        tokenizer.src_lang = source
        begin = tokenizer.get_lang_id(target) if hasattr(tokenizer, "get_lang_id") else None
        starts = isinstance(tokenizer, transformers.MBartTokenizer)  # mBART's first models
        name = "decoder_start_token_id" if starts else "forced_bos_token_id"
        more[name] = tokenizer.convert_tokens_to_ids(target) if begin is None else begin
    made = []
    for text in texts:  # one by one: nothing is padded
        ids = model.generate(**tokenizer(prefix + text, return_tensors="pt"), do_sample=False, **more)
        made.append(whole_characters(tokenizer, ids[0].tolist()).strip())
    return made


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_learns_and_translates_as_a_plain_script_does(llmkit, families, family, tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    write_jsonl(data / "train.jsonl", ROWS)
    write_jsonl(data / "validation.jsonl", tiny.translations(6, seed=1))
    ran = llmkit(
        "finetune",
        data,
        "-m",
        families(family),
        "-o",
        run,
        "--task",
        "translation",
        "--target-length",
        12,
        "--max-steps",
        100,
        "--batch-size",
        8,
        "--learning-rate",
        "5e-3",
        "--dtype",
        "float32",
        "--json",
    )
    assert ran.code == 0, ran.err
    assert ran.json["task"] == "translation"
    assert ran.json["headline"] == "bleu"
    kept = tmp_path / "kept.jsonl"
    again = llmkit("eval", data, "-m", run, "--json", "--save-predictions", kept)
    assert again.code == 0, again.err
    assert again.json["metrics"] == ran.json["metrics"]
    assert again.json["invariance"]["changed"] == 0

    languages_ = SPELLED.get(family, ("en", "de"))
    coded = dict(zip(("source", "target"), languages_)) if family in (*SPELLED, "m2m") else {}
    prefix = "translate English to German: " if family == "t5" else ""
    params = json.loads((run / "config.json").read_text())["task_specific_params"]
    assert params == {"translation_{}_to_{}".format(*languages_): {"prefix": prefix, "max_length": 12}}

    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    plain = written(run, [row["en"] for row in tiny.translations(6, seed=1)], prefix, max_new_tokens=12, **coded)
    assert [row["prediction"] for row in rows] == plain
    assert len(set(plain)) > 1  # it reads its input

    shell = llmkit("generate", *TEXTS[:3], "-m", run, "--max-new-tokens", 12, "--json")
    assert shell.code == 0, shell.err
    greedy = written(run, TEXTS[:3], prefix, max_new_tokens=12, num_beams=1, **coded)
    assert [row["completion"].strip() for row in shell.rows] == greedy
    assert [row["text"] for row in shell.rows] == TEXTS[:3]


@pytest.mark.parametrize("family", ["mbart", "mbart50"])
def test_what_was_learned_is_written_from_its_first_word(llmkit, families, family, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", ROWS[:4] * 2)
    flags = ("--max-steps", 60, "--learning-rate", "5e-3", "--target-length", 40, "--validation", data)
    ran = llmkit(
        "finetune", data, "-m", families(family), "-o", tmp_path / "run", "--task", "translation", *flags, "--json"
    )
    assert ran.code == 0, ran.err
    assert ran.json["metrics"]["bleu"]["value"] > 90
    shell = llmkit("generate", ROWS[0]["en"], "-m", tmp_path / "run", "--json")
    assert shell.json["completion"] == ROWS[0]["de"]


def test_languages_are_spelled_as_the_model_spells_them():
    nllb = ("eng_Latn", "deu_Latn", "zho_Hans", "zho_Hant")
    assert [language_codes.model_code(code, nllb, "--target") for code in ("de", "deu", "deu_Latn")] == ["deu_Latn"] * 3
    assert language_codes.model_code("zh", ("en_XX", "zh_CN"), "--target") == "zh_CN"
    with pytest.raises(OptionError, match="several of that language, zho_Hans, zho_Hant"):
        language_codes.model_code("zh", nllb, "--target")
    with pytest.raises(OptionError, match=r"--target deu_Latm: .* \(did you mean 'deu_Latn'\?\); it has"):
        language_codes.model_code("deu_Latm", nllb, "--target")
    assert all(language_codes.is_language(name) for name in ("en", "de_DE", "deu_Latn", "zh-CN"))
    assert not any(language_codes.is_language(name) for name in ("id", "text", "label", "xx", "text_id", "is_text"))


def test_a_language_that_the_model_lacks_is_one_sentence_and_nothing_is_written(llmkit, families, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    for flags, said in (
        (("--source", "en", "--target", "tlh"), "--target tlh: the model does not have that language"),
        (("--source", "en", "--target", "zh"), "several of that language, zho_Hans, zho_Hant"),
        (("--source", "en"), "translates between many languages"),
    ):
        ran = llmkit("generate", "the fox", "-m", families("nllb"), *flags)
        assert ran.code == 2
        assert said in ran.error
        assert ran.out == ""
    ran = llmkit("finetune", data, "-m", families("mbart"), "-o", tmp_path / "run", "--target", "de", "--source", "fr")
    assert ran.code == 2
    assert "no column is named for the source language 'fr'" in ran.error
    assert not (tmp_path / "run").exists()


def test_a_marian_model_has_its_own_languages(llmkit, families, tmp_path):
    wrong = llmkit("generate", "the fox", "-m", families("marian"), "--source", "fr")
    assert wrong.code == 2
    assert "--source fr: this Marian model translates from en to de" in wrong.error
    several = marian(tmp_path / "several", (">>de<<", ">>nl<<"))
    unsaid = llmkit("generate", "the fox", "-m", several)
    assert unsaid.code == 2
    assert "writes several languages (>>de<<, >>nl<<): say --target" in unsaid.error
    ran = llmkit("generate", "the fox", "-m", several, "--target", "nl", "--max-new-tokens", 6, "--json")
    assert ran.json["completion"].strip() == written(several, ["the fox"], ">>nl<< ", max_new_tokens=6)[0]


def test_the_direction_is_told_by_flags_and_remembered(llmkit, t5, tmp_path):
    data, run = write_jsonl(tmp_path / "rows.jsonl", ROWS), tmp_path / "run"
    flags = ("--source", "de", "--target", "en", "--target-length", 8, "--max-steps", 2)
    ran = llmkit("finetune", data, "-m", t5, "-o", run, *flags)
    assert ran.code == 0, ran.err
    assert "task: translation; columns text=de, target=en" in ran.err
    params = json.loads((run / "config.json").read_text())["task_specific_params"]
    assert params == {"translation_de_to_en": {"prefix": "translate German to English: ", "max_length": 8}}
    again = llmkit("eval", data, "-m", run, "--json")
    assert again.json["columns"] == {"text": "de", "target": "en"}
    shell = llmkit("generate", "der Fuchs", "-m", run, "--max-new-tokens", 8, "--json")
    plain = written(run, ["der Fuchs"], "translate German to English: ", max_new_tokens=8)
    assert shell.json["completion"].strip() == plain[0]


@pytest.mark.parametrize(
    ("rows", "flags"),
    [
        ([{"translation": row} for row in ROWS], ()),
        ([{"id": str(n), **row} for n, row in enumerate(ROWS)], ()),
        ([{"fr": "le", **row} for row in ROWS], ("--source", "en", "--target", "de")),
        ([{"fr": "le", **row} for row in ROWS], ("--column", "text=en", "--column", "target=de")),
        ([{"a": row["en"], "b": row["de"]} for row in ROWS], ("--column", "text=a", "--column", "target=b")),
    ],
    ids=["WMT", "id is no language", "flags", "columns", "names that tell nothing"],
)
def test_columns_are_found_in_every_usual_shape(llmkit, translator, tmp_path, rows, flags):
    ran = llmkit("eval", write_jsonl(tmp_path / "rows.jsonl", rows), "-m", translator, *flags, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["task"] == "translation"
    usual = llmkit("eval", write_jsonl(tmp_path / "usual.jsonl", ROWS), "-m", translator, "--json")
    assert ran.json["metrics"] == usual.json["metrics"]


def test_chinese_is_learned_and_measured_by_its_characters(llmkit, t5, tmp_path):
    data, run = write_jsonl(tmp_path / "rows.jsonl", CHINESE), tmp_path / "run"
    flags = ("--max-steps", 150, "--learning-rate", "5e-3", "--target-length", 24, "--validation", data)
    ran = llmkit("finetune", data, "-m", t5, "-o", run, *flags, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["metrics"]["bleu"]["value"] > 90
    assert "tok:zh" in ran.json["metrics"]["bleu"]["signature"]
    shell = llmkit("generate", CHINESE[0]["en"], "-m", run, "--json")
    assert shell.json["completion"] == CHINESE[0]["zh"]


def test_figures_are_sacrebleus_own_and_come_again_from_the_saved_predictions(llmkit, translator, families, tmp_path):
    data, kept, result = write_jsonl(tmp_path / "rows.jsonl", ROWS), tmp_path / "kept.jsonl", tmp_path / "result.json"
    ran = llmkit("eval", data, "-m", translator, "--save-predictions", kept, "-o", result, "--json")
    assert ran.code == 0, ran.err
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    guesses = [row["prediction"] for row in rows]
    for name, metric in (("bleu", sacrebleu.BLEU(force=True)), ("chrf", sacrebleu.CHRF())):
        own = metric.corpus_score(guesses, [[row["de"] for row in ROWS]]).score
        assert ran.json["metrics"][name]["value"] == pytest.approx(own)
        assert ran.json["metrics"][name]["low"] <= own <= ran.json["metrics"][name]["high"]
    scored = llmkit("eval", data, "--predictions", kept, "--json")
    assert scored.json["task"] == "translation"
    assert scored.json["metrics"] == ran.json["metrics"]
    named = llmkit("eval", data, "--predictions", kept, "--metric", "ter", "--json")
    own = sacrebleu.TER().corpus_score(guesses, [[row["de"] for row in ROWS]]).score
    assert named.json["metrics"]["ter"]["value"] == pytest.approx(own)
    perfect = write_jsonl(tmp_path / "perfect.jsonl", [{"en": row["en"], "prediction": row["de"]} for row in ROWS])
    better = llmkit("eval", data, "--predictions", perfect, "--baseline", result, "--fail-under", "bleu=99", "--json")
    assert better.code == 0, better.err
    assert better.json["metrics"]["bleu"]["value"] == pytest.approx(100)
    gate = llmkit("eval", data, "-m", translator, "--fail-under", "bleu=99")
    assert gate.code == 1
    compared = llmkit("eval", data, "-m", translator, "--baseline", families("t5"), "--task", "translation", "--json")
    assert compared.code == 0, compared.err
    assert compared.json["baseline"]


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_the_batch_size_changes_neither_a_figure_nor_a_prediction(llmkit, families, family, tmp_path):
    rows = tiny.translations(17, seed=2)
    rows[3]["en"] = "the fox " * 9  # long company
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    found = []
    for size in (1, 3, 16):
        kept = tmp_path / f"{size}.jsonl"
        flags = ("--task", "translation", "--target-length", 12, "--batch-size", size, "--save-predictions", kept)
        ran = llmkit("eval", data, "-m", families(family), *flags, "--json")
        assert ran.code == 0, ran.err
        assert ran.json["invariance"]["changed"] == 0
        assert ran.json["invariance"]["largest_difference"] < 1e-3
        found.append((ran.json["metrics"], kept.read_text()))
    assert found[0] == found[1] == found[2]
    shell = [
        llmkit(
            "generate",
            *(row["en"] for row in rows),
            "-m",
            families(family),
            "--task",
            "translation",
            "--source",
            "en",
            "--target",
            "de",
            "--max-new-tokens",
            9,
            "--batch-size",
            size,
        ).out
        for size in (1, 16)
    ]
    assert shell[0] == shell[1]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([*ROWS[:2], {"en": ["the", "fox"], "de": "der"}], None),
        ([{"en": "the fox", "de": ["der", "Fuchs"]}], "row 1: its de is"),
        ([{"en": "the fox", "de": 5}], "row 1: its de is '5', and a text is wanted"),
    ],
    ids=["mixed", "list", "number"],
)
def test_what_is_no_text_is_one_sentence_that_names_the_row(llmkit, translator, tmp_path, rows, said):
    data, run = write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "run"
    columns = ("--column", "text=en", "--column", "target=de")
    ran = llmkit("finetune", data, "-m", translator, "-o", run, *columns)
    assert ran.code == 2
    assert said is None or said in ran.error
    assert not run.exists()


def test_rows_without_a_text_are_left_out_aloud(llmkit, translator, tmp_path):
    rows = [*ROWS[:4], {"en": " ", "de": "der"}, {"en": "the", "de": ""}, {"en": "the", "de": None}]
    ran = llmkit("eval", write_jsonl(tmp_path / "rows.jsonl", rows), "-m", translator, "--json")
    assert ran.json["n"] == 4
    assert "3 of 7 rows have no text or no target and are left out" in ran.err
    assert llmkit("eval", write_jsonl(tmp_path / "none.jsonl", rows[4:]), "-m", translator).code == 5


def test_a_model_of_several_tasks_wants_to_be_told(llmkit, t5, llama, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    untold = llmkit("generate", "the fox", "-m", t5)
    assert untold.code == 2
    assert "--task translation, summarization would use it for that" in untold.error
    unsaid = llmkit("generate", "the fox", "-m", t5, "--task", "translation")
    assert unsaid.code == 2
    assert "say --source and --target, or --prefix" in unsaid.error
    assert llmkit("generate", "the fox", "-m", t5, "--source", "en", "--target", "de").code == 0
    assert llmkit("generate", "the fox", "-m", t5, "--task", "translation", "--prefix", "").code == 0
    both = llmkit("generate", "the fox", "-m", t5, "--source", "en", "--target", "en")
    assert both.code == 2
    assert "two languages are wanted" in both.error
    decoder = llmkit("finetune", data, "-m", llama, "-o", tmp_path / "run", "--task", "translation")
    assert decoder.code == 2
    assert "a LlamaForCausalLM cannot be used for translation" in decoder.error


def test_the_metrics_library_is_missed_before_anything_is_done(llmkit, translator, tmp_path, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "sacrebleu" else find(name))
    data = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    ran = llmkit("finetune", data, "-m", translator, "-o", tmp_path / "run")
    assert ran.code == 2
    assert "pip install 'llmkit[eval]'" in ran.error
    assert not (tmp_path / "run").exists()
    assert llmkit("generate", "the fox", "-m", translator).code == 0  # which measures nothing


def test_the_shell_translates_arguments_input_and_files(llmkit, on_terminal, translator, tmp_path):
    plain = written(translator, TEXTS[:3], "to German: ", max_new_tokens=10)
    flags = ("-m", translator, "--max-new-tokens", 10)
    ran = llmkit("generate", *TEXTS[:2], "  ", *flags, "--json")
    assert [row["completion"] and row["completion"].strip() for row in ran.rows] == [*plain[:2], None]
    assert ran.rows[2] == {"text": "  ", "completion": None}
    piped = llmkit("generate", *flags, stdin=f"{TEXTS[0]}\n")
    assert piped.out.strip() == plain[0]
    shown = on_terminal("generate", TEXTS[0], *flags)  # which streams
    assert shown.out.strip() == plain[0]
    for name, write in (("rows.csv", write_csv), ("rows.jsonl", write_jsonl)):
        rows = [{"n": str(n), "text": text} for n, text in enumerate([*TEXTS[:3], ""])]
        source, out = write(tmp_path / name, rows), tmp_path / f"out-{name}"
        done = llmkit("generate", *flags, "--input", source, "--output", out)
        assert done.code == 0, done.err
        again = llmkit("generate", *flags, "--input", source)
        assert [row["completion"] and row["completion"].strip() for row in again.rows] == [*plain, None]
        assert out.read_text().count("\n") == len(rows) + (name == "rows.csv")
    other = llmkit("generate", *flags, "--input", tmp_path / "rows.csv", "--column", "text=n")
    assert other.code == 0, other.err


def test_beams_and_samples_are_decoded_as_the_library_does(llmkit, translator):
    flags = ("-m", translator, "--max-new-tokens", 8, "--json")
    beams = llmkit("generate", TEXTS[0], *flags, "--num-beams", 3, "-n", 2).json["completions"]
    own = written(translator, TEXTS[:1], "to German: ", max_new_tokens=8, num_beams=3)
    assert beams[0].strip() == own[0]
    assert len(beams) == 2
    sampled = [llmkit("generate", TEXTS[0], *flags, "--temperature", "2", "--seed", seed).out for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]
    short = llmkit("generate", TEXTS[0], "-m", translator, "--target-length", 2, "--json").json["completion"]
    assert own[0].startswith(short.strip())
    full = llmkit("generate", "the fox " * 40, "-m", translator)
    assert full.code == 2
    assert "takes 64 in all" in full.error


def test_a_setup_is_settled_from_flags_before_what_the_config_remembers(translator):
    config, tokenizer = AutoConfig.from_pretrained(translator), AutoTokenizer.from_pretrained(translator)
    settings = TaskSettings(columns={"text": "en", "target": "de"}, max_length=32)
    own = TASK.resolve_settings(settings, TaskFlags(), config, tokenizer)
    ends = (tokenizer.eos_token_id,)
    assert own.of(TextToTextSettings) == TextToTextSettings("en", "de", "to German: ", 16, end_tokens=ends)
    told = TASK.resolve_settings(settings, TaskFlags(prefix="x ", target_length=5), config, tokenizer)
    assert (told.of(TextToTextSettings).prefix, told.of(TextToTextSettings).target_length) == ("x ", 5)
    other = TASK.resolve_settings(
        replace(settings, columns={"text": "en", "target": "fr"}), TaskFlags(), config, tokenizer
    )
    assert other.of(TextToTextSettings).prefix == "translate English to French: "
    with pytest.raises(OptionError, match="--target-length 100: the model takes at most 64"):
        TASK.resolve_settings(settings, TaskFlags(target_length=100), config, tokenizer)
    rows = Dataset.from_list([{"en": "the fox " * 40, "de": "der"}, {"en": "the", "de": "der"}])
    prepared = TASK.encoding.encode(rows, tokenizer, own, training=True)
    assert prepared["truncated"] == [True, False]
    assert prepared["length"][0] == 32
    assert prepared["labels"][0][-1] == tokenizer.eos_token_id


def test_a_tokenizer_that_needs_a_library_names_what_to_install(llmkit, families, monkeypatch):
    def missing(*arguments, **more):
        raise ImportError("MarianTokenizer requires the SentencePiece library")

    folder = families("marian")
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", missing)
    ran = llmkit("generate", "the fox", "-m", folder)
    assert ran.code == 2
    assert "pip install 'llmkit[translation]'" in ran.error
