"""Between the dataclasses and the messages of the contract: pairs `x_to_proto` and `x_from_proto`."""
