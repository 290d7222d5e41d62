"""The evidence pack: what it says is what records say, and every change of either is noticed."""

import hashlib
import importlib.util
import json
import shutil
from io import BytesIO
from pathlib import Path

import pytest

from tests.test_capstone import own_text, write_params
from utils.capstone import project as projects
from utils.capstone.exam import LOOKED_AT, exam_seed, fresh_questions
from utils.capstone.records import RECORD, read_json, read_rows, write_json, write_rows
from utils.capstone.stages import STAGES, run_stage
from utils.cli import main as course
from utils.evidence import facts as evidence_facts
from utils.evidence import pack as packs
from utils.evidence.annex_iv import POINTS
from utils.evidence.check import DOCUMENT_IDS, check_pack
from utils.evidence.derived import differences, holm, reduction
from utils.evidence.page import Number, claims_of, open_points, page_from, sentences_of, to_data
from utils.evidence.pdf import png_pages
from utils.evidence.risks import read_risks, register_faults
from utils.evidence.sign import SIGNATURE, sign_pack
from utils.evidence.web import loads, pack_html
from utils.world.facts import build_world
from utils.world.questions import questions
from utils.zoo.files import file_hash

HAS_TYPST = importlib.util.find_spec("typst") is not None
needs_typst = pytest.mark.skipif(not HAS_TYPST, reason="Typst is not installed (extra ops)")
STRANGE = '<img src="https://example.org/a.png" onerror="x()"> #panic() $a$ *b* 中文 עברית'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project whose stages have run on the smallest budget, with its pack."""
    root = tmp_path_factory.mktemp("evidence") / "project"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(projects, "has_dvc", lambda: False)
        projects.init_project(root, say=str)
        write_params(root)
        projects.run_project(root, say=str)
    return root


@pytest.fixture
def copied(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "project"))


def edit(path: Path, change) -> None:
    """Change what a JSON file holds."""
    found = json.loads(path.read_text("utf-8"))
    change(found)
    write_json(path, found)


def edit_pack(root: Path, change) -> None:
    """Change the pack, and all that is made of it, as somebody who hides it would."""
    folder = root / "report"
    edit(folder / packs.PACK, change)
    data, pages = packs.read_pack(folder / packs.PACK)
    facts = packs.facts_of(root, read_json(folder / RECORD)["metrics"])
    digest = hashlib.sha256((folder / packs.PACK).read_bytes()).hexdigest()
    (folder / packs.HTML).write_text(pack_html(data, pages, digest), "utf-8", newline="\n")
    if any(page.id == "model_card" for page in pages):
        text = packs.card_text(facts, pages)
        (folder / packs.CARD).write_text(text, "utf-8", newline="\n")
    (folder / packs.PDF).unlink(missing_ok=True)
    edit(folder / RECORD, lambda record: settle(root, record))


def settle(root: Path, record: dict) -> None:
    """Give a record of the stage `report` the hashes that its files have now, and no PDF."""
    record["metrics"].pop("pdf", None)
    record["outputs"] = {path: file_hash(root / path) for path in record["outputs"]}


def page_in(data: dict, page_id: str) -> dict:
    return next(page for page in data["pages"] if page["id"] == page_id)


def numbers_in(found) -> list[dict]:
    """Return all parts of plain data that are numbers."""
    if isinstance(found, dict):
        inside = [one for value in found.values() for one in numbers_in(value)]
        return [found, *inside] if "number" in found else inside
    return [one for value in found for one in numbers_in(value)] if isinstance(found, list) else []


def test_a_pack_of_a_finished_run_has_no_fault(made):
    assert check_pack(made) == []
    _, pages = packs.read_pack(made / "report" / packs.PACK)
    assert tuple(page.id for page in pages) == DOCUMENT_IDS
    assert len(claims_of(pages)) > 200
    annex = next(page for page in pages if page.id == "annex_iv")
    assert [section.point for section in annex.sections] == list(POINTS)
    assert {"1", *(f"1({c})" for c in "abcdefgh"), "2", *(f"2({c})" for c in "abcdefgh")} | set(
        "3456789"
    ) == set(POINTS)


def test_stages_that_are_measured_are_those_of_the_pipeline():
    assert list(STAGES) == [*evidence_facts.STAGES, evidence_facts.FOLDER]


def test_every_number_of_a_document_is_a_claim(made):
    data, pages = packs.read_pack(made / "report" / packs.PACK)
    parts = [part for page in pages for _, one in sentences_of(page) for part in one]
    assert sum(isinstance(part, Number) for part in parts) == len(numbers_in(data["pages"]))
    assert [page_from(json.loads(json.dumps(to_data(page)))) for page in pages] == pages


def test_the_same_records_give_the_same_bytes(copied):
    folder = copied / "report"
    names = [*packs.FILES, packs.PDF] if HAS_TYPST else packs.FILES
    before = {name: (folder / name).read_bytes() for name in names}
    run_stage("report", copied, say=str)
    assert {name: (folder / name).read_bytes() for name in names} == before
    assert check_pack(copied) == []


@needs_typst
def test_the_pdf_is_for_archives_and_screen_readers_and_holds_every_document(made):
    from pypdf import PdfReader

    record = read_json(made / "report" / RECORD)
    assert record["metrics"]["pdf"]["standard"] == "PDF/A-2A, PDF/UA-1"
    reader = PdfReader(made / "report" / packs.PDF)
    text = [page.extract_text() for page in reader.pages]
    data, pages = packs.read_pack(made / "report" / packs.PACK)
    digest = hashlib.sha256((made / "report" / packs.PACK).read_bytes()).hexdigest()
    assert digest in text[0].replace("\n", "") and "Signature" in text[0]
    for page in pages:
        assert page.title in "".join(text[1]), "the contents name it"
        assert any(one.lstrip().split("\n")[1:2] == [page.title] for one in text[2:]), page.title
    for number, one in enumerate(text, 1):
        assert f"{number} / {len(text)}" in one
    assert len(png_pages(data, pages, digest, ppi=10)) == len(text)


def set_number(page_id: str, value: str):
    def change(data):
        numbers_in(page_in(data, page_id))[0]["number"] = value

    return change


def drop_section(page_id: str, point: str):
    def change(data):
        page = page_in(data, page_id)
        page["sections"] = [s for s in page["sections"] if s["point"] != point]

    return change


def drop_owner(data):
    for section in page_in(data, "safety")["sections"]:
        for block in section["blocks"]:
            if "owner" in block:
                block["owner"] = " "


def first_words(data, words: str):
    page_in(data, "energy")["sections"][1]["blocks"][0]["paragraph"][0] = words


def hide_as_name(data):
    cell = page_in(data, "evaluation")["sections"][0]["blocks"][0]["rows"][0]
    cell[1] = [{"name": "99"}]


def other_hash(data):
    rows = page_in(data, "lineage")["sections"][2]["blocks"][1]["rows"]
    rows[0][1][0]["entry"] = "00"


@pytest.mark.parametrize(
    "change, told",
    [
        (set_number("evaluation", "77"), "differs from the record, which says 8"),
        (set_number("evaluation", "many"), "'many' is no number"),
        (lambda data: first_words(data, "It took 3 Wh. "), "a number that no record supports"),
        (lambda data: first_words(data, "It cost nothing. "), "Formula and error is not what the"),
        (hide_as_name, "Evaluation report > How it was measured is not what the records say"),
        (
            lambda data: data["pages"].append(page_in(data, "safety") | {"id": "more"}),
            "the document more (Safety report) is none that a pack has",
        ),
        (
            lambda data: data["pages"].append(page_in(data, "safety")),
            "the document safety (Safety report) is none that a pack has, or is there twice",
        ),
        (
            lambda data: page_in(data, "safety")["sections"].append(
                {"title": "Praise", "point": "", "blocks": [{"paragraph": ["It is safe."]}]}
            ),
            "Safety report is not what the records say",
        ),
        (
            lambda data: page_in(data, "safety").update(about=["All is well."]),
            "Safety report is not what the records say",
        ),
        (
            lambda data: page_in(data, "safety")["sections"][3]["blocks"].pop(),
            "Safety report > What was not tried is not what the records say",
        ),
        (drop_section("annex_iv", "2(f)"), "Annex IV, point 2(f) (Changes that are planned"),
        (drop_section("annex_iv", "9"), "Annex IV, point 9 (Monitoring after"),
        (
            lambda data: page_in(data, "annex_iv")["sections"][3].update(blocks=[]),
            "nothing stands under this heading",
        ),
        (lambda data: data["pages"].pop(), "the document licences is missing"),
        (drop_owner, "the open point red-team has no owner"),
        (lambda data: page_in(data, "safety").update(title="Safe in 100"), "in the heading"),
        (lambda data: data["subject"].update(method="ppo"), "title or subject is not what"),
        (other_hash, "does not say '00' at outputs > text/"),
    ],
)
def test_a_change_of_the_pack_is_named_even_where_all_files_were_made_again(change, told, copied):
    edit_pack(copied, change)
    faults = check_pack(copied)
    assert any(told in fault for fault in faults), faults


def change_metric(root):
    metric = ("metrics", "known: right, safety")
    edit(root / "evaluate" / RECORD, lambda r: r[metric[0]][metric[1]].update(value=0.9876))


def swap_hashes(root):
    def change(record):
        a, b = list(record["outputs"])[:2]
        outputs = record["outputs"]
        outputs[a], outputs[b] = outputs[b], outputs[a]

    edit(root / "sft" / RECORD, change)


def other_base(root):
    edit(root / "sft" / RECORD, lambda r: r["inputs"].update({"base/model.safetensors": "0" * 64}))


def unknown_input(root):
    edit(root / "sft" / RECORD, lambda r: r["inputs"].update({"found.jsonl": "0" * 64}))


def change_derived(root):
    edit(root / "report" / RECORD, lambda r: r["metrics"]["sum"].update(tokens=1))


def other_course(root):
    def change(record):
        record["metrics"]["environment"]["course"]["version"] = "0"

    edit(root / "report" / RECORD, change)


def append(name: str, words: str):
    def change(root):
        with open(root / name, "a", encoding="utf-8", newline="\n") as file:
            file.write(words)

    return change


def replace(name: str, old: str, new: str):
    def change(root):
        text = (root / name).read_text("utf-8")
        assert old in text
        (root / name).write_text(text.replace(old, new, 1), "utf-8", newline="\n")

    return change


def remove(name: str):
    return lambda root: (root / name).unlink()


@pytest.mark.parametrize(
    "change, told",
    [
        (change_metric, "differs from the record, which says 0.9876"),
        (change_metric, "evaluate/record.json is not the record that the pack was made from"),
        (swap_hashes, "has another hash than the one that the stage sft wrote"),
        (swap_hashes, "reward read another version of sft/"),
        (other_base, "sft read another version of base/model.safetensors than base wrote"),
        (unknown_input, "found.jsonl is no raw text, and no stage made it"),
        (other_course, "the pack was made with version 0 of the course, and this is"),
        (change_derived, "sum > tokens is 1, and"),
        (append("clinic/chats.jsonl", "{}\n"), "clinic/chats.jsonl has another hash"),
        (append("safety/model.safetensors", "x"), "safety/model.safetensors has another hash"),
        (remove("sft/model.safetensors"), "sft/model.safetensors is missing, which the stage sft"),
        (remove("align/record.json"), "there is no record of align"),
        (remove("report/pack.html"), "report/pack.html is missing"),
        (remove("report/record.json"), "report/record.json is missing or damaged"),
        (replace("report/pack.json", "{", "["), "pack.json can't be read as a pack"),
        (replace("report/pack.json", '"sections"', '"chapters"'), "can't be read"),
        (
            replace("report/pack.html", "</body>", '<img src="https://example.org/x"></body>'),
            "loads or runs something: <img src='https://example.org/x'>",
        ),
        (replace("report/pack.html", "Safety report", "Safe"), "does not show what pack.json says"),
        (replace("report/README.md", "language: en", "language: [en"), "metadata can't be read"),
        (replace("report/README.md", "value: 0.", "value: 9."), "the card's metadata says 9."),
        (replace("report/README.md", "license: other", "license: mit"), "says license: 'mit'"),
        (replace("report/README.md", "# Model card", "# Card"), "README.md does not show what"),
    ],
)
def test_a_change_of_a_record_or_file_is_named(change, told, copied):
    change(copied)
    faults = check_pack(copied)
    assert any(told in fault for fault in faults), faults


@needs_typst
def test_another_pdf_is_noticed(copied):
    path = copied / "report" / packs.PDF
    path.write_bytes(path.read_bytes() + b"\n")
    assert "report/pack.pdf is not the PDF of this pack" in check_pack(copied)[0]
    path.unlink()
    assert "report/pack.pdf is missing" in check_pack(copied)[0]


def test_without_typst_the_pack_has_no_pdf_and_the_command_says_how(copied, monkeypatch, capsys):
    monkeypatch.setattr(packs, "has_typst", lambda: False)
    monkeypatch.setattr(projects, "has_dvc", lambda: False)
    assert course(["capstone", "report", str(copied)]) == 0
    assert "pip install typst" in capsys.readouterr().out
    assert not (copied / "report" / packs.PDF).exists() and check_pack(copied) == []


def test_what_a_model_says_is_never_read_as_markup(copied):
    path = copied / "evaluate" / "answers.jsonl"
    rows = read_rows(path)
    for row in rows:
        row |= {"safety": STRANGE, "safety made up": True, "prompt": "a" * 300}
    write_rows(path, rows)
    outputs = {"evaluate/answers.jsonl": file_hash(path)}
    edit(copied / "evaluate" / RECORD, lambda record: record["outputs"].update(outputs))
    run_stage("report", copied, say=str)
    text = (copied / "report" / packs.HTML).read_text("utf-8")
    assert loads(text) == [] and "&lt;img src=&quot;https" in text and "中文 עברית" in text
    assert check_pack(copied) == []
    if HAS_TYPST:
        from pypdf import PdfReader

        data = (copied / "report" / packs.PDF).read_bytes()
        words = "".join(page.extract_text() for page in PdfReader(BytesIO(data)).pages)
        assert "#panic()" in words and "*b*" in words


@pytest.mark.parametrize(
    "text",
    [
        "<script>x()</script>",
        "<p onclick='x()'>",
        "<p style='background: url(//example.org/a)'>",
        "<style>@import 'https://example.org/a.css';</style>",
        "<link rel='stylesheet' href='a.css'>",
        "<a href='https://example.org'>a</a>",
        "<a href='javascript:x()'>a</a>",
        "<svg><image xlink:href='https://example.org/a.png'/></svg>",
        "<svg><image href='https://example.org/a.png'/></svg>",
        "<img srcset='https://example.org/a.png 2x'>",
        "<meta http-equiv='refresh' content='0; url=https://example.org'>",
        "<iframe></iframe>",
        "<IMG SRC=https://example.org/a.png>",
    ],
)
def test_whatever_loads_or_runs_is_found(text):
    assert loads(text)


def test_a_folder_of_ones_own_opens_what_nobody_can_know(tmp_path, monkeypatch):
    monkeypatch.setattr(projects, "has_dvc", lambda: False)
    root = tmp_path / "project"
    root.mkdir()
    folder = root / "Tagebücher 日記"
    folder.mkdir()
    (folder / "erstes.txt").write_text(own_text(60).replace("boats", "Böte"), encoding="utf-8")
    write_params(root, domain=folder.name)
    projects.run_project(root, say=str)
    assert check_pack(root) == []
    data, pages = packs.read_pack(root / "report" / packs.PACK)
    opened = {point.open for point in open_points(pages)}
    assert opened >= {"data-purpose", "data-people", "data-collection", "data-licence"}
    assert opened >= {"own-data-licence", "domain-exam", "risk R-08", "risk R-16"}
    assert data["subject"]["domain"] == folder.name
    assert "CC BY" not in json.dumps(page_in(data, "data_sheet"))


def test_only_a_pack_without_faults_is_signed_and_only_as_it_is(copied, capsys):
    sign = ["capstone", "sign", str(copied), "--name", "Zoë Example", "--role", "AI governance"]
    path = copied / "report" / packs.HTML
    good = path.read_bytes()
    path.write_bytes(good + b" ")
    assert course(sign) == 1
    assert "can't be signed" in capsys.readouterr().out
    assert not (copied / "report" / SIGNATURE).exists()
    path.write_bytes(good)
    assert course(["capstone", "sign", str(copied), "--role", "x"]) == 2
    assert "--name must be words" in capsys.readouterr().err
    assert course(sign) == 0
    said = capsys.readouterr().out
    assert "open, safety lead: Who tries" in said and "Signed by Zoë Example" in said
    assert course(["capstone", "check", str(copied)]) == 0
    signature = read_json(copied / "report" / SIGNATURE)
    _, pages = packs.read_pack(copied / "report" / packs.PACK)
    assert set(signature["open points accepted"]) == {one.open for one in open_points(pages)}
    capsys.readouterr()
    path.write_bytes(good + b" ")
    assert course(["capstone", "check", str(copied)]) == 1
    assert (
        "the signature of Zoë Example no longer holds: report/pack.html" in capsys.readouterr().out
    )
    path.write_bytes(good)
    edit(copied / "report" / SIGNATURE, lambda s: s.update(name="Somebody Else"))
    assert any("was changed after it was written" in fault for fault in check_pack(copied))
    with pytest.raises(ValueError, match="--role must be words on one line"):
        sign_pack(copied, "Ann", "a\nb")


def test_a_pack_is_made_of_a_finished_run_alone(copied, capsys, monkeypatch):
    monkeypatch.setattr(projects, "has_dvc", lambda: False)
    report = ["capstone", "report", str(copied)]
    assert course(report) == 0
    assert "holds the evidence pack" in capsys.readouterr().out
    write_params(copied, seed=3)
    assert course(report) == 2
    assert "text, base, sft, reward, align, safety, evaluate: parameters" in capsys.readouterr().err
    write_params(copied)
    (copied / "safety" / RECORD).unlink()
    assert course(report) == 2
    assert "safety has not run: course capstone run" in capsys.readouterr().err
    assert course(["capstone", "check", str(copied)]) == 1


def test_the_register_has_owners_and_codes_of_the_framework():
    rows = read_risks()
    assert register_faults(rows) == [] and len(rows) >= 12
    assert any(
        "no owner" in fault for fault in register_faults([rows[0] | {"owner": ""}, *rows[1:]])
    )
    bad = register_faults([row for row in rows if row["function"] != "MANAGE"] + [rows[0]])
    assert "no risk stands under MANAGE" in bad and "two risks have the same id" in bad


def test_no_question_of_an_earlier_exam_is_asked(made):
    world, exam = build_world(), read_rows(made / "text" / "exam.jsonl")
    asked = {row["prompt"] for row in exam}
    assert len(asked) == len(exam)
    for seed in LOOKED_AT:
        for split, held_out in (("held_out_phrasing", None), ("unknown_entity", None)):
            old = questions(world, split, 8, seed, held_out_phrasing=held_out)
            assert not asked & {question.prompt for question in old}
    some, others = (
        {q.prompt for q in fresh_questions(world, "new_drug", 50, exam_seed(stage, 0))}
        for stage in ("evaluate", "safety")
    )
    assert len(some) == 50 and some != others


def test_holm_and_differences_agree_with_independent_counts(made):
    from statsmodels.stats.multitest import multipletests

    p_values = [0.001, 0.02, 0.02, 0.8, 0.04, 0.3]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
    rows = read_rows(made / "evaluate" / "answers.jsonl")
    found = differences(rows, ["known"])["known"]["words"]
    known = [row for row in rows if row["part"] == "known"]
    mean = sum(row["safety words"] - row["sft words"] for row in known) / len(known)
    assert found["value"] == pytest.approx(mean, abs=1e-4)
    assert found["low"] <= found["value"] <= found["high"]


def test_half_as_many_is_shown_only_where_the_whole_interval_says_so():
    assert reduction(200, 400, 40, 400)["shown"] == "shown"
    assert reduction(20, 40, 4, 40)["shown"] == "not shown", "the value alone would do"
    assert reduction(200, 400, 190, 400)["shown"] == "refuted"
    assert reduction(1, 200, 6, 200)["shown"] == "not shown", "one flag can't refute"
    few = reduction(3, 100, 0, 100)
    assert few["shown"] == "not shown" and few["low"] < 0 < few["value"] == few["high"]
    assert "value" not in reduction(0, 50, 0, 50)


def test_a_person_answers_an_open_point_and_the_pack_quotes_it(copied, monkeypatch, capsys):
    monkeypatch.setattr(projects, "has_dvc", lambda: False)
    path = copied / "governance.yaml"
    told = "annex-1(a):\n  answer: Example Ltd, 1 <b>High</b> Street, 東京\n  by: Zoë Example\n"
    path.write_text(told, encoding="utf-8")
    assert any("governance.yaml has another hash" in fault for fault in check_pack(copied))
    assert course(["capstone", "report", str(copied)]) == 0
    assert check_pack(copied) == []
    _, pages = packs.read_pack(copied / "report" / packs.PACK)
    assert "annex-1(a)" not in {point.open for point in open_points(pages)}
    text = (copied / "report" / packs.HTML).read_text("utf-8")
    assert "Example Ltd, 1 &lt;b&gt;High&lt;/b&gt; Street, 東京" in text
    capsys.readouterr()
    for wrong, said in (
        (
            "annex-1(z):\n  answer: a\n  by: b\n",
            "'annex-1(z)' is no open point of this pack (annex",
        ),
        ("annex-1(a): yes\n", "'annex-1(a)' needs two lines under it, answer and by"),
        ("annex-1(a):\n  answer: 3\n  by: b\n", "needs two lines under it"),
        ("- a\n", "must hold ids of open points"),
        ("a: [", "can't be read as YAML in line 1"),
    ):
        path.write_text(wrong, encoding="utf-8")
        assert course(["capstone", "report", str(copied)]) == 2
        assert said in capsys.readouterr().err
