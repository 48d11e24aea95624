"""The AWS SDK for JavaScript against the gateway: runs node/flow.mjs.

Runs against a cluster of its own, made of the programs in WINDROW_BIN_DIRECTORY, with the program NODE. Run by
tests/run.sh in a virtual environment with boto3 and nats-py, and with tests/python on the module path.
"""

import os
import pathlib
import subprocess
import unittest

from aws import REGION, AwsTest

NODE = os.environ.get("NODE", "node")
FLOW = pathlib.Path(__file__).parent / "node/flow.mjs"


class Node(AwsTest):
    async def test_flow(self):
        reader = self.reader_key()
        environment = os.environ | {
            "AWS_ENDPOINT_URL_BATCH": self.url,
            "AWS_ACCESS_KEY_ID": self.everything[0],
            "AWS_SECRET_ACCESS_KEY": self.everything[1],
            "AWS_REGION": REGION,
            "READER_ACCESS_KEY_ID": reader[0],
            "READER_SECRET_ACCESS_KEY": reader[1],
        }
        done = subprocess.run(
            [NODE, "--test", FLOW], env=environment, capture_output=True, text=True
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("pass 9", done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
