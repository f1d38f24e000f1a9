"""The state of the house in numbers: sizes, comments, types, and how long things take.

    python tests/benchmarks/house.py [CHECKOUT ...] [--suite]

One column for each checkout (by default this one). With `--suite` their tests run too, one checkout
after the other. Nothing else may run on the machine meanwhile.
"""

import argparse
import ast
import io
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import tokenize
from pathlib import Path

from mtl.tables import format_markdown

HERE = Path(__file__).parents[2]
CHECKED = ("recipe.py", "sections.py", "config.py", "settings.py", "encoder.py")
CHECKS = re.compile(r"check|fault|complaint|contradict|post_init|required|types?_of")
DIRECTIVE = re.compile(r"#\s*(noqa|ty:|type:)")
SENTENCES = "-DOCSTART-\tO\n\n" + "Alice\tB-PER\nsleeps\tO\n.\tO\n\n" * 20


def functions(tree: ast.Module) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def lines_of(function: ast.FunctionDef) -> int:
    """Without its docstring: that is written for those who do not read the code."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def commented_lines(source: str) -> int:
    """Lines with a comment for people."""
    found = tokenize.generate_tokens(io.StringIO(source).readline)
    return sum(t.type == tokenize.COMMENT and not DIRECTIVE.match(t.string) for t in found)


def sizes(checkout: Path) -> dict[str, str]:
    package = checkout / "mtl"
    sources = {p: p.read_text(encoding="utf-8") for p in package.rglob("*.py")}
    length = {p: len(text.splitlines()) for p, text in sources.items()}
    largest = max(length, key=length.__getitem__)
    named = [(lines_of(f), f.name, p) for p, s in sources.items() for f in functions(ast.parse(s))]
    n_lines, function, where = max(named, key=lambda one: one[0])
    checks = [n for n, name, p in named if p.name in CHECKED and CHECKS.search(name)]
    root = {p.name for p in package.iterdir()} - {"__pycache__", "py.typed"}
    comments = sum(map(commented_lines, sources.values()))
    total = sum(length.values())
    return {
        "entries at the root of `mtl/`": str(len(root)),
        "lines in all": f"{total:,}",
        "largest module": f"`{largest.relative_to(package)}`, {length[largest]} lines",
        "largest function": f"`{function}` in `{where.relative_to(package)}`, {n_lines} lines",
        "lines of checks in recipe, config and schema": str(sum(checks)),
        "lines with a comment": f"{comments} ({comments / total:.1%})",
    }


def run(checkout: Path, *command: str, **options) -> subprocess.CompletedProcess:
    env = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = (sys.executable, *command)
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, **options)


def diagnostics(checkout: Path) -> str:
    ty = run(checkout, "-m", "ty", "check", "mtl", "--output-format", "concise", cwd=checkout)
    last = (ty.stdout or ty.stderr).strip().splitlines()[-1]
    return last.removeprefix("Found ")


def seconds(checkout: Path, *command: str, repeat: int = 5) -> str:
    """The median of some whole processes, after one that fills the caches."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "small.conll").write_text(SENTENCES, encoding="utf-8")
        for _ in range(repeat + 1):
            started = time.perf_counter()
            done = run(checkout, *command, cwd=folder)
            times.append(time.perf_counter() - started)
            if done.returncode:
                raise SystemExit(done.stderr)
    return f"{statistics.median(times[1:]):.2f} s"


def suite(checkout: Path) -> str:
    parallel = ["-n", "2"] if "xdist" in (checkout / "pyproject.toml").read_text() else []
    started = time.perf_counter()
    done = run(checkout, "-m", "pytest", "-q", *parallel, cwd=checkout)
    minutes = (time.perf_counter() - started) / 60
    return f"{minutes:.1f} min: {done.stdout.strip().splitlines()[-1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", nargs="*", type=Path, default=[HERE])
    parser.add_argument("--suite", action="store_true")
    options = parser.parse_args()
    columns = []
    for checkout in map(Path.resolve, options.checkouts):
        column = sizes(checkout) | {"`ty check mtl`": diagnostics(checkout)}
        column["`python -c 'import mtl'`"] = seconds(checkout, "-c", "import mtl")
        column["`mtl --help`"] = seconds(checkout, "-m", "mtl", "--help")
        column["`mtl check` of a small file"] = seconds(
            checkout, "-m", "mtl", "check", "small.conll"
        )
        if options.suite:
            column["the tests"] = suite(checkout)
        columns.append(column)
    names = [checkout.resolve().name for checkout in options.checkouts]
    rows = [[what, *(column[what] for column in columns)] for what in columns[0]]
    print(format_markdown(["", *names], rows))


if __name__ == "__main__":
    main()
