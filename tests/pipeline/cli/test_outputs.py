"""Where the results of each input go."""

from pathlib import Path

from pipeline.cli.outputs import output_bases
from pipeline.media.inputs import Input


def test_results_get_the_shortest_unique_names(tmp_path):
    def bases(*paths, out=None):
        inputs = [Input(tmp_path / p, str(Path(p).parent)) for p in paths]
        return [str(b.relative_to(out or tmp_path)) for b in output_bases(inputs, out)]

    out = tmp_path / "out"
    assert bases("a/x.mp4", "b/y.mp4", out=out) == ["x", "y"]
    assert bases("a/x.mp4", "b/x.mp4", "y.mp4", out=out) == ["a/x", "b/x", "y"]
    assert bases("a/x.mp4", "a/x.wav", out=out) == ["x.mp4", "x.wav"]
    assert bases("x.mp4", "a/x.mp4", out=out) == ["x", "a/x"]
    assert bases("a/x.mp4", "b/X.mp4", "a/x.wav") == ["a/x.mp4", "b/X", "a/x.wav"]
    named = [Input(tmp_path / "a" / "x.mp4"), Input(tmp_path / "b" / "x.mp4")]
    assert [str(b.relative_to(out)) for b in output_bases(named, out)] == ["a/x", "b/x"]
