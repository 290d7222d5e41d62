"""Markup goes, whatever its tags are called; what only looks like a tag stays; cost is linear."""

import html

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.counting import lines_run
from utils.text.cleaning import clean_text
from utils.text.markup import LONELY, text_of

EVERY = sorted(LONELY) + ["my-widget", "o:p", "fancy", "marquee", "blink"]
EMPTY = "area base br col embed hr img input link meta param source track wbr".split()


@pytest.mark.parametrize("name", EVERY)
def test_every_element_goes_and_its_text_stays(name):
    for tag in (name, name.upper(), f'{name} class="x y"', f"{name} id=x hidden"):
        page = f"<p>before <{tag}>inside</{name}> after</p>"
        assert clean_text(page).split() == ["before", "inside", "after"], tag


@pytest.mark.parametrize("name", EMPTY)
def test_elements_without_an_end_go(name):
    for tag in (f"<{name}>", f"<{name}/>", f"<{name} data-x='1' />", f'<{name} title="a > b">'):
        assert clean_text(f"<p>before {tag} after</p>").split() == ["before", "after"], tag


@pytest.mark.parametrize(
    "text",
    [
        "a<b and c>d",
        "if a < b and c > d:",
        "List<int> and Map<String, List<Integer>>",
        "std::vector<std::pair<int, T>> v;",
        "template <typename T> T first(T x)",
        "fn longest<T: Ord>(a: T)",
        "#include <stdio.h>",
        "if (a<b && c>d) x >>= 1;",
        "for (i=0;i<n;i++) p->next",
        "$x<y$ and $y>z$, so 0<p<1",
        "cat <input >output 2>&1",
        "std::cout << x << endl;",
        "usage: copy <source> <target> <label>",
        "write to <ann@example.org> or see <https://example.org/a>",
        "the <script> tag, the <style> tag and the <title> tag",
        "print(f'<{x}>')",
        "<identifier> stays, <expression> too",
        "a comment begins with <!-- and ends otherwise",
        "x<p and q>y",
        "an open <",
        "x<y",
        "<",
    ],
)
def test_what_only_looks_like_a_tag_stays(text):
    assert clean_text(text) == text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<!DOCTYPE html><html><head><title>T</title></head><body>yes</body></html>", "yes"),
        ("<!doctype html><title>T</title><p>yes", "yes"),
        ("<head><title>T</title><meta charset=x><body>yes", "yes"),
        ("one<!-- <p>no</p> a > b -->two", "onetwo"),
        ("a <!-- one --> b <!-- two", "a b <!-- two"),
        ("<style>p > a {}</style>yes<SCRIPT type=x>if (a<b) {}</SCRIPT >", "yes"),
        ("<?xml version='1.0'?><note>yes</note>", "yes"),
        ("<![CDATA[x < y]]>", "x < y"),
        ("H<sub>2</sub>O, x<sup>2</sup>", "H2O, x2"),
        ('<a href="x?a=1&amp;b=2">link</a>', "link"),
        ("<p>a &lt; b &amp;&amp; c &gt; d &eacute;", "a < b && c > d \u00e9"),
        ("<code>List&lt;int&gt;</code>", "List<int>"),
        ("<p>List<int> is code</p>", "List<int> is code"),
        ("<p><b>a<b and c>d</p>", "a<b and c>d"),
        ("</div>rest</section></my-widget>", "rest"),
    ],
)
def test_pages(page, text):
    assert " ".join(clean_text(page).split()) == text


@given(st.text("<>!-/=\"' abp&;[]?", max_size=60))
@settings(max_examples=300, deadline=None)
def test_a_text_that_opens_no_tag_is_only_unescaped(text):
    assert text_of(text.replace("<", "")) == html.unescape(text.replace("<", ""))
    assert text_of(f"Q{text}").startswith("Q")


@pytest.mark.parametrize(
    "piece",
    ["<!--", "<a ", "<script>", "<b><i>", "<p>", '<a b="', "<![CDATA[", "a<b ", "<!doctype ", "&"],
)
def test_cost_is_in_line_with_the_page(piece):
    half = lines_run(lambda: text_of(piece * 400))
    whole = lines_run(lambda: text_of(piece * 800))
    assert whole < 2.5 * half + 50
