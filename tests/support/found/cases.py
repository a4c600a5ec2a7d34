"""What is wanted of each kind of file: the table of the corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

CLASSES, MULTI, TAGS = "text-classification", "multi-label-classification", "token-classification"
QUESTIONS, CHOICES, CHAT, PAIRS = "question-answering", "multiple-choice", "conversational", "preference-optimization"
TEXT_TO_TEXT = {"translation", "summarization"}
PLAIN = {"negative": 12, "positive": 12}
ENTITIES = {"B-LOC": 12, "B-PER": 12, "I-LOC": 8, "I-PER": 6, "O": 108}
IOB2 = "labels: B-LOC, B-PER, I-LOC, I-PER, O"


@dataclass(frozen=True)
class Case:
    """What `llmkit data` and `finetune --dry-run` should give for files of a kind."""

    kind: str
    flags: Sequence[str] = ()
    task: str | None = None  # None: refused
    columns: str = ""  # as in "text=text label=label"
    rows: int | Mapping[str, int] = 24  # those of train, or of each split
    labels: Mapping[str, int] | None = None  # how many rows, or words, of train have each
    said: Sequence[str] = ()  # on stderr, by data
    trained: Sequence[str] = ()  # on stderr, by finetune --dry-run
    findings: Sequence[str] = ()
    refused: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "refused", self.task is None)

    @property
    def name(self) -> str:
        return " ".join((self.kind, *self.flags))

    @property
    def model(self) -> str:
        """The fixture of the model that finetune takes."""
        if self.task in {CHAT, PAIRS, "causal-lm"} or self.kind.startswith(("chat_", "dpo_")):
            return "assistant"
        return "t5" if self.task in TEXT_TO_TEXT else "encoder"


def classes(kind: str, labels: Mapping[str, int] = PLAIN, columns: str = "text=text label=label", **more) -> Case:
    return Case(kind, task=CLASSES, columns=columns, labels=labels, **more)


def numbers(kind: str, said: str, column: str = "score", **more) -> Case:
    """Expect labels that are numbers."""
    columns = f"text=text label={column}"
    return Case(kind, (), CLASSES, columns, said=(said,), trained=("labels: a number (regression)",), **more)


def entities(kind: str, said: str, columns: str = "tokens=tokens tags=ner_tags") -> Case:
    return Case(kind, (), TAGS, columns, rows=18, labels=ENTITIES, said=(said,), trained=(said, IOB2))


def chat(kind: str, columns: str = "messages=messages", *said: str, **more) -> Case:
    return Case(kind, task=CHAT, columns=columns, said=said, **{"rows": 20, **more})


def pairs(kind: str, *said: str, **more) -> Case:
    columns = "prompt=prompt chosen=chosen rejected=rejected"
    return Case(kind, task=PAIRS, columns=columns, rows=20, said=said, **more)


def refused(kind: str, *said: str, flags: Sequence[str] = ()) -> Case:
    return Case(kind, flags, said=said)


TEXTS_WITH_LABELS = (
    refused(
        "agnews",
        "can be read in 2 ways",
        "--column text=Description --column label='Class Index'",
        "--column text=Title --column label='Class Index'",
    ),
    classes(
        "agnews",
        {"1": 6, "2": 6, "3": 6, "4": 6},
        "text=Description label=Class Index",
        flags=("--column", "label=Class Index", "--column", "text=Description"),
    ),
    classes(
        "kaggle_emotion",
        {"fear": 8, "love": 8, "surprise": 8},
        "text=text label=emotion",
        said=("emotion holds 3 values that repeat",),
        trained=("read as text-classification: emotion holds 3 values", "labels: fear, love, surprise"),
    ),
    classes("kaggle_quora", {"0": 8, "1": 16}, "text=question1 pair=question2 label=is_duplicate"),
    classes(
        "kaggle_news_json",
        {"POLITICS": 8, "TRAVEL": 8, "WELLNESS": 8},
        "text=short_description label=category",
        said=("not used: headline (a text: --column pair=headline uses it)",),
    ),
    classes("longest_is_url", {"a": 12, "b": 12}, "text=title label=topic"),
    classes(
        "class_folders",
        said=("its folder is its label (negative, positive)", "--task causal-lm"),
        trained=("labels: negative, positive",),
    ),
    Case(
        "toxic_onehot",
        task=MULTI,
        columns="text=comment_text labels=labels",
        labels={"toxic": 16, "obscene": 12, "threat": 6, "insult": 8},
        said=("columns of 0 and 1 are labels by their names", "--column labels=NAME,NAME"),
        trained=("labels: toxic, obscene, threat, insult",),
    ),
    Case(
        "onehot2",
        task=MULTI,
        columns="text=text labels=labels",
        labels={"0": 8, "1": 8, "2": 8},
        said=("each list of 'labels' says by 1 which of 3 labels hold",),
        trained=("labels: 0, 1, 2",),
    ),
    refused("multi_comma", "can be read in 2 ways", "--label-separator ,", "--column label=labels"),
    Case(
        "multi_comma",
        ("--label-separator", ","),
        MULTI,
        "text=text labels=labels",
        labels={"art": 12, "home": 12, "nature": 12},
        said=("split at ','",),
    ),
    classes(
        "disk_odd_splits",
        {"bad": 12, "good": 12},
        rows={"train": 24, "validation": 12},
        said=("'training' is read as train", "'evaluation' is read as validation"),
        trained=("(validation)",),
    ),
    classes("meta_mixed", said=("not used: meta",)),
    classes(
        "test_without_label",
        rows={"train": 24, "test": 12},
        said=("not read", "sample_submission.csv"),
        trained=("(train, 10% cut)",),
    ),
    refused("val_other_columns", "split validation has no column 'text'", "--column text=sentence"),
    classes(
        "val_other_columns",
        flags=("--column", "text=sentence"),
        rows={"train": 24, "validation": 12},
        said=("its sentence is taken for it",),
    ),
    classes("pair_half_dropped", {"0": 12, "1": 12}, "text=sent_1 pair=sent_2 label=label"),
    classes("json_data_key", said=("the rows are the list under 'data'",)),
    classes("json_pandas_split", said=("(orient split)",)),
    classes("jsonl_array", said=("one JSON array",)),
    classes("jsonl_pretty", said=("objects go over several lines",)),
)

NUMBERS_OR_CLASSES = (
    classes(
        "float_labels_nan",
        {"0": 6, "1": 12},
        said=("taken as classes (--regression takes them as numbers)",),
        trained=("labels: 0, 1", "left out"),
        findings=("unusable",),
    ),
    classes(
        "float_labels_five",
        {"1": 5, "2": 5, "3": 5, "4": 5, "5": 4},
        "text=text label=stars",
        said=("taken as classes (--regression takes them as numbers)",),
        trained=("labels: 1, 2, 3, 4, 5",),
    ),
    Case("float_labels_five", ("--regression",), CLASSES, "text=text label=stars", trained=("a number (regression)",)),
    classes(
        "big_ids",
        {"36893488147419103233": 12, "36893488147419103234": 12},
        trained=("labels: 36893488147419103233, 36893488147419103234",),
    ),
    numbers("decimal_comma", "taken as numbers (--classes takes them as classes)"),
    classes("json_float_val", {"0": 12, "1": 12}, rows={"train": 24, "validation": 12}, trained=("labels: 0, 1\n",)),
    refused("json_float_train_str_val", "train.jsonl holds numbers (0.5)", "validation.jsonl holds text ('bad')"),
    classes("zeros_val", {"003": 12, "021": 12}, rows={"train": 24, "validation": 12}, trained=("labels: 003, 021",)),
    refused(
        "csv_bool_train_int_val",
        "train.csv holds true or false ('True')",
        "validation.csv holds whole numbers ('1')",
        "--column label=NAME",
    ),
    classes(
        "csv_int_train_float_test",
        {"0": 12, "1": 12},
        rows={"train": 24, "test": 12},
        trained=("labels: 0, 1\n",),
        findings=("unusable",),
    ),
    refused("reg_inf", "row 3", "-inf where a finite number is wanted"),
    numbers("reg_percent", "such as 15%, read as 15: taken as numbers (--classes takes them as classes)"),
    classes("text_numbers", said=("the numbers in text are read as texts",)),
    refused("mixed_folder", "train_1.csv holds whole numbers ('1')", "train_2.jsonl holds text ('negative')"),
    numbers("integer_scores_as_classes", "24 different whole numbers in 24 rows: taken as numbers (--classes"),
    classes("labels_hex", {"0x0F": 12, "0x1F": 12}, trained=("labels: 0x0F, 0x1F",)),
    classes(
        "labels_invisible_variants",
        {"Junk": 4, "not junk": 5, "not\u00a0junk": 5, "r\u00e9sum\u00e9": 5, "re\u0301sume\u0301": 5},
        findings=("lookalike-label", "lookalike-label"),
        trained=("U+00E9", "U+00A0"),
    ),
    classes("labels_leading_zeros_merged", {"01": 6, "1": 6, "02": 6, "10": 6}, trained=("labels: 01, 1, 02, 10",)),
    classes("labels_plus_minus_one", {"+1": 12, "-1": 12}, said=("(--regression takes",), trained=("labels: -1, +1",)),
    classes(
        "labels_version_numbers_merged",
        {"3.1": 8, "3.10": 8, "4.0": 8},
        said=("as versions are", "(--regression takes"),
        trained=("labels: 3.1, 3.10, 4.0",),
    ),
    classes("text_column_leading_zeros"),
    classes("typed_per_file", {"005": 12, "B31": 12}, rows={"train": 24, "validation": 12}, trained=("005, B31",)),
)

TABLES = (
    refused("no_header", "the first line looks like data", "--no-header"),
    classes("no_header", columns="text=column_1 label=column_2", flags=("--no-header",)),
    refused("sentiment140", "the first line looks like data", "--no-header"),
    classes("sentiment140", {"0": 12, "4": 12}, "text=column_6 label=column_1", flags=("--no-header",)),
    classes("sep_line", said=("'sep=;'",)),
    classes("utf16"),
    refused("cp1252", "line 2: byte 0x92 is not utf-8", "--encoding cp1252"),
    classes("cp1252", flags=("--encoding", "cp1252")),
    classes("cp1252", flags=("--encoding", "latin-1"), said=("warning:", "it is likely --encoding cp1252")),
    classes("xlsx", said=("sheet 'Sheet' is read", "notes")),
    refused("xlsx_broken", "is not a readable xlsx file"),
    refused("title_row", "the header is in line 2: --skip-rows 1"),
    classes("title_row", flags=("--skip-rows", "1")),
    refused("comment_lines", "line 1 begins with #", "--comment '#'"),
    classes("comment_lines", flags=("--comment", "#")),
    classes("tsv_quote_odd", said=("quotes are read as characters",)),
    classes("trailing_comma"),
    classes("space_before_quote", said=("blanks before a quote",)),
    classes("pq_binary"),
    numbers("pq_decimal", "numbers with fractions (0.25, 1.5, 2.75): taken as numbers (--classes", "label"),
    classes("pq_view"),
    classes("delimiter_guess_header", columns="text=opinion, or text label=label"),
    refused("duplicate_column", "the header names 'label' twice (columns 2, 3); rename one"),
    classes("duplicate_column_unused"),
    refused("quote_swallows_rows_csv", "line 6: a quote opens a cell that goes over 6 lines"),
    classes("quote_swallows_rows_tsv", said=("quotes are read as characters", "line 6")),
    Case("txt_lines", (), "causal-lm", "text=text", rows=1, said=("a text is all there is",)),
    Case("txt_fasttext", (), "causal-lm", "text=text", rows=1, said=("__label__",)),
)

WORDS = (
    entities("ner_conll_txt", "as CoNLL has them; sentences: 18", "tokens=tokens tags=tags"),
    entities("ner_kaggle_csv", "POS holds tags too (--column tags=POS)", "tokens=tokens tags=tags"),
    entities("ner_doccano", "spans of text in label: words and IOB2 tags", "tokens=tokens tags=tags"),
    entities("ner_labelstudio_min", "spans of text in label: words and IOB2 tags", "tokens=tokens tags=tags"),
    entities("ner_json_csv", "lists in tokens written as text"),
    Case(
        "disk_ner_minus100",
        (),
        TAGS,
        "tokens=tokens tags=ner_tags",
        rows=22,
        labels={"0": 11, "1": 22},
        trained=("labels: 0, 1\n",),
        findings=("duplicate", "contradiction"),
    ),
    entities("ner_bioes", "BIOES, read as IOB2"),
    entities("ner_bmes_advice", "BMES, read as IOB2"),
    entities("ner_suffix", "'PER-B' is B-PER"),
    entities("ner_underscore", "'B_PER' is B-PER"),
    entities("ner_lower", "'b-per' is B-PER"),
    entities("ner_zero_outside", "'0' is O"),
    entities("ner_empty_outside", "a blank is O"),
    entities("ner_iob1", "IOB1, read as IOB2"),
    entities("ner_tags_string", "ner_tags split at blanks"),
)

_SQUAD = "question=question context=context answers=answers"
_EXAM = "question=question choice0=A choice1=B choice2=C choice3=D answer=answer"
QUESTIONS_AND_TEXTS = (
    Case("mc_cols", (), CHOICES, _EXAM, said=("answer is one of A, B, C, D",)),
    Case(
        "mc_int1",
        (),
        CHOICES,
        "question=question choices=choices answer=answer",
        said=("counted from 1", "--answers-from 0"),
    ),
    refused("mc_mmlu_csv", "the first line looks like data", "--no-header"),
    Case(
        "mc_mmlu_csv",
        ("--no-header",),
        CHOICES,
        "question=column_1 choice0=column_2 choice1=column_3 choice2=column_4 choice3=column_5 answer=column_6",
    ),
    Case("qa_squad_file", (), QUESTIONS, _SQUAD, said=("a SQuAD file",)),
    Case("qa_flat", (), QUESTIONS, _SQUAD, said=("found in their contexts, where each is once",)),
    refused("qa_flat_twice", "row 1: the answer 'lives' is 2 times in its context, at 8, 57", "--column answer_start="),
    refused("qa_utf16_offsets", "row 1", "--offsets utf-16"),
    Case("qa_utf16_offsets", ("--offsets", "utf-16"), QUESTIONS, _SQUAD, said=("UTF-16 units",)),
    Case("qa_list_of_dicts", (), QUESTIONS, _SQUAD, said=("answers of 'answers': lists",)),
    Case("qa_csv_repr", (), QUESTIONS, _SQUAD, said=("JSON or Python text",)),
    Case("mt_src_tgt", (), "translation", "text=source target=target"),
    Case("sum_csv", (), "summarization", "text=article target=highlights"),
)

DIALOGUES = (
    chat("chat_prompt_response", "prompt=prompt completion=response"),
    chat("chat_question_answer", "prompt=question completion=answer"),
    chat("gsm8k", "prompt=question completion=answer"),
    chat("chat_problem_solution", "prompt=problem completion=solution"),
    chat("chat_dolly", "prompt=instruction completion=response input=context", "not used: category"),
    chat("chat_csv_messages"),
    chat("chat_role_caps"),
    chat("chat_developer"),
    chat("chat_model_role"),
    refused("chat_unknown_role", "row 1: turn 2 has the role 'oracle'", "--role oracle=assistant"),
    chat("chat_unknown_role", flags=("--role", "oracle=assistant")),
    chat("chat_content_parts"),
    chat("chat_tool_calls", "messages=messages tools=tools", "tools=tools"),
    chat("chat_sharegpt_system_col", "messages=messages", "system=system"),
    chat("chat_weight"),
    chat("chat_alpaca_history", "messages=messages", "history=history; nothing is learned of the history"),
    chat("chat_history_dropped", "messages=messages", "history=history; nothing is learned of the history"),
    chat("chat_gpt_first", "messages=conversations"),
    refused("chat_two_users", "row 1: turn 2 is the user's", "--merge-turns", "--skip-invalid"),
    chat("chat_two_users", "messages=messages", "neighbours of one role are joined", flags=("--merge-turns",)),
    refused("chat_two_users", "20 of 20 rows are invalid", flags=("--skip-invalid", "0.1")),
    chat("chat_json_string"),
    refused("chat_image_dropped", "row 1", "image", "only text is read"),
    chat("chat_tools_column_dropped", "messages=messages tools=tools", "tools=tools"),
    chat("completion_of_numbers", "prompt=prompt completion=completion"),
    pairs("dpo_hh", "the prompt is what both dialogues begin with"),
    pairs("dpo_intel", "prompt=question", "system=system"),
    refused("dpo_kto", "label says which answers are good and which are bad", "--task text-classification"),
    pairs("dpo_ultrafeedback"),
    pairs("dpo_answers_as_one_message"),
)

CASES = (*TEXTS_WITH_LABELS, *NUMBERS_OR_CLASSES, *TABLES, *WORDS, *QUESTIONS_AND_TEXTS, *DIALOGUES)
