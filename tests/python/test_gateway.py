"""AWS Batch's API over HTTP, as boto3 uses it, with jobs that truly run.

Runs against a cluster of its own, made of the programs in WINDROW_BIN_DIRECTORY. Run by tests/run.sh
in a virtual environment with boto3 and nats-py.
"""

import json
import os
import signal
import time
import unittest
import urllib.error
import urllib.request

from aws import REGION, AwsTest, client
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class Gateway(AwsTest):
    """`everything` may do all, `reader` only describe."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.reader = cls.reader_key()

    async def test_a_job_runs_and_tells_how_it_ended(self):
        job = self.run_command("seven", "sh", "-c", "exit 7")
        [known] = self.batch.describe_jobs(jobs=[job])["jobs"]
        self.assertEqual(known["jobName"], "seven")
        detail = self.ended(job)
        self.assertEqual((detail["status"], detail["container"]["exitCode"]), ("FAILED", 7))
        self.assertIn("logStreamName", detail["container"])
        self.assertGreaterEqual(detail["stoppedAt"], detail["startedAt"])
        # Ending it again changes nothing and is no error.
        self.batch.terminate_job(jobId=job, reason="late")
        self.assertEqual(self.ended(job)["status"], "FAILED")

    async def test_arrays_and_dependencies(self):
        first = self.run_command("first", "true", arrayProperties={"size": 3})
        depends = [{"jobId": first, "type": "N_TO_N"}]
        second = self.run_command(
            "second", "true", arrayProperties={"size": 3}, dependsOn=depends
        )
        self.assertEqual(self.ended(second)["arrayProperties"]["statusSummary"]["SUCCEEDED"], 3)
        pages = self.batch.get_paginator("list_jobs").paginate(
            arrayJobId=first, jobStatus="SUCCEEDED", PaginationConfig={"PageSize": 2}
        )
        indices = [
            job["arrayProperties"]["index"] for page in pages for job in page["jobSummaryList"]
        ]
        self.assertEqual(sorted(indices), [0, 1, 2])

    async def test_equal_submissions_in_one_second_are_two_jobs(self):
        jobs = {self.run_command("twin", "true") for _ in range(20)}
        self.assertEqual(len(jobs), 20)
        for job in jobs:
            self.assertEqual(self.ended(job)["status"], "SUCCEEDED")

    async def test_unknown_ids_and_bad_members(self):
        missing = "00000000-0000-0000-0000-000000000000"
        self.assertEqual(self.batch.describe_jobs(jobs=[missing])["jobs"], [])
        self.batch.cancel_job(jobId=missing, reason="nothing there")
        for queue in ("no-such-queue", "no/such queue"):
            self.refused(
                "ClientException",
                400,
                self.batch.submit_job,
                jobName="a",
                jobQueue=queue,
                jobDefinition="adhoc",
            )

    async def test_tags_travel_in_the_path(self):
        [queue] = self.batch.describe_job_queues(jobQueues=["default"])["jobQueues"]
        arn = queue["jobQueueArn"]
        self.batch.tag_resource(resourceArn=arn, tags={"team": "a b/c"})
        self.assertEqual(self.batch.list_tags_for_resource(resourceArn=arn)["tags"]["team"], "a b/c")
        self.batch.untag_resource(resourceArn=arn, tagKeys=["team"])
        self.assertNotIn("team", self.batch.list_tags_for_resource(resourceArn=arn)["tags"])

    async def test_service_jobs_wait_with_a_reason_until_they_are_terminated(self):
        kind = "SAGEMAKER_TRAINING"
        limits = [{"maxCapacity": 4, "capacityUnit": "NUM_INSTANCES"}]
        self.batch.create_service_environment(
            serviceEnvironmentName="sage", serviceEnvironmentType=kind, capacityLimits=limits
        )
        self.batch.update_service_environment(
            serviceEnvironment="sage", capacityLimits=[limits[0] | {"maxCapacity": 5}]
        )
        pages = self.batch.get_paginator("describe_service_environments").paginate()
        [environment] = [one for page in pages for one in page["serviceEnvironments"]]
        self.assertEqual(environment["capacityLimits"][0]["maxCapacity"], 5)
        order = [{"order": 1, "serviceEnvironment": environment["serviceEnvironmentArn"]}]
        self.batch.create_job_queue(
            jobQueueName="trainings", jobQueueType=kind, priority=1, serviceEnvironmentOrder=order
        )
        [queue] = self.batch.describe_job_queues(jobQueues=["trainings"])["jobQueues"]
        self.assertEqual(queue["jobQueueType"], kind)
        self.assertEqual((queue["computeEnvironmentOrder"], queue["serviceEnvironmentOrder"]), ([], order))
        request = {
            "jobName": "train",
            "jobQueue": "trainings",
            "serviceJobType": kind,
            "serviceRequestPayload": json.dumps({"TrainingJobName": "train"}),
            "tags": {"team": "a"},
            "clientToken": "once",
        }
        made = self.batch.submit_service_job(**request)
        job = made["jobId"]
        self.assertEqual(self.batch.submit_service_job(**request)["jobId"], job)
        other = request | {"jobName": "other"}
        message = self.refused("ClientException", 400, self.batch.submit_service_job, **other)
        self.assertIn("was used for service job", message)
        others = [
            self.batch.submit_service_job(**other | {"clientToken": f"other-{number}"})["jobId"]
            for number in range(2)
        ]
        detail = self.batch.describe_service_job(jobId=job)
        self.assertEqual((detail["status"], detail["isTerminated"]), ("RUNNABLE", False))
        self.assertIn("No backend of this cluster runs", detail["statusReason"])
        self.batch.update_service_job(jobId=job, schedulingPriority=7)
        self.assertEqual(self.batch.describe_service_job(jobId=job)["schedulingPriority"], 7)
        tags = self.batch.list_tags_for_resource(resourceArn=made["jobArn"])["tags"]
        self.assertEqual(tags, {"team": "a"})
        self.assertEqual(self.listed_service_jobs("RUNNABLE"), [*reversed(others), job])
        self.batch.terminate_service_job(jobId=job, reason="not needed")
        detail = self.batch.describe_service_job(jobId=job)
        self.assertEqual((detail["status"], detail["isTerminated"]), ("FAILED", True))
        self.assertEqual(detail["statusReason"], "not needed")
        ended = self.batch.terminate_service_jobs(jobs=others, reason="not needed")
        self.assertEqual((ended["successful"], ended["errors"]), (others, []))
        self.assertEqual(self.listed_service_jobs("RUNNABLE"), [])
        self.assertEqual(self.listed_service_jobs("FAILED"), [*reversed(others), job])
        # It is in use and ENABLED.
        delete = self.batch.delete_service_environment
        self.refused("ClientException", 400, delete, serviceEnvironment="sage")
        self.batch.update_job_queue(jobQueue="trainings", state="DISABLED")
        self.batch.delete_job_queue(jobQueue="trainings")
        self.batch.update_service_environment(serviceEnvironment="sage", state="DISABLED")
        delete(serviceEnvironment="sage")
        self.assertEqual(self.batch.describe_service_environments()["serviceEnvironments"], [])

    def listed_service_jobs(self, status):
        pages = self.batch.get_paginator("list_service_jobs").paginate(
            jobQueue="trainings", jobStatus=status, PaginationConfig={"PageSize": 2}
        )
        return [job["jobId"] for page in pages for job in page["jobSummaryList"]]

    async def test_who_may_not_is_told_so(self):
        wrong = client(self.url, (self.everything[0], "x" * 40))
        self.refused("InvalidSignatureException", 403, wrong.describe_job_queues)
        unknown = client(self.url, ("AKIDUNKNOWN", "x" * 40))
        self.refused("UnrecognizedClientException", 403, unknown.describe_job_queues)
        reader = client(self.url, self.reader)
        self.assertTrue(reader.describe_job_queues()["jobQueues"])
        message = self.refused(
            "AccessDeniedException",
            403,
            reader.submit_job,
            jobName="a",
            jobQueue="default",
            jobDefinition="adhoc",
        )
        self.assertIn("user/reader is not authorized to perform: batch:SubmitJob", message)

    async def test_a_signature_is_soon_worth_nothing(self):
        body = json.dumps({"jobId": "00000000-0000-0000-0000-000000000000", "reason": "r"})
        kind = {"Content-Type": "application/json"}
        request = AWSRequest("POST", f"{self.url}/v1/canceljob", headers=kind, data=body)
        SigV4Auth(Credentials(*self.everything), "batch", REGION).add_auth(request)

        def send(content=body):
            url, headers = request.url, dict(request.headers)
            sent = urllib.request.Request(url, content.encode(), headers, method="POST")
            try:
                return urllib.request.urlopen(sent).status, ""
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        self.assertEqual(send()[0], 200)
        code, message = send(body.replace('"r"', '"s"'))
        self.assertEqual(code, 403, "what was signed was changed")
        self.assertIn("does not match", message)
        time.sleep(2.5)
        code, message = send()
        self.assertEqual(code, 403)
        self.assertIn("was taken before", message)

    async def test_a_killed_gateway_comes_again_and_no_submission_is_doubled(self):
        patient = client(self.url, self.everything, retries=10)
        jobs = []
        for number in range(30):
            if number == 10:
                parts = {part["name"]: part["pid"] for part in self.cluster_file()["parts"]}
                os.kill(parts["gateway"], signal.SIGKILL)
            answer = patient.submit_job(
                jobName=f"killed-{number}",
                jobQueue="default",
                jobDefinition="adhoc",
                containerOverrides={"command": ["true"]},
            )
            jobs.append(answer["jobId"])
        for job in jobs:
            self.assertEqual(self.ended(job)["status"], "SUCCEEDED")
        listed = json.loads(self.windrow("job", "list", "--status", "all", "-o", "json"))
        names = [job["jobName"] for job in listed["jobSummaryList"]]
        self.assertEqual(len([name for name in names if name.startswith("killed-")]), 30)


if __name__ == "__main__":
    unittest.main(verbosity=2)
