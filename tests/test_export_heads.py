"""A task for `transformers` or `sentence-transformers`: the same outputs there, or why not."""

import json

import parity
import pytest
import torch
import torch.nn.functional as F
from checkpoints import POSITIONS
from parity import BASES, inputs
from safetensors.torch import load_file

from mtl.data.batching import Batch
from mtl.data.dataset import Dataset
from mtl.data.examples import PairExample, TextExample
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import ConfigError, ModelError
from mtl.export import export_for_sentence_transformers, export_for_transformers
from mtl.model import MultiTaskModel
from mtl.nn.adapters import AdapterConfig
from mtl.nn.encoder import TransformerEncoder
from mtl.nn.pretrained import load_pretrained
from mtl.tasks import (
    ClassificationTask,
    EmbeddingTask,
    NERTask,
    NestedNERTask,
    PairClassificationTask,
    QATask,
    RegressionTask,
    TaggingTask,
)

checkpoint = parity.checkpoint  # pytest looks for a fixture by its name in this module

pytest.importorskip("tokenizers")

LABELS = ["good", "bad", "so-so"]
STARS = Dataset(
    train=[TextExample("a", scores={"stars": 1.0}), TextExample("b", scores={"stars": 4.0})]
)
PAIRS = Dataset(train=[PairExample("a", "b", label=label) for label in LABELS])
WITH_HEADS = [name for name in BASES if name != "ModernBertModel"]
TEXTS = ["Paris plays.", "the unworkable work", "em, un; the players"]


def tasks():
    return [
        NERTask("ner", types=["PER", "LOC"]),
        TaggingTask("tags", tags=["NOUN", "VERB"]),
        ClassificationTask("topic", labels=LABELS, pooling="cls"),
        ClassificationTask("moods", labels=LABELS, pooling="cls", multi_label=True),
        PairClassificationTask("pair", PAIRS, pooling="cls"),
        RegressionTask("stars", STARS, field="stars", pooling="cls"),
        QATask("qa"),
    ]


CLASSES = {
    "ner": "TokenClassification",
    "tags": "TokenClassification",
    "topic": "SequenceClassification",
    "moods": "SequenceClassification",
    "pair": "SequenceClassification",
    "stars": "SequenceClassification",
    "qa": "QuestionAnswering",
}


