"""Texts that an encoder embeds: once, kept in prepared data and in a model's file, by the same encoder."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from alphabar import prepare
from alphabar.data import DataConfig, EmbeddingCondition, TextCondition
from alphabar.data.conditions.encoders import PLACE, SENTENCE, encoder_of, packed
from alphabar.data.conditions.kinds import fitted
from alphabar.data.preparing.cache import cache_folder, clear_cache
from alphabar.model import Denoiser, fit_codec, load, save
from alphabar.nn import build_network
from alphabar.runs.given import alike
from alphabar.sampling import sample
from alphabar.theory.schedule import Schedule
from encoding import forget, stand_in, write_encoder
from tiny import NETWORK

COLORS = ("red", "blue")
SIZES = ("small", "large")
CAPTIONS = [f"a {SIZES[i // 2 % 2]} {COLORS[i % 2]} square" for i in range(40)]


@pytest.fixture
def encoders(monkeypatch):
    return stand_in(monkeypatch)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of pictures with captions, and an encoder; with a cache of their own."""
    monkeypatch.setenv("ALPHABAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pics").mkdir()
    rows = ["file,caption"]
    for i, caption in enumerate(CAPTIONS):
        Image.fromarray(np.full((8, 8), 200 if i % 2 else 60 + i, np.uint8)).save(f"pics/{i:02d}.png")
        rows.append(f"{i:02d}.png,{caption}")
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    write_encoder(tmp_path / "encoder")
    return tmp_path


HOW = {"labels": "captions.csv", "conditions": "caption=text", "text_encoder": "encoder", "holdout": 0.2}


def model_told(data, file):
    """A small network with random weights, told what the data tell, from its file."""
    conditions = {name: replace(each, dropout=0.5) for name, each in data.conditions.items()}
    shapes = {name: each.shape for name, each in conditions.items()}
    net = build_network(NETWORK, data.space.shape, shapes)
    save(Denoiser(net, Schedule.linear(100), "v", fit_codec(data.space), conditions), file)
    return load(file, "cpu")


# --- in data -------------------------------------------------------------------------------------


def test_each_text_is_embedded_once_and_kept_in_the_prepared_data(place, encoders):
    first = prepare("pics", **HOW)
    assert sorted(encoders.asked) == sorted([*set(CAPTIONS), SENTENCE])
    encoders.asked.clear()
    forget()
    again = prepare("pics", **HOW)
    assert encoders.asked == []
    assert again.conditions == first.conditions
    assert again.fingerprint == first.fingerprint
    encoded = again.conditions["caption"].encode(again.values["caption"])
    assert np.array_equal(encoded, first.conditions["caption"].encode(first.values["caption"]))
    assert encoders.asked == []
    assert again.values["caption"].tolist() == CAPTIONS
    assert "caption: 4 different texts, embedded by" in " ".join(again.notes)
    (kept,) = cache_folder().glob("*/told-000-embeddings.npy")
    clear_cache()
    assert not kept.parent.exists()


def test_embeddings_have_mean_zero_and_mean_square_length_one_in_training(place, encoders):
    data = prepare("pics", **HOW)
    told = data.conditions["caption"].encode(data.values["caption"][data.training])
    assert told.shape == (len(data.training), 13)
    np.testing.assert_allclose(told[:, :-1].mean(0), 0, atol=1e-6)
    assert np.square(told[:, :-1]).sum(1).mean() == pytest.approx(1, abs=1e-5)
    assert (told[:, -1] == 1).all()
    raw = encoder_of("encoder", "").embed(data.values["caption"][data.training].tolist()).astype(float)
    away = raw - raw.mean(0)
    angles = away @ away.T / np.square(away).sum(1).mean()
    np.testing.assert_allclose(told[:, :-1] @ told[:, :-1].T, angles, atol=1e-5)


