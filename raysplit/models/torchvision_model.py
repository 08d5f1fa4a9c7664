"""Any classification network of torchvision whose forward is a chain of its children, as named stages: untrained, or
with weights from a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import torch
from torch import nn

from raysplit.errors import ScenarioError, first_line, nearest
from raysplit.models.network import ModelSpec
from raysplit.models.pretrained import Normalise, digest_of, load_weights, weights_file
from raysplit.parts.canonical import added_later
from raysplit.parts.part import part, within

Option = bool | int | float | str
Key = tuple[str, int, tuple[tuple[str, Option], ...]]

# What torchvision's forwards do between features and classifier without a child for it; the first that gives the same
# result is taken.
_GLUES: dict[str, Callable[[], list[nn.Module]]] = {
    "nothing": lambda: [],
    "flatten": lambda: [nn.Flatten()],
    "pool": lambda: [nn.AdaptiveAvgPool2d(1), nn.Flatten()],
    "relu": lambda: [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()],
}


@part
class TorchvisionModel(ModelSpec):
    """``torchvision.models.<name>(weights=None, num_classes=classes, **options)`` as a chain of its children.

    ``ends`` names the modules after which a stage ends, in order, as ``named_modules`` does (``"features.3"``,
    ``"layer1"``); what comes after the last one belongs to it. Empty: every child is a stage, and so is every member of
    a child that is a plain sequence. Stages are called by the same names with "_" for "."; cuts go by either.

    ``weights``: a file, or torchvision's name of one that lies in its cache; ``weights_sha256``: of that file, which
    names the scenario and is compared when it is read. Where it was trained for other ``classes`` the last layer stays
    fresh. ``frozen``: the last stage of those that are not trained; they are in evaluation mode, so their BatchNorm
    keeps its statistics. ``normalise``: the first stage begins with ImageNet's means and deviations, as torchvision's
    weights expect.
    """

    name: str
    input_shape: tuple[int, int, int] = (3, 224, 224)
    classes: int = 1000
    ends: tuple[str, ...] = ()
    cut: str | None = None
    tail: str | None = None
    options: tuple[tuple[str, Option], ...] = ()
    weights: str | None = added_later(None)
    weights_sha256: str | None = added_later(None)
    frozen: str | None = added_later(None)
    normalise: bool = added_later(False)

    def __post_init__(self) -> None:
        within("TorchvisionModel.classes", self.classes, 2)
        names = _names((self.name, self.classes, self.options))
        positions = []
        for end in self.ends:
            inside = [index for index, name in enumerate(names) if _within(name, end)]
            if not inside:
                raise ScenarioError(f"torchvision's {self.name} has no stage {end!r}; {nearest(end, names)}")
            positions.append(inside[-1])
        if positions != sorted(set(positions)):
            raise ScenarioError(f"the stages of torchvision's {self.name} stand in another order: {', '.join(names)}")
        stages = [end.replace(".", "_") for end in self._ends()]
        if self.frozen is not None and self.frozen.replace(".", "_") not in stages:
            raise ScenarioError(
                f"torchvision's {self.name} has no stage {self.frozen!r} to freeze; {nearest(self.frozen, stages)}"
            )
        if self.normalise and self.input_shape[0] != 3:
            raise ScenarioError(
                f"TorchvisionModel.normalise is about three colours, but input_shape is {self.input_shape}; leave it "
                "out"
            )

    @property
    def cuts(self) -> Mapping[str, str]:
        return {name: name.replace(".", "_") for name in self._ends() if "." in name}

    def _ends(self) -> tuple[str, ...]:
        return self.ends or _names((self.name, self.classes, self.options))

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Raises ``ScenarioError`` where the network's forward is not the chain of its children."""
        key = (self.name, self.classes, self.options)
        place, glue = _glue(key, self.input_shape)
        network = _make(key)
        self._load(network)
        chain = _chain(network, place, glue)
        ends = self._ends()
        stages: list[tuple[str, list[nn.Module]]] = []
        open_stage: list[nn.Module] = []
        for index, (name, modules) in enumerate(chain):
            open_stage += modules
            later = [following for following, _ in chain[index + 1 :]]
            over = next((e for e in ends if _within(name, e) and not any(_within(n, e) for n in later)), None)
            if over is not None:
                stages.append((over.replace(".", "_"), open_stage))
                open_stage = []
        stages[-1][1].extend(open_stage)
        if self.normalise:
            stages[0][1].insert(0, Normalise())
        made = [(name, modules[0] if len(modules) == 1 else nn.Sequential(*modules)) for name, modules in stages]
        if self.frozen is not None:
            last = [name for name, _ in made].index(self.frozen.replace(".", "_"))
            for _, stage in made[: last + 1]:
                stage.requires_grad_(False).eval()
        return made

    def _load(self, network: nn.Module) -> None:
        """Put the weights into a network that has numbers."""
        if self.weights is None or next(network.parameters()).is_meta:
            return
        path = weights_file(self.name, self.weights)
        if self.weights_sha256 is not None and digest_of(path) != self.weights_sha256:
            raise ScenarioError(f"{path} has changed since the scenario was made from it; restore it or run anew")
        load_weights(network, path, _by_class(self.name, self.classes, self.options))