def shaken(model):
    """The model with weights that differ from what every head starts with."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.fixture(scope="module")
def models(checkpoint):
    """A function from a class of `transformers` to a model with a head of every kind."""
    made = {}

    def make(class_name):
        if class_name not in made:
            made[class_name] = shaken(
                MultiTaskModel(*load_pretrained(checkpoint(class_name)[0]), tasks())
            )
        return made[class_name]

    return make


def outputs_of(model, task, ids, mask, types):
    batch = Batch([], torch.arange(len(ids)), ids, mask, types, mask)
    with torch.no_grad():
        return model(batch, [task])[task]


def load(auto, folder):
    transformers = pytest.importorskip("transformers")
    model, report = getattr(transformers, f"AutoModelFor{auto}").from_pretrained(
        folder, local_files_only=True, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    return model.eval()


@pytest.mark.parametrize("task", CLASSES)
@pytest.mark.parametrize("class_name", WITH_HEADS)
def test_their_outputs_are_ours(models, tmp_path, class_name, task):
    model = models(class_name)
    said = export_for_transformers(model, task, tmp_path)
    theirs = load(CLASSES[task], tmp_path)
    assert type(theirs).__name__ == said
    config, tokenizer = model.encoder.config, model.tokenizer
    n_types = config.n_types if len(tokenizer.pair_separator) == 1 else 1
    batch = inputs([POSITIONS, 17, 3, 1], len(tokenizer), tokenizer.pad_id, n_types or 1)
    ids, mask, types = batch
    given = {"input_ids": ids, "attention_mask": mask.long()}
    if config.n_types:
        given["token_type_ids"] = types
    with torch.no_grad():
        found = theirs(**given)
    ours = outputs_of(model, task, ids, mask, types)
    if task == "qa":
        pairs = zip(ours, (found.start_logits, found.end_logits), strict=True)
    elif task == "stars":  # theirs is on the scale of the data
        pairs = [(model.tasks[task].mean + model.tasks[task].deviation * ours, found.logits)]
    else:
        pairs = [(ours, found.logits)]
    for our, their in pairs:
        our, their = (x[mask] if x.shape[:2] == mask.shape else x for x in (our, their))
        assert torch.allclose(our, their, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("class_name", ["BertModel", "DistilBertModel", "RobertaModel"])
def test_their_pipelines_say_what_we_predict(models, tmp_path, class_name):
    transformers = pytest.importorskip("transformers")
    model = models(class_name)
    ours = model.predict(TEXTS)

    def pipe(task, **options):
        kind = "token-classification" if "Token" in CLASSES[task] else "text-classification"
        export_for_transformers(model, task, tmp_path / task)
        return transformers.pipeline(kind, str(tmp_path / task), **options)

    for task in ("topic", "moods"):
        for said, text in zip(pipe(task, top_k=None)(TEXTS), ours, strict=True):
            scores = {one["label"]: one["score"] for one in said}
            assert scores == pytest.approx(text[task].scores, abs=1e-5)
    for said, text in zip(pipe("stars")(TEXTS), ours, strict=True):
        assert said == {"label": "stars", "score": pytest.approx(text["stars"].score, abs=1e-4)}
    for task in ("ner", "tags"):
        found = pipe(task, aggregation_strategy="none", ignore_labels=[])(TEXTS)
        for tokens, text in zip(found, ours, strict=True):
            # Theirs have a tag for every piece, ours for every word: that of its first piece.
            by_start = {}
            for token in tokens:
                piece = text[task].text[token["start"] : token["end"]]
                start = token["start"] + len(piece) - len(piece.lstrip())
                if piece.strip():  # RoBERTa has pieces for blanks too
                    by_start.setdefault(start, (token["entity"], token["score"]))
            for (start, _), tag, score in zip(
                text[task].words, text[task].tags, text[task].scores, strict=True
            ):
                assert by_start[start] == (tag, pytest.approx(score, abs=1e-5))


@pytest.mark.parametrize("class_name", ["BertModel", "DistilBertModel", "RobertaModel"])
def test_their_tokenizer_reads_a_pair_as_we_do(models, tmp_path, class_name):
    transformers = pytest.importorskip("transformers")
    model = models(class_name)
    export_for_transformers(model, "pair", tmp_path)
    theirs = load("SequenceClassification", tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    firsts, seconds = ["Paris works", "the un"], ["em plays the game.", "un"]
    given = tokenizer(firsts, seconds, padding=True, return_tensors="pt")
    with torch.no_grad():
        chances = theirs(**given).logits.softmax(-1)
    for row, pair in zip(chances, zip(firsts, seconds, strict=True), strict=True):
        ours = model.predict(pair, "pair")["pair"].scores
        named = {theirs.config.id2label[i]: p for i, p in enumerate(row.tolist())}
        assert named == pytest.approx(ours, abs=1e-5)


def test_labels_and_thresholds_are_in_their_config(models, tmp_path):
    model = models("BertModel")
    model.tasks["moods"].thresholds = {"least_probability": 0.25}
    try:
        export_for_transformers(model, "moods", tmp_path)
    finally:
        model.tasks["moods"].thresholds = {}
    config = load("SequenceClassification", tmp_path).config
    assert config.id2label == dict(enumerate(LABELS))
    assert config.label2id == {label: i for i, label in enumerate(LABELS)}
    assert config.problem_type == "multi_label_classification"
    assert config.thresholds == {"least_probability": 0.25}


def test_what_a_task_has_of_its_own_in_the_encoder_is_exported_with_it(checkpoint, tmp_path):
    encoder, tokenizer = load_pretrained(checkpoint("BertModel")[0])
    model = MultiTaskModel(
        encoder,
        tokenizer,
        [NERTask("ner", types=["PER"]), NERTask("other", types=["LOC"])],
        private_layers=1,
        adapters={"ner": 2},
        adapter_config=AdapterConfig(matrices=["query", "expand"]),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    model.eval()
    ids, mask, types = inputs([9, 4], len(tokenizer), 0, 2)
    found = {}
    for task in ("ner", "other"):
        export_for_transformers(model, task, tmp_path / task)
        theirs = load("TokenClassification", tmp_path / task)
        with torch.no_grad():
            found[task] = theirs(ids, mask.long(), token_type_ids=types).logits[mask]
        ours = outputs_of(model, task, ids, mask, types)[mask]
        assert torch.allclose(found[task], ours, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found["ner"], found["other"], atol=0.1)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (NERTask("x", types=["PER"], decoding="crf"), ["transitions", "constrained"]),
        (NestedNERTask("x", types=["PER"]), ["spans of words", "--format onnx"]),
        (ClassificationTask("x", labels=LABELS), ["pools all tokens", "'mean'", '"cls"']),
        (PairClassificationTask("x", PAIRS), ["compares two texts", '"cls"']),
        (EmbeddingTask("x"), ["vectors", "--format sentence-transformers"]),
        (ClassificationTask("x", labels=[*map(str, range(17))], pooling="cls"), ["17 classes"]),
    ],
)
def test_what_has_no_class_there_is_refused_before_anything_is_written(
    checkpoint, tmp_path, task, words
):
    model = MultiTaskModel(*load_pretrained(checkpoint("BertModel")[0]), [task])
    with pytest.raises(ModelError) as caught:
        export_for_transformers(model, "x", tmp_path / "new")
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_as_many_classes_as_fit_are_exported(checkpoint, tmp_path):
    task = ClassificationTask("x", labels=[*map(str, range(16))], pooling="cls")  # the width is 32
    model = shaken(MultiTaskModel(*load_pretrained(checkpoint("DistilBertModel")[0]), [task]))
    export_for_transformers(model, "x", tmp_path)
    ids, mask, types = inputs([9, 4], len(model.tokenizer), 0)
    with torch.no_grad():
        theirs = load("SequenceClassification", tmp_path)(ids, mask.long()).logits
    ours = outputs_of(model, "x", ids, mask, types)
    assert torch.allclose(theirs, ours, atol=1e-5, rtol=1e-5)


def test_an_encoder_that_they_do_not_have_is_refused(checkpoint, tmp_path, build_model):
    modern = MultiTaskModel(*load_pretrained(checkpoint("ModernBertModel")[0]), tasks())
    with pytest.raises(ModelError, match="layer norm"):
        export_for_transformers(modern, "ner", tmp_path)
    with pytest.raises(ModelError, match="no encoder like this one"):
        export_for_transformers(build_model([NERTask("ner", types=["X"])]), "ner", tmp_path)
    told = MultiTaskModel(modern.encoder, modern.tokenizer, tasks(), task_embeddings=["ner"])
    with pytest.raises(ConfigError, match="task embedding"):
        export_for_transformers(told, "ner", tmp_path)
    assert not list(tmp_path.iterdir())


def embedding_model(folder, width, **own):
    tasks = [EmbeddingTask("v", width=width)]
    return shaken(MultiTaskModel(*load_pretrained(folder), tasks, **own))


def module_by_hand(folder, name):
    """A module of the chain, made from nothing but what its folder says."""
    weights = load_file(folder / "model.safetensors") if name in ("Dense", "LayerNorm") else {}
    settings = json.loads((folder / "config.json").read_text())
    if name == "Pooling":
        assert settings.pop("word_embedding_dimension") == 32
        assert settings == {"pooling_mode_mean_tokens": True}
        return lambda states: states.mean(1)
    if name == "Dense":
        assert weights["linear.weight"].shape == (settings["out_features"], settings["in_features"])
        return lambda x: x @ weights["linear.weight"].T + weights["linear.bias"]
    if name == "LayerNorm":
        shape = (settings["dimension"],)
        return lambda x: F.layer_norm(x, shape, weights["norm.weight"], weights["norm.bias"])
    assert name == "Normalize"
    return lambda x: x / x.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize(
    ("class_name", "width", "own"),
    [("BertModel", 0, {}), ("BertModel", 6, {"adapters": {"v": 2}}), ("ModernBertModel", 6, {})],
)
def test_the_modules_of_the_folder_give_our_vectors(checkpoint, tmp_path, class_name, width, own):
    transformers = pytest.importorskip("transformers")
    model = embedding_model(checkpoint(class_name)[0], width, **own)
    with torch.no_grad():
        for parameter in model.adapters.parameters():
            parameter.add_(torch.randn(parameter.shape))
    export_for_sentence_transformers(model, "v", tmp_path)
    first, *rest = json.loads((tmp_path / "modules.json").read_text())
    assert (first["path"], first["type"]) == ("", "sentence_transformers.models.Transformer")
    encoder = transformers.AutoModel.from_pretrained(tmp_path, local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    for text in TEXTS:
        with torch.no_grad():
            vector = encoder(**tokenizer(text, return_tensors="pt")).last_hidden_state
        for module in rest:
            name = module["type"].removeprefix("sentence_transformers.models.")
            vector = module_by_hand(tmp_path / module["path"], name)(vector)
        assert torch.allclose(vector[0], model.encode(text), atol=1e-5)


@pytest.mark.parametrize(
    ("class_name", "width"),
    [("BertModel", 0), ("BertModel", 6), ("RobertaModel", 6), ("ModernBertModel", 0)],
)
def test_sentence_transformers_gives_our_vectors(checkpoint, tmp_path, class_name, width):
    theirs = pytest.importorskip("sentence_transformers")
    model = embedding_model(checkpoint(class_name)[0], width)
    export_for_sentence_transformers(model, "v", tmp_path)
    there = theirs.SentenceTransformer(str(tmp_path), local_files_only=True, device="cpu")
    vectors = there.encode(TEXTS, convert_to_tensor=True)
    assert torch.allclose(vectors, model.encode(TEXTS), atol=1e-5)


def test_the_modules_are_those_of_the_head(checkpoint, tmp_path):
    folder, _ = checkpoint("BertModel")
    without = export_for_sentence_transformers(embedding_model(folder, 0), "v", tmp_path / "a")
    assert without == ["Transformer", "Pooling", "LayerNorm", "Normalize"]
    projected = export_for_sentence_transformers(embedding_model(folder, 6), "v", tmp_path / "b")
    assert projected == ["Transformer", "Pooling", "Dense", "LayerNorm", "Normalize"]
    places = {path.name for path in (tmp_path / "b").iterdir() if path.is_dir()}
    assert places == {"1_Pooling", "2_Dense", "3_LayerNorm", "4_Normalize"}


def test_a_task_without_vectors_is_refused(models, tmp_path):
    with pytest.raises(ModelError, match="gives no vectors"):
        export_for_sentence_transformers(models("BertModel"), "ner", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_words_in_place_of_pieces_are_refused(tmp_path):
    tokenizer = WhitespaceTokenizer.train(["a b"])
    encoder = TransformerEncoder(
        {"vocab_size": len(tokenizer), "positions": "learned", "norm": "post"}
    )
    model = MultiTaskModel(encoder, tokenizer, [EmbeddingTask("v")])
    with pytest.raises(ModelError, match="WhitespaceTokenizer"):
        export_for_sentence_transformers(model, "v", tmp_path / "new")
    assert not (tmp_path / "new").exists()
