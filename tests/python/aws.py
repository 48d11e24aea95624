"""A cluster that asks for access keys, and boto3's client with one."""

import json
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from cluster import ClusterTest

REGION = "us-east-1"
ENDED = ("SUCCEEDED", "FAILED")


def client(url, key, retries=1):
    return boto3.client(
        "batch",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        config=Config(retries={"total_max_attempts": retries}),
    )


class AwsTest(ClusterTest):
    up = ("--gateway-set", "authentication=keys")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.url = cls.cluster_file()["gatewayUrl"]
        cls.everything = cls.key("--name", "everything")
        cls.batch = client(cls.url, cls.everything)

    @classmethod
    def key(cls, *arguments):
        made = json.loads(cls.windrow("key", "create", *arguments, "-o", "json"))
        return made["accessKeyId"], made["secretAccessKey"]

    @classmethod
    def reader_key(cls):
        """A key of the user `reader`, who may only describe."""
        policy = cls.data / "policy.json"
        statement = {"Effect": "Allow", "Action": "batch:Describe*", "Resource": "*"}
        policy.write_text(json.dumps({"Statement": statement}))
        return cls.key("--name", "reader", "--policy", str(policy))

    def register(self, name, *command, properties={}, **more):
        """A definition of a plain process; its ARN."""
        needs = {"VCPU": "0.1", "MEMORY": "16"}
        properties = {
            "command": list(command),
            "resourceRequirements": [{"type": kind, "value": value} for kind, value in needs.items()],
        } | properties
        made = self.batch.register_job_definition(
            jobDefinitionName=name, type="container", containerProperties=properties, **more
        )
        return made["jobDefinitionArn"]

    def submit(self, name, definition="adhoc", queue="default", **more):
        answer = self.batch.submit_job(jobName=name, jobQueue=queue, jobDefinition=definition, **more)
        return answer["jobId"]

    def run_command(self, name, *command, **more):
        return self.submit(name, containerOverrides={"command": list(command)}, **more)

    def detail(self, job):
        [detail] = self.batch.describe_jobs(jobs=[job])["jobs"]
        return detail

    def reaches(self, job, statuses, seconds=60):
        """The job when its status is one of these."""
        end = time.monotonic() + seconds
        while (detail := self.detail(job))["status"] not in statuses:
            if time.monotonic() > end:
                self.fail(f"waited {seconds} s in vain for {statuses}: {detail}")
            time.sleep(0.05)
        return detail

    def ended(self, job):
        return self.reaches(job, ENDED)

    def refused(self, code, status, call, **arguments):
        """The message of the refusal."""
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        answer = caught.exception.response
        self.assertEqual(answer["Error"]["Code"], code, answer)
        self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], status)
        return answer["Error"]["Message"]
