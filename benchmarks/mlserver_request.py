"""Write the request that MLServer takes for a table, as bytes: run by `scoring_peers.py` in MLServer's environment.

    PYTHON benchmarks/mlserver_request.py MODEL INPUT TABLE.npy > REQUEST

Imports nothing of Modelward.
"""

import sys

import numpy as np
from mlserver.codecs import NumpyCodec
from mlserver.grpc.converters import ModelInferRequestConverter
from mlserver.types import InferenceRequest


def request(model: str, name: str, table: str) -> bytes:
    """Return a `ModelInferRequest` with one tensor, in MLServer's fastest form: its raw bytes."""
    inputs = [NumpyCodec.encode_input(name, np.load(table))]
    message = ModelInferRequestConverter.from_types(InferenceRequest(inputs=inputs), model_name=model, use_raw=True)
    return message.SerializeToString()


if __name__ == "__main__":
    sys.stdout.buffer.write(request(*sys.argv[1:]))
