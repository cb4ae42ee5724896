"""Every command that README and the book show runs, in the order of the page.

A block marked `sh` must succeed. `sh background` keeps running until the page ends; it has begun once it printed a line that says
so: `weir is ready`, one line for each simulated worker, or Envoy's last one before it serves. `sh ignore` is not run: it needs something that a test has not. README and the quick start run in the checkout,
the other pages in an empty folder with `weir` on the path. Each page gets a network of its own where that is possible, so
that the default ports are free; else it is skipped if they are not.
"""

import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess

import process
import pytest

BLOCK = re.compile(r"^```sh(?P<words>[^\n]*)\n(?P<code>.*?)^```$", re.M | re.S)
PAGES = [process.ROOT / "README.md", *sorted((process.ROOT / "docs").rglob("*.md"))]
IN_CHECKOUT = {"README.md", "docs/quickstart.md", "docs/guides/envoy.md"}
PORTS = (8000, 8001, 8080, 8081, 9002, 9003, 9090, 19000)

# Brings the loopback interface of a new network namespace up: SIOCSIFFLAGS, IFF_UP.
LOOPBACK_UP = (
    "import fcntl,socket,struct; s=socket.socket(); fcntl.ioctl(s, 0x8914, struct.pack('16sh14x', b'lo', 1))"
)
PROLOGUE = r"""
set -euo pipefail
groups=()
finish() { for group in "${groups[@]:-}"; do [[ -n $group ]] && kill -TERM -- "-$group" 2>/dev/null || true; done; wait; }
trap finish EXIT
background() {  # place, command, lines that say that it began
    local log; log=$(mktemp)
    setsid bash -c "$2" >"$log" 2>&1 &
    local pid=$!; groups+=("$pid")
    for _ in $(seq 6000); do
        [[ $(grep -cE '^weir is ready|^weir sim: .* on http|starting main dispatch loop' "$log") -ge $3 ]] && return
        kill -0 "$pid" 2>/dev/null || { echo "$1 ended:"; cat "$log"; exit 1; }
        sleep 0.1
    done
    echo "$1 did not become ready:"; cat "$log"; exit 1
}
"""


def blocks(page: pathlib.Path) -> list[tuple[int, list[str], str]]:
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, m.start()) + 1, m["words"].split(), m["code"]) for m in BLOCK.finditer(text)]


def script(page: pathlib.Path, name: str) -> str:
    parts = [PROLOGUE]
    for line, words, code in blocks(page):
        if "ignore" in words:
            continue
        place = f"{name}:{line}"
        parts.append(f"echo '--- {place}'")
        if "WEIR_CARGO_RUN" not in os.environ:
            # The binary is another one than cargo would build.
            code = code.replace("cargo run --release -- ", "weir ")
        if "background" in words:
            count = re.search(r"sim .*--count (\d+)", code)
            parts.append(f"background {shlex.quote(place)} {shlex.quote(code)} {count[1] if count else 1}")
        else:
            parts.append(code)
    return "\n".join(parts)


def own_network() -> list[str]:
    for command in (["unshare", "--net"], ["unshare", "--net", "--map-root-user"]):
        if shutil.which("unshare") and subprocess.run([*command, "python3", "-c", LOOPBACK_UP], capture_output=True).returncode == 0:
            return command
    return []


def names() -> list[str]:
    found = [str(page.relative_to(process.ROOT)) for page in PAGES if page.exists()]
    return [name for name in found if any("ignore" not in words for _, words, _ in blocks(process.ROOT / name))]


def test_pages_have_commands() -> None:
    assert {"README.md", "docs/quickstart.md"} <= set(names())


@pytest.mark.parametrize("name", names())
def test_commands_of(name: str, tmp_path: pathlib.Path) -> None:
    for tool in ("bash", "setsid", "curl"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is missing")
    if re.search(r"^envoy ", "\n".join(code for _, _, code in blocks(process.ROOT / name)), re.M) and not shutil.which("envoy"):
        pytest.skip("envoy is missing")
    network = own_network()
    if not network:
        for port in PORTS:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    pytest.skip(f"port {port} is in use, and this user may not make a network of its own")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "weir").symlink_to(process.BINARY)
    work = process.ROOT if name in IN_CHECKOUT else tmp_path / "work"
    work.mkdir(exist_ok=True)
    written = tmp_path / "script"
    written.write_text(f"python3 -c {shlex.quote(LOOPBACK_UP)}\n" * bool(network) + script(process.ROOT / name, name))
    done = subprocess.run(
        [*network, "bash", written], cwd=work, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        timeout=900, env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stdout
