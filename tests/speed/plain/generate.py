"""Continue or answer a prompt, written out as it comes. MODEL PROMPT TOKENS [DTYPE]"""

import sys

from transformers import AutoModelForCausalLM, AutoTokenizer, TextStreamer

name, prompt, tokens, *dtype = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype[0] if dtype else "auto")
if tokenizer.chat_template:
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
    )
inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=not tokenizer.chat_template)
streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
model.generate(**inputs, max_new_tokens=int(tokens), do_sample=False, streamer=streamer)
