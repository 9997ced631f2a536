"""The house: who may know whom, how large a thing may be, how fast it opens; and the documents are true."""

from __future__ import annotations

import ast
import functools
import inspect
import pkgutil
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
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

LEAVES = {  # that everybody may know
    "errors", "files", "forked", "images", "kernels", "philox", "rng", "settings", "torchrun", "version",
    "world",
}  # fmt: skip
MODEL = {"theory", "nn", "data", "model"}
INSIDE = {*MODEL, "training", "sampling", "evaluation", "runs"}
MAY_KNOW = {  # beside leaves
    "errors": set(),
    "version": set(),
    "rng": set(),
    "philox": set(),
    "kernels": set(),
    "files": set(),
    "forked": set(),
    "images": set(),
    "settings": set(),
    "torchrun": set(),
    "world": set(),
    "theory": set(),
    "nn": set(),
    "data": set(),
    "model": {"theory", "nn", "data"},
    "training": MODEL,
    "sampling": MODEL,
    "evaluation": {*MODEL, "sampling"},
    "runs": INSIDE - {"runs"},
    "interop": MODEL,
    "serving": {*MODEL, "sampling", "runs"},
    "cli": {*INSIDE, "interop", "serving"},
    "samplers": {"theory"},  # the last five give names to what is elsewhere
    "schedules": {"theory"},
    "process": {"theory"},
    "edit": {"sampling"},
    "scores": {"evaluation"},
}
LIBRARIES = {  # that each may use
    "errors": set(),
    "version": set(),
    "rng": {"numpy", "torch"},
    "philox": {"numpy", "torch"},
    "kernels": {"torch", "triton"},
    "files": {"numpy", "torch", "safetensors"},
    "images": {"numpy", "PIL"},
    "settings": {"pydantic"},
    "torchrun": {"torch"},
    "forked": set(),
    "world": {"torch"},
    "theory": {"numpy"},
    "nn": {"numpy", "torch"},
    "data": {
        "fsspec",
        "numpy",
        "PIL",
        "pydantic",
        "datasets",
        "mlxtend",
        "pyarrow",
        "netCDF4",
        "h5py",
        "nibabel",
        "pydicom",
        "zarr",
        "soundfile",
        "pillow_heif",
        "rasterio",
        "sentence_transformers",
        "huggingface_hub",
    },
    "model": {"numpy", "torch"},
    "training": {"numpy", "torch", "pydantic"},
    "sampling": {"numpy", "torch", "pydantic"},
    "evaluation": {"numpy", "torch", "sklearn", "torch_fidelity", "onnxruntime", "timm"},
    "runs": {"numpy", "torch", "PIL", "matplotlib", "jinja2", "markupsafe"}
    | {"tensorboard", "wandb", "trackio", "mlflow"},
    "interop": {"numpy", "torch", "safetensors", "diffusers", "onnx", "onnxruntime"},
    "serving": {"numpy", "torch", "PIL", "pydantic", "fastapi", "starlette", "uvicorn"},
    "cli": {"numpy", "torch", "PIL", "pydantic", "pydantic_core", "typer", "click", "rich"},
    "samplers": set(),
    "schedules": set(),
    "process": set(),
    "edit": set(),
    "scores": set(),
}

LINES = 300  # of a file
FUNCTION_LINES = 50  # without the docstring
ARGUMENTS = 10  # but for those that take settings: a network's constructor, and **settings; and kernels


@functools.cache
def sources():
    """(file, its room, its syntax tree) of each file of the package."""
    return [
        (file, file.relative_to(PACKAGE).with_suffix("").parts, ast.parse(file.read_text(encoding="utf-8")))
        for file in sorted(PACKAGE.rglob("*.py"))
    ]


def imports_of(parts, tree):
    """(names of rooms, names of libraries) that a file imports."""
    inside, outside = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            place = [*parts[: len(parts) - node.level], *(node.module or "").split(".")]
            target = next((part for part in place if part), None)
            inside |= {target} if target else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            outside.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Import):
            outside |= {alias.name.split(".")[0] for alias in node.names}
    return inside - {parts[0]}, outside - set(sys.stdlib_module_names)


# --- who knows whom ------------------------------------------------------------------------------


