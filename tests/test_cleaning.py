"""Cleaning mends a text without joining or losing words, and each rule of thumb says its reason."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.text.cleaning import clean_text, rejection_reason
from utils.text.raw import RawPage, make_pages, raw_crawl


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("<p>a</p>\r\n<br/>b", "a\n\nb"),
        ("<p>One.</p><p>Two.</p>", "One.\n\nTwo."),
        ("one<br>two", "one\ntwo"),
        ("<tr><td>Dose</td><td>15 mg</td></tr>", "Dose 15 mg"),
        ("un<b>seen</b>", "unseen"),
        ("<script>var x = 1 < 2;</script>Text", "Text"),
        ("x < y and y > z", "x < y and y > z"),
        ("<identifier> stays", "<identifier> stays"),
        ("&lt;p&gt; is a tag", "<p> is a tag"),
        ("e\u0301", "\u00e9"),
        ("e\x00\u0301", "\u00e9"),
        ("a\x00\x07b\ud800", "ab"),
        ("\ufeffsoft\u00adly", "softly"),
        ("one page\x0cnext\x85line\u2028end", "one page\nnext\nline\nend"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("", ""),
    ],
)
def test_cleaning(raw, clean):
    assert clean_text(raw) == clean
    if "&" not in raw:  # what was escaped on purpose is markup the second time
        assert clean_text(clean_text(raw)) == clean


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=40))
def test_a_cleaned_text_is_normal_and_has_no_needless_blanks(text):
    clean = clean_text(text)
    assert unicodedata.is_normalized("NFC", clean)
    assert "\n\n\n" not in clean and "  " not in clean and clean == clean.strip()
    assert not [c for c in clean if unicodedata.category(c) == "Cc" and c != "\n"]


def test_cleaning_undoes_what_a_crawl_adds_to_a_page():
    pages = make_pages([f"Room {i} is the blue one. It has a bed." for i in range(400)], 4)
    crawl = [page for page in raw_crawl(pages, seed=1) if page.kind == "page"]
    dressed = [page for page in crawl if page.text != pages[page.page]]
    assert len(dressed) > 20

    def words(page: RawPage) -> bool:
        return clean_text(page.text).split() == pages[page.page].split()

    assert all(map(words, crawl))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Home | Login", "too short"),
        ("", "too short"),
        ("#### 12345 " * 20, "mostly symbols"),
        (
            "thÃ© ward is clÃ©an and thÃ© nursÃ© is kind to all who come in thÃ© night",
            "wrong encoding",
        ),
        ("buy this now\n" * 10, "repeated lines"),
        ("A sentence that has a good number of words and then comes to its end.", None),
    ],
)
def test_reasons(text, reason):
    assert rejection_reason(text) == reason


def mangled(text):
    """Return a text whose UTF-8 was read as Windows' Latin, as crawls bring it home."""
    return clean_text(text.encode().decode("cp1252", "ignore"))


GOOD = [
    "NÃO HÁ INFORMAÇÃO SOBRE A MEDICAÇÃO: SÃO JOÃO, CRISTÓVÃO, AVÔ, CÂMARA E IRMÃ DIZEM NÃO. " * 4,
    "“IRMÔ E “MAÇÔ E “AMANHÔ: TODA A GENTE DIZ “NÃO” À VACINAÇÃO DA POPULAÇÃO NO VERÃO DO ANO. ",
    "BỆNH NHÂN CẦN UỐNG THUỐC SAU KHI ĂN, HAI LẦN MỖI NGÀY, TRẦN VĂN ÂN VÀ LÂM ĐÃ NÓI NHƯ VẬY. "
    * 4,
    "PÍŠE SE LÍŠKA, ČÍŠE A PÍŽMO; KÁŽE SE, ŽE KŮŽE PATŘÍ DO SKŘÍŇKY, A TAK TO VŠICHNI DĚLAJÍ. " * 4,
    "ÎLE, ÂGE, CHÂTEAU, À « PÂQUES » : LA DOSE EST À DOUBLER, DIT-ELLE, APRÈS LE REPAS DU SOIR. "
    * 4,
    "Es macht „Spaß“ und ist „groß“ – so sagt man, „süß“ und „weiß“ sei das Haus dort am Hang. "
    * 4,
    "患者应在饭后服用十五毫克,每日两次,不可与其他药物同服,如有不适请立即告诉医生。",
    "रोगी को भोजन के बाद दवा लेनी चाहिए और दिन में दो बार पानी के साथ लेना चाहिए यह ज़रूरी है",
]


@pytest.mark.parametrize("text", GOOD)
def test_good_text_in_any_language_stays(text):
    assert rejection_reason(clean_text(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "La dosis está indicada en el prospecto: mañana también será así, según el médico.",
        "À Noël l'été déjà passé, la dose est doublée après le dîner, répète la sœur zélée.",
        "Die Dosis für Ärzte, Bürger und Köche: täglich fünf Gläser natürlich süßer Säfte über Öl.",
        "Пациент должен принимать лекарство после еды два раза в день, говорит врач клиники здесь.",
        "Ο ασθενής πρέπει να παίρνει το φάρμακο μετά το φαγητό δύο φορές την ημέρα με πολύ νερό.",
        "患者应在饭后服用十五毫克,每日两次,不可与其他药物同服,如有不适请立即告诉医生。",
        "“Don’t,” she said — “it’s the nurse’s list”… and it’s the baker’s, too, isn’t it?",
    ],
)
def test_utf_8_read_as_another_encoding_is_thrown_out(text):
    assert rejection_reason(text) is None
    assert rejection_reason(mangled(text), min_words=1) == "wrong encoding"


def test_one_mangled_sign_on_a_long_page_is_no_reason():
    page = "The ward is clean and the nurse is kind to all who come in the night. " * 10
    assert rejection_reason(page + "clÃ©an") is None
    assert rejection_reason(page + "clÃ©an " * 20) == "wrong encoding"


def test_limits_are_arguments():
    text = "one two three"
    assert rejection_reason(text) == "too short"
    assert rejection_reason(text, min_words=3) is None
    assert rejection_reason("12 34 a", min_words=3, max_symbols=0.9) is None
