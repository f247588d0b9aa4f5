"""Find and decode recordings: their audio at 16 kHz and their frames, in seconds of the file."""
