"""Fine-tuning of text encoders on the utterances of a corpus."""
