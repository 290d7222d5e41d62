"""The data sheet is written from the code."""

from utils.world.attributes import KINDS
from utils.world.datasheet import SAMPLE, data_sheet, samples, text_hash
from utils.world.facts import build_world

WORLD = build_world(0)


def test_the_data_sheet_is_written_from_the_code():
    sheet = data_sheet(WORLD)
    assert sheet == data_sheet(build_world(0)) != data_sheet(build_world(1))
    for heading in (
        "Motivation",
        "Composition",
        "Collection",
        "Preprocessing, cleaning, labelling",
        "Uses",
        "Distribution",
        "Maintenance",
    ):
        assert f"\n## {heading}\n" in sheet
    for name, texts in samples(WORLD).items():
        assert f"| {name} | {len(texts)} | `{text_hash(texts)}` |" in sheet
    assert "found in the samples above: 0." in sheet and SAMPLE >= 500
    for kind in KINDS:
        assert f"| {kind} | {len(WORLD.group('known', kind))} |" in sheet
