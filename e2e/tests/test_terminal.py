"""What a person at a terminal sees."""

import os
import pty
import re
import signal
import subprocess
import time

import process


def test_a_live_status_line() -> None:
    main, side = pty.openpty()
    command = [str(process.BINARY), "up", "--port", "0", "--admin-port", "0", "--workers", "2"]
    child = subprocess.Popen(command, stdin=side, stdout=side, stderr=side, env={**os.environ, "TERM": "xterm"})
    os.close(side)
    shown = b""
    try:
        deadline = time.monotonic() + 15
        while not re.search(rb"\r\x1b\[K2/2 endpoints ready", shown):
            assert time.monotonic() < deadline, shown
            shown += os.read(main, 4096)
        assert b"weir is ready: http://127.0.0.1:" in shown
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == 0
    finally:
        child.kill()
        os.close(main)
