"""Train CSS on a loaded corpus, score it, compare runs, and use a trained model."""
