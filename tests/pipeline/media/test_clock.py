"""One timeline for picture and sound when the clock of a file restarts, jumps or starts early."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from support.broken_clips import concatenate, rewrite
from support.clips import tone, write_video

from pipeline.media.breaks import find_breaks
from pipeline.media.clock import Clock
from pipeline.media.decode import MediaError, open_media
from pipeline.media.packet_times import PacketTimes
from pipeline.media.running_clock import RunningClock


def stream(spans: list[tuple[float, float]], step: float, order: int = 0) -> PacketTimes:
    """Packets every `step` s in each span of raw time; order by position, as if interleaved."""
    times, place = PacketTimes(), 0.0
    for start, end in spans:
        for k in range(round((end - start) / step)):
            times.add(
                2 * round(1000 * (place + k * step)) + order, math.nan, start + k * step, step
            )
        place += end - start
    return times


@pytest.mark.parametrize(
    "spans",
    [
        [(1.4, 4.4), (1.4, 7.4)],  # restarts
        [(100.0, 130.0), (5.0, 20.0), (0.0, 10.0)],  # goes back twice
        [(3.0, 8.0), (90_000.0, 90_005.0)],  # jumps ahead
        [(26.5 * 3600, 26.5 * 3600 + 30), (0.0, 30.0)],  # wraps
        [(0.0, 5.0), (5000.0, 5003.0), (5.0, 9.0)],  # jumps and comes back
    ],
)
def test_both_streams_go_on_in_step(spans: list[tuple[float, float]]) -> None:
    video, audio = stream(spans, 0.04), stream(spans, 0.02, 1)
    breaks = find_breaks({0: video, 1: audio}, 10.0)
    assert len(breaks[0]) == len(breaks[1]) == len(spans) - 1
    due = spans[0][1]
    for k, (start, end) in enumerate(spans[1:]):
        assert breaks[0][k].offset == breaks[1][k].offset == pytest.approx(due - start, abs=0.05)
        due += end - start
    # packet by packet, without knowing what follows
    clock, counts, running = Clock({}, breaks), [0, 0], RunningClock(10.0)
    packets = sorted((time, index) for index in (0, 1) for time in (video, audio)[index].order)
    for _, index in packets:
        times, k = (video, audio)[index], counts[index]
        counts[index] += 1
        offset = running.offset(index, times.decoded[k], times.shown[k], times.duration[k])
        assert offset == pytest.approx(clock.offset(index, k), abs=0.05)
    assert running.breaks == len(spans) - 1


def test_gaps_that_another_stream_fills_and_reordered_frames_are_no_breaks() -> None:
    audio = stream([(0.0, 100.0)], 0.02, 1)
    slides = PacketTimes()
    for time in (0.0, 30.0, 31.0, 90.0):
        slides.add(2 * round(1000 * time), math.nan, time, 0.04)
    assert find_breaks({0: slides, 1: audio}, 10.0) == {0: [], 1: []}
    video = PacketTimes()
    for k in range(200):  # I P B B at 5 frames/s
        group, place = divmod(k, 4)
        shown = (4 * group + (0, 3, 1, 2)[place]) / 5
        video.add(k, math.nan, shown, 0.2)
    assert find_breaks({0: video}, 10.0) == {0: []}
    assert find_breaks({0: stream([(0, 5), (65, 70)], 0.02)}, 3600.0) == {0: []}  # a pause


def test_a_stream_that_pauses_does_not_break_a_feed() -> None:
    """The last packet before the pause comes late in transport streams: when the next one does."""
    clock = RunningClock(10.0)
    picture = [(0, k / 25) for k in range(1000)]
    sound = [(1, k / 50) for k in range(300)]
    for index, time in [*sorted([*picture, *sound], key=lambda p: p[1]), (1, 6.0), (1, 40.0)]:
        assert clock.offset(index, time, time, 0.0) == 0
    assert not clock.breaks


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("second", [0.0, -0.7, 500.0])
def test_joined_transport_streams(tmp_path: Path, shared: Path, parts: int, second: float) -> None:
    source = shared / "cases" / "dlg.mp4"
    clips = [
        rewrite(source, tmp_path / f"{k}.ts", lambda _, k=k: 10 + second * k) for k in range(parts)
    ]
    with open_media(clips[0]) as one, open_media(concatenate(tmp_path / "x.ts", clips)) as joined:
        length = one.duration
        assert joined.duration == pytest.approx(parts * length, abs=0.1 * parts)
        sound, whole = one.sound(), joined.sound()
        images = dict(joined.frames())
        assert len(images) == pytest.approx(60 * parts, abs=parts)
        for k in range(parts):  # sound and picture of each part lie at the same place
            first = round(16_000 * k * length)
            lag = best_lag(sound[16_000:32_000], whole[first + 8000 : first + 40_000]) - 8000
            assert abs(lag) < 1600 * (k + 1)
            picture = images[min(images, key=lambda t: abs(t - 2.0))]
            later = images[min(images, key=lambda t: abs(t - 2.0 - k * length))]
            assert np.abs(picture.astype(float) - later).mean() < 6
        assert any("clock" in warning.text for warning in joined.warnings)


Gaps = dict[str, tuple[float, float]]


def with_gaps(source: Path, target: Path, start: float, length: float, gaps: Gaps) -> Path:
    """Repeat a clip of this length for 40 s, from `start`; in its gap, a stream has no packets."""

    def keep(kind: str, time: float) -> bool:
        first, last = gaps.get(kind, (0.0, 0.0))
        return not first <= time - start < last

    return rewrite(source, target, lambda k: start + length * k, math.ceil(40 / length), keep)


@pytest.mark.parametrize("name", ["x.ts", "x.mpg"])
@pytest.mark.parametrize(
    ("gaps", "starts"),
    [
        ({"audio": (6.0, 21.0)}, [10]),
        ({"video": (6.0, 21.0)}, [10]),
        ({"audio": (3.0, 20.0), "video": (12.0, 30.0)}, [10, 10]),  # and the clock restarts
        ({"audio": (17.0, 31.0), "video": (3.0, 15.0)}, [10, 500]),  # and it jumps
        ({"audio": (38.0, 50.0)}, [10, 500]),  # the sound ends before the jump
    ],
)
def test_a_dropout_of_one_stream_is_no_jump(
    tmp_path: Path, shared: Path, media: Path, name: str, gaps: Gaps, starts: list[float]
) -> None:
    source = {
        "x.ts": shared / "cases" / "dlg.mp4",
        "x.mpg": media / "grid" / "bbaf2n.mpg",
    }[name]
    with open_media(source) as clip:
        length = clip.duration + 0.1  # so that copies do not overlap
        word, picture = clip.sound(1, 2), dict(clip.frames())[2.0].astype(float)
    parts = [
        with_gaps(source, tmp_path / f"{k}{name}", start, length, gaps)
        for k, start in enumerate(starts)
    ]
    copies = math.ceil(40 / length)
    with open_media(concatenate(tmp_path / name, parts)) as joined:
        assert joined.duration == pytest.approx(len(parts) * copies * length, abs=0.3)
        images = dict(joined.frames())
        for copy in range(copies * len(parts)):
            part, inside = copy // copies, copy % copies * length
            start = part * (copies * length - 0.1) + inside
            if not overlaps(inside, gaps.get("audio")):
                lag = best_lag(word, joined.sound(start + 0.5, start + 2.5)) / 16_000
                assert lag == pytest.approx(0.5, abs=0.1), copy
            if not overlaps(inside, gaps.get("video")):
                image = images[min(images, key=lambda t: abs(t - start - 2.0))]
                assert np.abs(image.astype(float) - picture).mean() < 6, copy
        announced = [w.text for w in joined.warnings if "clock" in w.text]
        assert len(announced) == len(parts) - 1
        assert all("jumps once" in text for text in announced)


@pytest.mark.parametrize(("last", "first"), [(3.0, 18.0), (3.0, 9.0), (0.0, 30.0)])
def test_a_clock_restarts_while_one_stream_drops_out(
    tmp_path: Path, shared: Path, last: float, first: float
) -> None:
    """The sound ends early in the first part and starts late in the second: it steps ahead."""
    source = shared / "cases" / "dlg.mp4"
    with open_media(source) as clip:
        length = clip.duration + 0.1
        word = clip.sound(1, 2)
    gaps = [(last, 50.0), (-1.0, first)]
    parts = [
        with_gaps(source, tmp_path / f"{k}.ts", 10, length, {"audio": gap})
        for k, gap in enumerate(gaps)
    ]
    with open_media(concatenate(tmp_path / "x.ts", parts)) as joined:
        assert joined.duration == pytest.approx(14 * length, abs=0.3)
        start = 13 * length - 0.1
        lag = best_lag(word, joined.sound(start + 0.5, start + 2.5)) / 16_000
        assert lag == pytest.approx(0.5, abs=0.1)
        assert not joined.sound(length, 7 * length + first - 0.3).any()


def overlaps(start: float, gap: tuple[float, float] | None) -> bool:
    """Whether a gap touches the 3 s from `start`."""
    return gap is not None and gap[0] < start + 3 and start < gap[1]


@pytest.mark.parametrize("error", [15.0, 5000.0, -15.0])
def test_one_damaged_timestamp_moves_nothing_else(error: float) -> None:
    video, audio = stream([(0, 60)], 0.04), stream([(0, 60)], 0.02, 1)
    audio.decoded[1000] = audio.shown[1000] = audio.shown[1000] + error
    breaks = find_breaks({0: video, 1: audio}, 10.0)
    assert breaks[0] == []
    assert [round(item.offset, 1) for item in breaks[1]] == [-error, 0.0]


def test_slides_go_on_while_the_sound_drops_out() -> None:
    slides = stream([(0.0, 150.0)], 30.0)
    audio = stream([(0.0, 150.0)], 0.02, 1)
    speech = PacketTimes()
    for order, time in zip(audio.order, audio.shown, strict=True):
        if not 6 < time < 50:
            speech.add(order, time, time, 0.02)
    assert find_breaks({0: slides, 1: speech}, 10.0) == {0: [], 1: []}
    assert find_breaks({0: slides}, 10.0) == {0: []}


def best_lag(part: np.ndarray, whole: np.ndarray) -> int:
    return int(np.argmax(np.correlate(whole, part, "valid")))


@pytest.mark.parametrize("overlap", [0.2, 0.5, 0.9])
def test_parts_that_overlap_follow_each_other(tmp_path: Path, shared: Path, overlap: float) -> None:
    source = shared / "cases" / "dlg.mp4"
    with open_media(source) as clip:
        length = clip.duration
    later = length - overlap
    parts = [rewrite(source, tmp_path / f"{k}.ts", lambda _, k=k: 10 + later * k) for k in (0, 1)]
    with open_media(concatenate(tmp_path / "x.ts", parts)) as joined:
        assert joined.duration == pytest.approx(2 * length, abs=0.1)
        assert len(list(joined.frames())) == pytest.approx(120, abs=2)
        assert any("clock" in warning.text for warning in joined.warnings)


def test_a_short_jump_of_all_streams_is_announced(tmp_path: Path, shared: Path) -> None:
    """Nobody knows whether 5 s were not received or two parts were joined; times stay."""
    source = shared / "cases" / "dlg.mp4"
    parts = [rewrite(source, tmp_path / f"{k}.ts", lambda _, k=k: 10 + 11 * k) for k in (0, 1)]
    with open_media(concatenate(tmp_path / "x.ts", parts)) as joined:
        assert joined.duration == pytest.approx(17.0, abs=0.1)
        assert any("6.0 to 11.0 s" in warning.text for warning in joined.warnings)


def test_one_damaged_timestamp_is_no_overlap() -> None:
    video, audio = stream([(0, 20)], 0.04), stream([(0, 20)], 0.02, 1)
    for times in (video, audio):
        times.stated = True
        times.decoded[len(times.decoded) // 2] -= 0.5
    assert find_breaks({0: video, 1: audio}, 10.0) == {0: [], 1: []}


@pytest.mark.parametrize("start", [-0.12, -5.0, 0.0, 2.5])
def test_a_clock_may_start_anywhere(tmp_path: Path, shared: Path, start: float) -> None:
    """Time 0 is the first content, as players show it."""
    source = shared / "cases" / "dlg.mp4"
    clip = rewrite(source, tmp_path / "x.nut", lambda _: start)
    with open_media(source) as expected, open_media(clip) as recording:
        assert recording.duration == pytest.approx(expected.duration, abs=0.06)
        lag = best_lag(expected.sound(1, 2), recording.sound())
        assert lag == pytest.approx(16_000, abs=800)
        assert next(recording.frames())[0] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("name", ["x.mkv", "x.nut", "x.mp4", "x.ts"])
def test_a_late_start_is_not_content_that_is_missing(
    tmp_path: Path, shared: Path, name: str
) -> None:
    clip = rewrite(shared / "cases" / "dlg.mp4", tmp_path / name, lambda _: 100.0)
    with open_media(clip) as whole:
        assert whole.duration == pytest.approx(6.04, abs=0.05) and not whole.warnings
    if name != "x.mp4":  # has its index at its end
        content = clip.read_bytes()
        clip.write_bytes(content[: len(content) * 6 // 10 + 7])
        with open_media(clip) as part:
            assert 2 < part.duration < 4
            if name != "x.nut":  # libav takes its length from its last packets
                assert any("cut short" in warning.text for warning in part.warnings)


@pytest.mark.parametrize(
    ("name", "seconds", "frames"),
    [("cat.mkv", 6.04, 60), ("cat_3_6.ts", 9.06, 90), ("neg.flv", 6.04, 60), ("neg.ts", 6.04, 60)],
)
def test_cases(shared: Path, name: str, seconds: float, frames: int) -> None:
    with open_media(shared / "cases" / "media" / name) as recording:
        assert recording.duration == pytest.approx(seconds, abs=0.03)
        assert len(list(recording.frames())) == pytest.approx(frames, abs=1)
        with open_media(shared / "cases" / "dlg.mp4") as clip:
            lag = best_lag(clip.sound(4.2, 5.2), recording.sound()) / 16_000
            assert lag == pytest.approx(4.2 + seconds - 6.04, abs=0.06)


def test_streams_without_timestamps(shared: Path) -> None:
    path = shared / "cases" / "media" / "raw.h264"
    with pytest.raises(MediaError, match=r"no timestamps.*ffmpeg.*raw\.mp4"), open_media(path) as x:
        x.sound()


def test_durations_are_not_guessed(shared: Path, tmp_path: Path) -> None:
    with open_media(shared / "cases" / "media" / "vbr_noxing.mp3") as recording:
        assert recording.duration == pytest.approx(12.04, abs=0.01) and not recording.warnings
    # a file that states its length and was cut is still reported: see test_media.py
    path = write_video(tmp_path / "x.mkv", [0.0, 0.1, 0.2], tone(1, 16_000))
    with open_media(path) as recording:
        assert not recording.warnings or recording.duration
