"""Our methods inside other people's training loops, written here as small as they come."""

import sys
import types

import numpy as np
import pytest
import torch

from fairopt import InvalidInput
from fairopt import torch as ft
from fairopt.torch.weight_method_adapters import WeightMethodAdapter
from fairopt.torch.weighted_loss import weighted_loss

TASKS = ("a", "b", "c")


class Model(torch.nn.Module):
    """A trunk of two layers and a head for each task."""

    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 6), torch.nn.Tanh()
        )
        self.heads = torch.nn.ModuleDict({task: torch.nn.Linear(6, 1) for task in TASKS})
        generator = torch.Generator().manual_seed(1)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, std=0.5, generator=generator)

    def forward(self, x):
        return {task: head(self.encoder(x)) for task, head in self.heads.items()}


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(32, 4, generator=generator)
    y = x @ torch.randn(4, len(TASKS), generator=generator) * torch.tensor([1.0, 3.0, 0.3])
    return x, {task: y[:, k : k + 1] for k, task in enumerate(TASKS)}


def losses_of(model, x, y):
    found = model(x)
    return torch.stack([((found[task] - y[task]) ** 2).mean() for task in TASKS])


def released_loop(weight_method, steps=60):
    """The loop of the NashMTL, FAMO and FairGrad repositories, with their names and arguments."""
    torch.manual_seed(0)
    model, (x, y) = Model(), data()
    optimizer = torch.optim.Adam(
        [
            {"params": model.parameters(), "lr": 0.02},
            {"params": weight_method.parameters(), "lr": 0.025},
        ]
    )
    first = losses_of(model, x, y).detach()
    for _ in range(steps):
        optimizer.zero_grad()
        losses = losses_of(model, x, y)
        loss, extra_outputs = weight_method.backward(
            losses=losses,
            shared_parameters=list(model.encoder.parameters()),
            task_specific_parameters=list(model.heads.parameters()),
            last_shared_parameters=list(model.encoder[2].parameters()),
            representation=None,
            epoch=0,
        )
        assert loss.ndim == 0
        assert extra_outputs["weights"].shape == (len(TASKS),)
        optimizer.step()
        with torch.no_grad():
            weight_method.update(losses_of(model, x, y))
    return model, first, losses_of(model, x, y).detach()


EVERY = [
    ft.FairGrad(2.0), ft.ConflictAverse(0.4), ft.MinNorm(), ft.DualCone(), ft.UPGrad(), ft.Mean(),
    ft.AlignedMTL([1.0, 1.0, 1.0]), ft.IMTLG(), ft.ConFIG(), ft.GradVac(), ft.RLW(),
    ft.DWA(period=5), ft.Uncertainty(), ft.FAMO(), ft.IMTLL(), ft.GradNorm(),
]  # fmt: skip


def name_of(value):
    return type(value).__name__ if hasattr(value, "__dataclass_fields__") else None


@pytest.mark.parametrize("heads", ["unit", "weighted"])
@pytest.mark.parametrize("method", EVERY, ids=name_of)
def test_every_method_trains_in_the_released_loop(method, heads):
    if hasattr(method, "state"):
        method.state.clear()
    _, first, last = released_loop(ft.as_weight_method(method, heads=heads))
    assert (last < first).all()


@pytest.mark.parametrize("method", [ft.FairGrad(2.0), ft.IMTLG()], ids=name_of)
def test_the_released_interface_has_the_gradients_of_our_own(method):
    x, y = data()
    grads = []
    for way in ("theirs", "ours", "scalar", "weighted"):
        model = Model()
        losses, shared = losses_of(model, x, y), list(model.encoder.parameters())
        if way == "theirs":
            ft.as_weight_method(method).backward(losses, shared)
        elif way == "ours":
            ft.backward(list(losses), shared, method)
        elif way == "scalar":
            ft.as_weight_method(method).get_weighted_loss(losses, shared)[0].backward()
        else:
            ft.backward(list(losses), shared, method, heads="weighted")
        grads.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(grads[0], grads[1])
    torch.testing.assert_close(grads[2], grads[3], rtol=1e-4, atol=1e-6)


def test_gradnorm_watches_the_last_shared_parameters_where_they_are_given():
    x, y = data()
    model = Model()
    losses, last = losses_of(model, x, y), list(model.encoder[2].parameters())
    for given, watched in ((last, last), (None, list(model.encoder.parameters()))):
        method, expected = ft.GradNorm(), ft.GradNorm()
        rows = [torch.autograd.grad(loss, watched, retain_graph=True) for loss in losses]
        expected.weigh(losses, gram=ft.gram(rows))
        adapter = ft.as_weight_method(method)
        adapter.get_weighted_loss(
            losses, list(model.encoder.parameters()), last_shared_parameters=given
        )
        np.testing.assert_allclose(
            method.state.arrays["weights"], expected.state.arrays["weights"], rtol=1e-5
        )


def test_the_adapter_saves_what_the_method_remembers():
    adapter = ft.as_weight_method(ft.FAMO())
    released_loop(adapter, steps=3)
    other = ft.as_weight_method(ft.FAMO())
    other.load_state_dict(adapter.state_dict())
    assert other.state_dict() == adapter.state_dict()
    plain = ft.as_weight_method(ft.MinNorm())
    plain.load_state_dict(plain.state_dict())
    plain.update(torch.ones(3))
    assert isinstance(plain, WeightMethodAdapter)
    assert plain.state_dict() == {}
    shared = torch.ones(1, requires_grad=True)
    assert plain(1.0 * shared, shared)[0] == 1.0


