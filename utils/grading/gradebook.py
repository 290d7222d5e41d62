"""What a class gets: one table, a page for each learner, a figure, and a sheet for written answers.

Names, answers and error messages are written by learners: in HTML they are escaped, and in tables a
text that a spreadsheet would take for a formula begins with an apostrophe. Names are shown so that
distinct ones look distinct; marks by hand are found again by a key that no spreadsheet changes.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import sys
from pathlib import Path

from utils.grading.classroom import grade_class
from utils.grading.collect import visible
from utils.grading.engines import Refused
from utils.grading.grade import GRADED, clean
from utils.grading.records import record_name, write_whole
from utils.grading.sandbox import Limits, NoSandbox, lacking
from utils.labs.run import PASSED

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
SHEET = ("learner", "question", "of", "points", "comment", "answer", "key")
ABOVE = "as above"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .6rem;
          border-bottom: 1px solid #bbb; }}
td:nth-child(3), th {{ white-space: nowrap; }}
td:last-child {{ width: 55%; overflow-wrap: anywhere; }}
pre, li, p {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
</style></head><body>
<h1>{title}</h1>
<p><strong>{summary}</strong></p>
{first}
<table><thead><tr><th>Exercise</th><th>Part</th><th>Points</th><th>What happened</th></tr></thead>
<tbody>
{rows}
</tbody></table>
{more}
</body></html>
"""


def defused(value: object) -> object:
    """Return a cell for a spreadsheet that can't be taken for a formula.

    >>> defused("=1+1"), defused("ada"), defused(-3), defused("'=1+1")
    ("'=1+1", 'ada', -3, "''=1+1")
    """
    if not isinstance(value, str):
        return value
    text = clean(value, 32_000)
    return "'" + text if text.lstrip(" ").startswith((*FORMULA_STARTS, "'")) else text


def raw(text: str) -> str:
    """Return the text of a cell as it was before `defused`.

    >>> raw("'=1+1"), raw("'tis so"), raw("ada")
    ('=1+1', "'tis so", 'ada')
    """
    ours = text.startswith("'") and text[1:].lstrip(" ").startswith((*FORMULA_STARTS, "'"))
    return text[1:] if ours else text


def table_text(rows: list[list]) -> str:
    """Return rows as comma-separated values, every text defused."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([[defused(c) for c in row] for row in rows])
    return buffer.getvalue()


def write_gradebook(lab: str, records: list[dict], out: Path) -> dict[str, Path]:
    """Write table, feedback, figure and sheet for graded submissions; return name -> path.

    Points that stand in the sheet of an earlier run are kept and counted.

    Args:
        lab: name such as "01_tokens".
        records: of `grade.grade_class`.
        out: folder.
    """
    sheet = out / "written.csv"
    marks = read_sheet(sheet)
    write_whole(sheet, sheet_text(records, marks))
    write_whole(out / "grades.csv", grades_text(records, marks))
    pages = out / "feedback"
    pages.mkdir(exist_ok=True)
    for record in records:
        page = feedback_page(lab, record, marks)
        write_whole(pages / f"{record_name(record['learner'])}.html", page)
    figure = out / "summary.png"
    draw_summary(lab, records, figure)
    return {"grades": out / "grades.csv", "feedback": pages, "summary": figure, "written": sheet}


def mark_key(record: dict) -> str:
    """Return what a learner's rows of the sheet are found by, whatever a spreadsheet does to names.

    >>> mark_key({"learner": "ada"}) == mark_key({"learner": "ad\u200ba"})
    False
    """
    identity = record.get("identity") or record["learner"]
    return "k" + hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def read_sheet(path: Path) -> dict[tuple[str, int], tuple]:
    """Return (key, question) -> (points or None, comment, name, of) of a sheet that was filled in.

    A row without a key, as older sheets have them, is found by the learner's name as it is shown.

    Raises:
        ValueError: for points that are no number within the question's, or a second row for the
            same answer, naming the line.
    """
    if not path.exists():
        return {}
    marks = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            points = (row.get("points") or "").strip().replace(",", ".")
            try:
                number = float(points) if points else None
                possible = float(row["of"])
                key = ((row.get("key") or "").strip() or row["learner"], int(row["question"]))
            except (KeyError, TypeError, ValueError):
                raise ValueError(
                    f"{path.name}, line {reader.line_num}: points {points!r} should be a number or "
                    "empty, and the columns those that the grader wrote"
                ) from None
            if number is not None and not 0 <= number <= possible:
                raise ValueError(
                    f"{path.name}, line {reader.line_num}: {points} points of {possible:g}"
                )
            if key in marks:
                raise ValueError(
                    f"{path.name}, line {reader.line_num}: a second row for question {key[1]} of "
                    f"{row['learner']}: delete one of them"
                )
            comment = raw(row.get("comment") or "")
            marks[key] = (number, comment, raw(row["learner"]), row["of"])
    return marks


def mark_of(marks: dict, record: dict, question: int) -> tuple[float | None, str]:
    """Return the points and the comment for one written answer."""
    by_name = marks.get((shown_name(record), question), (None, ""))
    return marks.get((mark_key(record), question), by_name)[:2]


def shown_name(record: dict) -> str:
    """Return a learner's name as the tables show it, distinct for distinct learners."""
    return str(defused(visible(record["learner"])))


