"""README.md and docs/: links lead somewhere, commands can be typed, and no page is forgotten."""

import re
import shlex
from pathlib import Path

import pytest

import mtl
from mtl import api
from mtl.cli.main import build_parser
from mtl.errors import ConfigError
from mtl.experiments.recipe import load_recipe

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
}
API = PAGES["docs/api.md"]


def without_code(text):
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text):
    """What a code host calls the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PAGES)
def test_every_relative_link_leads_somewhere(name):
    page = ROOT / name
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(PAGES[name])):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(link)
    assert not broken


# Under our name, the package index has somebody else's package; and no page has an index's address.
TO_AN_INDEX = r"pip install (-\S+ )*[\"']?mtl\b|index-url|/simple\b|/whl\b"


@pytest.mark.parametrize("name", PAGES)
def test_nobody_is_sent_to_an_index(name):
    assert not re.search(TO_AN_INDEX, PAGES[name])


def test_the_words_that_are_looked_for_would_be_found():
    for bad in ("pip install mtl", "pip install -U 'mtl[docs]'", "pip install a --index-url b"):
        assert re.search(TO_AN_INDEX, bad)
    for good in ('pip install -e ".[docs]"', 'pip install "./mtl[pretrained]"'):
        assert not re.search(TO_AN_INDEX, good)


def commands():
    """Each `mtl ...` command in a block of shell code, with its page."""
    for name, text in PAGES.items():
        text = text.replace("$seed", "0")
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                for command in re.split(r"; (?:do )?|\| ", line.split(" #")[0]):
                    if command.startswith("mtl "):
                        yield name, command


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_a_command_can_be_typed_and_its_settings_exist(name, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for task in ("ner", "qa"):  # a folder for each dataset of practical7
        (tmp_path / "my-folder" / task).mkdir(parents=True)
    given = build_parser().parse_args(shlex.split(command)[1:])
    if given.command in ("train", "compare") and not given.recipe.endswith(".toml"):
        load_recipe(
            given.recipe, given.set, data=given.data, preset=given.preset, hardware=given.hardware
        )


def test_there_are_commands():
    assert len(list(commands())) > 40
    assert {name for name, _ in commands()} >= {"README.md", "docs/cli.md", "docs/results.md"}


def test_every_command_is_on_its_page():
    usage = build_parser().format_help()
    listed = set(re.findall(r"^\| `mtl (\w+)", PAGES["docs/cli.md"], re.MULTILINE))
    assert listed == set(re.findall(r"^    (\w+)(?: |$)", usage, re.MULTILINE))


def test_the_contents_name_every_page_once():
    contents = PAGES["docs/index.md"]
    others = {name.removeprefix("docs/") for name in PAGES} - {"README.md", "index.md"}
    assert sorted(re.findall(r"^- \[.*?\]\((\S+)\): ", contents, re.MULTILINE)) == sorted(others)
    tree = re.search(r":hidden:\n\n(.*?)```", contents, re.DOTALL)[1].split()
    assert sorted(f"{page}.md" for page in tree) == sorted(others)


def test_the_message_about_an_unknown_key_is_the_real_one():
    with pytest.raises(ConfigError) as error:
        load_recipe("practical7", ["train.epoch=5"])
    assert f"mtl: error: {error.value}\n" in PAGES["docs/troubleshooting.md"]


def test_the_reference_has_every_name_at_the_top():
    first = API.split("## mtl.")[0]
    named = re.findall(r"^\.\. auto\w+:: (\w+)$", first, re.MULTILINE)
    assert sorted(named) == sorted({*mtl.__all__, *api.ALSO})
