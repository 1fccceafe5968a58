"""ANAct: activations that normalize themselves."""

# The extension's libraries come with torch.
import torch  # noqa: F401

from anact import functional as functional
from anact._options import ANActOptions as ANActOptions
from anact.conversion import Conversion as Conversion
from anact.conversion import convert_activations as convert_activations
from anact.conversion import revert_activations as revert_activations
from anact.folding import Folding as Folding
from anact.folding import fold as fold
from anact.modules import ANAct as ANAct
