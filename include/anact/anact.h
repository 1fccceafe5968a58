// Everything of ANAct, for users. The library's own sources include what they need.
#pragma once

#include "anact/activation.h"
#include "anact/custom.h"
#include "anact/gaussian.h"
#include "anact/initialization.h"
#include "anact/layer_record.h"
#include "anact/moments.h"
#include "anact/nn.h"
#include "anact/normalization.h"
#include "anact/options.h"
#include "anact/probe.h"
#include "anact/propagation.h"
