"""Results of `merc label` for tests of exports and of transcripts."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

LABELS = ("neutral", "joy", "anger")

# syntax of the formats, and of what merc writes into them
SYNTAX = [
    "-->", "--", "<b>x</b>", "<v Ben>", "</v>", "<00:01.000>", "{\\an8}", "{x}", "&amp;", "&", "<",
    ">", "[joy]", "[joy]:", "S1 [joy]: ", "Anna: ", "：", "♪ la ♪", "[door slams]", "(laughs)",
    "- ", ">> ", "...", "1", "00:00:01,000 --> 00:00:02,000", "10:30", "NOTE", "WEBVTT",
    "STYLE", "\t",
    "\n", "\n\n", "\r", '"', '""', "'", ",", ";", "=1+1", "@x", "+1", "-x", "NA", "nan", "null",
    "None", "emotion@", "emotion@Anna", "unknown", "<NA>", "\u2060", "\u200e", "\u202e", "\u2028",
    "\x85", "\x1b", "\\", "#", "é", "e\u0301", "安娜", "word", "words", "Anna - words", "phones",
    "]]>", "Transcribed by x", "hello there", "Set white in Z three now.",
]  # fmt: skip

texts = st.lists(st.one_of(st.sampled_from(SYNTAX), st.text(max_size=6)), max_size=5).map(
    lambda parts: " ".join(parts)
)
names = st.one_of(
    st.just(""), st.sampled_from(SYNTAX), st.text(max_size=8), texts.map(lambda t: t[:40])
)
spans = st.tuples(st.integers(0, 500_000), st.integers(1, 9_000))  # start and length in ms


def result(
    utterances: list[tuple[float, float, str, str]], labels: tuple[str, ...] = LABELS
) -> dict[str, Any]:
    """Return the content of a JSON file of merc: (start, end, speaker, text) for each utterance."""
    likely = {label: 1.0 / len(labels) for label in labels}
    return {
        "media": "my clip é.mp4",
        "model": "merc-offline",
        "profile": "offline",
        "labels": list(labels),
        "warnings": [],
        "duration": 600.0,
        "utterances": [
            {
                "start": start,
                "end": end,
                "speaker": speaker,
                "text": text,
                "emotion": labels[k % len(labels)],
                "confidence": 1.0 / len(labels),
                "probabilities": likely,
                "modalities": {"text": {"present": bool(text)}},
            }
            for k, (start, end, speaker, text) in enumerate(utterances)
        ],
    }


@st.composite
def results(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a result; as in merc's own, utterances are in order of time."""
    utterances = [
        (start / 1000, (start + length) / 1000, draw(names), draw(texts))
        for start, length in sorted(draw(st.lists(spans, min_size=1, max_size=8)))
    ]
    labels = draw(st.sampled_from([LABELS, ("joy [x]", "a]: b", "a]")]))
    return result(utterances, labels)
