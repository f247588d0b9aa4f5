"""From a recording to its utterances: transcripts, speech recognition, turns and speakers."""
