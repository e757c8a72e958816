"""Networks that look at pictures, one file an idea; trained weights lie in `models/tasks/`."""

from safetensors.torch import load_file
from torch import Tensor, nn

from neurocodec import weights
from neurocodec.errors import ModelError


def load(name: str, network: nn.Module) -> nn.Module:
    """A network with the trained weights of that name, in evaluation mode. Raises ModelError when they are not here."""
    network.load_state_dict(stored(name))
    return network.eval().requires_grad_(False)


def stored(name: str) -> dict[str, Tensor]:
    """The trained weights of that name. Raises ModelError when they are not here."""
    path = weights.directory() / "tasks" / f"{name}.safetensors"
    if not path.is_file():
        raise ModelError(f"no weights for task network {name!r}")
    return {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