def test_arrows_point_one_way():
    for file, parts, tree in sources():
        room = parts[0]
        if room in ("__init__", "__main__"):
            continue
        assert room in MAY_KNOW, f"{room} is no room of the plan"
        inside, outside = imports_of(parts, tree)
        strangers = inside - LEAVES - MAY_KNOW[room]
        assert not strangers, f"{file} knows {strangers}"
        assert outside <= LIBRARIES[room], f"{file} uses {outside - LIBRARIES[room]}"


def test_readers_know_what_samples_are_and_not_how_they_are_prepared():
    may_know = {
        "conditions": {"columns", "conditions"},
        "sources": {"columns", "conditions", "config", "space", "timeline", "sources"},
    }
    for file, parts, tree in sources():
        if parts[0] == "data" and parts[1] in may_know and len(parts) > 2:
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and node.level == 2:
                    known = (node.module or node.names[0].name).split(".")[0]
                    assert known in may_know[parts[1]], f"{file} knows {known}"


def test_training_and_sampling_do_not_know_each_other():
    assert "sampling" not in MAY_KNOW["training"]
    assert "training" not in MAY_KNOW["sampling"]


def test_only_the_command_line_prints_and_exits():
    for file, parts, tree in sources():
        calls = {
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert parts[0] in ("cli", "__main__") or not calls & {"print", "exit", "quit"}, file


def test_no_pickle_anywhere():
    for file, _, _ in sources():
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"import pickle|pickle\.|allow_pickle=True|torch\.(load|save)\b", text), file


def test_pictures_are_opened_in_our_formats_alone_and_charts_written_with_our_mark():
    """Some of Pillow's formats run other programs; what isn't marked would become data."""
    for file, parts, _ in sources():
        text = file.read_text(encoding="utf-8")
        bare = re.search(r"Image\.open\(|from PIL\.Image import .*\bopen\b", text)
        assert not bare or parts[-2:] == ("sources", "pictures"), file
        assert not re.search(r'savefig\((?!.*(\*\*PNG|"svg"))', text), file


# --- how large -----------------------------------------------------------------------------------


def test_files_are_about_one_idea():
    lines = {file: len(file.read_text(encoding="utf-8").splitlines()) for file, _, _ in sources()}
    assert not {str(file.relative_to(PACKAGE)): n for file, n in lines.items() if n > LINES}


def functions():
    """(where, node) of each function."""
    for _, parts, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield ".".join([*parts, node.name]), node


def test_functions_are_short():
    long = {}
    for where, node in functions():
        first = node.body[0]
        docstring = ast.get_docstring(node, clean=False) is not None
        without = first.end_lineno - first.lineno + 1 if docstring else 0
        if (lines := node.end_lineno - node.lineno + 1 - without) > FUNCTION_LINES:
            long[where] = lines
    assert not long


def test_functions_have_few_arguments():
    many = {}
    for where, node in functions():
        if where.startswith("kernels.") or (where.startswith("nn.") and where.endswith("__init__")):
            continue
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        names = {argument.arg for argument in every} - {"self", "cls"}
        if len(names) > ARGUMENTS:
            many[where] = len(names)
    assert not many


# --- names of modules ----------------------------------------------------------------------------


def test_no_module_has_a_name_of_the_standard_library():
    """Who stands in the folder, or puts it on the path, would import it instead."""
    for file, parts, _ in sources():
        taken = {part for part in parts if part in sys.stdlib_module_names}
        assert not taken, file


def test_every_module_is_there_under_its_name_and_importing_all_runs_nothing():
    """A function of a module's own name would hide it."""
    code = """if True:
        import importlib.util, pkgutil, sys
        import alphabar
        there = importlib.util.find_spec("triton")
        for module in pkgutil.walk_packages(alphabar.__path__, "alphabar."):
            if module.name.startswith("alphabar.kernels.") and not there:
                continue
            importlib.import_module(module.name)
            parent, _, name = module.name.rpartition(".")
            if getattr(sys.modules[parent], name) is not sys.modules[module.name]:
                print(module.name, "is hidden")
        """
    _, printed = fresh(code)
    assert printed == ""


def test_no_test_imports_from_another_test_file():
    for file in Path(__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.split(".")[0].startswith("test_") for name in names), file


