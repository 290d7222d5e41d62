"""What a pack of evidence rests on, against independent libraries, and the recorded baseline."""

import itertools
import json
import math
import random
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from scipy.stats.contingency import relative_risk
from sklearn.metrics import cohen_kappa_score

from tests.claims.registry import all_claims, read
from tests.test_capstone import needs_dvc
from utils.capstone import baseline
from utils.capstone.baseline import MADE_UP, RIGHT, against_baseline, baseline_table
from utils.capstone.claims import Claim, reason_against, unsupported_claims
from utils.capstone.energy import Estimate, product_of, training_energy
from utils.capstone.graph import stages_to_run
from utils.capstone.lineage import Lineage, trace_lineage
from utils.capstone.params import PARAMS, Params, WrongParams, params_text
from utils.capstone.project import dvc
from utils.capstone.records import RECORD
from utils.capstone.stages import STAGES, records_of
from utils.capstone.trial import pipeline_graph, trial_run
from utils.evaluate.relative_risk import relative_reduction
from utils.evaluate.weighted_kappa import weighted_kappa
from utils.report.flow import columns_of


def drawn_pipeline(seed):
    """Return needs and makes of a random pipeline, and its graph for networkx."""
    draw = random.Random(seed)
    names = [f"s{k}" for k in range(7)]
    makes = {name: [f"{name}.a", f"{name}.b"] for name in names}
    needs = {name: [f"{name}.params"] for name in names}
    for later, first in itertools.combinations(reversed(range(7)), 2):
        if draw.random() < 0.3:
            needs[names[later]].append(draw.choice(makes[names[first]]))
    draw.shuffle(names)
    graph = nx.DiGraph()
    graph.add_nodes_from(names)
    for name in names:
        for path in needs[name]:
            if path.endswith((".a", ".b")):
                graph.add_edge(path.partition(".")[0], name)
    return {n: needs[n] for n in names}, {n: makes[n] for n in names}, graph


@pytest.mark.parametrize("seed", range(30))
def test_stale_are_the_descendants_of_who_reads_the_change_in_topological_order(seed):
    needs, makes, graph = drawn_pipeline(seed)
    draw = random.Random(seed + 100)
    changed = [f"s{draw.randrange(7)}.params", f"s{draw.randrange(7)}.a"]
    readers = {name for name in needs if set(changed) & set(needs[name])}
    stale = readers.union(*(nx.descendants(graph, name) for name in readers))
    place = list(needs).index
    whole = nx.lexicographical_topological_sort(graph, key=place)
    assert stages_to_run(needs, makes, changed) == [name for name in whole if name in stale]


@pytest.mark.parametrize("seed", range(30))
def test_lineage_holds_the_ancestors_each_after_its_own(seed):
    needs, makes, graph = drawn_pipeline(seed)
    inside = {path for paths in makes.values() for path in paths}
    records = {
        name: {
            "inputs": {path: f"h {path}" for path in needs[name]},
            "outputs": {path: f"h {path}" for path in makes[name]},
        }
        for name in needs
    }
    for name in needs:
        found = trace_lineage(records, f"{name}.a")
        ancestors = nx.ancestors(graph, name) | {name}
        assert set(found.stages) == ancestors and len(found.stages) == len(ancestors)
        assert list(found.stages) in list(nx.all_topological_sorts(graph.subgraph(ancestors)))
        assert found.raw == {
            path: f"h {path}" for a in ancestors for path in needs[a] if path not in inside
        }


def test_a_broken_link_names_file_and_stages():
    records = {
        "text": {"inputs": {"raw": "1"}, "outputs": {"rows": "2"}},
        "base": {"inputs": {"rows": "9", "raw": "1"}, "outputs": {"weights": "3"}},
    }
    with pytest.raises(ValueError, match="base read another version of rows than text wrote"):
        trace_lineage(records, "weights")
    assert trace_lineage(records, "rows") == Lineage(("text",), {"raw": "1"})
    records["base"]["inputs"] = {"rows": "2", "raw": "8"}
    with pytest.raises(ValueError, match="base and text read two versions of raw"):
        trace_lineage(records, "weights")
    with pytest.raises(KeyError, match="no record has raw among its outputs"):
        trace_lineage(records, "raw")


def test_two_makers_and_circles_are_named():
    with pytest.raises(ValueError, match="f is made by a and by b"):
        stages_to_run({"a": [], "b": []}, {"a": ["f"], "b": ["f"]}, [])
    with pytest.raises(ValueError, match="a circle among a, b"):
        stages_to_run({"a": ["g"], "b": ["f"], "c": []}, {"a": ["f"], "b": ["g"], "c": []}, [])


