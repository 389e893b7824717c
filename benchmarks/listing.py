"""Lists with conditions over 10,000 models of 10 versions: `MlflowClient`'s searches and ours, in one run.

    python benchmarks/listing.py [--models 10000] [--database-url postgresql+psycopg://…] [--peer-models 10000]

Ours are asked over gRPC, the server in a process of its own, pages of 50; the first page and one from the middle. The
peer is `MlflowClient` on a SQLite store in this process, without a network, with the search that comes nearest.
Both stores are filled by bulk inserts, not through their interfaces.
"""

import argparse
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from sqlalchemy import create_engine, insert

from modelward.v1 import common_pb2 as common
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
