"""What a training takes before it is begun: memory by part, FLOPs, the batch and the strategy that fit."""
