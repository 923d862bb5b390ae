import platform
from pathlib import Path

import pytest
import torch

from selectlib.device import pick_device, processor_name


def claim(monkeypatch, *, cuda: int, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(1, True, "cuda"), (1, False, "cuda"), (0, True, "mps"), (0, False, "cpu")]
)
def test_auto_takes_the_best_device_there_is(monkeypatch, cuda, mps, best):
    claim(monkeypatch, cuda=cuda, mps=mps)
    assert pick_device() == pick_device("auto") == torch.device(best)


def test_a_named_device_is_taken_as_named(monkeypatch):
    claim(monkeypatch, cuda=2, mps=False)
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    assert pick_device(torch.device("cuda")) == torch.device("cuda")


@pytest.mark.parametrize("missing", ["cuda", "cuda:0", "mps", torch.device("cuda")])
def test_a_device_that_is_not_here_is_named_with_what_is(monkeypatch, missing):
    claim(monkeypatch, cuda=0, mps=False)
    with pytest.raises(ValueError, match=rf"device '{missing}' is not available here; available: 'cpu'"):
        pick_device(missing)


def test_a_cuda_index_beyond_the_last_is_refused(monkeypatch):
    claim(monkeypatch, cuda=2, mps=False)
    with pytest.raises(ValueError, match="device 'cuda:2' is not available here, where CUDA counts 2"):
        pick_device("cuda:2")


@pytest.mark.parametrize("nonsense", ["gpu", "", "cpu:x", "AUTO"])
def test_nonsense_is_refused(nonsense):
    with pytest.raises(ValueError, match=r"device must be 'auto' or a device such as .*'cpu'"):
        pick_device(nonsense)


@pytest.mark.parametrize("wrong", [None, 0, b"cpu"])
def test_wrong_types_are_refused(wrong):
    with pytest.raises(TypeError, match=r"device must be a string or a torch\.device"):
        pick_device(wrong)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("processor\t: 0\nmodel name\t: A Processor 7\nprocessor\t: 1\nmodel name\t: Another\n", "A Processor 7"),
        ("processor\t: 0\n", platform.machine()),  # as on ARM
    ],
)
def test_a_processor_is_called_what_it_calls_itself(monkeypatch, said, name):
    monkeypatch.setattr(Path, "read_text", lambda path: said)
    assert processor_name() == name


def test_without_linux_the_platform_is_asked(monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    assert processor_name() == (platform.processor() or platform.machine())
