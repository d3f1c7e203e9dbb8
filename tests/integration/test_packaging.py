"""What is built from the tree is whole, and all places that name dependencies agree."""

from __future__ import annotations

import json
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
#: What is read at run time and is no Python.
DATA = re.compile(
    r"^(conf/(programs|environments|models|prices)|schemas/avsc|jobs/templates)/|py\.typed$"
)


def _data_files(root: Path) -> set[str]:
    names = (
        path.relative_to(root).as_posix()
        for package in ("conf", "schemas", "transforms", "pipelines", "jobs")
        for path in root.joinpath(package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    return {name for name in names if DATA.search(name) or name.endswith(".py")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a source distribution and of the wheel that is built from it."""
    tree, dist = tmp_path_factory.mktemp("copy") / "muster", tmp_path_factory.mktemp("dist")
    kept = ("conf", "schemas", "transforms", "pipelines", "jobs")
    for package in kept:
        shutil.copytree(
            ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    command = [sys.executable, "-m", "build", "--outdir", str(dist), str(tree)]
    if Version(version("setuptools")) >= Version("77"):  # else it is fetched for the build alone
        command.insert(3, "--no-isolation")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return dist


@pytest.mark.slow
def test_the_source_distribution_is_whole(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert _data_files(ROOT) - names == set()
    assert {"setup.py", "pyproject.toml", "LICENSE"} <= names


@pytest.mark.slow
def test_the_wheel_is_whole_and_holds_nothing_else(built: Path) -> None:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == _data_files(ROOT)


@pytest.mark.slow
def test_the_wheel_runs_outside_the_tree(built: Path, tmp_path: Path) -> None:
    """Its dependencies are those that are installed here."""
    (wheel,) = built.glob("*.whl")
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    (here,) = home.glob("lib/python*/site-packages")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
    quiet = ("--quiet", "--no-index", "--disable-pip-version-check", str(wheel))
    subprocess.run([*install, *quiet], check=True)
    # An editable install of the tree is left out: only the wheel may provide the packages.
    (here / "dependencies.pth").write_text("\n".join(site.getsitepackages()[:1]))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = json.loads(run(str(home / "bin" / "muster"), "jobs", "--json"))
    assert "solicit" in {job["name"] for job in listed}
    found = run(
        str(python),
        "-c",
        "import conf, jobs, schemas; from conf.load import load_program, load_environment;"
        "from schemas.registry import record_types; load_program('product-reviews');"
        "load_environment('local'); assert record_types(); print(conf.__file__, jobs.__file__)",
    )
    assert all(path.startswith(str(here)) for path in found.split())


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _required(extras: tuple[str, ...]) -> list[Requirement]:
    """Every requirement of the package with these extras, those of extras of extras too."""
    project = _project()
    texts, waiting = list(project["dependencies"]), list(extras)
    while waiting:
        for text in project["optional-dependencies"][waiting.pop()]:
            needed = Requirement(text)
            if needed.name == project["name"]:
                waiting += needed.extras
            else:
                texts.append(text)
    return [Requirement(text) for text in texts]


def _locked(name: str) -> dict[str, set[Version]]:
    found: dict[str, set[Version]] = {}
    for line in (ROOT / "infra" / "lock" / f"{name}.txt").read_text().splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", line)
        if match:
            found.setdefault(_plain(match[1]), set()).add(Version(match[2]))
    return found


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("demo", ("demo",)), ("test", ("demo", "train", "test")), ("bench", ("bench",))],
)
def test_a_lock_file_has_every_dependency_in_a_version_that_fits(
    lock: str, extras: tuple[str, ...]
) -> None:
    locked = _locked(lock)
    wrong = {
        str(needed): sorted(map(str, locked.get(_plain(needed.name), ())))
        for needed in _required(extras)
        if not any(
            needed.specifier.contains(v, prereleases=True)
            for v in locked.get(_plain(needed.name), ())
        )
    }
    assert wrong == {}


@pytest.mark.parametrize("lock", ["demo", "test", "bench"])
def test_what_is_locked_is_locked_by_its_bytes(lock: str) -> None:
    text = (ROOT / "infra" / "lock" / f"{lock}.txt").read_text()
    pins = re.findall(r"^[A-Za-z0-9._-]+(?:\[[^]]*\])?==[^\n]*(?:\n    --hash=[^\n]*)*", text, re.M)
    assert pins
    assert [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin] == []
    assert "://" not in text


def test_setup_says_nothing_of_its_own() -> None:
    """pyproject.toml is the one place that names packages and dependencies."""
    assert re.search(r"^setup\(\)$", (ROOT / "setup.py").read_text(), re.MULTILINE)


def test_every_package_of_the_tree_is_packed() -> None:
    said = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for top in ("conf", "schemas", "transforms", "pipelines", "jobs")
        for path in ROOT.joinpath(top).rglob("*.py")
    }
    assert found == set(said)