@needs_dvc
@pytest.mark.skipif(sys.platform == "win32", reason="the stages' command is a shell's")
@pytest.mark.parametrize("changed", [["raw"], ["own"], ["raw", "more"]])
def test_dvc_runs_the_same_stages(changed, tmp_path, capfd):
    needs = {"end": ["b", "c"], "c": ["a", "own"], "b": ["a"], "a": ["raw"], "side": ["more"]}
    needs = {name: [f"{path}.txt" for path in paths] for name, paths in needs.items()}
    makes = {name: [f"{name}.txt"] for name in needs}
    lines = ["stages:"]
    for name, paths in needs.items():
        lines += [f"  {name}:", f"    cmd: cat {' '.join(paths)} > {name}.txt", "    deps:"]
        lines += [*(f"      - {path}" for path in paths), "    outs:", f"      - {name}.txt"]
    (tmp_path / "dvc.yaml").write_text("\n".join(lines) + "\n")
    for path in ("raw", "own", "more"):
        (tmp_path / f"{path}.txt").write_text(path)

    dvc(tmp_path, "init", "--quiet", "--no-scm")
    dvc(tmp_path, "repro", "--quiet")
    capfd.readouterr()
    for path in changed:
        (tmp_path / f"{path}.txt").write_text("changed")
    dvc(tmp_path, "repro")
    said = capfd.readouterr().out
    ran = {line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")}
    assert ran == set(stages_to_run(needs, makes, [f"{path}.txt" for path in changed]))


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """A project in which all stages have run."""
    root = tmp_path_factory.mktemp("trial")
    assert trial_run(root) == list(STAGES)
    return root


def test_what_a_change_runs_again_is_what_the_graph_says(trial):
    needs, makes = pipeline_graph()
    assert trial_run(trial) == []
    assert trial_run(trial, method="grpo") == stages_to_run(needs, makes, ["method"])
    way = trace_lineage(records_of(trial), "safety/model.safetensors")
    assert way.stages == tuple(name for name in STAGES if name not in ("evaluate", "report"))
    assert set(way.raw) == {f"clinic/{name}.jsonl" for name in ("documents", "chats", "pairs")}
    rows = (trial / "text" / "chats.jsonl").read_bytes()
    (trial / "text" / "chats.jsonl").write_bytes(rows.replace(b"a", b"b", 1))
    again = trial_run(trial, method="grpo")
    assert again == ["text", "report"], "the same bytes are made again, and no model"
    assert (trial / "text" / "chats.jsonl").read_bytes() == rows
    with pytest.raises(WrongParams):
        trial_run(trial, method="none")


@pytest.mark.parametrize("seed", range(20))
def test_kappa_is_that_of_scikit_learn(seed):
    draw = np.random.default_rng(seed)
    n_levels = int(draw.integers(2, 7))
    first, second = draw.integers(0, n_levels, (2, int(draw.integers(4, 40)))).tolist()
    if len({*first, *second}) == 1:
        pytest.skip("one grade alone")
    want = cohen_kappa_score(first, second, weights="quadratic", labels=range(n_levels))
    assert weighted_kappa(first, second, n_levels) == pytest.approx(want)


@pytest.mark.parametrize("seed", range(20))
def test_the_interval_is_that_of_scipy(seed):
    draw = np.random.default_rng(seed)
    n_before, n_after = (int(n) for n in draw.integers(10, 500, 2))
    before, after = int(draw.integers(1, n_before)), int(draw.integers(1, n_after))
    level = float(draw.uniform(0.5, 0.99))
    found = relative_reduction(before, n_before, after, n_after, level)
    ratio = relative_risk(after, n_after, before, n_before)
    low, high = ratio.confidence_interval(level)
    want = (1 - ratio.relative_risk, 1 - high, 1 - low)
    assert tuple(found) == pytest.approx(want, rel=1e-6, abs=1e-6)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draw = np.random.default_rng(0)
    n, p_before, p_after, covered = 150, 0.4, 0.2, 0
    for before, after in draw.binomial(n, [p_before, p_after], (2000, 2)):
        found = relative_reduction(int(before), n, int(after), n)
        covered += found.low <= 0.5 <= found.high
    assert 0.93 <= covered / 2000 <= 0.97


def test_the_range_of_a_product_by_drawing():
    draw = np.random.default_rng(0)
    factors = [Estimate(100, 80, 130), Estimate(0.4, 0.2, 0.6), Estimate(1.2, 1.1, 1.6)]
    corners = [math.prod(corner) for corner in itertools.product(*(f[1:] for f in factors))]
    together = product_of(factors)
    assert together[1:] == pytest.approx((min(corners), max(corners)))
    table = np.array(factors)
    drawn = np.exp(draw.uniform(np.log(table[:, 1]), np.log(table[:, 2]), (20_000, 3))).prod(1)
    assert together.low <= drawn.min() and drawn.max() <= together.high
    # Errors with a normal logarithm whose standard deviation is the distance: so is the product's.
    up = np.log(table[:, 2] / table[:, 0])
    logs = (draw.standard_normal((200_000, 3)) * up).sum(1)
    alone = product_of(factors, independent=True)
    assert math.log(alone.high / alone.value) == pytest.approx(logs.std(), rel=0.02)
    assert together.low < alone.low < alone.value < alone.high < together.high


def test_an_overhead_below_one_and_odd_factors_are_refused():
    one = Estimate(1, 1, 1)
    with pytest.raises(ValueError, match="an overhead below 1 is impossible"):
        training_energy(one, one, Estimate(1.1, 0.9, 1.2))
    for bad in (Estimate(0, 0, 1), Estimate(3, 1, 2), Estimate(math.nan, 1, 2)):
        with pytest.raises(ValueError, match="must be positive and lie in its own range"):
            product_of([one, bad])
    assert training_energy(Estimate(10, 10, 10), Estimate(0.5, 0.5, 0.5), one) == (5, 5, 5)


def test_a_published_run_by_the_formula():
    """BLOOM: hours times the power on the data sheet times the grid, as published."""
    hours, one = 1_082_990, Estimate(1, 1, 1.2)
    kwh = training_energy(Estimate(hours, hours, hours), Estimate(0.4, 0.3, 0.4), one)
    assert kwh.value == pytest.approx(433_196, abs=1)
    assert kwh.value * 57 / 1e6 == pytest.approx(24.69, abs=0.01)


@pytest.mark.parametrize("seed", range(20))
def test_what_a_program_prints_from_a_record_is_supported(seed):
    draw = random.Random(seed)
    value = draw.choice([draw.uniform(-3, 3), draw.uniform(0, 1e6), draw.randrange(1000)])
    for places in range(5):
        number = f"{value:.{places}f}"
        if float(number) == 0 and value < 0:
            continue  # "-0"
        claim = Claim(f"We saw {number}, and wrote it down.", number, "r", ("x", "y"))
        assert reason_against(claim, {"r": {"x": {"y": value}}}) == ""
        other = claim._replace(text=f"We saw {number}7.")
        assert reason_against(other, {"r": {"x": {"y": value}}}).startswith("not in the sentence")


def test_reasons_are_lines_in_the_order_of_the_claims():
    claims = [
        Claim("a 1", "1", "r", ("x",)),
        Claim("b 2", "2", "r", ("x",)),
        Claim("c", "1", "s", ()),
    ]
    assert unsupported_claims(claims, {"r": {"x": 1}}) == [
        "b 2: differs from the record, which says 1",
        "c: no record is called s",
    ]


def test_columns_of_a_drawing():
    assert columns_of({"c": ["b", "a"], "b": ["a"]}) == {"a": 0, "b": 1, "c": 2}
    with pytest.raises(ValueError, match="a circle among"):
        columns_of({"a": ["b"], "b": ["a"]})


@pytest.mark.parametrize("domain", ["clinic", "contracts"])
def test_the_baseline_is_what_was_recorded(domain):
    record = read(all_claims()[f"17_{domain}"])
    for name, values in baseline.BASELINE[domain].items():
        assert values == [run[name] for run in record["runs"].values()], name
    assert {RIGHT, MADE_UP, "domain: right, sft"} <= set(baseline.BASELINE[domain])


def metrics_with(right, made_up):
    return {
        RIGHT: {"value": right, "low": right - 0.1, "high": right + 0.1},
        MADE_UP: {"value": made_up, "low": made_up - 0.1, "high": made_up + 0.1},
    }


def test_the_baseline_is_beaten_on_both_counts_or_it_stands():
    recorded = baseline.BASELINE["clinic"]
    best, mean = max(recorded[RIGHT]), sum(recorded[MADE_UP]) / 3
    for right, made_up, is_beaten in (
        (best, mean - 0.01, True),
        (best - 0.01, mean - 0.01, False),
        (best, mean, False),
        (1.0, mean + 0.1, False),
    ):
        rows = against_baseline("clinic", metrics_with(right, made_up))
        assert all(one["holds"] for one in rows) == is_beaten
        assert ("is beaten" in baseline_table(rows)) == is_beaten


def test_the_command_compares_a_finished_run(tmp_path, capsys):
    def run(**values):
        (tmp_path / PARAMS).write_text(params_text(Params(**values)), encoding="utf-8")
        return baseline.main([str(tmp_path)])

    assert baseline.main([str(tmp_path / "none")]) == 2
    assert run(budget="smoke") == 2
    said = capsys.readouterr().err
    assert "there is a baseline of the model base for clinic and contracts" in said
    assert run() == 2
    assert "no finished run" in capsys.readouterr().err
    folder = Path(tmp_path / "evaluate")
    folder.mkdir()
    for right, made_up, status in ((1.0, 0.0, 0), (0.5, 0.0, 1)):
        record = {"metrics": metrics_with(right, made_up)}
        (folder / RECORD).write_text(json.dumps(record), encoding="utf-8")
        assert run() == status
    assert "The baseline stands." in capsys.readouterr().out
