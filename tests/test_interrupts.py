"""What signals raise, and when."""

import signal
import subprocess
import sys
import threading

import keras
import pytest

from keras_vqvae2 import interrupts
from keras_vqvae2.cli import main


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
    ],
)
def test_a_program_ends_with_a_line_and_the_signals_code(
    capfd, number, code, message
):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as caught:
        interrupts.run_program(lambda: signal.raise_signal(number))
    assert caught.value.code == code
    assert capfd.readouterr().err == f"{message}\n"
    assert signal.getsignal(number) == before


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        held = interrupts.Held("held")
        with held.scope():
            signal.raise_signal(signal.SIGINT)
        assert held.number is None
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_hold_nothing():
    def run():
        with interrupts.Held("held").scope():
            handlers.append(signal.getsignal(signal.SIGTERM))

    handlers = []
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_signals_end_any_command(capsys, monkeypatch, number, code):
    def run(args):
        signal.raise_signal(number)

    monkeypatch.setattr("keras_vqvae2.cli.list.run", run)
    assert main(["list"]) == code
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="once is enough")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_signals_at_the_start(number, code):
    """While Keras and its backend are imported."""
    program = (
        "import builtins, os, sys, keras_vqvae2_cli\n"
        "original = builtins.__import__\n"
        "def imported(name, *args, **kwargs):\n"
        f"    os.kill(os.getpid(), {int(number)}) if name == 'keras' else 0\n"
        "    return original(name, *args, **kwargs)\n"
        "builtins.__import__ = imported\n"
        "sys.exit(keras_vqvae2_cli.main())"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, "evaluate", "--test-data", "x"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == code
    assert result.stderr in (
        "keras-vqvae2: interrupted\n",
        "keras-vqvae2: terminated\n",
    )
