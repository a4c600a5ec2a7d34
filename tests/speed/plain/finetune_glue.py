"""Finetune a classifier of pairs as run_glue.py does: the Trainer, rows padded to 128 tokens, batches of 32, 2e-5.

MODEL TRAIN.jsonl VALIDATION.jsonl FOLDER ROWS SEED
"""

import json
import sys

from datasets import load_dataset
from sklearn.metrics import f1_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments, set_seed

name, train, validation, folder, rows, seed = sys.argv[1:]
set_seed(int(seed))
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForSequenceClassification.from_pretrained(name, num_labels=2)
data = load_dataset("json", data_files={"train": train, "validation": validation})


def encode(batch):
    length = {"padding": "max_length", "max_length": 128, "truncation": True}
    return tokenizer(batch["sentence1"], batch["sentence2"], **length)


data = data.map(encode, batched=True)
arguments = TrainingArguments(
    folder,
    per_device_train_batch_size=32,
    learning_rate=2e-5,
    max_steps=max(1, int(rows) // 32),
    seed=int(seed),
    report_to="none",
)
trainer = Trainer(
    model, arguments, train_dataset=data["train"], eval_dataset=data["validation"], processing_class=tokenizer
)
trained = trainer.train()
answers = trainer.predict(data["validation"])
trainer.save_model()
f1 = f1_score(answers.label_ids, answers.predictions.argmax(-1))
print(json.dumps({"rows_per_second": trained.metrics["train_samples_per_second"], "f1": f1}))
