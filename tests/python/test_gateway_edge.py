"""The gateway against clients that are many, slow, rude, or in the dark; and over TLS.

Runs gateways of its own, made of the programs in WINDROW_BIN_DIRECTORY, beside one cluster. Run by tests/run.sh
in a virtual environment with boto3 and nats-py.
"""

import http.client
import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import time
import unittest

from aws import client
from cluster import BIN, ClusterTest

SUBMISSION = {
    "jobName": "edge",
    "jobQueue": "default",
    "jobDefinition": "adhoc",
    "containerOverrides": {"command": ["true"]},
}


class Gateway:
    """A gateway's process; `settings` as `--set` takes them."""

    def __init__(self, nats_url, *settings):
        arguments = [argument for one in settings for argument in ("--set", one)]
        self.process = subprocess.Popen(
            [BIN / "windrow-gateway", "--nats-url", nats_url, "--listen", "127.0.0.1:0", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for line in self.process.stdout:
            found = re.search(r"listening.*127\.0\.0\.1:(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", line))
            if found:
                self.port = int(found[1])
                return
        raise AssertionError(f"the gateway ended: {self.process.wait()}")

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def ask(self, operation, request, context=None):
        """Status, headers and content of an answer."""
        if context:
            connection = http.client.HTTPSConnection("localhost", self.port, timeout=30, context=context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with_type = {"content-type": "application/json"}
        connection.request("POST", f"/v1/{operation}", json.dumps(request), with_type)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        return answer.status, answer.headers, content

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def read_all(connection):
    """What comes until the other side closes."""
    received = b""
    while True:
        try:
            more = connection.recv(65536)
        except ConnectionResetError:
            return received
        if not more:
            return received
        received += more


class Edge(ClusterTest):
    def gateway(self, *settings):
        gateway = Gateway(self.cluster_file()["natsUrl"], *settings)
        self.addCleanup(gateway.close)
        return gateway

    def assert_answers(self, gateway):
        self.assertIsNone(gateway.process.poll())
        status, _, content = gateway.ask("describejobqueues", {})
        self.assertEqual((status, len(content["jobQueues"])), (200, 1))

    async def test_any_of_several_answers(self):
        one, other = self.gateway(), self.gateway()
        _, _, submitted = one.ask("submitjob", SUBMISSION)
        one.close()
        _, _, described = other.ask("describejobs", {"jobs": [submitted["jobId"]]})
        self.assertEqual(described["jobs"][0]["jobName"], "edge")

    async def test_a_body_that_is_too_large_is_not_read(self):
        gateway = self.gateway("limits.body_kib=4")
        head = "POST /v1/submitjob HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000000000\r\n\r\n"
        with gateway.connect() as connection:
            connection.sendall(head.encode() + b"x" * 8192)
            answer = read_all(connection)
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer)
        self.assertIn(b"a request holds at most 4096 bytes", answer)
        self.assert_answers(gateway)

    async def test_who_is_slow_is_cut_off(self):
        gateway = self.gateway("limits.header_timeout=300ms", "limits.body_timeout=300ms")
        with gateway.connect() as idle, gateway.connect() as header, gateway.connect() as body:
            header.sendall(b"POST /v1/submitjob HTTP/1.1\r\nhost:")
            body.sendall(b"POST /v1/submitjob HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99\r\n\r\n{")
            self.assertEqual(read_all(idle), b"")
            self.assertEqual(read_all(header), b"")
            answer = read_all(body)
        self.assertTrue(answer.startswith(b"HTTP/1.1 408 "), answer)
        self.assertIn(b"x-amzn-errortype: RequestTimeoutException", answer)
        self.assert_answers(gateway)

    async def test_rubbish_harms_nobody(self):
        gateway = self.gateway()
        numbers = random.Random(1)
        good = b'POST /v1/listjobs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 24\r\n\r\n{"jobQueue": "default"}\r\n'
        for _ in range(300):
            sent = bytearray(good)
            for _ in range(numbers.randrange(1, 6)):
                sent[numbers.randrange(len(sent))] = numbers.randrange(256)
            with gateway.connect() as connection:
                connection.sendall(numbers.choice([sent, numbers.randbytes(200), sent * 3]))
                connection.shutdown(socket.SHUT_WR)
                answer = read_all(connection)
            for status in re.findall(rb"HTTP/1\.1 (\d+)", answer):
                self.assertLess(int(status), 500, (bytes(sent), answer))
        self.assert_answers(gateway)

    async def test_no_more_connections_than_allowed_are_served_at_once(self):
        gateway = self.gateway("limits.connections=2")
        with gateway.connect() as first, gateway.connect(), gateway.connect() as third:
            third.sendall(b"POST /v1/describejobqueues HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
            third.settimeout(0.5)
            with self.assertRaises(TimeoutError):
                third.recv(1)
            first.close()
            third.settimeout(30)
            self.assertTrue(third.recv(65536).startswith(b"HTTP/1.1 200 "))

    async def test_who_calls_too_often_is_told_when_to_come_again(self):
        gateway = self.gateway("limits.calls_per_second=2", "limits.calls_at_once=2")
        answers = [gateway.ask("describejobqueues", {}) for _ in range(4)]
        status, headers, content = next(one for one in answers if one[0] != 200)
        self.assertEqual((status, headers["x-amzn-errortype"]), (429, "TooManyRequestsException"))
        self.assertIn("Too Many Requests", content["message"])
        self.assertGreater(int(headers["x-amz-retry-after"]), 0)
        patient = client(f"http://127.0.0.1:{gateway.port}", ("any", "key"), retries=8)
        for _ in range(4):
            self.assertTrue(patient.describe_job_queues()["jobQueues"])

    async def test_when_told_to_stop_it_answers_what_has_begun(self):
        gateway = self.gateway()
        body = json.dumps(SUBMISSION).encode()
        head = f"POST /v1/submitjob HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        with gateway.connect() as connection:
            connection.sendall(head.encode() + body[:10])
            # Its head has been read when another's answer has come.
            self.assert_answers(gateway)
            gateway.process.send_signal(signal.SIGTERM)
            self.wait_until(lambda: not self.is_listening(gateway))
            connection.sendall(body[10:])
            answer = read_all(connection)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer)
        self.assertEqual(gateway.process.wait(30), 0)

    def is_listening(self, gateway):
        try:
            gateway.connect().close()
            return True
        except (ConnectionRefusedError, ConnectionResetError):
            # Reset is who had been let in by the system, and by the gateway no more.
            return False

    def wait_until(self, holds, seconds=30):
        end = time.monotonic() + seconds
        while not holds():
            self.assertLess(time.monotonic(), end, "waited in vain")
            time.sleep(0.05)

    async def test_nobody_leads(self):
        gateway = self.gateway("request_timeout=500ms", "cluster=nobody")
        status, headers, _ = gateway.ask("describejobqueues", {})
        self.assertEqual((status, headers["x-amzn-errortype"]), (503, "ServerException"))
        self.assertGreater(int(headers["x-amz-retry-after"]), 0)

    async def test_tls_and_a_new_certificate(self):
        files = [self.data / name for name in ("tls.pem", "tls.key")]
        self.make_certificate(*files)
        gateway = self.gateway(
            f"tls.certificate={files[0]}", f"tls.key={files[1]}", "tls.reload=100ms"
        )
        old = ssl.create_default_context(cafile=files[0])
        self.assertEqual(gateway.ask("describejobqueues", {}, old)[0], 200)
        self.make_certificate(*files)
        new = ssl.create_default_context(cafile=files[0])
        self.wait_until(lambda: self.trusts(gateway, new))
        self.assertFalse(self.trusts(gateway, old))
        # What cannot be used changes nothing.
        files[0].write_text("rubbish")
        time.sleep(0.5)
        self.assertTrue(self.trusts(gateway, new))
        with gateway.connect() as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            self.assertNotIn(b"HTTP", read_all(plain))

    def trusts(self, gateway, context):
        try:
            return gateway.ask("describejobqueues", {}, context)[0] == 200
        except ssl.SSLCertVerificationError:
            return False

    def make_certificate(self, certificate, key):
        made = [certificate.with_suffix(".new"), key.with_suffix(".newkey")]
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
        subprocess.run(
            [*command, *names, "-out", made[0], "-keyout", made[1]], check=True, capture_output=True
        )
        # The gateway may look in between: it keeps the old one until both are there.
        os.replace(made[1], key)
        os.replace(made[0], certificate)


if __name__ == "__main__":
    unittest.main(verbosity=2)
