"""The pretend GPU itself: what it refuses, what it counts and for which line, and that it computes what a CPU does."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pretend_gpu import LIBRARY, PretendGPU, PretendTensor, pretend_gpu
from textrlhf.agents.training.optimizer import FlatAdam
from textrlhf.language.sampling import inverse_cdf


@pytest.fixture
def gpu():
    with pretend_gpu() as device:
        yield device


def within(counter, function) -> int:
    """How much of what was counted falls on the lines of a function of the library."""
    lines, first = inspect.getsourcelines(function)
    file = inspect.getsourcefile(function)
    places = {f"{file}:{line}" for line in range(first, first + len(lines))}
    return sum(n for place, n in counter.items() if f"{LIBRARY}/{place.split(' ')[0]}" in places)


def test_a_tensor_says_where_it_is_and_keeps_its_numbers(gpu: PretendGPU) -> None:
    made = [
        torch.arange(3.0, device="gpu"),
        torch.tensor([0.0, 1.0, 2.0], device="gpu:0"),
        torch.arange(3.0).to(gpu.device),
        torch.from_numpy(np.arange(3.0)).to("gpu", torch.float32),
        torch.arange(3.0).gpu(),
    ]
    for x in made:
        assert isinstance(x, PretendTensor)
        assert (x.device, str(x.device), x.is_cuda) == (gpu.device, "gpu:0", False)
        assert (2 * x[1:] + 1).cpu().tolist() == [3.0, 5.0]


def test_what_mixes_devices_is_refused(gpu: PretendGPU) -> None:
    here, there = torch.ones(3, 3, device="gpu"), torch.ones(3, 3)
    rows = torch.tensor([0, 2], device="gpu")
    for mixed in (
        lambda: here + there,
        lambda: there @ here,
        lambda: torch.cat([here, there]),
        lambda: torch.where(there > 0, here, here),
        lambda: here.gather(1, there.long()),
        lambda: here.add_(there),
        lambda: there[rows],
        lambda: here.index_put_((rows,), there[0]),
        lambda: nn.Linear(3, 3)(here),
        lambda: setattr(here, "data", there),
    ):
        with pytest.raises(RuntimeError, match=r"same device|on the GPU"):
            mixed()
    for to_numpy in (here.numpy, lambda: np.asarray(here)):
        with pytest.raises(TypeError, match="copy it to the host"):
            to_numpy()


def test_a_single_number_of_the_host_goes_along(gpu: PretendGPU) -> None:
    x = torch.ones(2, device="gpu")
    with gpu.counting() as counts:
        x = x * torch.tensor(3.0) + 1
        x = torch.where(x > 5, x, torch.tensor(7.0))
    assert counts.uploads.total() == counts.syncs.total() == 0
    assert x.tolist() == [7.0, 7.0]


def test_what_an_operation_costs(gpu: PretendGPU) -> None:
    x, rows, mask = torch.ones(3, device="gpu"), torch.tensor([1, 0], device="gpu"), torch.ones(3).bool().to("gpu")
    for number, (expected, operation) in enumerate(
        [  # uploads, syncs, kernels
            ((1, 0, 0), lambda: torch.ones(3).to("gpu")),
            ((1, 0, 0), lambda: torch.tensor([1, 2], device="gpu")),
            ((1, 0, 0), lambda: x.copy_(torch.ones(3))),
            ((0, 0, 2), lambda: torch.zeros(3, device="gpu") + x),
            ((0, 0, 0), lambda: x[1:].view(1, 2).T.detach()),
            ((0, 0, 0), lambda: torch.ones(3)[torch.tensor([0, 2])].tolist()),
            ((0, 0, 1), lambda: x[rows]),
            ((1, 0, 1), lambda: x[torch.tensor([0, 2])]),
            ((0, 1, 1), lambda: x[mask]),
            ((0, 1, 0), lambda: x.cpu()),
            ((0, 1, 0), lambda: torch.ones(3).copy_(x)),
            ((0, 1, 0), lambda: x.tolist()),
            ((0, 1, 0), lambda: x[0].item()),
            ((0, 1, 1), lambda: bool((x > 0)[0])),
            ((0, 1, 0), lambda: x.nonzero()),
            ((0, 1, 0), lambda: torch.equal(x, x)),
        ]
    ):
        with gpu.counting() as counts:
            operation()
        found = counts.uploads.total(), counts.syncs.total(), counts.kernels.total()
        assert found == expected, f"operation {number}"


def test_costs_are_laid_to_the_line_of_the_library_that_caused_them(gpu: PretendGPU) -> None:
    log_probs = torch.zeros(2, 5, device="gpu").log_softmax(-1)
    uniform = torch.zeros(2, device="gpu")
    with gpu.counting() as counts:
        inverse_cdf(log_probs, uniform)
        log_probs[0, 0].item()
    assert within(counts.kernels, inverse_cdf) == counts.kernels.total() > 3
    assert counts.syncs == {"outside the library (item)": 1}
    assert gpu.counts.kernels.total() > counts.kernels.total(), "those before the block are counted for the device"
    assert "1 syncs\n       1 outside the library (item)" in str(counts)


def test_gradients_are_laid_to_the_line_that_asked_for_them(gpu: PretendGPU) -> None:
    """PyTorch computes them in another thread."""
    layer = nn.Linear(3, 2).to("gpu")
    optimizer = FlatAdam(layer)
    loss = layer(torch.ones(4, 3, device="gpu")).square().sum()
    with gpu.counting() as counts:
        optimizer.add(loss)
    assert within(counts.kernels, FlatAdam.add) == counts.kernels.total() > 3


def test_generators_draw_what_the_cpu_draws(gpu: PretendGPU) -> None:
    ours, theirs = torch.Generator(device="gpu"), torch.Generator().manual_seed(5)
    assert ours.manual_seed(5) is ours
    assert (ours.device, theirs.device.type) == (gpu.device, "cpu")
    draws = torch.randn(4, generator=ours, device="gpu"), torch.randn(4, generator=theirs)
    assert torch.equal(draws[0].cpu(), draws[1])
    state = ours.get_state()
    first = torch.rand(4, generator=ours, device="gpu")
    ours.set_state(state)
    assert torch.equal(first, torch.rand(4, generator=ours, device="gpu"))
    for wrong, device in ((theirs, "gpu"), (ours, "cpu")):
        with pytest.raises(RuntimeError, match="generator of the device"):
            torch.rand(4, generator=wrong, device=device)


class Tied(nn.Module):
    """Two layers with one weight, and a list that knows their parameters."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.known = list(self.parameters())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).tanh())


