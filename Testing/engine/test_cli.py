"""The command line itself: help, errors, exit status, and that it starts light."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import llmboost as package
from llmboost.card import read_card
from llmboost.cli import main
from llmboost.errors import LLMBoostError

COMMANDS = [
    (),
    ("segment",),
    ("strokes",),
    ("classify",),
    ("train",),
    ("adapt",),
    ("evaluate",),
    ("fingerprint",),
    ("bench",),
    ("doctor",),
    ("models",),
    ("models", "list"),
    ("models", "show"),
    ("models", "import"),
    ("models", "export"),
    ("models", "remove"),
    ("models", "combine"),
    ("models", "find"),
]


def child(*arguments, **environment):
    """A new Python with only our environment."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={"PYTHONPATH": str(Path(package.__file__).parents[1]), "HOME": os.devnull, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_commands_are_listed_here():
    import typer.main

    root = typer.main.get_command(__import__("llmboost.cli", fromlist=["app"]).app)
    found = {(name,) for name in root.commands} | {("models", name) for name in root.commands["models"].commands}
    assert found == set(COMMANDS[1:])


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(llmboost, command):
    done = llmboost(*command, "--help")
    assert done.status == 0
    assert "Usage: " in done.out
    assert done.err == ""


def test_the_fixed_options_are_there(llmboost, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for command, options in {
        "segment": ("--model", "--output", "--device", "--format", "--uncertainty", "--resume"),
        "train": ("--output", "--minutes", "--steps", "--booster", "--residual", "--network", "--seed", "--resume"),
        "evaluate": ("--model", "--split", "--json"),
    }.items():
        text = llmboost(command, "--help").out
        assert [option for option in options if option not in text] == []


def test_the_version_and_that_nothing_heavy_is_imported():
    done = child("-m", "llmboost", "--version")
    assert (done.returncode, done.stdout) == (0, package.__version__ + "\n"), done.stderr
    code = (
        "import sys, llmboost, llmboost.cli\n"
        "print(sorted({'torch', 'monai', 'transformers', 'SimpleITK', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    assert child("-c", code).stdout == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("segment", "--help"),
        ("models", "list"),
        ("bench", "--help"),
        ("segment", "x.nii.gz", "--model", "nonsense", "--output", "out"),
        ("classify", "x.png", "--model", "nonsense", "--output", "out"),
        ("strokes", "x.nii.gz", "--strokes", "s.nrrd", "--model", "nonsense", "--output", "out"),
        ("evaluate", "data", "--model", "nonsense", "--json", "out.json"),
        ("adapt", "nonsense", "data", "--output", "out.safetensors"),
        ("models", "show", "nonsense"),
    ],
    ids=" ".join,
)
def test_help_lists_and_wrong_names_import_nothing_heavy(arguments, tmp_path):
    code = (
        "import sys; from llmboost.cli import main\n"
        f"try: main({list(arguments)!r})\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'monai', 'transformers', 'SimpleITK', 'scipy', 'numpy', 'matplotlib', 'pydicom'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = child("-c", code, LLMBOOST_MODELS=str(tmp_path))
    assert done.stdout.endswith("heavy: []\n"), done.stderr
    assert ("nonsense" in arguments) == ("model 'nonsense': no such file" in done.stderr), done.stderr


def test_a_card_is_told_in_words_with_figures(llmboost):
    done = llmboost("models", "show", "pneumonia")
    assert done.status == 0
    assert "AUC 0.958 (0.939 to 0.972) on test cases" in " ".join(done.out.split())
    for name in ("Trained on", "Preparation", "Refuses", "Booster", "License", "Citation"):
        assert name in done.out


def test_an_error_is_one_line(llmboost, refusal, library_folder, tmp_path):
    arguments = ("segment", tmp_path, "--model", "nope", "--output", tmp_path / "out")
    assert refusal(*arguments).startswith("model 'nope': no such file, and no installed model of that name")
    done = llmboost(*arguments)
    assert done.out == ""
    assert not (tmp_path / "out").exists()
    with pytest.raises(LLMBoostError, match="model 'nope'"):
        main(["--debug", *map(str, arguments)])


def test_an_error_in_a_process_of_its_own(tmp_path):
    """The traceback comes with --debug only."""
    arguments = ("-m", "llmboost", "models", "show", tmp_path / "none")
    done = child(*arguments, LLMBOOST_MODELS=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: model '")
    assert done.stderr.count("\n") == 1
    debug = child(*arguments, "--debug", LLMBOOST_MODELS=str(tmp_path))
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr
    assert "llmboost.errors.LLMBoostError: model '" in debug.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("segment",),
        ("segment", "a.nrrd", "--output", "out"),
        ("segment", "a.nrrd", "--model", "m"),
        ("train", "data"),
        ("train", "data", "--output", "o.safetensors", "--steps", "many"),
        ("evaluate", "data", "--model", "m"),
        ("models", "show"),
        ("models", "delete"),
        ("cook",),
    ],
    ids=" ".join,
)
def test_wrong_usage(llmboost, arguments):
    done = llmboost(*arguments)
    assert done.status == 2
    assert "Usage: " in done.err
    assert "Traceback" not in done.err


