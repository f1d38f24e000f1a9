"""What can be said of GPUs without one: their names, their random state, what is loaded."""

import sys

import pytest
import torch
from processes import Process

from mtl.data.dataset import Dataset
from mtl.devices import choose_device, random_state, set_random_state
from mtl.errors import ConfigError
from mtl.tasks.ner import NERTask
from mtl.training.config import TrainConfig
from mtl.training.loop import train
from mtl.training.run import Run

GPU = torch.device("cuda", 1)


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that the machine has so many GPUs."""

    def has(n):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)

    return has


@pytest.mark.parametrize("name", ["cuda:0", "cuda:1", "cuda:17"])
def test_one_gpu_of_several_can_be_named(gpus, name):
    gpus(18)
    assert TrainConfig(device=name).device == name
    assert choose_device(name) == torch.device(name)


@pytest.mark.parametrize(
    ("n", "found"), [(1, "one GPU, cuda:0"), (2, "2 GPUs, cuda:0 to cuda:1"), (0, "cpu")]
)
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(gpus, n, found):
    gpus(n)
    TrainConfig(device="cuda:2")  # it may be for another machine
    with pytest.raises(ConfigError, match=f"no device 'cuda:2'(.|\n)*found: {found}\n"):
        choose_device("cuda:2")


class FakeGPU:
    """The random state of a GPU, which draws by adding 1."""

    def __init__(self, monkeypatch):
        self.state = torch.tensor([7], dtype=torch.uint8)
        monkeypatch.setattr(torch.cuda, "get_rng_state", self.get)
        monkeypatch.setattr(torch.cuda, "set_rng_state", self.set)

    def get(self, device):
        assert device == GPU
        return self.state.clone()

    def set(self, state, device):
        assert device == GPU
        self.state = state.clone()


def test_the_random_state_of_a_gpu_is_saved_and_put_back(monkeypatch):
    gpu = FakeGPU(monkeypatch)
    saved = random_state(GPU)
    drawn = torch.rand(3)
    gpu.state += 1
    set_random_state(saved, GPU)
    assert gpu.state.tolist() == [7]
    assert torch.equal(torch.rand(3), drawn)
    gpu.state += 1
    set_random_state({"cpu": saved["cpu"]}, GPU)  # the run was on a CPU before
    set_random_state(saved, torch.device("cpu"))
    assert gpu.state.tolist() == [8]


def test_a_run_on_a_gpu_keeps_its_random_state_in_a_checkpoint(
    tmp_path, monkeypatch, build_model, sentences
):
    gpu = FakeGPU(monkeypatch)
    task = NERTask("ner", Dataset(train=sentences[:8]))
    monkeypatch.setattr(
        "mtl.training.run.random_state", lambda device: random_state(GPU), raising=True
    )
    monkeypatch.setattr(
        "mtl.training.run.set_random_state", lambda states, device: set_random_state(states, GPU)
    )
    config = TrainConfig(epochs=1, device="cpu")
    train(build_model([task]), [task], config, checkpoint=tmp_path, progress=False)
    gpu.state += 5
    train(build_model([task]), [task], config, checkpoint=tmp_path, resume=True, progress=False)
    assert gpu.state.tolist() == [7]
    assert Run(build_model([task]), [task], config).state_dict()["random_state"].keys() == {
        "cpu",
        "cuda",
    }


def build_methods_of_ours():
    for name, steps in (("sum", "alternating"), ("pcgrad", "joint")):
        TrainConfig(aggregation=name, sampling=steps).build_aggregation()
    print("torchjd" in sys.modules)


def test_a_library_of_aggregations_is_not_loaded_for_one_of_ours():
    pytest.importorskip("torchjd")
    status, out, err = Process(build_methods_of_ours).finish()
    assert (status, out) == (0, "False\n"), err
