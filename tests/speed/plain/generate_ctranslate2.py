"""Answer a prompt with CTranslate2, written out as it comes. CONVERTED-FOLDER MODEL PROMPT TOKENS"""

import sys

import ctranslate2
from transformers import AutoTokenizer

folder, name, prompt, tokens = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(name)
if tokenizer.chat_template:
    chat = [{"role": "user", "content": prompt}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
start = tokenizer.convert_ids_to_tokens(tokenizer.encode(prompt, add_special_tokens=not tokenizer.chat_template))
for step in ctranslate2.Generator(folder).generate_tokens(start, max_length=int(tokens), sampling_topk=1):
    print(tokenizer.decode([step.token_id], skip_special_tokens=True), end="", flush=True)
