// Replaced by the study of plans.
