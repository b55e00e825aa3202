"""Ctrl-C during a run over several hosts."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from deployer.run.fleet import result_of

ENOUGH_S = 20.0


def test_it_is_noticed_even_if_another_thread_receives_the_signal() -> None:
    noticed = threading.Event()

    def work() -> bool:
        time.sleep(0.3)  # by then the main thread waits for this result
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        return noticed.wait(ENOUGH_S)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        with pytest.raises(KeyboardInterrupt):
            result_of(future)
        noticed.set()
        assert future.result()
