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
        page = self.aws("list-jobs", "--array-job-id", job, "--job-status", "SUCCEEDED", "--max-items", "3")
        rest = self.aws(
            *("list-jobs", "--array-job-id", job, "--job-status", "SUCCEEDED"),
            *("--starting-token", page["NextToken"]),
        )
        ids = [one["jobId"] for one in page["jobSummaryList"] + rest["jobSummaryList"]]
        self.assertEqual(sorted(ids), sorted(children))

    async def test_arrays_dependencies_retries_and_time_limits(self):
        def run(name, command, *more):
            overrides = ("--container-overrides", json.dumps({"command": ["sh", "-c", command]}))
            return self.submit_by_cli(name, "--job-definition", "adhoc", *overrides, *more)

        size = ("--array-properties", "size=2")
        first = run("first", "true", *size, "--depends-on", "type=SEQUENTIAL")
        second = run("second", "true", *size, "--depends-on", f"jobId={first},type=N_TO_N")
        after = run("after", "true", "--depends-on", f"jobId={first}", f"jobId={second}:1")
        rules = "attempts=3,evaluateOnExit=[{onExitCode=9,action=EXIT},{onReason=*,action=RETRY}]"
        script = 'exit $(( AWS_BATCH_JOB_ATTEMPT == 2 ? 9 : 1 ))'
        again = run("again", script, "--retry-strategy", rules)
        slow = run("slow", "exec sleep 600", "--timeout", "attemptDurationSeconds=1")
        waits = run("waits", "true", "--depends-on", f"jobId={slow}")
        self.assertEqual(self.ended(after)["status"], "SUCCEEDED")
        one, two = (self.detail(f"{first}:{index}") for index in range(2))
        self.assertLessEqual(one["stoppedAt"], two["startedAt"])
        for job in (again, slow, waits):
            self.assertEqual(self.ended(job)["status"], "FAILED")
        codes = "jobs[].attempts[].container.exitCode"
        self.assertEqual(self.aws("describe-jobs", "--jobs", again, "--query", codes), [1, 9])
        reasons = self.run_aws(
            *("batch", "describe-jobs", "--jobs", slow, waits, "--output", "text"),
            *("--query", "jobs[].[status, statusReason]"),
        )
        self.assertEqual(
            reasons, "FAILED\tJob attempt duration exceeded timeout\nFAILED\tDependent Job failed\n"
        )

    async def test_shares_and_several_nodes(self):
        arn = self.aws(
            *("create-scheduling-policy", "--name", "fair", "--fairshare-policy"),
            "shareDecaySeconds=60,shareDistribution=[{shareIdentifier=red,weightFactor=0.5}]",
        )["arn"]
        self.aws(
            *("create-job-queue", "--job-queue-name", "fair", "--priority", "3"),
            *("--compute-environment-order", "order=1,computeEnvironment=default"),
            *("--scheduling-policy-arn", arn),
        )
        self.register("true", "true")
        shared = self.aws(
            *("submit-job", "--job-name", "shared", "--job-queue", "fair", "--job-definition", "true"),
            *("--share-identifier", "red", "--scheduling-priority-override", "7"),
        )["jobId"]
        needs = [{"type": "VCPU", "value": "0.1"}, {"type": "MEMORY", "value": "16"}]
        container = {"command": ["sh", "-c", 'test "$AWS_BATCH_JOB_NUM_NODES" = 2'], "resourceRequirements": needs}
        ranges = [{"targetNodes": "0:", "container": container}]
        self.aws(
            *("register-job-definition", "--job-definition-name", "gang", "--type", "multinode"),
            *("--node-properties", json.dumps({"numNodes": 3, "mainNode": 0, "nodeRangeProperties": ranges})),
        )
        gang = self.submit_by_cli("gang", "--job-definition", "gang", "--node-overrides", "numNodes=2")
        self.assertEqual(self.ended(gang)["status"], "SUCCEEDED")
        nodes = self.aws(
            *("list-jobs", "--multi-node-job-id", gang, "--job-status", "SUCCEEDED"),
            *("--query", "jobSummaryList[].nodeProperties.nodeIndex"),
        )
        self.assertEqual(sorted(nodes), [0, 1])
        detail = self.ended(shared)
        self.assertEqual((detail["status"], detail["shareIdentifier"]), ("SUCCEEDED", "red"))
        self.assertEqual(detail["schedulingPriority"], 7)

    async def test_ends_and_errors(self):
        slow = json.dumps({"command": ["sleep", "600"]})
        job = self.submit_by_cli(
            "slow", "--job-definition", "adhoc", "--container-overrides", slow
        )
        self.reaches(job, ["RUNNING", *ENDED])
        waits = self.submit_by_cli(
            *("waits", "--job-definition", "adhoc", "--container-overrides", slow),
            *("--depends-on", f"jobId={job}"),
        )
        self.aws("cancel-job", "--job-id", waits, "--reason", "too many")
        self.assertEqual(self.ended(waits)["statusReason"], "too many")
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
