"""Answer the prompts of a file one by one with a pipeline. MODEL PROMPTS.jsonl ANSWERS.jsonl TOKENS"""

import json
import sys
from pathlib import Path

from transformers import pipeline

model, prompts, answers, tokens = sys.argv[1:]
generate = pipeline("text-generation", model=model)
with Path(answers).open("w") as out:
    for line in Path(prompts).read_text().splitlines():
        prompt = json.loads(line)["prompt"]
        chat = [{"role": "user", "content": prompt}] if generate.tokenizer.chat_template else prompt
        (found,) = generate(chat, max_new_tokens=int(tokens), do_sample=False, return_full_text=False)
        out.write(json.dumps({"text": found["generated_text"]}) + "\n")
