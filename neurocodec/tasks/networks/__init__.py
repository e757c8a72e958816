"""Networks that look at pictures, one file an idea; trained weights lie in `models/tasks/`."""

from torch import nn

from neurocodec import weights
from neurocodec.errors import ModelError


def load(name: str, network: nn.Module) -> nn.Module:
    """A network with the trained weights of that name, in evaluation mode. Raises ModelError when they are not here."""
    from safetensors.torch import load_file

    path = weights.directory() / "tasks" / f"{name}.safetensors"
    if not path.is_file():
        raise ModelError(f"no weights for task network {name!r}")
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()})
    return network.eval().requires_grad_(False)
