"""ANAct: activations that normalize themselves.

y = (λ + 0.3·tanh α)·(f(x) − μ) + b, where λ, μ and b follow the statistics of the mini-batches so
that the variance of activations and of gradients stays near constant from layer to layer.

>>> model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.SiLU())
>>> print(convert_activations(model))
replaced: 1 (1 silu)
"""

import torch

from anact import _build

if torch.__version__.split(".")[:2] != _build.torch_version.split(".")[:2]:
    raise ImportError(
        f"anact {_build.version} was built against PyTorch {_build.torch_version}, but this is"
        f" PyTorch {torch.__version__}; install anact again in this environment"
    )

from anact import functional as functional
from anact._C import environment as environment
from anact._gains import ActivationGains as ActivationGains
from anact._gains import gains as gains
from anact._layer_diagnosis import LayerDiagnosis as LayerDiagnosis
from anact._options import ANActOptions as ANActOptions
from anact._options import RecipeInfo as RecipeInfo
from anact._options import recipes as recipes
from anact._summary import ActivationSummary as ActivationSummary
from anact._summary import Summary as Summary
from anact._summary import summary as summary
from anact._verdict import Problem as Problem
from anact.calibration import calibrate as calibrate
from anact.conversion import Conversion as Conversion
from anact.conversion import convert_activations as convert_activations
from anact.conversion import revert_activations as revert_activations
from anact.diagnosis import Diagnosis as Diagnosis
from anact.diagnosis import diagnose as diagnose
from anact.folding import Folding as Folding
from anact.folding import fold as fold
from anact.freezing import freeze as freeze
from anact.freezing import unfreeze as unfreeze
from anact.initialization import Initialization as Initialization
from anact.initialization import initialize as initialize
from anact.modules import NELU as NELU
from anact.modules import NGELU as NGELU
from anact.modules import ANAct as ANAct
from anact.modules import NLeakyReLU as NLeakyReLU
from anact.modules import NMish as NMish
from anact.modules import NReLU as NReLU
from anact.modules import NSiLU as NSiLU
from anact.modules import NSoftplus as NSoftplus
from anact.modules import NSwish as NSwish
from anact.modules import NTanh as NTanh
from anact.probe import LayerRow as LayerRow
from anact.probe import VarianceProbe as VarianceProbe

__version__ = _build.version
