"""A cluster of the test's own, made of the programs in WINDROW_BIN_DIRECTORY."""

import asyncio
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import unittest

import nats

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("WINDROW_BIN_DIRECTORY", "target/release")).resolve()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Refused(Exception):
    """An answer that is an error."""


class ClusterTest(unittest.IsolatedAsyncioTestCase):
    """`windrow up` before the first test, `windrow down` after the last; a connection in each."""

    # More arguments of `windrow up`.
    up = ()

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="windrow-python-")
        cls.data = pathlib.Path(cls.directory.name) / "data"
        cls.environment = os.environ | {"WINDROW_DATA_DIRECTORY": str(cls.data)}
        cls.environment.pop("WINDROW_NATS_URL", None)
        # Not the usual ports, which another cluster of this machine may be about to take.
        ports = ("--port", str(free_port()), "--gateway-port", str(free_port()))
        cls.windrow("up", "--detach", *ports, *cls.up)

    @classmethod
    def tearDownClass(cls):
        cls.windrow("down")
        cls.directory.cleanup()

    @classmethod
    def windrow(cls, *arguments):
        """Standard output of a windrow command that must succeed."""
        finished = subprocess.run(
            [BIN / "windrow", *arguments],
            env=cls.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if finished.returncode != 0:
            raise AssertionError(f"windrow {arguments}: {finished.returncode} {finished.stderr}")
        return finished.stdout

    @classmethod
    def cluster_file(cls):
        return json.loads((cls.data / "cluster.json").read_text())

    async def asyncSetUp(self):
        # unittest turns it on, and it prints about every subprocess.
        asyncio.get_running_loop().set_debug(False)
        self.nats = await nats.connect(self.cluster_file()["natsUrl"])
        self.addAsyncCleanup(self.nats.close)

    async def ask(self, operation, request):
        """The answer to an API request; raises Refused with the message of an error."""
        payload = json.dumps(request).encode()
        answer = await self.nats.request(f"windrow.api.{operation}", payload, timeout=20)
        content = json.loads(answer.data)
        if "Windrow-Error" in (answer.headers or {}):
            raise Refused(content["message"])
        return content
