"""Answer a prompt with llama.cpp, written out as it comes. MODEL.gguf PROMPT TOKENS"""

import sys

from llama_cpp import Llama

file, prompt, tokens = sys.argv[1:]
model = Llama(file, verbose=False)
messages = [{"role": "user", "content": prompt}]
for piece in model.create_chat_completion(messages, max_tokens=int(tokens), temperature=0, stream=True):
    print(piece["choices"][0]["delta"].get("content", ""), end="", flush=True)
