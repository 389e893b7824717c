"""The RPC layer: servicers that convert between messages and values, and call the rules."""