def test_a_module_moves_and_learns_as_on_any_gpu(gpu: PretendGPU) -> None:
    results = []
    for device in ("cpu", "gpu"):
        module = Tied().to(device)
        optimizer = FlatAdam(module)
        for _ in range(3):
            optimizer.zero()
            optimizer.add(module(torch.ones(2, 3, device=device)).square().sum())
            optimizer.step(0.1, 1.0)
        assert module.first.weight is module.second.weight
        assert all(a is b for a, b in zip(module.known, module.parameters(), strict=True))
        assert {str(p.device) for p in module.parameters()} == {"gpu:0" if device == "gpu" else "cpu"}
        torch.testing.assert_close(module.first.weight.flatten(), optimizer.flat[:9], rtol=0, atol=0)
        results.append(optimizer.flat.cpu())
        other = copy.deepcopy(module)
        assert isinstance(other.first.weight, nn.Parameter)
        assert other.first.weight is other.second.weight
        other.first.weight.data.zero_()
        assert optimizer.flat.abs().min() > 0
    torch.testing.assert_close(*results, rtol=0, atol=1e-6)


def test_gru_cells_and_their_gradients_are_those_of_the_cpu(gpu: PretendGPU) -> None:
    torch.manual_seed(0)
    gru, parts = nn.GRU(3, 4), [torch.randn(n, 3) for n in (2, 5, 1)]
    found = []
    for device in ("cpu", "gpu"):
        moved = copy.deepcopy(gru).to(device)
        packed = nn.utils.rnn.pack_sequence([part.to(device) for part in parts], enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(moved(packed)[0])
        states.square().sum().backward()
        found.append([states.detach().cpu(), *(p.grad.cpu() for p in moved.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_tensors_are_written_to_files(gpu: PretendGPU, tmp_path) -> None:
    x = torch.arange(6.0, device="gpu").view(2, 3)
    save_file({"x": x, "y": x + 1}, tmp_path / "both.safetensors")
    found = load_file(tmp_path / "both.safetensors")
    assert torch.equal(found["x"], torch.arange(6.0).view(2, 3))
    assert torch.equal(found["y"].to("gpu"), x + 1)


def test_the_device_is_there_inside_the_block_alone() -> None:
    generator = torch.Generator
    for make in (lambda: torch.zeros(3, device="gpu"), lambda: torch.tensor([1.0], device="gpu")):
        with pytest.raises((RuntimeError, NotImplementedError)):
            make()
    assert not torch.accelerator.is_available()
    with pretend_gpu(), pytest.raises(RuntimeError, match="open already"), pretend_gpu():
        pass
    assert torch.Generator is generator
    torch.ones(3, requires_grad=True).sum().backward()