def test_another_encoder_makes_other_data_and_the_same_one_elsewhere_the_same(place, encoders):
    data = prepare("pics", **HOW)
    write_encoder(place / "moved")
    write_encoder(place / "other", seed=1)
    moved, other, words = (
        prepare("pics", **{**HOW, "text_encoder": name}) for name in ("moved", "other", None)
    )
    assert data.fingerprint == moved.fingerprint
    assert len({data.fingerprint, other.fingerprint, words.fingerprint}) == 3
    assert isinstance(words.conditions["caption"], TextCondition)
    assert data.conditions["caption"].meaning() == moved.conditions["caption"].meaning()
    write_encoder(place / "encoder", seed=2)  # in the same folder
    assert prepare("pics", **HOW).fingerprint not in (data.fingerprint, other.fingerprint)


def test_data_of_a_run_whose_encoder_has_moved_are_prepared_again_by_its_new_place(
    place, encoders, monkeypatch
):
    before = prepare("pics", **HOW)
    (place / "encoder").rename(place / "moved")
    forget()
    monkeypatch.setenv(PLACE, str(place / "moved"))
    again = prepare("pics", **HOW)
    assert again.fingerprint == before.fingerprint
    assert again.conditions["caption"].encoder == str(place / "moved")
    write_encoder(place / "encoder", seed=1)  # what is asked for is taken if it is there
    assert prepare("pics", **HOW).conditions["caption"].encoder == str(place / "encoder")


def test_texts_from_python_and_columns_of_tables_are_embedded_too(place, encoders):
    images = np.zeros((40, 8, 8), np.uint8)
    how = {"conditions": {"caption": "text"}, "text_encoder": place / "encoder"}
    given = prepare((images, {"caption": [*CAPTIONS[:-1], None]}), **how)
    assert isinstance(given.conditions["caption"], EmbeddingCondition)
    assert not given.conditions["caption"].encode(given.values["caption"])[-1].any()
    rows = "\n".join(f"{i},{i * i},{caption}" for i, caption in enumerate(CAPTIONS))
    (place / "t.csv").write_text(f"a,b,caption\n{rows}")
    table = prepare("t.csv", labels="caption", conditions="caption=text", text_encoder="encoder")
    assert isinstance(table.conditions["caption"], EmbeddingCondition)
    how = {**table.prepared, "holdout": 0.05}
    assert alike("t.csv", {"prepared": how}, table.space, table.conditions) == DataConfig(**how)


def test_what_is_longer_than_the_encoder_reads_is_said(place, encoders):
    images = np.zeros((3, 8, 8), np.uint8)
    texts = ["a cat", "a b c d e f g h", "a b c d e f g h i"]
    how = {"text_encoder": "encoder", "conditions": "caption=text"}
    data = prepare((images, {"caption": texts}), **how)
    said = [note for note in data.notes if "are longer" in note]
    assert said[0].startswith("caption: 1 of 3 texts are longer than the 8 tokens that")
    with pytest.warns(UserWarning, match="1 of 1 texts are longer .* their ends are not told"):
        data.conditions["caption"].encode(["one two three four five six seven eight nine"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"conditions": None}, r"text_encoder is for texts, and what is told is classes: say which"),
        ({"conditions": "caption=class"}, "what is told is classes"),
        ({"labels": None, "conditions": None}, "what is told is nothing"),
        ({"text_encoder": "pics"}, "pics holds no text encoder that can be read: .* is not there; give a fo"),
        ({"text_encoder": "./gone"}, "'./gone' is no folder here, and no name that a model on the Hugging"),
        ({"text_encoder": None, "conditions": "caption=embedding"}, "say NAME=text, and --text-encoder ENC"),
    ],
)
def test_what_cannot_be_embedded_is_refused_before_samples_are_read(place, encoders, settings, message):
    with pytest.raises(ValueError, match=message):
        prepare("pics", **{**HOW, **settings}, progress=lambda done, total: pytest.fail("they were read"))


