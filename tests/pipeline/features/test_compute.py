"""What is said of features that cannot be made."""

from support.clips import tone, write_video

from pipeline.core.dialogue import Segmentation, Utterance
from pipeline.features.compute import compute_features
from pipeline.features.profiles import build_extractors
from pipeline.media.decode import open_media


def test_no_face_found_and_no_picture_are_told_apart(tmp_path):
    path = write_video(
        tmp_path / "talk.mkv", [k / 10 for k in range(30)], tone(6, 16_000), size=(320, 240)
    )
    utterances = [Utterance(1, 2, "", "A"), Utterance(4, 5, "", "A")]
    with open_media(path) as media:
        segmentation = Segmentation(utterances, {})
        features = compute_features(
            media, segmentation, build_extractors("offline", modalities=("visual",))
        )
    reasons = [about["reason"] for about in features.quality["visual"]]
    assert reasons == ["no face found", "no picture at this time"]
