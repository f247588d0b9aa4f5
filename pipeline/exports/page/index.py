"""The page of several dialogues: emotions, transitions, and what to check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from pipeline.exports.page.templates import policy, read, render, url_of

__all__ = ["render_index"]

MAX_CHECKS = 200


def render_index(pages: Sequence[tuple[str, dict[str, Any]]]) -> bytes:
    """Render the index.

    pages: path of each page relative to the index, and the content of its JSON file.
    """
    labels = list(dict.fromkeys(label for _, content in pages for label in content["labels"]))
    emotions, silent, checks = [], [], []
    changes: Counter[tuple[str, str]] = Counter()
    for path, content in pages:
        link = url_of(path)
        counts = Counter((u["speaker"], u["emotion"]) for u in content["utterances"])
        for speaker in dict.fromkeys(u["speaker"] for u in content["utterances"]):
            row = [counts[speaker, label] for label in labels]
            emotions.append(([content["media"], speaker or "unknown"], link, row))
        if not content["utterances"]:
            silent.append((content["media"], link, next(iter(content["warnings"]), "")))
        changes.update(pairwise(u["emotion"] for u in content["utterances"]))
        for number, utterance in enumerate(content["utterances"]):
            if utterance["confidence"] is not None:
                place = {"media": content["media"], "link": f"{link}#{number}"}
                checks.append({"uncertain": False} | utterance | place)
    checks.sort(key=lambda row: row["confidence"])
    transitions = [([a], "", [changes[a, b] for b in labels]) for a in labels]
    return render(
        "index.html",
        pages=pages,
        labels=labels,
        emotions=emotions,
        silent=silent,
        transitions=transitions,
        checks=checks[:MAX_CHECKS],
        policy=policy(),
        style=Markup(read("page.css") + read("index.css")),
    )
