"""The option groups of training: recipe, run folder, adapters, distillation, architectures, space of a search."""
