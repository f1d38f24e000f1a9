"""What the tests share: tiny data, a tiny tokenizer, tiny models."""

import os
from contextlib import contextmanager

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import settings

from mtl.cli.main import main
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.model import MultiTaskModel
from mtl.nn.config import EncoderConfig
from mtl.nn.encoder import TransformerEncoder
from mtl.toy import ner_examples, qa_examples

PNG = b"\x89PNG"  # how such a file begins

settings.register_profile("mtl", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("mtl")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `-n`, a file is tested by one process: its tests share what they train."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False  # the order below, not by the number of tests
    return LoadFileScheduling(config, log)


def pytest_collection_modifyitems(items):
    """With `-n`, the longest files come first, so that no process has one left at the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory):
    """No test writes into the home folder, or reads what another run of the tests left there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """The tensors here are so small that more threads only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sentences():
    """Thirty toy NER sentences."""
    return ner_examples("train", 30)


@pytest.fixture(scope="session")
def questions():
    """Thirty toy questions."""
    return qa_examples("train", 30)


@pytest.fixture(scope="session")
def tokenizer(sentences, questions):
    """Knows the words of `sentences` and `questions`."""
    texts = [example.text for example in sentences]
    texts += [text for example in questions for text in (example.question, example.context)]
    return WhitespaceTokenizer.train(texts)


@pytest.fixture(scope="session")
def build_model(tokenizer):
    """A function that makes a tiny model; the same seed gives the same weights."""

    def build(tasks, seed=0, tokenizer=tokenizer, overlap=32, **settings):
        torch.manual_seed(seed)
        shape = {"d_model": 16, "n_heads": 2, "n_layers": 1, "max_length": 64, "dropout": 0.0}
        config = EncoderConfig(len(tokenizer), **(shape | settings))
        return MultiTaskModel(TransformerEncoder(config), tokenizer, tasks, overlap=overlap)

    return build


@pytest.fixture(scope="session")
def without_curves():
    """A context of empty pictures, for recipes so small that to draw takes longer than to train."""

    def save(figure, file, **options):
        file.write(PNG) if hasattr(file, "write") else file.write_bytes(PNG)

    @contextmanager
    def context():
        with pytest.MonkeyPatch.context() as patch:
            for plot in ("experiments.assessment.plot_losses", "reports.files.plot_confusion"):
                patch.setattr(f"mtl.{plot}", lambda *args: plt.Figure())
            patch.setattr(plt.Figure, "savefig", save)
            yield

    return context


@pytest.fixture
def no_curves(without_curves):
    """Empty pictures during a test."""
    with without_curves():
        yield


@pytest.fixture
def mtl_(capsys):
    """Run a command; gives its exit status, stdout and stderr."""

    def call(*arguments):
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse leaves this way
            status = stop.code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, captured.out, captured.err

    return call
