"""What the images hold, and what the containers may do."""

import json
import tomllib

import pytest

from tests.e2e.compose import ROOT, TAG, Project, docker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

ROLES = ("node", "relay", "bootstrap")
PACKAGES = {
    "node": {"covey_core", "covey_node", "covey_relay"},
    "relay": {"covey_core", "covey_relay"},
    "bootstrap": {"covey_core", "covey_bootstrap"},
}
COMMANDS = {"node": {"covey", "covey-node"}, "relay": {"covey-relay"}, "bootstrap": {"covey-bootstrap"}}
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
SIZE_LIMIT_BYTES = 230_000_000  # DESIGN 10


def inside(role: str, program: str) -> str:
    words = ("run", "--rm", "--network", "none", "--entrypoint", "python3", f"covey-{role}:{TAG}", "-c", program)
    return docker(*words).stdout


@pytest.mark.parametrize("role", ROLES)
def test_an_image_holds_only_its_own_component(images: None, role: str) -> None:
    program = (
        "import json, pathlib, sys; unreal = ('proc', 'sys', 'dev')\n"
        "roots = [p for p in pathlib.Path('/').iterdir() if p.name not in unreal]\n"
        "found = {f.name for r in roots if r.is_dir() for f in r.rglob('covey_*') if f.is_dir()}\n"
        "print(json.dumps([sorted(found), sorted(f.name for f in pathlib.Path(sys.prefix, 'bin').iterdir())]))"
    )
    packages, commands = json.loads(inside(role, program))
    assert set(packages) - {"covey_core"} == PACKAGES[role] - {"covey_core"}
    assert {command for command in commands if not command.startswith("python")} == COMMANDS[role]


@pytest.mark.parametrize("role", ["relay", "bootstrap"])
def test_servers_contain_no_chat_code(images: None, role: str) -> None:
    program = (
        "import importlib.util as u, json; names = ['covey_node', 'sqlcipher3', 'fastapi', 'hypothesis', 'pytest'];"
        "print(json.dumps([n for n in names if u.find_spec(n)]))"
    )
    assert json.loads(inside(role, program)) == []


@pytest.mark.parametrize("role", ROLES)
def test_an_image_has_no_pip_and_no_compiler(images: None, role: str) -> None:
    program = (
        "import importlib.util as u, json, shutil;"
        "print(json.dumps([n for n in ('pip', 'setuptools', 'hatchling') if u.find_spec(n)]"
        " + [c for c in ('pip', 'pip3', 'gcc', 'cc', 'make', 'curl', 'wget') if shutil.which(c)]))"
    )
    assert json.loads(inside(role, program)) == []


@pytest.mark.parametrize("role", ROLES)
def test_an_image_is_small_labelled_and_runs_as_nobody(images: None, role: str) -> None:
    found = json.loads(docker("image", "inspect", f"covey-{role}:{TAG}").stdout)[0]
    config = found["Config"]
    assert found["Size"] <= SIZE_LIMIT_BYTES
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"][0] == "/usr/bin/tini"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Labels"]["org.opencontainers.image.title"] == f"covey-{role}"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["Labels"]["org.opencontainers.image.version"] == VERSION
    secret_words = ("KEY", "SECRET", "TOKEN", "PASS")
    assert [e for e in config["Env"] if any(word in e.split("=")[0] for word in secret_words)] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_command_of_an_image_tells_its_version(images: None, role: str) -> None:
    for command in COMMANDS[role]:
        words = ("run", "--rm", "--read-only", "--network", "none", "--entrypoint", command, f"covey-{role}:{TAG}")
        assert VERSION in docker(*words, "--version").stdout


@pytest.mark.parametrize("service", ["bootstrap", "relay", "alice", "bob"])
def test_a_running_container_has_no_rights(demo: Project, service: str) -> None:
    host = demo.inspect(service)["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    program = (
        "import json, os; s = dict(l.split(':\\t') for l in open('/proc/1/status').read().splitlines() if ':\\t' in l);"
        "w = {}\n"
        "for d in ('/', '/opt/covey', '/usr/bin', '/data'):\n"
        "    w[d] = os.access(d, os.W_OK)\n"
        "print(json.dumps({'uid': s['Uid'].split()[0], 'cap': s['CapEff'], 'new': s['NoNewPrivs'], 'writable': w}))"
    )
    seen = json.loads(demo.run_in(service, "python3", "-c", program))
    assert seen["uid"] == "10001"
    assert int(seen["cap"], 16) == 0
    assert seen["new"] == "1"
    assert seen["writable"] == {"/": False, "/opt/covey": False, "/usr/bin": False, "/data": True}


@pytest.mark.parametrize("service", ["bootstrap", "relay", "alice", "bob"])
def test_files_of_a_container_are_private(demo: Project, service: str) -> None:
    program = (
        "import json, pathlib; found = [p for d in ('/data', '/secret') for p in pathlib.Path(d).rglob('*')]\n"
        "print(json.dumps([str(p) for p in found if p.exists() and p.stat().st_mode & 0o077]))"
    )
    assert json.loads(demo.run_in(service, "python3", "-c", program)) == []


def test_the_compose_file_holds_no_key() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert "NETWORK_KEY" not in text
    assert "PASSPHRASE" not in text