def sheet_text(records: list[dict], marks: dict) -> str:
    """Return the sheet for points by hand: one row for each written answer."""
    rows: list[list] = [list(SHEET)]
    known: set[tuple[str, int]] = set()
    for record in records:
        name, key = visible(record["learner"]), mark_key(record)
        for k, answer in enumerate(record.get("written", []), 1):
            points, comment = mark_of(marks, record, k)
            shown = "" if points is None else points
            rows.append([name, k, answer["points"], shown, comment, answer["text"], key])
            known |= {(key, k), (shown_name(record), k)}
    # A row that was filled in stays, though its submission may be missing from this run.
    for (key, question), (points, comment, name, of) in marks.items():
        if (key, question) not in known and points is not None:
            rows.append([name, question, of, points, comment, "", key])
    return table_text(rows)


def totals(record: dict, marks: dict) -> tuple[int, int, float, int, bool]:
    """Return points by the checks and of how many, the same by hand, and whether all is marked."""
    answers = record.get("written", [])
    by_hand = [mark_of(marks, record, k)[0] for k in range(1, len(answers) + 1)]
    return (
        sum(c["earned"] for c in record["checks"]),
        sum(c["points"] for c in record["checks"]),
        sum(p for p in by_hand if p is not None),
        sum(a["points"] for a in answers),
        all(p is not None for p in by_hand),
    )


def grades_text(records: list[dict], marks: dict) -> str:
    """Return the table of the class: one row for each submission."""
    parts = [f"{c['exercise']}: {c['title']}" for c in records[0]["checks"]] if records else []
    head = ["learner", "status", "points", "of", "written points", "written of", "note", "look at"]
    head.append("page")
    rows: list[list] = [head + parts]
    for record in records:
        earned, possible, by_hand, of, marked = totals(record, marks)
        shown = f"{by_hand:g}" if marked else "to be marked"
        rows.append([visible(record["learner"]), record["status"], earned, possible, shown, of])
        rows[-1] += [record["note"], "; ".join(record.get("look at", []))]
        rows[-1].append(f"{record_name(record['learner'])}.html")
        rows[-1] += [c["earned"] for c in record["checks"]]
    return table_text(rows)


