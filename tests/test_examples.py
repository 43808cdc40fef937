"""The examples run as a user runs them, and do what they say."""

import contextlib
import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tritonnet
from tritonnet.errors import CheckpointError

ROOT = Path(__file__).parent.parent


def example(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def digits():
    for package in ("sklearn", "rich", "matplotlib"):
        pytest.importorskip(package, reason="the example needs it: make train installs it")
    with tritonnet.kernels.use("triton"):
        yield example("digits")


def last_line(capsys) -> str:
    return capsys.readouterr().out.rstrip().splitlines()[-1]


def test_digits_trains_saves_and_draws(digits, tmp_path, capsys):
    digits.main(["--epochs", "4", "--out", str(tmp_path), "--device", "cpu"])
    path, _ = tritonnet.kernels.path(torch.device("cpu"))
    said = re.fullmatch(r"test accuracy: (\d+\.\d) % \(4 epochs, \d+\.\d s, (.*)\)", last_line(capsys))
    assert said
    assert float(said[1]) >= 80
    assert said[2] == path
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")

    net = digits.Digits()
    state = tritonnet.load(tmp_path / "digits.safetensors", net)
    _, _, images, labels = digits.digits(torch.device("cpu"), torch.float32)
    accuracy = (digits.read(net, images) == labels).double().mean().item()
    assert f"{100 * accuracy:.1f}" == said[1]
    assert state["epochs"] == 4
    assert len(state["losses"]) == 4 * 12


def test_digits_goes_on_to_the_bit(digits, tmp_path):
    def run(folder: str, *more: str) -> dict:
        digits.main(["--out", str(tmp_path / folder), "--device", "cpu", *more])
        return tritonnet.load(tmp_path / folder / "digits.safetensors")

    whole = run("whole", "--epochs", "3")
    run("parts", "--epochs", "1")
    parts = run("parts", "--epochs", "3", "--resume")
    assert parts["losses"] == whole["losses"]
    for name, weight in whole["module"].items():
        assert torch.equal(parts["module"][name], weight), name


def test_digits_computes_with_the_references_when_asked(digits, tmp_path, capsys):
    digits.main(["--epochs", "1", "--out", str(tmp_path), "--device", "cpu", "--backend", "reference"])
    assert last_line(capsys).endswith(" s, the references)")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_digits_learns_in_other_dtypes(digits, dtype, tmp_path, capsys):
    digits.main(["--epochs", "4", "--dtype", dtype, "--out", str(tmp_path), "--device", "cpu"])
    assert float(re.search(r"test accuracy: ([\d.]+) %", last_line(capsys))[1]) >= 80


def test_digits_without_a_checkpoint_to_resume(digits, tmp_path):
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / "digits.safetensors"))):
        digits.main(["--resume", "--out", str(tmp_path), "--device", "cpu"])
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_digits_on_a_gpu(digits, tmp_path, capsys):
    digits.main(["--epochs", "8", "--out", str(tmp_path), "--device", "cuda"])
    line = last_line(capsys)
    assert line.endswith(f"Triton on {torch.cuda.get_device_name()})")
    assert float(re.search(r"([\d.]+) %", line)[1]) >= 90


@pytest.mark.parametrize("parts", ["1", "3"])
def test_mlp_learns_two_more_digits_with_its_last_layer(capsys, parts):
    pytest.importorskip("sklearn", reason="the example needs it: make train installs it")
    example("mlp").main(["--epochs", "6", "--device", "cpu", "--parts", parts])
    few, all_ten = map(float, re.findall(r": ([\d.]+) % of", capsys.readouterr().out))
    assert few >= 90
    assert all_ten >= 80


def test_mlp_steps_the_same_whatever_the_parts(capsys):
    """Gradients are summed over the parts of a step: the curve does not depend on how many there are."""
    pytest.importorskip("sklearn", reason="the example needs it: make train installs it")
    mlp = example("mlp")
    images, labels, *_ = mlp.digits(torch.device("cpu"))
    weights = []
    for parts in (1, 4):
        torch.manual_seed(0)
        net = mlp.Perceptron(16).double()
        mlp.train(net, images[:96].double(), labels[:96], 2, 32, parts, "")
        weights.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    torch.testing.assert_close(*weights)


@pytest.fixture(scope="module")
def autoencoder_run(tmp_path_factory):
    for package in ("sklearn", "rich", "matplotlib"):
        pytest.importorskip(package, reason="the example needs it: make train installs it")
    module, out = example("autoencoder"), tmp_path_factory.mktemp("autoencoder")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        module.main(["--epochs", "8", "--out", str(out), "--device", "cpu"])
    return module, out, said.getvalue().splitlines()[-1]


def test_autoencoder_gives_back_what_it_saw(autoencoder_run):
    module, out, line = autoencoder_run
    said = re.fullmatch(r"test images: mean squared error (0\.\d+); digit told from 8 numbers: ([\d.]+) %", line)
    images, _, test_images, _ = module.digits(torch.device("cpu"))
    of_the_mean_image = (images.mean(0) - test_images).square().mean().item()
    assert float(said[1]) <= 0.6 * of_the_mean_image
    assert float(said[2]) >= 70
    assert (out / "autoencoder.png").read_bytes().startswith(b"\x89PNG")


def test_autoencoder_saves_what_it_drew(autoencoder_run):
    module, out, line = autoencoder_run
    net = module.Autoencoder()
    tritonnet.load(out / "autoencoder.safetensors", net)
    _, _, images, _ = module.digits(torch.device("cpu"))
    with torch.no_grad():
        error = (net(images) - images).square().mean().item()
    assert f"mean squared error {error:.4f};" in line


def test_fixed_filters_prints_what_happens(capsys):
    example("fixed_filters").main()
    lines = capsys.readouterr().out.splitlines()
    answers = {line.split()[0]: line.split()[1:] for line in lines[1:5]}
    #                                in parameters(), trained, moved, saved
    assert answers["conv.weight"] == ["yes", "no", "yes", "yes"]
    assert answers["linear.weight"] == ["yes", "yes", "yes", "yes"]
    assert answers["mean"] == ["no", "no", "yes", "yes"]
    assert answers["hidden"] == ["no", "no", "no", "no"]
    assert "lr" in lines[-1]


def test_the_examples_stand_alone(tmp_path):
    """Each runs as a command, from another folder, and says how it is used."""
    for path in (ROOT / "examples").glob("*.py"):
        code = f"import runpy; runpy.run_path({str(path)!r})"
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"], cwd=tmp_path
        )
        assert done.returncode == 0
        assert f"python examples/{path.name}" in path.read_text().split('"""')[1]
