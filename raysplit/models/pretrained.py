"""Weights from a file for a network of torchvision. Nothing is downloaded: a run must not depend on the network, and on
a cluster every host would fetch them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from raysplit.errors import ScenarioError, first_line
from raysplit.parts.content import named_file


def weights_file(model: str, weights: str) -> Path:
    """The file that ``weights`` means: a path, or a name of torchvision's (``"IMAGENET1K_V1"``, ``"DEFAULT"``), whose
    file lies where torchvision keeps what it has downloaded.

    Raises ``ScenarioError`` where there is none.
    """
    from torchvision.models import get_model_weights

    known = get_model_weights(model)
    path = Path(weights).expanduser()
    if weights in known.__members__:
        url = str(known[weights].url)
        path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
        if not path.is_file():
            raise ScenarioError(
                f"torchvision's weights {weights} of {model} are not on this machine; download {url} to {path}, or "
                "give another file's path"
            )
    if not path.is_file():
        names = ", ".join(known.__members__) or "none"
        raise ScenarioError(
            f"there is no file of weights {weights!r}; give a path, or a name of torchvision's for {model}: {names}"
        )
    return path


def digest_of(path: Path) -> str:
    """sha256 of a file of weights."""
    digest = named_file(os.fspath(path.absolute()))
    assert digest is not None, "it is a file"
    return digest


def load_weights(network: nn.Module, path: Path, by_class: Collection[str]) -> None:
    """Put the tensors in ``path`` (safetensors, or what ``torch.save`` wrote of a ``state_dict``) into ``network``.

    ``by_class``: the tensors whose shape depends on the number of classes; where the file has them for other classes
    they stay as they are. Raises ``ScenarioError`` for weights of another network; no code in the file is run.
    """
    found = _read(path)
    own = network.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    strange = sorted((own.keys() - found.keys() - counters) | (found.keys() - own.keys()))
    if strange:
        verb = "lacks" if strange[0] in own else "has"
        raise ScenarioError(f"{path} holds weights of another network: it {verb} {strange[0]!r}")
    wrong = [name for name in found if found[name].shape != own[name].shape and name not in by_class]
    if wrong:
        raise ScenarioError(
            f"{path} holds weights of another network: {wrong[0]!r} is {list(found[wrong[0]].shape)} there and "
            f"{list(own[wrong[0]].shape)} here"
        )
    fitting = {name: tensor for name, tensor in found.items() if tensor.shape == own[name].shape}
    network.load_state_dict(fitting, strict=False)


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError) as error:
        raise ScenarioError(f"{path} is no readable file of weights: {first_line(error)}") from error
    except Exception as error:  # torch tells of pickled code by an exception of pickle's
        raise ScenarioError(f"{path} holds more than tensors; save the network's state_dict") from error
    if not isinstance(found, Mapping) or not all(torch.is_tensor(tensor) for tensor in found.values()):
        raise ScenarioError(f"{path} holds no tensors by name; save the network's state_dict")
    return found


class Normalise(nn.Module):
    """(x − μ) / σ of the three colours over ImageNet, as the networks saw it that torchvision's weights come from.

    Two constants a channel and no buffers, which would travel.
    """

    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, std = x.new_tensor(self.mean).view(1, 3, 1, 1), x.new_tensor(self.std).view(1, 3, 1, 1)
        return (x - mean) / std