def torchvision_model(
    name: str,
    stages: Sequence[str] = (),
    cut: str | None = None,
    tail: str | None = None,
    input_shape: tuple[int, int, int] = (3, 224, 224),
    classes: int = 1000,
    weights: str | None = None,
    frozen: str | None = None,
    normalise: bool = False,
    **options: Option,
) -> TorchvisionModel:
    """A network of torchvision by name; ``options`` go to its maker (``dropout=0.0``).

    ``weights``: a file of weights for it, or torchvision's name of one (``"IMAGENET1K_V1"``) that has been downloaded;
    its content is part of the scenario's hash. ``frozen``: every stage up to this one stays as it is. ``normalise``:
    begin with (x − μ) / σ of ImageNet's colours. Raises ``ScenarioError`` for a name, stage or option that torchvision
    does not have, and for a file that is missing.
    """
    stated = tuple(sorted(options.items()))
    model = TorchvisionModel(name, input_shape, classes, tuple(stages), cut, tail, stated)
    sha256 = None if weights is None else digest_of(weights_file(name, weights))
    return dataclasses.replace(model, weights=weights, weights_sha256=sha256, frozen=frozen, normalise=normalise)


def _within(name: str, end: str) -> bool:
    return name == end or name.startswith(f"{end}.")


def _make(key: Key) -> nn.Module:
    from torchvision import models

    name, classes, options = key
    known = models.list_models(module=models)
    if name not in known:
        raise ScenarioError(f"torchvision has no classification model {name!r}; {nearest(name, known)}")
    try:
        try:
            return models.get_model(name, weights=None, num_classes=classes, **dict(options))
        except NotImplementedError:  # some constructors compute with tensors, which the "meta" device does not hold
            with torch.device("cpu"):
                return models.get_model(name, weights=None, num_classes=classes, **dict(options))
    except (TypeError, ValueError) as error:
        raise ScenarioError(f"torchvision's {name} cannot be made with {dict(options)}: {first_line(error)}") from error


def _children(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """The children in order; members of plain sequences, at any depth, stand for them."""
    found: list[tuple[str, nn.Module]] = []
    for name, child in network.named_children():
        if type(child) is nn.Sequential and len(child):
            found += [(f"{name}.{inner}", module) for inner, module in _children(child)]
        else:
            found.append((name, child))
    return found


def _chain(network: nn.Module, place: int, glue: str) -> list[tuple[str, list[nn.Module]]]:
    """The children with the glue before number ``place``, or after the last."""
    chain = [(name, [module]) for name, module in _children(network)]
    if place < len(chain):
        chain[place][1][:0] = _GLUES[glue]()
    else:
        chain[-1][1].extend(_GLUES[glue]())
    return chain


@cache
def _names(key: Key) -> tuple[str, ...]:
    with torch.device("meta"):
        return tuple(name for name, _ in _children(_make(key)))


@cache
def _by_class(name: str, classes: int, options: tuple[tuple[str, Option], ...]) -> frozenset[str]:
    """The tensors whose shape depends on the number of classes."""
    with torch.device("meta"):
        here, there = (_make((name, count, options)).state_dict() for count in (classes, classes + 1))
    return frozenset(name for name in here if here[name].shape != there[name].shape)


@cache
def _glue(key: Key, input_shape: tuple[int, int, int]) -> tuple[int, str]:
    """Which glue, and where, makes the chain of children give what the network's own forward gives."""
    with torch.device("cpu"), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = _make(key).eval()
        x = torch.rand(1, *input_shape)
        try:
            expected = network(x)
        except (RuntimeError, ValueError, AssertionError) as error:
            raise ScenarioError(
                f"torchvision's {key[0]} cannot take samples of shape {input_shape}: {first_line(error)}"
            ) from error
        names = [name for name, _ in _children(network)]
        last = names[-1].split(".")[0]
        classifier = next(index for index, name in enumerate(names) if name.split(".")[0] == last)
        candidates = [(classifier, glue) for glue in _GLUES] + [(len(names), glue) for glue in ("flatten", "pool")]
        why = "its result differs"
        for place, glue in candidates:
            y = x
            reached = names[0]
            try:
                for reached, modules in _chain(network, place, glue):  # noqa: B007 - named in the error
                    for module in modules:
                        y = module(y)
            except (RuntimeError, ValueError, TypeError, AttributeError, AssertionError) as error:
                why = f"{reached!r} cannot take what comes before it ({type(error).__name__})"
                continue
            if y.shape == expected.shape and torch.allclose(y, expected, rtol=1e-4, atol=1e-6):
                return place, glue
    raise ScenarioError(
        f"torchvision's {key[0]} cannot be cut by its children, because its forward is not their chain: {why}; "
        "give its stages with sequential()"
    )
