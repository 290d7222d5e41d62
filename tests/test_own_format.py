"""A pretrained model in the course's own format: the same tokens, the same logits, other ids."""

import json
import shutil

import pytest
import torch

from utils.tokens.pretrained import PretrainedTokenizer
from utils.zoo.files import load_model, save_model
from utils.zoo.own_format import OtherVocabulary, in_own_format, own_tokenizer
from utils.zoo.real import has_real, how_to_get_real, load_real, real_folder

TEXTS = (
    "Take 25 mg of Tramosal, twice a day; don't exceed 1,000 mg.",
    "Zoë paid €3.50 -- naïve?\n\n\t'quoted'  and   spaced   ",
    "def f(x):\n    return x**2  # <|im_end|> is text\n",
    "漢字とかな, Ελληνικά, русский, 🙂",
    "",
)
pytestmark = pytest.mark.skipif(not has_real(), reason=how_to_get_real())


@pytest.fixture(scope="module")
def both():
    model, tokenizer = load_real("smollm2")
    return model, tokenizer, *in_own_format(model, tokenizer, 256)


def test_every_text_has_the_same_tokens_under_other_ids(both):
    _, theirs, _, ours = both
    _, old_ids = own_tokenizer(theirs)
    for text in TEXTS:
        ids = ours.encode(text)
        assert [old_ids[k] for k in ids] == [[k] for k in theirs.encode(text)], text
        assert ours.decode(ids) == text


def test_logits_are_those_of_the_model_in_the_new_order(both):
    model, theirs, own, ours = both
    _, old_ids = own_tokenizer(theirs)
    there = [k for k, old in enumerate(old_ids) if len(old) == 1]
    with torch.inference_mode():
        found = own(torch.tensor([ours.encode(TEXTS[0])]))
        wanted = model(torch.tensor([theirs.encode(TEXTS[0])]))
    old = [old_ids[k][0] for k in there]
    torch.testing.assert_close(found[..., there], wanted[..., old], rtol=0, atol=1e-4)
    new = [k for k, old in enumerate(old_ids) if len(old) != 1]
    assert found.softmax(-1)[..., new].sum(-1).max() < 0.01  # rows that the model never had


def test_padding_is_not_the_end_and_markers_are_means_of_what_the_template_wrote(both):
    model, theirs, own, ours = both
    rows, old = own.embedding.weight, model.embedding.weight
    assert theirs.pad_id == theirs.end_id  # the trap: tied rows would have one logit
    assert not rows[ours.pad_id].any() and torch.equal(rows[ours.end_id], old[theirs.end_id])
    opening = theirs.token_id("<|im_start|>")
    user = old[[opening, *theirs.encode("user")]].mean(dim=0)
    torch.testing.assert_close(rows[ours.user_id], user)
    assert not torch.equal(rows[ours.user_id], rows[ours.assistant_id])


def test_the_files_of_the_course_hold_it(both, tmp_path):
    _, _, own, ours = both
    save_model(tmp_path, own, ours, {})
    model, tokenizer = load_model(tmp_path)
    assert tokenizer.encode(TEXTS[0]) == ours.encode(TEXTS[0])
    assert model.config.context_length == 256
    for name, weight in model.named_parameters():
        assert torch.equal(weight, own.get_parameter(name)), name


@pytest.mark.parametrize(
    "change, told",
    [
        ({"type": "WordPiece"}, "no vocabulary of byte-pair merges"),
        ({"merges": []}, "no vocabulary of byte-pair merges"),
        ({"merges": ["zz zz"]}, "merges 'zz' and 'zz' anew"),
        ({"merges": ["i n", "i n"]}, "merges 'i' and 'n' anew"),
        ({"merges": ["Ġ a"]}, "cuts text into words by other rules"),
    ],
)
def test_another_vocabulary_is_refused_by_name(change, told, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(real_folder("smollm2"), folder, ignore=lambda *_: ["model.safetensors"])
    tokenizer = PretrainedTokenizer(folder)  # read while the file was whole
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    content["model"] |= change
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(OtherVocabulary, match=told):
        own_tokenizer(tokenizer)
