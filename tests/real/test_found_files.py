"""The files as people have them that lie beside the real data: each is read as what it is, or refused with its flag."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.real
NOTES = {"cmd.txt", "expected.txt", "resume.py"}
# case: exit code, task or -, words on stderr
TABLE = """
agnews: 2 - --column label='Class Index'
kaggle_emotion: 0 text-classification label=emotion
kaggle_quora: 0 text-classification text=question1, pair=question2, label=is_duplicate
kaggle_news_json: 0 text-classification label=category
longest_is_url: 0 text-classification text=headline
class_folders: 0 text-classification (neg, pos)
mc_cols: 0 multiple-choice choice0=A, choice1=B, choice2=C, choice3=D, answer=answer
ner_conll_txt: 0 token-classification sentences: 30
ner_kaggle_csv: 0 token-classification --column tags=POS
ner_doccano: 0 token-classification spans
ner_labelstudio_min: 0 token-classification spans
ner_json_csv: 0 token-classification written as text
qa_squad_file: 0 question-answering SQuAD
qa_flat: 2 - 2 times in its context
mt_src_tgt: 0 translation text=source, target=target
sum_csv: 0 summarization text=article, target=highlights
chat_prompt_response: 0 conversational prompt=prompt, completion=response
chat_question_answer: 0 conversational prompt=question, completion=answer
gsm8k: 0 conversational prompt=question, completion=answer
chat_problem_solution: 0 conversational prompt=problem, completion=solution
chat_dolly: 0 conversational input=context
chat_csv_messages: 0 conversational messages=messages
dpo_hh: 0 preference-optimization the prompt is what both dialogues begin with
dpo_intel: 0 preference-optimization system=system
dpo_kto: 2 - which answers are good and which are bad
dpo_ultrafeedback: 0 preference-optimization prompt=prompt
toxic_onehot: 0 multi-label-classification columns of 0 and 1 are labels by their names
onehot2: 0 multi-label-classification which of 2 labels hold
multi_comma: 2 - --label-separator ,
txt_lines: 0 causal-lm __label__
no_header: 2 - --no-header
sentiment140: 2 - --no-header
sep_line: 0 text-classification sep=;
float_labels_nan: 0 text-classification --regression
float_labels_five: 0 text-classification --regression
big_ids: 0 text-classification label=label
decimal_comma: 0 text-classification taken as numbers (--classes
json_float_val: 0 text-classification label=label
json_float_train_str_val: 2 - holds numbers (0.5)
zeros_val: 0 text-classification label=label
csv_bool_train_int_val: 2 - holds true or false ('False')
csv_int_train_float_test: 0 text-classification label=label
reg_inf: 2 - row 3
reg_percent: 0 text-classification taken as numbers (--classes
text_numbers: 0 text-classification the numbers in text are read as texts
utf16: 0 text-classification label=label
cp1252: 2 - --encoding cp1252
xlsx: 2 - is not a readable xlsx file
jsonl_array: 0 text-classification one JSON array
json_pandas_split: 0 text-classification orient split
json_data_key: 0 text-classification the list under 'data'
jsonl_pretty: 0 text-classification over several lines
title_row: 2 - --skip-rows 1
comment_lines: 2 - --comment '#'
tsv_quote_odd: 0 text-classification quotes are read as characters
trailing_comma: 0 text-classification label=label
space_before_quote: 0 text-classification blanks before a quote
pq_binary: 0 text-classification label=label
pq_decimal: 0 text-classification --regression
pq_view: 0 text-classification label=label
disk_ner_minus100: 0 token-classification tags=ner_tags
disk_odd_splits: 0 text-classification 'evaluation' is read as validation
mixed_folder: 2 - holds text ('negative')
meta_mixed: 0 text-classification not used: meta
test_without_label: 0 text-classification sample_submission.csv
val_other_columns: 2 - --column text=sentence
chat_role_caps: 0 conversational messages=messages
chat_developer: 0 conversational messages=messages
chat_model_role: 0 conversational messages=messages
chat_content_parts: 0 conversational messages=messages
chat_tool_calls: 0 conversational tools=tools
chat_sharegpt_system_col: 0 conversational system=system
chat_weight: 0 conversational messages=messages
chat_alpaca_history: 0 conversational history=history
chat_gpt_first: 0 conversational messages=conversations
chat_two_users: 2 - --merge-turns
chat_json_string: 0 conversational messages=messages
ner_bioes: 0 token-classification BIOES, read as IOB2
ner_suffix: 0 token-classification 'LOC-B' is B-LOC
ner_underscore: 0 token-classification 'B_PER' is B-PER
ner_lower: 0 token-classification 'b-per' is B-PER
ner_zero_outside: 0 token-classification '0' is O
ner_empty_outside: 0 token-classification a blank is O
ner_iob1: 0 token-classification IOB1, read as IOB2
ner_tags_string: 0 token-classification split at blanks
qa_utf16_offsets: 2 - --offsets utf-16
qa_list_of_dicts: 0 question-answering lists
qa_csv_repr: 0 question-answering JSON or Python text
mc_int1: 0 multiple-choice counted from 1
mc_mmlu_csv: 2 - --no-header
more/chat_history_dropped: 0 conversational history=history
more/chat_image_dropped: 2 - only text is read
more/chat_tools_column_dropped: 0 conversational tools=tools
more/completion_of_numbers: 0 conversational prompt=prompt, completion=completion
more/cp1252_advice: 2 - --encoding cp1252
more/delimiter_guess_header: 0 text-classification text=text, or review, label=label
more/dpo_answers_as_one_message: 0 preference-optimization pairs of answers
more/dpo_identical_after_cut: 0 preference-optimization chosen=chosen
more/duplicate_column_unused: 2 - names 'label' twice
more/finetune_one_txt: 0 causal-lm text=text
more/integer_scores_as_classes: 0 text-classification --classes
more/labels_hex: 0 text-classification label=label
more/labels_invisible_variants: 0 text-classification label=label
more/labels_leading_zeros_merged: 0 text-classification label=label
more/labels_plus_minus_one: 0 text-classification --regression
more/labels_version_numbers_merged: 0 text-classification --regression
more/ner_bmes_advice: 0 token-classification read as IOB2
more/pair_half_dropped: 0 text-classification text=sent_1, pair=sent_2
more/pretrain_empty_file: 0 causal-lm is empty; it is left out
more/quote_swallows_rows_csv: 2 - goes over 6 lines
more/quote_swallows_rows_tsv: 0 text-classification quotes are read as characters
more/resume_with_other_data: 0 text-classification label=label
more/stream_type_of_first_block: - - nothing but a command
more/text_column_leading_zeros: 0 text-classification text=text
more/typed_per_file: 0 text-classification label=label
"""
WANTED = dict(line.split(": ", 1) for line in TABLE.strip().splitlines())
# the labels that some row has, where they are easily merged or taken for others
LABELS = {
    "float_labels_nan": {"0", "1"},
    "float_labels_five": {"1", "2", "3", "4", "5"},
    "big_ids": {"18446744073709551617", "18446744073709551618"},
    "toxic_onehot": {"toxic", "obscene", "insult"},
    "tsv_quote_odd": {"negative", "positive"},
    "ner_bioes": {"B-LOC", "B-PER", "I-LOC", "I-PER", "O"},
    "ner_suffix": {"B-LOC", "B-PER", "I-LOC", "I-PER", "O"},
    "ner_doccano": {"B-LOC", "B-PER", "I-LOC", "I-PER", "O"},
    "more/labels_hex": {"0x1A", "0x1B"},
    "more/labels_leading_zeros_merged": {"01", "1", "02", "10"},
    "more/labels_plus_minus_one": {"-1", "+1"},
    "more/labels_version_numbers_merged": {"1.10", "1.1", "2.0"},
    "more/typed_per_file": {"007", "A42"},
}
# rows that a reader may swallow or leave out
ROWS = {"tsv_quote_odd": 24, "more/quote_swallows_rows_tsv": 24, "more/text_column_leading_zeros": 24}


@pytest.fixture(scope="module")
def found(real_hub) -> Path:
    folder = Path(os.environ["LLMKIT_REAL_HUB"]).parent / "files-as-found"
    if not folder.is_dir():
        pytest.skip(f"{folder} is no folder of files as found")
    return folder


def test_the_table_has_every_case(found):
    cases = [line.partition("\t")[0] for line in (found / "expected.tsv").read_text().splitlines()[1:]]
    more = [f"more/{folder.name}" for folder in (found / "more").iterdir()]
    assert sorted(WANTED) == sorted([*cases, *more])


@pytest.mark.parametrize("case", WANTED)
def test_a_file_as_found_is_read_as_what_it_is_or_refused_with_its_flag(llmkit, found, case):
    code, task, words = WANTED[case].split(" ", 2)
    files = [path for path in (found / case).iterdir() if path.name not in NOTES]
    if not files:
        pytest.skip("the case is a command without a file: its kind is in tests/flows")
    ran = llmkit("data", files[0] if len(files) == 1 else found / case, "--json")
    assert ran.code == int(code), ran.err
    assert words in ran.err
    if ran.code == 0:
        assert ran.json["task"]["name"] == task
        train = ran.json["splits"]["train"]
        assert case not in LABELS or set(train["labels"]) == LABELS[case]
        assert case not in ROWS or (train["rows"], train["unusable"]) == (ROWS[case], 0)
    else:
        assert ran.error
        assert not ran.out