def test_data_without_texts_refuse_an_encoder(place, encoders):
    np.save("a.npy", np.zeros((20, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"text_encoder is for files of pictures, tables, \.npz, and labels"):
        prepare("a.npy", text_encoder="encoder")


# --- where it comes from -------------------------------------------------------------------------


def answering(monkeypatch, error):
    """Let the Hub answer so, whether it has a model."""
    import huggingface_hub

    asked = []

    def model_info(self, name, timeout=None):
        asked.append(name)
        if error is not None:
            raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    return asked


def test_a_name_is_fetched_from_the_hub_unless_it_is_here(place, encoders, monkeypatch):
    pytest.importorskip("huggingface_hub")
    asked = answering(monkeypatch, None)
    encoders.online["us/tiny"] = place / "encoder"
    assert encoder_of("us/tiny", "").name == "us/tiny"
    assert asked == ["us/tiny"]
    assert encoder_of("encoder", "").name == str(place / "encoder")
    assert asked == ["us/tiny"]
    with pytest.raises(
        ValueError, match=r"the text encoder 'us/pictures' can't be fetched or read: .*; do so"
    ):
        encoder_of("us/pictures", "do so")


def test_without_a_network_one_line_says_what_can_be_done(place, refused, encoders, monkeypatch):
    pytest.importorskip("huggingface_hub")
    asked = answering(monkeypatch, ConnectionError("no route"))
    said = refused(
        "data",
        "pics",
        "--labels",
        "captions.csv",
        "--conditions",
        "caption=text",
        "--text-encoder",
        "us/tiny",
    )
    assert said.count("\n") <= 1
    assert (
        "the text encoder 'us/tiny' is not on this machine, and the Hugging Face Hub, where it may be" in said
    )
    assert "--text-encoder FOLDER" in said
    assert asked == ["us/tiny"]


def test_without_the_package_the_command_that_installs_it_is_said(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(
        ValueError, match=r"need the package sentence-transformers: pip install 'alphabar\[text\]'"
    ):
        prepare("pics", **HOW)


# --- in a model ----------------------------------------------------------------------------------


def test_a_model_told_texts_is_asked_with_texts_and_its_file_needs_the_encoder_for_new_ones_alone(
    place, encoders, monkeypatch
):
    model = model_told(prepare("pics", **HOW), "m.safetensors")
    condition = model.conditions["caption"]
    assert (condition.encoder, condition.size) == (str(place / "encoder"), 12)
    assert set(condition.examples) == set(CAPTIONS)
    new = sample(model, 2, cond={"caption": ["a large green square", "a red square"]}, evaluations=2).images
    known = sample(model, 2, cond={"caption": CAPTIONS[0]}, evaluations=2).images
    drawn = sample(model, 4, evaluations=2)
    assert set(drawn.told["caption"]) <= set(CAPTIONS)

    (place / "encoder").rename(place / "moved")
    forget()
    encoders.asked.clear()
    model = load("m.safetensors", "cpu")
    assert np.array_equal(sample(model, 2, cond={"caption": CAPTIONS[0]}, evaluations=2).images, known)
    assert np.array_equal(sample(model, 4, evaluations=2).images, drawn.images)
    assert sample(model, 2, cond={"caption": None}, evaluations=2).told == {"caption": [None, None]}
    assert encoders.asked == []
    with pytest.raises(
        ValueError, match=rf"caption: the text encoder .*{PLACE}=FOLDER; where no text is told"
    ):
        sample(model, 2, cond={"caption": "a large green square"}, evaluations=2)
    monkeypatch.setenv(PLACE, str(place / "moved"))
    asked = {"caption": ["a large green square", "a red square"]}
    assert np.array_equal(sample(model, 2, cond=asked, evaluations=2).images, new)
    forget()
    model = load("m.safetensors", "cpu")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(
        ValueError, match=r"caption: texts that an encoder embeds need the package sentence-tr"
    ):
        sample(model, 2, cond={"caption": "a large green square"}, evaluations=2)


def condition_by(place, **how):
    condition = EmbeddingCondition.by(encoder_of(str(write_encoder(place / "encoder", **how)), ""))
    return fitted({"caption": condition}, {"caption": np.array(CAPTIONS)}, np.arange(40))["caption"]


def test_another_encoder_is_refused_with_both(place, encoders, monkeypatch):
    condition = condition_by(place)
    for folder, how, message in (
        ("weights", {"seed": 1}, "other has other weights"),
        ("size", {"size": 16}, "other has other weights"),
        ("tokens", {"lower": False}, "other has the same weights, but other tokens, prompts or pooling"),
    ):
        monkeypatch.setenv(PLACE, str(write_encoder(place / folder / "other", **how)))
        with pytest.raises(ValueError, match=rf"told texts as {condition.encoder} \(weights .*{message}"):
            condition.values("caption", "something new", 1)


def test_the_file_keeps_embeddings_of_as_many_examples_as_fit(place, encoders):
    condition = EmbeddingCondition.by(encoder_of(str(write_encoder(place / "wide", size=2048)), ""))
    values = np.array([f"text number {i}" for i in range(300)])
    known = fitted({"c": condition}, {"c": values}, np.arange(300))["c"]
    assert len(known.examples) == 128  # of 2048 numbers, an eighth of 2^15 each in digits
    assert set(known.examples) < set(values.tolist())


def test_conditions_that_cannot_be_are_refused(place, encoders):
    condition = condition_by(place)
    facts = condition.to_dict() | {"examples": condition.examples}
    facts.pop("kind")
    rows = np.zeros((2, 12), np.float16)
    for name, value, message in (
        ("embeddings", packed(rows), "those of 5 texts, got 2"),
        ("embeddings", "", "rows of 12 numbers, got 0 bytes"),
        ("embeddings", packed(np.full((5, 12), np.nan)), "must be finite"),
        ("embeddings", "x", "must be in base64, got 'x'"),
        ("mean", (1.0,), "12 numbers must have as many of mean, and a scale above 0, got 1 and"),
        ("scale", 0.0, "got 12 and 0"),
    ):
        with pytest.raises(ValueError, match=message):
            EmbeddingCondition(**{**facts, name: value})


# --- the real ones -------------------------------------------------------------------------------


def real_encoder(folder, seed=0):
    """A tiny BERT with random weights and a mean over its tokens, as sentence-transformers saves one."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "small", "large", "square"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    tokens = BertTokenizerFast(str(folder / "vocab.txt"))
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=32, **sizes)).save_pretrained(folder)
    tokens.save_pretrained(folder)
    model = SentenceTransformer(modules=[Transformer(str(folder), max_seq_length=16), Pooling(16)])
    model.save(str(folder / "saved"))
    return folder / "saved"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_encoder_of_sentence_transformers(place, monkeypatch, capfd):
    pytest.importorskip("sentence_transformers")
    forget()
    saved = real_encoder(place / "real")
    capfd.readouterr()
    data = prepare("pics", **{**HOW, "text_encoder": saved})
    model = model_told(data, "m.safetensors")
    forget()
    model = load("m.safetensors", "cpu")
    sample(model, 2, cond={"caption": "a blue large large square"}, evaluations=2)
    assert "Loading" not in "".join(capfd.readouterr())
    with pytest.warns(UserWarning, match="1 of 1 texts are longer than the 16 tokens"):
        sample(model, 2, cond={"caption": "blue " * 20}, evaluations=2)
    monkeypatch.setenv(PLACE, str(real_encoder(place / "other", seed=1)))
    forget()
    model = load("m.safetensors", "cpu")
    with pytest.raises(ValueError, match="has other weights"):
        sample(model, 2, cond={"caption": "a blue square"}, evaluations=2)
