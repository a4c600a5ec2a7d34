"""Which task each real dataset is read as, and with which columns."""

from __future__ import annotations

import pytest

from llmkit import tasks
from llmkit.data import open_dataset
from llmkit.options import DataOptions
from llmkit.tasks import Evidence

pytestmark = pytest.mark.real

EXPECTED = """
EleutherAI/lambada_openai causal-lm text=text
Salesforce/wikitext:wikitext-2-raw-v1 causal-lm text=text
Salesforce/wikitext:wikitext-2-v1 causal-lm text=text
allenai/ai2_arc:ARC-Easy multiple-choice question=question choices=choices answer=answerKey
allenai/ai2_arc:ARC-Challenge multiple-choice question=question choices=choices answer=answerKey
allenai/scitldr:Abstract summarization text=source target=target
baber/piqa:plain_text multiple-choice question=goal choice0=sol1 choice1=sol2 answer=label
bentrevett/multi30k translation text=en target=de
cornell-movie-review-data/rotten_tomatoes text-classification text=text label=label
fancyzhx/ag_news text-classification text=text label=label
google/xquad:xquad.en question-answering question=question context=context answers=answers
google/xquad:xquad.zh question-answering question=question context=context answers=answers
karpathy/tiny_shakespeare causal-lm text=text
leondz/wnut_17:wnut_17 token-classification tokens=tokens tags=ner_tags
llamafactory/demo_data:alpaca_en_demo conversational prompt=instruction completion=output input=input
llamafactory/demo_data:dpo_en_demo preference-optimization prompt=prompt chosen=chosen rejected=rejected
llamafactory/demo_data:alpaca_zh_demo conversational prompt=instruction completion=output input=input
llamafactory/demo_data:dpo_zh_demo preference-optimization prompt=prompt chosen=chosen rejected=rejected
local/chnsenticorp_htl text-classification text=text label=label
local/fairytales causal-lm text=text
local/gutenberg_books causal-lm text=text
local/zh_classics causal-lm text=text
megagonlabs/subjqa:grocery question-answering question=question context=context answers=answers
megagonlabs/subjqa:restaurants question-answering question=question context=context answers=answers
megagonlabs/subjqa:tripadvisor question-answering question=question context=context answers=answers
nyu-mll/glue:mrpc text-classification text=sentence1 pair=sentence2 label=label
nyu-mll/glue:cola text-classification text=sentence label=label
nyu-mll/glue:sst2 text-classification text=sentence label=label
nyu-mll/glue:rte text-classification text=sentence1 pair=sentence2 label=label
nyu-mll/glue:qnli text-classification text=question pair=sentence label=label
nyu-mll/glue:wnli text-classification text=sentence1 pair=sentence2 label=label
nyu-mll/glue:stsb text-classification text=sentence1 pair=sentence2 label=label
nyu-mll/glue:ax text-classification text=premise pair=hypothesis label=label
ybisk/piqa:plain_text multiple-choice question=goal choice0=sol1 choice1=sol2 answer=label
""".strip().splitlines()


@pytest.mark.parametrize("line", EXPECTED)
def test_a_dataset_of_the_hub_is_read_as_ever(real_hub, line):
    name, task, *roles = line.split()
    able = tasks.for_inspection(None, None, DataOptions())
    source = open_dataset(str(real_hub / "datasets" / name))
    resolution = tasks.resolve_task(able, Evidence.of(source), {}, "finetune", DataOptions(), None)
    assert resolution.task.name == task
    assert resolution.columns == dict(role.split("=", 1) for role in roles)
    assert resolution.conversions == ()
