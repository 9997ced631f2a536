"""The house: who may know whom, how fast it opens, and that the README tells the truth."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import alphabar

PACKAGE = Path(alphabar.__file__).parent
ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

GROUND = {"errors", "files", "images", "random", "version"}  # leaves that everybody may know
MAY_KNOW = {
    "errors": set(),
    "random": set(),
    "version": set(),
    "files": set(),
    "images": {"files"},
    "theory": {"errors"},
    "nn": {"errors"},
    "data": GROUND,
    "denoiser": GROUND | {"theory", "nn", "data"},
    "sampling": GROUND | {"theory", "denoiser", "data"},
    "evaluation": GROUND | {"theory", "denoiser", "data", "sampling"},
    "training": GROUND | {"theory", "nn", "denoiser", "data", "sampling", "evaluation"},
    "cli": GROUND | {"theory", "nn", "denoiser", "data", "sampling", "training", "evaluation"},
}
LIBRARIES = {  # which of the larger ones a room may use
    "theory": {"numpy"},
    "nn": {"torch"},
    "data": {"numpy", "PIL", "datasets", "mlxtend"},
    "denoiser": {"numpy", "torch"},
    "sampling": {"numpy", "torch"},
    "training": {"numpy", "torch", "pydantic"},
    "evaluation": {"numpy", "torch", "torch_fidelity", "onnxruntime", "timm"},
    "cli": {"numpy", "torch", "PIL", "typer", "rich", "matplotlib"},
    "errors": set(),
    "version": set(),
    "random": {"numpy"},
    "files": {"torch", "safetensors"},
    "images": {"numpy", "PIL"},
}


def rooms():
    """(file, room, names of rooms it imports, names of libraries it imports)."""
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        inside, outside = set(), set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                place = [*parts[: len(parts) - node.level], *(node.module or "").split(".")]
                target = next((p for p in place if p), None)
                inside |= {target} if target else {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                outside.add((node.module or "").split(".")[0])
            elif isinstance(node, ast.Import):
                outside |= {alias.name.split(".")[0] for alias in node.names}
        yield file, parts[0], inside, outside - set(sys.stdlib_module_names)


def test_arrows_point_one_way():
    for file, room, inside, outside in rooms():
        if room in ("__init__", "__main__"):
            continue
        knows = inside - {room}
        assert knows <= MAY_KNOW[room], f"{file} knows {knows - MAY_KNOW[room]}"
        assert outside <= LIBRARIES[room], f"{file} uses {outside - LIBRARIES[room]}"


def test_only_the_command_line_prints_and_exits():
    for file, room, _, _ in rooms():
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert room in ("cli", "__main__") or not calls & {"print", "exit", "quit"}, file


def test_no_pickle_anywhere():
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"import pickle|pickle\.|allow_pickle=True|torch\.(load|save)\b", text), file


def test_files_are_about_one_idea():
    long = {
        f.name: n
        for f in PACKAGE.rglob("*.py")
        if (n := len(f.read_text(encoding="utf-8").splitlines())) > 330
    }
    assert not long


def fresh(code):
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, done.stdout


def test_importing_it_and_asking_for_help_wait_for_no_torch():
    heavy = (
        "print([m for m in ('torch', 'matplotlib', 'PIL', 'pydantic', 'safetensors') if m in sys.modules])"
    )
    _, loaded = fresh(f"import sys, alphabar; alphabar.Schedule.linear(); {heavy}")
    assert loaded.strip() == "[]"
    code = (
        "import sys; sys.argv = ['alphabar', '--help']\n"
        f"from alphabar.cli import main\ntry: main()\nexcept SystemExit: pass\n{heavy}"
    )
    seconds, loaded = fresh(code)
    assert loaded.strip().endswith("[]")
    assert "train" in loaded
    assert seconds < 5  # about 0.4 on a quiet machine


def test_every_public_name_is_there_sorted_and_documented():
    assert alphabar.__all__ == sorted(alphabar.__all__)
    for name in set(alphabar.__all__) - {"__version__"}:
        assert getattr(alphabar, name).__doc__, name
    assert set(alphabar.__all__) <= set(dir(alphabar))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = alphabar.nothing


def test_doctests():
    import doctest
    import importlib

    for name in ("errors", "random", "theory.schedule", "theory.gaussian", "theory.plans.grids"):
        failed, tried = doctest.testmod(importlib.import_module(f"alphabar.{name}"))
        assert tried
        assert not failed


# --- the README ----------------------------------------------------------------------------------


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    """All its Python, in order, as one program (with a smaller budget and network)."""
    pytest.importorskip("mlxtend")
    import torch

    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 5
    monkeypatch.chdir(tmp_path)
    small = 'images=128, network={"channels": 16, "num_res_blocks": 1, "groups": 8}, precision="float32"'
    program = "\n".join(blocks).replace('preset="digits"', small)
    assert small in program
    exec(compile(program, "README.md", "exec"), {"torch": torch})


def test_the_readmes_commands_and_functions_exist():
    from typer.main import get_command

    from alphabar.cli import app

    commands = get_command(app).commands
    for line in re.findall(r"^alphabar (.*)$", README, re.MULTILINE):
        words = line.split("#")[0].split()
        assert words[0] in commands, line
        command = commands[words[0]]
        command = getattr(command, "commands", {}).get(words[1], command)
        options = {o for p in command.params for o in p.opts}
        assert {w for w in words if re.match(r"--?[a-zA-Z]", w)} <= options, line
    for name in re.findall(r"^\|.*\| `([a-z_0-9.A-Z]+)`", README, re.MULTILINE):
        place = alphabar
        for part in name.split("."):
            place = getattr(place, part)


def test_the_readmes_tree_is_the_tree():
    tree = re.search(r"```\nalphabar/\n(.*?)```", README, re.DOTALL)
    assert tree
    named = set(re.findall(r"([\w.]+(?:\.py|\.md|/))(?= |\n)", tree[1]))
    present = {f.name for f in PACKAGE.rglob("*.py") if f.name not in ("__init__.py", "__main__.py")}
    assert present <= named, f"not in the tree: {present - named}"


def test_the_texts_speak_of_the_project_alone():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    if not tracked:
        pytest.skip("not a checkout")
    for name in tracked:
        file = ROOT / name
        if (
            file.suffix in (".py", ".md", ".toml", ".txt", ".yml")
            and file.exists()
            and name != "tests/test_house.py"
        ):
            text = file.read_text(encoding="utf-8")
            assert "/work/" not in text, name
            assert not re.search(r"\b(helper|session)s?\b(?!_)", text) or "tests" in name, name
