"""Claims, tables, figures, the explorer: what they show is what they were given."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from utils.report import plots, widgets
from utils.report.claims import Claims
from utils.report.memory import peak_bytes
from utils.report.show import show
from utils.report.tables import text_table

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_claims_that_fail_are_named_after_the_table_is_printed(capsys):
    claims = Claims()
    claims.add("holds", measured=1, bar="1", holds=True)
    claims.add("does not", measured="0.5", bar="1", holds=False)
    with pytest.raises(AssertionError, match="does not: 0.5, the bar is 1") as error:
        claims.table()
    assert "holds: 1" not in str(error.value)
    assert "NO" in capsys.readouterr().out


def test_a_claim_that_is_measured_again_replaces_the_first():
    claims = Claims()
    claims.add("a", measured=0, bar="1", holds=False)
    claims.add("a", measured=1, bar="1", holds=True)
    assert len(claims.claims) == 1
    claims.table()


def test_tensors_as_verdicts_become_plain():
    claims = Claims()
    claims.add("a", measured=1, bar="1", holds=torch.tensor(True))
    assert claims.claims[0].holds is True


def test_long_claims_are_wrapped(capsys):
    claims = Claims()
    claims.add("many words " * 12, measured=1, bar="1", holds=True)
    claims.table()
    assert max(map(len, capsys.readouterr().out.splitlines())) < 90


def test_table_refuses_ragged_rows():
    with pytest.raises(ValueError, match="2 columns and the header 1"):
        text_table(["a"], [["b", "c"]])


def test_show_gives_the_source_of_the_library():
    assert "def text_table" in show(text_table).data
    with pytest.raises(TypeError):
        show(len)


def test_lines_carry_their_names_at_their_ends_apart_from_each_other():
    series = {"first": ([0, 1], [1.0, 2.0]), "second": ([0, 1], [1.0, 2.001])}
    axes = plots.lines(series, title="They meet", xlabel="step", ylabel="loss")
    assert [text.get_text() for text in axes.texts] == ["first", "second"]
    places = [text.get_window_extent().y0 for text in axes.texts]
    assert abs(places[0] - places[1]) > 8
    assert axes.get_title("left") == "They meet"
    styles = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(styles) == 2


def test_loss_curve_draws_the_records():
    records = [{"step": 0, "loss": 3.0}, {"step": 1, "loss": 2.0}]
    axes = plots.loss_curve({"run": records}, title="It falls")
    assert axes.lines[0].get_ydata().tolist() == [3.0, 2.0]
    assert "nats" in axes.get_ylabel()


def test_bars_start_at_zero():
    axes = plots.bars({"a": 2.0, "b": 3.0}, title="b is larger", xlabel="tokens")
    assert axes.get_xlim()[0] == 0
    groups = {"one": {"x": 1.0, "y": 2.0}, "two": {"x": 0.5, "y": 3.0}}
    axes = plots.grouped_bars(groups, title="y is larger", ylabel="tokens")
    assert axes.get_ylim()[0] == 0 and len(axes.patches) == 4


def test_peak_memory_counts_what_is_held_at_once():
    assert peak_bytes(lambda: torch.zeros(1000)) == 4000
    assert peak_bytes(lambda: [torch.zeros(1000) for _ in range(3)]) == 12_000
    assert peak_bytes(lambda: sum(float(torch.zeros(1000).sum()) for _ in range(3))) < 5000
    x = torch.zeros(1000)
    assert peak_bytes(lambda: x.view(10, 100)) == 0  # a view holds nothing of its own
    assert peak_bytes(lambda: x.add_(1)) == 0


def explorer():
    maps = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).tril()
    maps = (maps / maps.sum(-1, keepdim=True)).numpy()
    return maps, widgets.attention_explorer(maps, ["a", " b", "\n", "d"])


def test_explorer_redraws_when_a_choice_changes():
    _, box = explorer()
    (layer, head, token), picture = box.children[0].children, box.children[1]
    assert (layer.max, head.max, token.value) == (1, 2, 3)
    seen = {bytes(picture.value)}
    for control, value in ((layer, 1), (head, 2), (token, 1)):
        control.value = value
        assert bytes(picture.value) not in seen, control.description
        seen.add(bytes(picture.value))
    assert all(data.startswith(b"\x89PNG") for data in seen)
    assert not plt.get_fignums()  # no figure is left open


def test_explorer_draws_the_chosen_map():
    maps, _ = explorer()
    figure = widgets.draw_attention(maps, ["a", " b", "\n", "d"], layer=1, head=2, token=3)
    whole, row = figure.axes[:2]
    assert np.allclose(whole.images[0].get_array(), maps[1, 2])
    assert np.allclose([bar.get_width() for bar in row.patches], maps[1, 2, 3])
    assert [label.get_text() for label in row.get_yticklabels()] == ["a", "·b", "↵", "d"]
    best = int(maps[1, 2, 3].argmax())
    assert widgets.attended(maps, 1, 2, 3)[0][0] == best


def test_explorer_refuses_maps_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\(L, H, 3, 3\)"):
        widgets.attention_explorer(np.zeros((2, 3, 4, 4)), ["a", "b", "c"])


def test_sampling_explorer_draws_anew_when_a_slider_moves():
    logits = torch.tensor([3.0, 2.0, 1.0, 0.0])
    box = widgets.sampling_explorer(logits, ["a", " b", "\n", "d"], n_draws=50)
    (temperature, top_p, min_p), seed, picture = box.children[0].children, *box.children[1:]
    pictures = [bytes(picture.value)]
    for control, value in ((temperature, 0.0), (temperature, 2.0), (top_p, 0.5), (seed, 3)):
        control.value = value
        pictures.append(bytes(picture.value))
    assert all(image.startswith(b"\x89PNG") for image in pictures)
    assert len(set(pictures)) >= 4
    assert min_p.value == 0.0


def test_sampling_figure_names_the_draw_and_refuses_what_does_not_fit():
    figure = widgets.draw_sampling(
        torch.tensor([0.0, 9.0]), ["a", " b"], {"temperature": 0.0}, seed=0, n_draws=5
    )
    title = figure.axes[0].get_title(loc="left")
    assert title == "1 of 2 tokens are ever drawn, the most frequent 100% of the time"
    plt.close(figure)
    with pytest.raises(ValueError, match="one a name"):
        widgets.sampling_explorer(torch.zeros(3), ["a"])


def test_the_dashboard_draws_what_was_recorded_and_leaves_out_the_rest():
    run = [{"iteration": k, "reward": 2.0 * k, "kl": 0.5} for k in range(3)]
    run[1]["gold"] = 0.25
    panels = plots.rlhf_dashboard({"a": run, "b": run[:2]}, title="Both rise")
    assert [panel.get_title(loc="left") for panel in panels] == [
        plots.DASHBOARD[key] for key in ("reward", "gold", "kl")
    ]
    first, gold = panels[0].get_lines(), panels[1].get_lines()
    assert list(first[0].get_ydata()) == [0.0, 2.0, 4.0] and len(first) == 2
    assert list(gold[0].get_xdata()) == [1] and list(gold[0].get_ydata()) == [0.25]
    assert {line.get_linestyle() for line in first} == {"-", "--"}
