"""`weir check`: diagnostics that point at the place."""

import process
import pytest

GOOD = """\
apiVersion: weir.dev/v1alpha1
kind: RouterConfig
listen:
  http: 127.0.0.1:0
pools:
  - name: chat
    endpoints:
      static:
        - url: http://127.0.0.1:8001
    scheduling:
      plugins:
        - type: queue-scorer
        - type: max-score-picker
      schedulingProfiles:
        - name: default
          plugins:
            - {pluginRef: queue-scorer, weight: 2}
"""


def check(write, text: str):
    return process.run("check", "--config", write("router.yaml", text))


def test_a_good_file(write) -> None:
    done = check(write, GOOD)
    assert done.returncode == 0, done.stderr
    assert "queue-scorer" in done.stdout


@pytest.mark.parametrize(
    ("before", "after", "line", "column", "says"),
    [
        ("pools:", "pool:", 5, 1, "pools"),
        ("- type: queue-scorer", "- type: queue-scorerr", 12, 17, "queue-scorer"),
        ("weight: 2", "wieght: 2", 17, 41, "weight"),
        ("url: http://127.0.0.1:8001", "url: ftp://127.0.0.1", 9, 16, "http"),
        ("pluginRef: queue-scorer", "pluginRef: nothing", 17, 27, "nothing"),
        ("  http: 127.0.0.1:0", "  http: 127.0.0.1:99999", 4, 9, "99999"),
    ],
)
def test_the_place_is_named(write, before: str, after: str, line: int, column: int, says: str) -> None:
    assert before in GOOD
    done = check(write, GOOD.replace(before, after, 1))
    assert done.returncode == 1
    assert f"router.yaml:{line}:{column}" in done.stderr, done.stderr
    assert says in done.stderr


def test_all_errors_come_at_once(write) -> None:
    done = check(write, GOOD.replace("weight: 2", "wieght: 2").replace("static:", "statik:"))
    assert done.returncode == 1
    assert "statik" in done.stderr and "wieght" in done.stderr, done.stderr


def test_paths_begin_at_the_file(write) -> None:
    write("endpoints.yaml", "endpoints:\n- {name: a, address: 127.0.0.1, port: '8001'}\n")
    text = GOOD.replace("      static:\n        - url: http://127.0.0.1:8001\n", "      file: {path: endpoints.yaml}\n")
    assert check(write, text).returncode == 0
    done = check(write, text.replace("endpoints.yaml", "absent.yaml"))
    assert done.returncode == 1 and "absent.yaml" in done.stderr
    write("endpoints.yaml", "endpoints:\n- {name: a, adress: 127.0.0.1, port: '8001'}\n")
    done = check(write, text)
    assert done.returncode == 1 and "endpoints.yaml:2:" in done.stderr and "address" in done.stderr


def test_a_missing_file(tmp_path) -> None:
    done = process.run("check", "--config", tmp_path / "no.yaml")
    assert done.returncode == 1 and "no.yaml" in done.stderr


def test_a_picker_configuration_by_itself() -> None:
    done = process.run("check", "--config", process.ROOT / "testdata/config/sample-12-1.yaml")
    assert done.returncode == 0, done.stderr