# --- how fast it opens ---------------------------------------------------------------------------


def fresh(code):
    """(seconds, standard output) of a new process."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, done.stdout


HEAVY = "print([name for name in ('torch', 'matplotlib', 'PIL', 'safetensors') if name in sys.modules])"


def test_importing_it_loads_no_torch():
    for use in ("", "alphabar.Schedule.linear()", "alphabar.samplers.SAMPLERS", "alphabar.process.q_sample"):
        _, loaded = fresh(f"import sys, alphabar; {use}\n{HEAVY}")
        assert loaded.strip() == "[]", use


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_asking_for_help_loads_no_torch(arguments):
    code = (
        f"import sys; sys.argv = ['alphabar', *{arguments}]\n"
        f"from alphabar.cli import main\ntry: main()\nexcept SystemExit: pass\n{HEAVY}"
    )
    seconds, loaded = fresh(code)
    assert loaded.strip().endswith("[]")
    assert "alphabar" in loaded
    assert seconds < 5  # about 0.4 on a quiet machine


def test_every_public_name_is_there_sorted_and_documented():
    assert alphabar.__all__ == sorted(alphabar.__all__)
    for name in set(alphabar.__all__) - {"__version__"}:
        assert getattr(alphabar, name).__doc__, name
    assert set(alphabar.__all__) <= set(dir(alphabar))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = alphabar.nothing


# --- the documents -------------------------------------------------------------------------------


def python_of(text):
    """All Python of a document, in order, as one program (with a smaller budget and network)."""
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    small = 'images=128, network={"channels": 16, "num_res_blocks": 1, "groups": 8}, precision="float32"'
    return "\n".join(blocks).replace("minutes=5", small)


@pytest.mark.parametrize("document", ["README.md", "docs/python.md"])
def test_the_documents_python_runs(document, tmp_path, monkeypatch):
    pytest.importorskip("mlxtend")
    monkeypatch.chdir(tmp_path)
    program = python_of((ROOT / document).read_text(encoding="utf-8"))
    assert 'precision="float32"' in program
    exec(compile(program, document, "exec"), {"__name__": "document"})


def test_the_documents_commands_and_their_options_exist():
    from alphabar.cli.app import COMMANDS, command

    seen = set()
    for document in DOCUMENTS:
        if document.name == "log.md":  # what was done, in the words of its day
            continue
        for line in re.findall(r"^alphabar (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE):
            words = line.split("#")[0].split()
            assert words[0] in COMMANDS, f"{document.name}: {line}"
            found = command(words[0])
            found = getattr(found, "commands", {}).get(words[1], found) if len(words) > 1 else found
            options = {
                option
                for parameter in found.params
                for option in [*parameter.opts, *parameter.secondary_opts]
            }
            given = {word for word in words if re.match(r"--?[a-zA-Z]", word)}
            assert given <= {*options, "--help"}, f"{document.name}: {line}"
            seen.add(words[0])
    assert {"train", "sample", "report"} <= seen


def test_the_functions_beside_the_formulas_exist():
    names = re.findall(r"^\|.*\| (`[^|]*`) \|$", (ROOT / "docs/formulas.md").read_text("utf-8"), re.MULTILINE)
    names = [name for cell in names for name in re.findall(r"`([\w.]+)`", cell)]
    assert len(names) > 15
    for name in names:
        pkgutil.resolve_name(f"alphabar.{name}")  # raises for what is not there


def test_the_tests_that_the_documents_name_exist():
    files = list(Path(__file__).parent.glob("test_*.py"))
    there = {path.stem for path in files}
    there |= {name for path in files for name in re.findall(r"def (test_\w+)\(", path.read_text("utf-8"))}
    for document in DOCUMENTS:
        named = set(re.findall(r"\btest_\w+", document.read_text(encoding="utf-8")))
        assert named <= there, (document.name, named - there)


@pytest.mark.parametrize("function", [alphabar.train, alphabar.load])
def test_the_best_device_is_taken_unless_told(function):
    """From Python as on the command line."""
    assert inspect.signature(function).parameters["device"].default == "auto"


def test_links_between_the_documents_lead_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
            if not re.match(r"https?:|mailto:", target):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_readme_is_one_page():
    assert len(README.splitlines()) <= 150


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