def test_control_c_is_no_traceback(llmboost, monkeypatch):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("llmboost.commands.models.read_card", interrupt)
    monkeypatch.setattr("llmboost.commands.models.library.find", lambda name: name)
    done = llmboost("models", "show", "x")
    assert done.status not in (0, 1, 2)
    assert "Traceback" not in done.err


# training


def test_the_budget(refusal, dataset_folder, tmp_path):
    arguments = ("train", dataset_folder, "--output", tmp_path / "m.safetensors", "--booster", "none")
    assert refusal(*arguments) == "give a budget: either --minutes N or --steps N"
    assert refusal(*arguments, "--minutes", 1, "--steps", 1) == "give a budget: either --minutes N or --steps N"
    for budget in (("--minutes", "0"), ("--steps", "0"), ("--steps", "-3"), ("--minutes", "-0.5")):
        assert refusal(*arguments, *budget) == "the budget must be greater than zero"
    assert list(tmp_path.iterdir()) == []


def test_what_training_refuses(refusal, dataset_folder, tmp_path):
    def refused(*options, output="m.safetensors"):
        return refusal("train", dataset_folder, "--output", tmp_path / output, "--steps", 1, *options)

    none = ("--booster", "none")
    assert "a model file ends in .safetensors" in refused(*none, output="m.pt")
    assert "network 'unet' is unknown; use one of hybrid-vit" in refused(*none, "--network", "unet")
    assert "'sideways' is none of none, inner" in refused("--booster", "smollm2", "--residual", "sideways")
    assert "are the booster's; add --booster smollm2" in refused("--residual", "inner")
    assert "booster 'gpt5': unknown source" in refused("--booster", "gpt5")
    assert "use one of auto, cpu, cuda" in refused(*none, "--device", "tpu")
    assert "--rate must be greater than zero" in refused(*none, "--rate", 0)
    assert "no checkpoint to resume from" in refused(*none, "--resume")
    assert list(tmp_path.glob("*.safetensors")) == []


def test_training_with_a_booster(llmboost, dataset_folder, tmp_path):
    model = tmp_path / "boosted.safetensors"
    booster = ("--booster", "smollm2", "--residual", "inner", "--place", "middle", "--layer", 10)
    done = llmboost("train", dataset_folder, "--output", model, "--steps", 1, *booster)
    assert done.status == 0, done.err
    entry = read_card(model).booster
    assert (entry["source"], entry["residual"], entry["place"], entry["layers"]) == ("smollm2", "inner", "middle", [10])
    assert entry["state"] == "frozen"


def test_training_and_using_what_was_trained(llmboost, refusal, dataset_folder, tmp_path):
    """The default network, for a moment."""
    model = tmp_path / "mine.safetensors"
    arguments = ("train", dataset_folder, "--output", model)
    done = llmboost(*arguments, "--steps", 2)
    assert done.status == 0, done.err
    assert "  spacing (1.0, 1.0, 1.0) mm (R, A, S): the median of 5 training cases\n" in done.out
    assert "step 2: val Dice" in done.out
    assert f"log and curve in {tmp_path / 'mine.run'}" in done.out
    card = read_card(model)
    assert (card.name, card.training["steps"], card.network["name"], card.booster) == ("mine", 2, "hybrid-vit", {})

    before = model.read_bytes()
    assert "holds an earlier training; continue it with --resume" in refusal(*arguments, "--steps", 2)
    assert model.read_bytes() == before
    assert llmboost(*arguments, "--steps", 2, "--resume").status == 0
    assert read_card(model).digest == card.digest
    assert llmboost(*arguments, "--steps", 3, "--resume").status == 0
    assert read_card(model).training["steps"] == 3

    assert json.loads(llmboost("models", "show", model, "--json").out)["digest"] == read_card(model).digest
    image = dataset_folder / "imagesTr" / "case_7.nii.gz"
    assert llmboost("segment", image, "--model", model, "--output", tmp_path / "out").status == 0
    done = llmboost("evaluate", dataset_folder, "--model", model, "--json", tmp_path / "r.json")
    assert done.status == 0
    assert "interval" not in done.out, "one case has no interval"
