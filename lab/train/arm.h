// An arm of a comparison: an activation, what normalizes it and its input, and how the weights in front of it are
// drawn.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anact/nn.h"
#include "models/activation.h"
#include "models/catalogue.h"
#include "models/initialization.h"

namespace anact::train {

struct Arm {
  std::string name;
  Activation activation;                                 // a learnt one's start
  const models::LearntActivationInfo* learnt = nullptr;  // null for an activation without a learnt parameter
  bool normalized = false;                               // by ANAct
  std::optional<models::Norm> norm;                      // before the activation; the network's own when not set
  models::WeightStandardization standardization = models::WeightStandardization::none;
  models::Residual residual = models::Residual::post;  // of a ResNet, as the next
  bool skip_init = false;
  models::Initialization initialization = models::Initialization::he;
  nn::ANActOptions anact;               // used when `normalized`
  std::optional<double> learning_rate;  // the run's own when not set
  std::string baseline;                 // the arm it is compared with; empty for the run's own baseline

  [[nodiscard]] std::string activation_name() const;
  [[nodiscard]] models::ActivationFactory factory() const;
  // A network's options with the activation, and with what else of the network the arm sets.
  [[nodiscard]] models::NetworkOptions applied_to(models::NetworkOptions options) const;
  [[nodiscard]] models::WeightInitialization weights() const;
  [[nodiscard]] nlohmann::json to_json(double default_learning_rate) const;
};

// Reads "silu", "nsilu", "silu:norm=batch", "nrelu:solution=exact:target=unit:lr=0.01", or a short name.
//
// First the activation as parse_activation reads it, or a learnt one: swish-beta, prelu. An "n" in front asks for
// ANAct, whose activations have no learnt parameter, and a recipe may follow: "nsilu-paper". Then settings, each after
// a colon:
//   norm=none|batch|group|layer     ws=none|scaled     residual=post|pre|nf     skipinit=on|off
//   lr=NUMBER     name=TEXT     vs=ARM
//   init=he|lecun|glorot|orthogonal|pytorch|gain|orthogonal-gain
// and the options of ANAct, which win over the recipe's: option_table() has them, `anact info --options` lists them.
// With ws=scaled the weights are standardized (models::standardized), and a plain activation is followed by its fixed
// scale (models::standardizing_scale); an ANAct is not. The initial weights are He's; with ANAct, which corrects the
// gain itself, those of the recipe; with selu, which is made for it, LeCun's. The short names are silu-gain
// (silu:init=gain) and silu-batchnorm (silu:norm=batch).
//
// Throws std::invalid_argument that names the arm, what was wrong in it, and the nearest names.
[[nodiscard]] Arm parse_arm(std::string_view text);

// Arms by their texts. Unless it says otherwise, an arm is compared with its plain counterpart if that is among them:
// same activation without ANAct, default initialization, and nothing set of the network; for an arm with ANAct that
// sets something of the network, rather the one that sets the same. The counterpart itself is compared with nothing.
// Throws as parse_arm, and for two arms of one name.
[[nodiscard]] std::vector<Arm> parse_arms(const std::vector<std::string>& texts);

}  // namespace anact::train
