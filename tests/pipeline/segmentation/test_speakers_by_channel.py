"""Calls with one speaker per channel: the channels decide who speaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.broken_clips import write_tracks
from support.clips import sound_of, write_wav

from pipeline.core.dialogue import Utterance
from pipeline.media.decode import open_media
from pipeline.segmentation.recognition import Recogniser
from pipeline.segmentation.segment import segment
from pipeline.segmentation.speakers_by_channel import by_channel, channel_changes, separate_channels

SPANS = [(0.9, 2.2), (3.55, 5.9)]


def call(shared: Path, leak: float) -> list[np.ndarray]:
    """The sentences of dlg.m4a, one in each channel; `leak` of the other is heard."""
    voice = np.clip(sound_of(shared / "cases" / "dlg.m4a"), -1, 1)
    first = np.arange(len(voice)) < 3 * 16_000
    return [np.where(first, voice, leak * voice), np.where(first, leak * voice, voice)]


@pytest.mark.parametrize("leak", [0.0, 0.1, 0.4])
def test_channels_of_a_call(tmp_path: Path, shared: Path, leak: float) -> None:
    channels = call(shared, leak)
    wav = write_wav(tmp_path / "x.wav", channels, 16_000)
    tracks = write_tracks(tmp_path / "x.mka", [channel[None] for channel in channels])
    for path in (wav, tracks):
        with open_media(path) as media:
            assert separate_channels(media, SPANS)
            assert by_channel(media, [Utterance(*span, "x") for span in SPANS]) == [0, 1]
            assert channel_changes(media, 3.0) and not channel_changes(media, 1.5)


def test_other_recordings_have_no_channel_for_each_speaker(tmp_path: Path, shared: Path) -> None:
    with open_media(write_wav(tmp_path / "x.wav", call(shared, 0.8), 16_000)) as media:
        assert not separate_channels(media, SPANS)  # a stereo microphone
    left, right = call(shared, 0.0)
    with open_media(write_wav(tmp_path / "y.wav", [left + right, 0 * left], 16_000)) as media:
        assert not separate_channels(media, SPANS)  # nothing in the other channel
    for clip in (shared / "cases" / "dlg.m4a", shared / "media" / "hamilton.mp4"):
        with open_media(clip) as media:
            assert not separate_channels(media, [(1.0, 5.0), (5.0, 9.0)])


def test_the_channels_name_the_speakers(tmp_path: Path, shared: Path) -> None:
    path = write_wav(tmp_path / "x.wav", call(shared, 0.05), 16_000)
    with open_media(path) as media:
        segmentation = segment(media, recogniser=Recogniser())
    assert segmentation.source["speakers"]["method"] == "channels"
    assert [u.speaker for u in segmentation.utterances] == ["S1", "S2"]
