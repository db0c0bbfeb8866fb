"""The house keeps its shape: who may import whom, what a wheel holds, and what must never lie in the tree.

Reads the sources; nothing of Covey is imported. DESIGN: "Arrows point one way".
"""

import ast
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOMES = {"covey_core": "core", "covey_node": "node", "covey_relay": "relay", "covey_bootstrap": "bootstrap"}

# Which other component a component may use, and which part of it.
ARROWS = {
    "covey_core": (),
    "covey_relay": ("covey_core",),
    "covey_bootstrap": ("covey_core",),
    "covey_node": ("covey_core", "covey_relay.service"),
}

# Inside a component a room uses only rooms of a lower floor; modules that stand alone count as the protocol's floor.
FLOORS = {
    "__main__": 7,
    "cli": 6,
    "service": 5,
    "net": 4,
    "store": 4,
    "api": 4,
    "host": 4,
    "ops": 4,
    "metrics": 3,
    "protocol": 2,
    "crypto": 1,
}
UNITS = {"KIB", "MIB", "DAY_SECONDS"}  # speak for themselves
GROUND = {"limits", "version", "errors"}  # usable from every floor
# The API and the command line speak to the service through its port: values and a protocol class, no code.
PORTS = {"covey_node.service.port"}

SANS_IO = ("node/covey_node/crypto", "node/covey_node/protocol", "core/covey_core/wire")
SANS_IO_FILES = (
    "core/covey_core/admission.py",
    "core/covey_core/autonat/policy.py",
    "core/covey_core/autonat/origins.py",
    "core/covey_core/autonat/windows.py",
    "core/covey_core/records.py",
    "relay/covey_relay/reservations.py",
    "relay/covey_relay/circuits.py",
    "relay/covey_relay/ahead/table.py",
    *(
        f"relay/covey_relay/mailbox/{name}.py"
        for name in (
            *("allowance", "case", "clerk", "disk", "forward_keys", "outcomes", "pace", "policy", "reception"),
            *("subscriptions", "work"),
        )
    ),
)
IMPURE = {
    "trio",
    "anyio",
    "asyncio",
    "libp2p",
    "structlog",
    "logging",
    "time",
    "socket",
    "random",
    "threading",
    "sqlcipher3",
}
NOT_IN_CLI = {
    "libp2p",
    "trio",
    "pydantic",
    "pydantic_settings",
    "fastapi",
    "starlette",
    "hypercorn",
    "cryptography",
    "nacl",
}


def sources(*folders: str) -> list[Path]:
    """Return the Python files below the folders, generated ones left out."""
    found = [p for folder in folders for p in sorted((ROOT / folder).rglob("*.py"))]
    return [p for p in found if not p.name.endswith(("_pb2.py", "_pb2_grpc.py")) and "node_modules" not in p.parts]


def product() -> list[Path]:
    return sources(*(f"{home}/{package}" for package, home in HOMES.items()))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def type_only(tree: ast.Module) -> set[ast.AST]:
    """Return the nodes below `if TYPE_CHECKING:`, which never run."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            found.update(inner for statement in node.body for inner in ast.walk(statement))
    return found


def imports(path: Path) -> Iterator[str]:
    """Yield the full names that a file imports, also inside functions: `from a.b import c` gives `a.b.c`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = type_only(tree)
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def below(name: str, *allowed: str) -> bool:
    return any(name == top or name.startswith(f"{top}.") for top in allowed)


