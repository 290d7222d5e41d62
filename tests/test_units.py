"""The page of a unit: everything that it owns is found by its number."""

import pytest

from utils import cli
from utils.settings import project_root
from utils.units import OWNED, files_of_unit


def test_a_unit_is_found_by_number_or_name_and_its_files_are_there():
    owned = files_of_unit("05")
    assert owned == files_of_unit("5") == files_of_unit("05_generation")
    assert {"lecture", "lab", "solution", "checks and hints", "quiz", "wrong answers"} <= set(owned)
    assert all((project_root() / path).is_file() for paths in owned.values() for path in paths)


@pytest.mark.parametrize("folder", ["utils/labs/checks", "utils/labs/quizzes", "tests/claims"])
def test_whatever_carries_a_units_number_is_on_its_page(folder):
    for path in sorted((project_root() / folder).rglob("*0[0-9]*.*")):
        if path.suffix in {".py", ".json"}:
            number = next(n for n in (f"{n:02d}" for n in range(18)) if n in path.name)
            name = path.relative_to(project_root()).as_posix()
            assert any(name in paths for paths in files_of_unit(number).values()), name


def test_the_command_lists_files_and_exercises(capsys):
    assert cli.main(["unit", "02"]) == 0
    told = capsys.readouterr().out
    assert "labs/02_attention.ipynb" in told and "utils.model.attention.causal_mask" in told
    assert cli.main(["unit", "77"]) == 2
    assert "there is no unit '77'" in capsys.readouterr().err


def test_every_kind_of_file_names_the_unit():
    assert all("{unit}" in where for where in OWNED.values())
