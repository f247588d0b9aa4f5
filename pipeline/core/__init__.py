"""What every other package builds on: dialogues, errors, fingerprints, files, worker processes."""
