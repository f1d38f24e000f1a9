"""The house order: who may import whom, and what the package never uses."""

import ast
import importlib
import re
import sys
from pathlib import Path

import pytest

import mtl

PACKAGE = Path(mtl.__file__).parent

# Bottom to top; a module imports only from those before it.
# The `__init__` of a package is its door: it comes after the package's files.
ORDER = [
    name
    for line in (
        "version errors registry settings messages progress files devices metrics tables",
        "data.words data.nesting data.validity data.examples data.stored data.remembered",
        "data.tokenizers.base data.tokenizers.whitespace data.tokenizers.stretches",
        "data.tokenizers.subwords data.tokenizers",
        "data.readers.source data.readers.json_source data.readers.schemes",
        "data.readers.tag_columns data.readers.column_facts data.readers.layout",
        "data.readers.sentences data.readers.blocks data.readers.columns",
        "data.readers.cells data.readers.answers data.readers.squad",
        "data.readers.classes data.readers.taglists data.readers.pairs",
        "data.readers.spans data.readers.exports",
        "data.readers.record_fields data.readers.record_classes data.readers.records",
        "data.readers.kinds data.readers.large",
        "data.readers.table data.readers.raw_records data.readers.text_tables",
        "data.readers.tables data.readers.parallel",
        "data.readers.json_forms data.readers.parquet data.readers.detect data.readers.folders",
        "data.readers.write",
        "data.readers",
        "data.held_out data.dataset data.rows data.packed data.cache data.encoded data.batching",
        "data.augment data.facts data.check data",
        "toy.world toy.facts toy.news toy.paraphrases toy.pairs toy.intents",
        "toy.unanswerable toy.emotions toy.speech toy.documents toy",
        "nn.config nn.attention nn.encoder nn.adapters nn.task_embedding nn.shared_encoder",
        "nn.heads nn.global_pointer nn.crf",
        "nn.family nn.modernbert nn.families nn.pretrained nn.export nn.parameters nn",
        "tasks.base tasks.labels tasks.spans tasks.answers tasks.windows tasks.own_words",
        "tasks.entities tasks.nested tasks.guesses",
        "tasks.tagged tasks.tokens tasks.tagging tasks.pairs",
        "tasks.choice tasks.one_of tasks.any_of tasks.classification",
        "tasks.ner tasks.nested_ner tasks.qa tasks.embedding",
        "tasks.pair_classification tasks.regression tasks",
        "inference.loop inference.inputs inference.prediction inference.labelled",
        "inference.evaluation inference.predictor inference.records inference.outputs",
        "inference.job inference.bulk inference model_checks model_folder model",
        "export.onnx_graph export.onnx_weights export.onnx_model export.check export.for_onnx",
        "export.for_transformers export.for_sentence_transformers export",
        "training.sampling training.ranks training.methods training.weighting training.aggregation",
        "training.history training.tensorboard training.config training.conflict",
        "training.optimizer training.compiled",
        "training.preflight training.state training.faults training.best training.streams",
        "training.step training.run training.loop training",
        "reports.picture reports.style reports.sketch reports.curves reports.plots",
        "reports.diagrams reports.forward_pass plots reports.files reports.cases reports",
        "experiments.summary experiments.bundled experiments.toml_text experiments.overrides",
        "experiments.sections experiments.data_option experiments.recipe experiments.data",
        "experiments.folder",
        "experiments.build experiments.assessment experiments.run experiments.plan",
        "experiments.compare experiments",
        "api",
        "serve.settings serve.problems serve.schemas serve.calls serve.queue serve.metrics",
        "serve.worker serve.service serve.guard serve.browser serve.app serve.server serve",
        "cli.model_options cli.parser cli.loading cli.choosing cli.train cli.evaluate",
        "cli.interactive cli.stdin cli.bulk cli.predict cli.serve cli.export cli.data cli.main cli",
        "__main__",
    )
    for name in line.split()
]
TASK_HELPERS = (
    *("base", "tokens", "pairs", "classification"),  # to build tasks on
    *("labels", "spans", "answers", "windows", "own_words"),
    *("entities", "nested", "guesses", "tagged"),
    *("choice", "one_of", "any_of"),
)  # files of mtl/tasks that are no task
BASES = TASK_HELPERS[:4]
CORE = {"torch", "numpy", "matplotlib", "tqdm", "safetensors"}
# Of the extra `serve`. The package of that name is loaded by its command alone, which asks for it.
OF_SERVE = {"fastapi", "starlette", "uvicorn", "pydantic", "pydantic_core", "prometheus_client"}

FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def name_of(path):
    """`data.toy` for mtl/data/toy.py, `data` for mtl/data/__init__.py, "" for mtl/__init__.py."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def imports_of(path):
    """The absolute dotted names that a file imports, wherever in the file it does."""
    package = ["mtl", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:  # a name may be a module, or something in one
                full = f"{module}.{alias.name}"
                yield full if full.removeprefix("mtl.") in MODULES else module


def test_every_module_has_its_place_in_the_order():
    missing = sorted(MODULES.keys() - {"", *ORDER})
    assert not missing, f"add {missing} to ORDER in this file, and to the house in DESIGN.md"


@pytest.mark.parametrize("name", sorted(MODULES.keys() & set(ORDER)))
def test_a_module_imports_only_from_those_below_it(name):
    ours = [i for i in imports_of(MODULES[name]) if i == "mtl" or i.startswith("mtl.")]
    below = ORDER[: ORDER.index(name)]
    wrong = [i for i in ours if i.removeprefix("mtl.") not in below]
    assert not wrong, f"mtl.{name} imports {wrong}, which stand beside or above it"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_begins_with_one_sentence(path):
    """What comes in and what goes out, on the first line; more may follow after an empty one."""
    first, *more = (ast.get_docstring(TREES[path]) or "").splitlines() or [""]
    assert first.endswith("."), f"{path}: the first line is not a whole sentence: {first!r}"
    assert not re.search(r"[.?!] [A-Z]", first), f"{path}: more than one sentence: {first!r}"
    assert not more or not more[0], f"{path}: an empty line comes after the first sentence"


def test_no_task_knows_another():
    for path in (PACKAGE / "tasks").glob("[!_]*.py"):  # all but the door, which knows each
        siblings = {i for i in imports_of(path) if i.startswith("mtl.tasks.")}
        assert siblings <= {f"mtl.tasks.{name}" for name in TASK_HELPERS}, path


def test_every_task_is_named_at_the_door():
    """A task is found by its kind only if its file is imported, and `mtl.tasks` imports them."""
    files = (PACKAGE / "tasks").glob("[!_]*.py")
    named = {i.split(".")[-1] for i in imports_of(PACKAGE / "tasks" / "__init__.py")}
    assert named == {p.stem for p in files} - {*TASK_HELPERS} | {*BASES}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_is_not_a_core_dependency_is_imported_where_it_is_used(path):
    top = [n for n in TREES[path].body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {a.name for n in top if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in top if isinstance(n, ast.ImportFrom) and not n.level}
    foreign = {n.split(".")[0] for n in names} - CORE - set(sys.stdlib_module_names) - {"mtl"}
    if path.parent == PACKAGE / "serve" and path.stem not in ("__init__", "settings"):
        foreign -= OF_SERVE
    assert not foreign


def dotted(node):
    """`a.b.c` for such an expression, else its last part."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_the_transformer_is_ours_and_nothing_is_unpickled(path):
    used = {dotted(n) for n in ast.walk(TREES[path]) if isinstance(n, ast.Attribute)}
    used |= {n.id for n in ast.walk(TREES[path]) if isinstance(n, ast.Name)}
    used |= {
        alias.name
        for n in ast.walk(TREES[path])
        if isinstance(n, ast.Import | ast.ImportFrom)
        for alias in n.names
    }
    used |= set(imports_of(path))
    last = {name.split(".")[-1] for name in used}
    theirs = {n for n in last if n.startswith("Transformer")} - {"TransformerEncoder"}
    assert not theirs
    assert not {n for n in used if n.endswith("nn.TransformerEncoder")}
    assert not last & {"MultiheadAttention", "multi_head_attention_forward"}
    assert not last & {"pickle", "cloudpickle", "dill", "joblib"}
    assert not used & {"torch.load", "torch.save"}


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name != "tasks"], ids=name_of)
def test_no_task_is_known_by_its_kind_outside_tasks(path):
    kinds = {"ner", "qa", "classification", "embedding"}
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Compare):
            constants = {
                n.value
                for side in (node.left, *node.comparators)
                for n in ast.walk(side)
                if isinstance(n, ast.Constant)
            }
            assert not constants & kinds, f"{path.name}:{node.lineno} asks for a task by name"
        if isinstance(node, ast.MatchValue) and isinstance(node.value, ast.Constant):
            assert node.value.value not in kinds, f"{path.name}:{node.value.lineno}"


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "files.py"], ids=name_of)
def test_files_are_written_in_one_place(path):
    """`files.write_atomically` alone writes, so that a kill leaves the old file or the new one."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            assert name not in ("write_text", "write_bytes", "save_file"), (
                f"{path.name}:{node.lineno} writes with {name}; use files.write_atomically"
            )


PAGE = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(mtl(?:\.\w+)+)`", PAGE))))
def test_every_name_on_the_page_exists(name):
    """A module, something in it, or something in that: `mtl.model.MultiTaskModel.forward`."""
    found = importlib.import_module("mtl")
    path = "mtl"
    for part in name.split(".")[1:]:
        path = f"{path}.{part}"
        found = importlib.import_module(path) if path[4:] in MODULES else getattr(found, part)
