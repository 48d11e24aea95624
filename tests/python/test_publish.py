"""Publishing jobs to a subject from Python: any NATS client will do, no library of ours.

Runs against a cluster of its own, made of the programs in WINDROW_BIN_DIRECTORY. Run by tests/run.sh
in a virtual environment with nats-py.
"""

import asyncio
import contextlib
import io
import json
import os
import pathlib
import signal
import time
import unittest

from cluster import ROOT, ClusterTest

README = ROOT / "README.md"


def is_alive(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return not stat.rpartition(") ")[2].startswith("Z")


async def until(what, condition, seconds=30):
    """Waits until `condition` gives something true, and returns that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        await asyncio.sleep(0.05)
    raise AssertionError(f"waited {seconds} s in vain for: {what}")


class Publish(ClusterTest):
    async def publish(self, payload, message_id, queue="default"):
        """Publishes a submission; gives the stream's acknowledgement and the next answer to it."""
        inbox = self.nats.new_inbox()
        answers = await self.nats.subscribe(inbox)
        ack = await self.nats.jetstream().publish(
            f"windrow.submit.{queue}",
            payload if isinstance(payload, bytes) else json.dumps(payload).encode(),
            headers={"Nats-Msg-Id": message_id, "Windrow-Reply-To": inbox},
        )
        return ack, answers

    def submission(self, name, command):
        return {
            "jobName": name,
            "jobDefinition": "adhoc",
            "containerOverrides": {"command": command},
        }

    def listed(self, name):
        jobs = json.loads(self.windrow("job", "list", "--status", "all", "-o", "json"))
        return [job for job in jobs["jobSummaryList"] if job["jobName"] == name]

    async def test_a_published_job_runs_and_its_id_is_answered(self):
        _, answers = await self.publish(self.submission("hello", ["echo", "hello"]), "hello-1")
        answer = await answers.next_msg(timeout=20)
        self.assertNotIn("Windrow-Error", answer.headers or {})
        job = json.loads(answer.data)
        self.assertEqual(job["jobName"], "hello")
        self.windrow("job", "wait", job["jobId"], "--timeout", "30s")
        self.assertEqual(self.windrow("job", "logs", job["jobId"]), "hello\n")

    async def test_the_program_in_the_readme_works(self):
        program = README.read_text().split("```python\n")[1].split("```")[0]
        scope = {}
        exec(program, scope)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            await scope["main"](self.cluster_file()["natsUrl"])
        self.assertIn("jobId", printed.getvalue())

    async def test_the_same_message_id_again_is_the_same_job(self):
        request = self.submission("once", ["true"])
        first, answers = await self.publish(request, "once-1")
        job = json.loads((await answers.next_msg(timeout=20)).data)
        again, _ = await self.publish(request, "once-1")
        self.assertFalse(first.duplicate)
        self.assertTrue(again.duplicate)
        # The window in which the stream drops duplicates passes; the API keeps the key.
        key = request | {"jobQueue": "default", "idempotencyKey": "once-1"}
        answer = await self.nats.request("windrow.api.SubmitJob", json.dumps(key).encode())
        self.assertEqual(json.loads(answer.data)["jobId"], job["jobId"])
        self.assertEqual([j["jobId"] for j in self.listed("once")], [job["jobId"]])

    async def test_what_cannot_be_accepted_is_a_dead_letter(self):
        _, answers = await self.publish(b"{ this is not JSON", "bad-1")
        answer = await answers.next_msg(timeout=20)
        self.assertIn("Windrow-Error", answer.headers)
        self.assertTrue(json.loads(answer.data)["message"])
        letters = await until(
            "a dead letter",
            lambda: json.loads(self.windrow("deadletter", "list", "-o", "json"))["deadLetters"],
        )
        self.assertEqual(len(letters), 1)
        self.assertEqual(letters[0]["subject"], "windrow.submit.default")
        self.assertIn("this is not JSON", letters[0]["payload"])
        self.assertTrue(letters[0]["reason"])

    async def test_a_job_published_while_no_coordinator_runs_runs_later(self):
        state = self.cluster_file()
        supervisor = state["supervisor"]["pid"]
        parts = {part["name"]: part["pid"] for part in state["parts"]}
        coordinator = parts["coordinator"]
        os.kill(supervisor, signal.SIGSTOP)
        try:
            os.kill(coordinator, signal.SIGKILL)
            await until("the coordinator's end", lambda: not is_alive(coordinator))
            _, answers = await self.publish(self.submission("patient", ["true"]), "patient-1")
        finally:
            os.kill(supervisor, signal.SIGCONT)
        job = json.loads((await answers.next_msg(timeout=30)).data)
        self.windrow("job", "wait", job["jobId"], "--timeout", "30s")
        self.assertEqual(len(self.listed("patient")), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
