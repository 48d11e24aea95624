"""The AWS CLI (version 1, as on PyPI) against the gateway, with jobs that truly run.

Runs against a cluster of its own, made of the programs in WINDROW_BIN_DIRECTORY, with the program AWS_CLI. Run
by tests/run.sh in a virtual environment with boto3 and nats-py, and with tests/python on the module path.
"""

import json
import os
import subprocess
import unittest

from aws import ENDED, REGION, AwsTest

AWS = os.environ.get("AWS_CLI", "aws")


class Cli(AwsTest):
    def run_aws(self, *arguments, fails=False):
        """Standard output, or standard error of a command that fails."""
        environment = os.environ | {
            "AWS_ENDPOINT_URL_BATCH": self.url,
            "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": self.url,
            "AWS_ACCESS_KEY_ID": self.everything[0],
            "AWS_SECRET_ACCESS_KEY": self.everything[1],
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
        }
        done = subprocess.run([AWS, *arguments], env=environment, capture_output=True, text=True)
        self.assertEqual(done.returncode != 0, fails, done.stderr)
        return done.stderr if fails else done.stdout

    def aws(self, *arguments):
        output = self.run_aws("batch", *arguments, "--output", "json")
        return json.loads(output) if output else {}

    def submit_by_cli(self, name, *arguments):
        return self.aws(
            "submit-job", "--job-name", name, "--job-queue", "default", *arguments
        )["jobId"]

    async def test_a_queue_a_definition_and_its_jobs(self):
        self.aws("create-compute-environment", "--compute-environment-name", "own", "--type", "UNMANAGED")
        self.aws(
            *("create-job-queue", "--job-queue-name", "own", "--priority", "3"),
            *("--compute-environment-order", "order=1,computeEnvironment=own", "--tags", "team=a"),
        )
        shown = self.aws("describe-job-queues", "--job-queues", "own", "--query", "jobQueues[0]")
        self.assertEqual((shown["priority"], shown["tags"]), (3, {"team": "a"}))
        for revision in (1, 2):
            made = self.aws(
                *("register-job-definition", "--job-definition-name", "echo", "--type", "container"),
                *("--parameters", f"word={revision}", "--container-properties"),
                json.dumps(
                    {
                        "command": ["sh", "-c", "echo $1 $COLOUR", "echo", "Ref::word"],
                        "resourceRequirements": [
                            {"type": "VCPU", "value": "0.1"},
                            {"type": "MEMORY", "value": "16"},
                        ],
                    }
                ),
            )
            self.assertEqual(made["revision"], revision)
        job = self.submit_by_cli(
            *("echoed", "--job-definition", "echo", "--container-overrides"),
            "environment=[{name=COLOUR,value=red}]",
        )
        detail = self.ended(job)
        self.assertEqual(detail["status"], "SUCCEEDED")
        stream = detail["container"]["logStreamName"]
        self.windrow("job", "logs", job, "--follow")
        events = self.run_aws(
            *("logs", "get-log-events", "--log-group-name", "/aws/batch/job", "--start-from-head"),
            *("--log-stream-name", stream, "--query", "events[].message", "--output", "text"),
        )
        self.assertEqual(events, "2 red\n")
        self.aws("update-job-queue", "--job-queue", "own", "--state", "DISABLED")
        self.aws("delete-job-queue", "--job-queue", "own")
        self.aws("deregister-job-definition", "--job-definition", "echo:1")
        active = self.aws(
            *("describe-job-definitions", "--job-definition-name", "echo", "--status", "ACTIVE"),
            *("--query", "jobDefinitions[].revision"),
        )
        self.assertEqual(active, [2])

    async def test_a_request_from_a_file_and_pages(self):
        request = self.data / "submit.json"
        request.write_text(
            json.dumps(
                {
                    "jobName": "filed",
                    "jobQueue": "default",
                    "jobDefinition": "adhoc",
                    "containerOverrides": {"command": ["true"]},
                    "arrayProperties": {"size": 5},
                }
            )
        )
        job = self.aws("submit-job", "--cli-input-json", f"file://{request}")["jobId"]
        self.assertEqual(self.ended(job)["arrayProperties"]["statusSummary"]["SUCCEEDED"], 5)
        children = self.aws(
            *("list-jobs", "--array-job-id", job, "--job-status", "SUCCEEDED", "--page-size", "2"),
            *("--query", "jobSummaryList[].jobId"),
        )
        self.assertEqual(sorted(children), [f"{job}:{index}" for index in range(5)])
        named = self.run_aws(
            *("batch", "list-jobs", "--job-queue", "default", "--output", "text"),
            *("--filters", "name=JOB_NAME,values=filed", "--query", "jobSummaryList[].jobName"),
        )
        self.assertEqual(named.strip(), "filed")

    async def test_ends_and_errors(self):
        slow = json.dumps({"command": ["sleep", "600"]})
        job = self.submit_by_cli(
            "slow", "--job-definition", "adhoc", "--container-overrides", slow
        )
        self.reaches(job, ["RUNNING", *ENDED])
        self.aws("terminate-job", "--job-id", job, "--reason", "no longer needed")
        self.assertEqual(self.ended(job)["statusReason"], "no longer needed")
        error = self.run_aws(
            *("batch", "submit-job", "--job-name", "a", "--job-queue", "nowhere"),
            *("--job-definition", "adhoc"),
            fails=True,
        )
        self.assertIn("(ClientException) when calling the SubmitJob operation", error)
        self.assertIn("nowhere", error)

    async def test_tags(self):
        [arn] = self.aws(
            "describe-job-queues", "--job-queues", "default", "--query", "jobQueues[].jobQueueArn"
        )
        self.aws("tag-resource", "--resource-arn", arn, "--tags", "a=1,b=2")
        self.aws("untag-resource", "--resource-arn", arn, "--tag-keys", "a")
        tags = self.aws("list-tags-for-resource", "--resource-arn", arn)["tags"]
        self.assertEqual(tags, {"b": "2"})


if __name__ == "__main__":
    unittest.main(verbosity=2)
