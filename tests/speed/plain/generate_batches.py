"""Answer the prompts of a file with a pipeline in batches. MODEL PROMPTS.jsonl ANSWERS.jsonl TOKENS BATCH_SIZE"""

import json
import sys
from pathlib import Path

from transformers import pipeline

model, prompts, answers, tokens, batch_size = sys.argv[1:]
generate = pipeline("text-generation", model=model)
generate.tokenizer.padding_side = "left"
asked = [json.loads(line)["prompt"] for line in Path(prompts).read_text().splitlines()]
if generate.tokenizer.chat_template:
    asked = [[{"role": "user", "content": prompt}] for prompt in asked]
found = generate(asked, max_new_tokens=int(tokens), do_sample=False, return_full_text=False, batch_size=int(batch_size))
with Path(answers).open("w") as out:
    for (answer,) in found:
        out.write(json.dumps({"text": answer["generated_text"]}) + "\n")
