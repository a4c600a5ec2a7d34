"""Metrics of texts: what is a word in each script, ROUGE, sacrebleu's metrics, the SQuAD figures."""
