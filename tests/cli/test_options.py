import argparse
import contextlib
import dataclasses
import os
import subprocess
import sys

import pytest
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2.cli import main
from keras_vqvae2.cli.main import COMMANDS
from keras_vqvae2.cli.main import in_flags
from keras_vqvae2.cli.options import add_training_options
from keras_vqvae2.cli.options import described
from keras_vqvae2.cli.options import training_options
from keras_vqvae2.recipes import TrainingOptions


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Go on by `resume=True`.", "Go on by --resume."),
        ("Pass `download=True` to do so.", "Pass --download to do so."),
        ("or `data_dir` if", "or --data-dir if"),
        ("`resize=7` is less", "--resize 7 is less"),
        ("lower `top_p=0.5`.", "lower --top-p 0.5."),
        ("pass `labels=False`", "pass `labels=False`"),
        ("no folder ./runs/resize=1.", "no folder ./runs/resize=1."),
        ("`not_mine` stays", "`not_mine` stays"),
    ],
)
def test_messages_name_flags(message, expected):
    names = {"resume", "download", "data_dir", "resize", "top_p"}
    assert in_flags(message, names) == expected


def test_functions_name_arguments_and_commands_name_flags(tmp_path, capsys):
    vqvae = make_vqvae()
    options = TrainingOptions(resume=True)
    with pytest.raises(FileNotFoundError, match="without `resume`") as caught:
        keras_vqvae2.recipes.train_vqvae(
            vqvae, tmp_path, tmp_path / "none", options=options
        )
    assert "--" not in str(caught.value)
    argv = ["train", "--data", str(tmp_path), "--output", str(tmp_path / "a")]
    assert main([*argv, "--resume"]) == 2
    assert "without --resume" in capsys.readouterr().err


def test_training_options_are_those_of_the_dataclass():
    parser = argparse.ArgumentParser()
    add_training_options(parser)
    args = parser.parse_args(["--output", "here"])
    assert training_options(args, "auto") == TrainingOptions()
    args = parser.parse_args(
        "--output here --steps 3 --learning-rate 0.5 --optimizer adam "
        "--resume --warmup-steps 0".split()
    )
    assert training_options(args, 0) == TrainingOptions(
        steps=3,
        learning_rate=0.5,
        optimizer="adam",
        resume=True,
        warmup_steps=0,
        verbose=0,
    )


_WRONG_OPTIONS = {
    "steps": ("0", "-1", "1.5", "9999999999999999999", "many"),
    "batch_size": ("0", "-4", "many"),
    "optimizer": ("sgd",),
    "learning_rate": ("0", "-1", "nan", "inf", "-inf", "1e9"),
    "warmup_steps": ("-1",),
    "decay_steps": ("-1",),
    "clip_norm": ("0", "-1", "nan", "inf"),
    "ema_momentum": ("-0.1", "1", "nan"),
    "gradient_accumulation_steps": ("0", "-1"),
    "seed": ("-1", "9223372036854775808", "0.5"),
    "steps_per_epoch": ("0", "-1"),
    "checkpoint_minutes": ("-1", "nan", "inf"),
}


@pytest.mark.parametrize(
    ("name", "text"),
    [(name, text) for name in _WRONG_OPTIONS for text in _WRONG_OPTIONS[name]],
)
def test_training_options_out_of_range(capsys, name, text):
    parser = argparse.ArgumentParser()
    add_training_options(parser)
    flag = "--" + name.replace("_", "-")
    with pytest.raises(SystemExit):
        parser.parse_args(["--output", "here", f"{flag}={text}"])
    assert f"argument {flag}: " in capsys.readouterr().err
    with contextlib.suppress(ValueError):
        text = float(text)
        text = int(text) if text % 1 == 0 else text
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        TrainingOptions(**{name: text})


def test_training_options_that_do_not_fit_together():
    with pytest.raises(ValueError, match="must fit into `steps=10`. .* 6 and"):
        TrainingOptions(steps=10, warmup_steps=6, decay_steps=5)


def test_every_training_option_has_a_help_text():
    texts = described("training_options.py", "TrainingOptions")
    names = [field.name for field in dataclasses.fields(TrainingOptions)]
    assert list(texts) == names
    assert texts["decay_steps"] == (
        "steps at the end in which the learning rate falls linearly to zero"
    )


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert COMMANDS[command].split()[0] in capsys.readouterr().out


@pytest.mark.once
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("keras-vqvae2 enc", {"encode"}),
        ("keras-vqvae2 train --str", {"--strategy", "--strides"}),
        ("keras-vqvae2 encode --model vqvae2-c", {"vqvae2-cifar10"}),
        ("keras-vqvae2 info vqvae2-c", {"vqvae2-cifar10"}),
    ],
)
def test_completion(tmp_path, line, expected):
    pytest.importorskip("argcomplete")
    environment = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "out"),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    subprocess.run(
        [sys.executable, "-m", "keras_vqvae2_cli"],
        env=os.environ | environment,
        check=True,
    )
    assert set((tmp_path / "out").read_text().split("\v")) == expected


@pytest.mark.once
def test_what_starts_without_keras():
    """Help of all commands, and those that read a few bytes of a model."""
    code = (
        "import contextlib, io, sys, keras_vqvae2_cli\n"
        "keras_vqvae2_cli._open_streams = lambda: None\n"
        "from keras_vqvae2.cli.main import COMMANDS\n"
        "lines = [['--help'], ['--version'], ['list'], ['push', '--dry-run']]\n"
        "lines += [['info', 'vqvae2-cifar10']]\n"
        "lines += [[command, '--help'] for command in COMMANDS]\n"
        "for line in lines:\n"
        "    sys.argv[1:] = line\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "        try:\n"
        "            code = keras_vqvae2_cli.main()\n"
        "        except SystemExit as error:\n"
        "            code = error.code\n"
        "    assert not code and out.getvalue(), line\n"
        "    heavy = {'keras', 'tensorflow', 'jax', 'torch'}\n"
        "    assert not heavy & set(sys.modules), line\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