@pytest.mark.parametrize("adapt", [ft.as_weight_method, ft.as_libmtl_weighting])
def test_what_is_no_method_is_refused(adapt):
    for bad in (ft.FairGrad, ft.FAMO, "famo", None):
        with pytest.raises(InvalidInput) as caught:
            adapt(bad)
        assert caught.value.argument == "method"
    with pytest.raises(InvalidInput) as caught:
        adapt(ft.MinNorm(), heads="both")
    assert caught.value.argument == "heads"


class AbsWeighting(torch.nn.Module):
    """What our class inherits in LibMTL, as far as it is used."""

    def init_param(self):
        pass


@pytest.fixture
def libmtl(monkeypatch):
    """LibMTL's package, with the one module that is imported."""
    names = ("LibMTL", "LibMTL.weighting", "LibMTL.weighting.abstract_weighting")
    for name in names:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules[names[-1]].AbsWeighting = AbsWeighting


class Architecture(torch.nn.Module):
    """LibMTL's architecture: the model of which the weighting becomes a part."""

    def __init__(self):
        super().__init__()
        self.task_num, self.rep_grad, self.epoch = len(TASKS), False, 0
        model = Model()
        self.encoder, self.heads = model.encoder, model.heads

    def get_share_params(self):
        return self.encoder.parameters()

    forward = Model.forward


def libmtl_model(weighting):
    """As LibMTL's `Trainer` makes it: one class of both, then `init_param`."""
    model = type("MTLmodel", (Architecture, weighting), {})()
    model.init_param()
    return model


def libmtl_loop(model, epochs=6, batches=5):
    """LibMTL's `Trainer`: in-place losses, gradients set to zero, `epoch` as an attribute."""
    x, y = data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    seen = []
    for epoch in range(epochs):
        model.epoch = epoch
        for _ in range(batches):
            losses = torch.zeros(len(TASKS))
            for k, loss in enumerate(losses_of(model, x, y)):
                losses[k] = loss
            optimizer.zero_grad(set_to_none=False)
            seen.append(model.backward(losses))
            optimizer.step()
            model.update_w(losses_of(model, x, y).detach())
    return np.array(seen)


@pytest.mark.parametrize("heads", ["unit", "weighted"])
@pytest.mark.parametrize("method", EVERY, ids=name_of)
def test_every_method_trains_in_libmtls_loop(method, heads, libmtl):
    if hasattr(method, "state"):
        method.state.clear()
    model = libmtl_model(ft.as_libmtl_weighting(method, heads=heads))
    x, y = data()
    first = losses_of(model, x, y).detach()
    weights = libmtl_loop(model)
    assert weights.shape == (30, len(TASKS))
    assert (losses_of(model, x, y) < first).all()


@pytest.mark.parametrize("heads", ["unit", "weighted"])
def test_heads_in_libmtls_loop_are_those_asked_for(heads, libmtl):
    model = libmtl_model(ft.as_libmtl_weighting(ft.FairGrad(2.0), heads=heads))
    x, y = data()
    weights = model.backward(losses_of(model, x, y))
    for k, task in enumerate(TASKS):
        parameters = list(model.heads[task].parameters())
        alone = torch.autograd.grad(losses_of(model, x, y)[k], parameters)
        factor = weights[k] if heads == "weighted" else 1.0
        for parameter, gradient in zip(parameters, alone, strict=True):
            torch.testing.assert_close(parameter.grad, factor * gradient)
    assert (np.abs(weights - 1.0) > 0.01).all()


def test_gradnorm_watches_the_last_shared_layer_where_it_is_given():
    x, y = data()

    def weights(way):
        model, method, found = Model(), ft.GradNorm(), []
        layers = {"all": model.encoder, "last": model.encoder[2]}
        for _ in range(4):
            losses = losses_of(model, x, y)
            if way == "theirs":
                _, extra = ft.as_weight_method(method).get_weighted_loss(
                    losses,
                    list(model.encoder.parameters()),
                    last_shared_parameters=list(model.encoder[2].parameters()),
                )
                found.append(extra["weights"].tolist())
            else:
                _, solution = weighted_loss(losses, method, list(layers[way].parameters()))
                found.append(solution.weights.tolist())
        return np.array(found)

    np.testing.assert_allclose(weights("theirs"), weights("last"), rtol=1e-6)
    assert np.abs(weights("last") - weights("all")).max() > 1e-4


def test_dwa_closes_its_epochs_with_libmtls(libmtl):
    weights = libmtl_loop(libmtl_model(ft.as_libmtl_weighting(ft.DWA())))
    by_count = libmtl_loop(libmtl_model(ft.as_libmtl_weighting(ft.DWA(period=5))))
    np.testing.assert_array_equal(weights, by_count)
    assert (weights[:10] == 1.0).all()
    assert (weights[10:] != 1.0).any()


def test_libmtls_checkpoints_hold_what_the_method_remembers(libmtl):
    method, restored = ft.FAMO(), ft.FAMO()
    model = libmtl_model(ft.as_libmtl_weighting(method))
    libmtl_loop(model, epochs=1)
    libmtl_model(ft.as_libmtl_weighting(restored)).load_state_dict(model.state_dict())
    assert restored.state.state_dict() == method.state.state_dict()
    plain = libmtl_model(ft.as_libmtl_weighting(ft.MinNorm()))
    plain.load_state_dict(plain.state_dict())


def test_what_libmtl_must_not_ask_for_is_refused(libmtl):
    model = libmtl_model(ft.as_libmtl_weighting(ft.MinNorm()))
    with pytest.raises(InvalidInput) as caught:
        model.backward(torch.ones(3), alpha=1.0)
    assert caught.value.argument == "weight_args"
    model.rep_grad = True
    with pytest.raises(InvalidInput) as caught:
        model.backward(torch.ones(3))
    assert caught.value.argument == "rep_grad"
