"""The README's pictures are what their command makes, and each has words for it."""

import io
import re
import struct

import pytest

from utils.book import browser as browsers
from utils.book import pictures
from utils.book.lectures import read_lectures
from utils.settings import project_root

ROOT = project_root()
README = (ROOT / "README.md").read_text("utf-8")


def size_of(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", png[16:24])


def test_the_readme_shows_all_pictures_with_alternatives():
    shown = pictures.pictures_of(README)
    assert set(shown) == set(pictures.NAMES)
    assert all(len(words.split()) >= 12 and words.endswith(".") for words in shown.values())


@pytest.mark.parametrize("name", pictures.NAMES)
def test_a_picture_is_small_and_large_enough(name):
    png = (ROOT / pictures.FOLDER / f"{name}.png").read_bytes()
    assert len(png) < 150_000
    width, height = size_of(png)
    assert width >= 700 and height >= 200


@pytest.mark.parametrize("name", pictures.FIGURES)
def test_a_figure_is_the_one_that_the_lecture_stores(name):
    stored = (ROOT / pictures.FOLDER / f"{name}.png").read_bytes()
    assert pictures.picture(name) == stored, f"run python -m utils.book.pictures {name}"


def test_the_words_for_a_figure_name_what_its_caption_names():
    words = pictures.pictures_of(README)["gold-against-kl"]
    (lecture,) = read_lectures(only=["12"])
    caption = next(f.caption for f in lecture.figures if f.number == 5)
    methods = set(re.findall(r"\b(?:PPO|DPO|GRPO|RLOO|SFT)\b", caption))
    assert methods and methods <= set(re.findall(r"\b[A-Z]{3,4}\b", words))


@pytest.mark.slow
@pytest.mark.parametrize("name", pictures.SCREENS)
def test_the_command_makes_a_screen_again(name, tmp_path, monkeypatch, capsys):
    if browsers.find_browser() is None:
        pytest.skip("no Chromium here: pictures of JupyterLab can't be made")
    from PIL import Image, ImageStat

    stored = (ROOT / pictures.FOLDER / f"{name}.png").read_bytes()
    monkeypatch.setattr(pictures, "FOLDER", str(tmp_path))
    assert pictures.main([name]) == 0
    made = (tmp_path / f"{name}.png").read_bytes()
    assert size_of(made) == size_of(stored)
    # Fonts differ between machines; a page without outputs would be lighter.
    means = [ImageStat.Stat(Image.open(io.BytesIO(p)).convert("L")).mean[0] for p in (made, stored)]
    assert abs(means[0] - means[1]) < 8, means