def tracked() -> list[Path]:
    """Return the files that git has or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def texts() -> Iterator[tuple[str, str]]:
    for path in tracked():
        try:
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def test_components_use_each_other_only_along_the_arrows() -> None:
    wrong = [
        f"{module_of(path)} imports {name}"
        for path in product()
        for name in imports(path)
        if below(name, *HOMES)
        and not below(name, module_of(path).split(".")[0], *ARROWS[module_of(path).split(".")[0]])
    ]
    assert wrong == []


def test_rooms_of_a_component_use_only_lower_floors() -> None:
    wrong = []
    for path in product():
        here = module_of(path).split(".")
        for name in imports(path):
            there = name.split(".")
            if there[0] != here[0] or len(there) < 2 or len(here) < 2 or there[1] == here[1]:
                continue
            if there[1] in GROUND or below(name, *PORTS):
                continue
            mine, other = FLOORS.get(here[1], 2), FLOORS.get(there[1], 2)
            stands_alone = here[1] not in FLOORS and there[1] not in FLOORS
            if here[0] == "covey_core":  # core has one room with walls, the host; AutoNAT stands on it
                mine = {"autonat": 4, "host": 3, "ops": 3, "lifecycle": 3}.get(here[1], 2)
                other = {"autonat": 4, "host": 3}.get(there[1], 2)
                stands_alone = other == 2
            if not stands_alone and other >= mine:
                wrong.append(f"{module_of(path)} imports {name}")
    assert wrong == []


def test_only_the_host_and_the_net_rooms_import_libp2p() -> None:
    wrong = [
        f"{module_of(path)} imports {name}"
        for path in product()
        for name in imports(path)
        if below(name, "libp2p", "multiaddr")
        and not below(module_of(path), "covey_core.host", "covey_node.net", "covey_relay.net", "covey_bootstrap.net")
    ]
    assert wrong == []


def test_sans_io_rooms_know_no_clock_no_sockets_and_no_event_loop() -> None:
    files = [*sources(*SANS_IO), *(ROOT / name for name in SANS_IO_FILES)]
    assert len(files) > len(SANS_IO_FILES)
    wrong = [f"{module_of(p)} imports {name}" for p in files for name in imports(p) if name.split(".")[0] in IMPURE]
    assert wrong == []


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    program = (
        f"import json, sys; import covey_node.cli.main; print(json.dumps(sorted({NOT_IN_CLI!r} & set(sys.modules))))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(ran.stdout) == []


@pytest.mark.parametrize("path", product(), ids=module_of)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path.relative_to(ROOT)} has no docstring"


def test_every_bound_in_a_limits_file_says_why() -> None:
    files = [path for path in product() if path.name == "limits.py"]
    assert len(files) >= 3
    wrong = []
    for path in files:
        text = path.read_text(encoding="utf-8")
        lines, body = text.splitlines(), ast.parse(text).body
        for statement, after in zip(body, [*body[1:], None], strict=True):
            if not isinstance(statement, ast.Assign | ast.AnnAssign):
                continue
            if ast.unparse(statement).split()[0] in UNITS:
                continue
            start = statement.lineno - 1  # a comment above a block of bounds speaks for the whole block
            while start > 0 and lines[start - 1].strip() and not lines[start].startswith("#"):
                start -= 1
            explained = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if not explained and not any("#" in line for line in lines[start : statement.end_lineno]):
                wrong.append(f"{path.relative_to(ROOT)}:{statement.lineno}")
    assert wrong == []


def test_no_test_sleeps_in_real_time() -> None:
    wrong = []
    for path in sources("tests"):
        text = path.read_text(encoding="utf-8")
        virtual_time = "autojump_clock" in text or "MockClock" in text
        for node in ast.walk(ast.parse(text)):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            waits = name in ("trio.sleep", "asyncio.sleep") and ast.unparse(node.args[0]) != "0" and not virtual_time
            if name == "time.sleep" or waits:
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
    assert wrong == []


def test_a_wheel_contains_all_four_packages_and_nothing_else(tmp_path: Path) -> None:
    # hatchling skips a missing package folder without a word.
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("covey-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(HOMES)
    for package in HOMES:
        assert f"{package}/py.typed" in names
    expected = {"/".join(path.relative_to(ROOT).parts[1:]) for path in product()}
    assert expected <= names


def test_extras_and_commands_exist_for_each_component() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(project["optional-dependencies"]) >= {"node", "relay", "bootstrap"}
    assert set(project["scripts"]) == {"covey", "covey-node", "covey-relay", "covey-bootstrap"}
    assert "libp2p==0.8.1" in project["dependencies"]


def test_what_is_imported_is_named_as_a_dependency_and_the_other_way_round() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    modules = {"google": "protobuf", "nacl": "pynacl"}
    imported = (
        {name.split(".")[0] for path in product() for name in imports(path)} - set(HOMES) - sys.stdlib_module_names
    )
    distributions = {modules.get(name, name).replace("_", "-") for name in imported}
    assert {re.split(r"[<>=[]", one)[0] for one in named} == distributions


def test_every_lock_has_hashes_and_no_index_addresses() -> None:
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert {lock.stem for lock in locks} == {"build", "dev", "node", "relay", "bootstrap"}
    dev = set(
        re.findall(r"^([a-z0-9._-]+==\S+)", (ROOT / "requirements/dev.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    for lock in locks:
        text = lock.read_text(encoding="utf-8")
        assert "://" not in text
        assert "index" not in text
        entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
        assert entries
        assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
        if lock.stem != "build":
            assert {entry.split()[0] for entry in entries} <= dev, f"{lock.name} is not a subset of dev.txt"


def test_no_registry_hosts_and_no_paths_of_a_machine_lie_in_the_tree() -> None:
    # Written in pieces, so that this file is none of the places that it looks for.
    hosts = [
        ".".join(parts)
        for parts in (
            ("pypi", "org"), ("files", "pythonhosted", "org"), ("registry", "npmjs", "org"), ("deb", "debian", "org"),
            ("crates", "io"), ("proxy", "golang", "org"), ("docker", "io"), ("ghcr", "io"), ("quay", "io"),
        )
    ]  # fmt: skip
    paths = [f"{ROOT}/", f"{ROOT.parent}/"] if len(ROOT.parents) > 1 and ROOT.parent != Path("/") else [f"{ROOT}/"]
    wrong = [f"{name}: {word}" for name, text in texts() for word in (*hosts, *paths) if word in text]
    assert wrong == []


def test_no_lock_file_with_download_addresses_lies_in_the_tree() -> None:
    names = {path.name for path in tracked()}
    assert not names & {"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "yarn.lock", "pnpm-lock.yaml"}
    for path in tracked():
        if path.name == "package-lock.json":
            assert '"resolved"' not in path.read_text(encoding="utf-8"), path


def test_nothing_unfinished_lies_in_the_product() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX)\b|raise NotImplementedError|pragma: no cover")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in product()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if marks.search(line)
    ]
    assert wrong == []