def feedback_page(lab: str, record: dict, marks: dict) -> str:
    """Return a learner's page as HTML, in which nothing of the learner's is anything but text."""
    escape = html.escape
    earned, possible, by_hand, of, marked = totals(record, marks)
    summary = f"{earned} of {possible} points by the checks"
    if of:
        summary += (
            f"; written answers: {by_hand:g} of {of}" if marked else "; written answers: open"
        )
    more = []
    for k, answer in enumerate(record.get("written", []), 1):
        points, comment = mark_of(marks, record, k)
        verdict = "not marked yet" if points is None else f"{points:g} of {answer['points']} points"
        more.append(f"<h2>Written answer {k}: {verdict}</h2>")
        more += [f"<p>{escape(comment)}</p>"] if comment else []
        more.append(f"<pre>{escape(answer['text']) or 'no answer'}</pre>")
    if record.get("skipped"):
        more.append("<h2>What was not run</h2>")
        more.append(f"<p>{escape(record['skipped'])}</p>")
    return PAGE.format(
        title=escape(f"{lab}: {visible(record['learner'])}"),
        summary=summary,
        first=reasons(record),
        rows="\n".join(check_rows(record)),
        more="\n".join(more),
    )


def reasons(record: dict) -> str:
    """Return what decided more than one part, as HTML: a limit, a cell that was left out."""
    lines = dict.fromkeys([record["note"], *record.get("problems", [])])
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines if line)
    return f"<h2>What to know first</h2><ul>{items}</ul>" if items else ""


def check_rows(record: dict) -> list[str]:
    """Return the table's rows as HTML; what was said once is not said again."""
    rows = []
    said = {record["note"], *record.get("problems", [])} - {""}
    for check in record["checks"]:
        hint = check["hint"]
        shown = ABOVE if hint in said else hint
        said |= {hint} - {""}
        points = f"{check['earned']} of {check['points']}"
        what = f"{check['status']}{': ' if shown else ''}{shown}"
        what += f" ({check['note']})" if check.get("note") else ""
        cells = (check["exercise"], check["title"], points, what)
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    return rows


def draw_summary(lab: str, records: list[dict], path: Path) -> None:
    """Draw where the class lost points: for each check the share of learners who missed it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ours = [r for r in records if r["status"] == GRADED]
    checks = ours[0]["checks"] if ours else []
    lost = [
        sum(r["checks"][k]["status"] != PASSED for r in ours) / len(ours)
        for k in range(len(checks))
    ]
    figure = Figure(figsize=(8, 1.2 + 0.32 * max(1, len(checks))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    places = range(len(checks))
    bars = axes.barh(places, [100 * share for share in lost], color="#0072B2")
    axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
    axes.set_yticks(places, [f"{c['exercise']}: {c['title']}" for c in checks], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 105)
    axes.set_xlabel("learners who missed it (%)")
    title = f"{lab}: where the class lost points ({len(ours)} submissions)"
    figure.suptitle(title, x=0.01, horizontalalignment="left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150, metadata={"Software": None})


def grade_and_report(
    lab: str,
    paths: list[Path],
    out: Path,
    *,
    limits: Limits,
    trusted: bool = False,
    secret: Path | None = None,
    n_jobs: int | None = None,
    engine: str = "local",
) -> int:
    """Grade a class, write the gradebook, print where it is; return the exit status.

    Args:
        lab: name, or path of the lab's notebook with or without its ending.
        paths: notebooks, or folders with a notebook or a folder per learner.
        out: folder for all that is written.
        limits: what a submission may use.
        trusted: run without a sandbox.
        secret: file with the class's secret; None for one in `out`.
        n_jobs: submissions at once; None for what the engine finds fit.
        engine: one of `engines.ENGINES`.
    """
    lab = Path(lab).name.removesuffix(".ipynb")
    try:
        out.mkdir(parents=True, exist_ok=True)
        read_sheet(out / "written.csv")  # a slip in it is better known before the work
        records = grade_class(
            lab,
            paths,
            out,
            limits=limits,
            trusted=trusted,
            secret=secret,
            n_jobs=n_jobs,
            engine=engine,
        )
        written = write_gradebook(lab, records, out)
    except (NoSandbox, Refused, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if not trusted:
        for line in lacking():
            print(f"note: {line}", file=sys.stderr)
    for status in sorted({record["status"] for record in records}):
        print(f"{sum(r['status'] == status for r in records)} {status}")
    for name, path in written.items():
        print(f"{name}: {path}")
    return 0
