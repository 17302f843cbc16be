"""Which network, at what cost: scores, prices, and which differences are beyond noise."""
