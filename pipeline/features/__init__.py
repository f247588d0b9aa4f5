"""From utterances to features: profiles, the feature store, its export, raw releases."""
