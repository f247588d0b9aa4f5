"""Tables and pictures."""

from matplotlib.figure import Figure

from pipeline.core.render import markdown_table, png


def test_a_markdown_table():
    table = markdown_table(["label", "F1"], [["joy", ".62"], ["anger", ".50"]])
    assert table == "| label | F1 |\n| --- | --- |\n| joy | .62 |\n| anger | .50 |\n"


def test_the_same_figure_gives_the_same_bytes():
    def draw():
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot([1, 3, 2])
        return png(figure)

    assert draw() == draw() and draw().startswith(b"\x89PNG")
