"""What llama.cpp says on stderr while it loads, from a thread of its own."""

from __future__ import annotations

import os
import threading
import time

from headrace_inference.triton_models.llamacpp import load_log

LINE = b"llama_model_load: error loading model: tensor 'x' is not within the file\n"


def test_a_reason_that_is_written_late_is_awaited_and_nothing_is_lost(capfd):
    with load_log.recorded() as log:
        os.write(2, b"loading\n")
        assert log() == "loading\n"
        late = threading.Thread(target=lambda: (time.sleep(0.1), os.write(2, LINE)))
        late.start()
        assert load_log.told(log) == "tensor 'x' is not within the file"
        late.join()
        os.write(2, b"more\n")
        assert log() == f"loading\n{LINE.decode()}more\n", "a look at it moves no writer"
    assert capfd.readouterr().err == f"loading\n{LINE.decode()}more\n"


def test_where_nothing_is_said_nothing_is_made_up():
    assert load_log.told(lambda: "loading\n", within_s=0.05) == ""
