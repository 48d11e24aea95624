"""How AWS Batch behaves where its users rely on it, with boto3 and jobs that truly run.

States, dependencies, retries and ends in the order AWS documents them, what emulators' own tests ask for, and with
AWS's limits AWS's words. Runs against a cluster of its own, made of the programs in WINDROW_BIN_DIRECTORY. Run by
tests/run.sh in a virtual environment with boto3 and nats-py, and with tests/python on the module path.
"""

import itertools
import time
import unittest

from aws import AwsTest

ORDER = [{"order": 1, "computeEnvironment": "default"}]
ALL_STATES = {"SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"}
FIRST_FAILS = 'test "$AWS_BATCH_JOB_ARRAY_INDEX" != 0'


class Lives(AwsTest):
    async def test_what_is_shown_of_a_job_and_its_attempt(self):
        before = int(time.time() * 1000)
        job = self.run_command("shown", "true")
        detail = self.ended(job)
        self.assertLessEqual(before, detail["createdAt"])
        self.assertLessEqual(detail["createdAt"], detail["startedAt"])
        [attempt] = detail["attempts"]
        for time_of in ("startedAt", "stoppedAt"):
            self.assertEqual(attempt[time_of], detail[time_of])
        container = detail["container"]
        for name in ("exitCode", "logStreamName", "containerInstanceArn"):
            self.assertEqual(attempt["container"][name], container[name])
        for empty in ("environment", "mountPoints", "ulimits", "volumes", "secrets"):
            self.assertEqual(container[empty], [], empty)
        self.assertEqual((detail["dependsOn"], detail["parameters"]), ([], {}))
        self.assertRegex(detail["jobArn"], rf"^arn:aws:batch:[^:]+:\d{{12}}:job/{job}$")
        [listed] = self.listed(jobQueue="default", filters=[{"name": "JOB_NAME", "values": ["shown"]}])
        for name in ("jobArn", "createdAt", "startedAt", "stoppedAt", "status", "jobDefinition"):
            self.assertEqual(listed[name], detail[name])
        self.assertEqual(listed["container"], {"exitCode": 0})

    def listed(self, **arguments):
        return self.batch.list_jobs(**arguments)["jobSummaryList"]

    async def test_parameters_are_in_the_command_that_is_shown(self):
        self.register("shows", "test", "Ref::a", "=", "x-Ref::b", "Ref::none", parameters={"a": "x-2", "b": "1"})
        detail = self.ended(self.submit("a", "shows", parameters={"b": "2"}))
        self.assertEqual(detail["container"]["command"], ["test", "x-2", "=", "x-2", "Ref::none"])
        self.assertEqual(detail["parameters"], {"a": "x-2", "b": "2"})

    async def test_the_older_way_to_say_what_is_needed(self):
        script = 'test "$ONE $TWO $THREE" = "definition job job"'
        self.batch.register_job_definition(
            jobDefinitionName="older",
            type="container",
            containerProperties={
                "vcpus": 1,
                "memory": 16,
                "command": ["false"],
                "environment": [{"name": name, "value": "definition"} for name in ("ONE", "TWO")],
            },
        )
        detail = self.ended(
            self.submit(
                "a",
                "older",
                containerOverrides={
                    "vcpus": 2,
                    "memory": 32,
                    "command": ["sh", "-c", script],
                    "environment": [{"name": name, "value": "job"} for name in ("TWO", "THREE")],
                },
            )
        )
        container = detail["container"]
        self.assertEqual(detail["status"], "SUCCEEDED")
        self.assertEqual((container["vcpus"], container["memory"]), (2, 32))
        shown = {one["name"]: one["value"] for one in container["environment"]}
        self.assertEqual(shown, {"ONE": "definition", "TWO": "job", "THREE": "job"})

    async def test_a_parent_is_pending_and_has_no_attempts(self):
        script = "test $AWS_BATCH_JOB_ARRAY_INDEX = 0 || exec sleep 600"
        job = self.run_command("parent", "sh", "-c", script, arrayProperties={"size": 2})
        self.ended(f"{job}:0")
        self.reaches(f"{job}:1", ["RUNNING"])
        parent = self.detail(job)
        self.assertEqual((parent["status"], parent["attempts"]), ("PENDING", []))
        self.assertEqual(set(parent["arrayProperties"]["statusSummary"]), ALL_STATES)
        self.assertNotIn(job, [one["jobId"] for one in self.listed(jobQueue="default")])
        [child] = self.listed(arrayJobId=job)
        self.assertEqual((child["jobId"], child["status"]), (f"{job}:1", "RUNNING"))
        self.batch.terminate_job(jobId=job, reason="whole array")
        parent = self.ended(job)
        self.assertEqual((parent["status"], parent["attempts"]), ("FAILED", []))
        self.assertEqual(self.detail(f"{job}:1")["statusReason"], "whole array")
        self.assertEqual(self.detail(f"{job}:0")["status"], "SUCCEEDED")

    async def test_one_child_fails_and_the_others_go_on(self):
        retries = {"attempts": 2}
        job = self.run_command(
            "one-fails", "sh", "-c", FIRST_FAILS, arrayProperties={"size": 3}, retryStrategy=retries
        )
        parent = self.ended(job)
        self.assertEqual((parent["status"], parent["statusReason"]), ("FAILED", "Array Child Job failed"))
        attempts = [len(self.detail(f"{job}:{index}")["attempts"]) for index in range(3)]
        self.assertEqual(attempts, [2, 1, 1])

    async def test_an_ended_child_ends_alone(self):
        job = self.run_command("alone", "sleep", "600", arrayProperties={"size": 2})
        self.reaches(f"{job}:1", ["RUNNING"])
        self.batch.terminate_job(jobId=f"{job}:1", reason="only this")
        self.assertEqual(self.ended(f"{job}:1")["statusReason"], "only this")
        self.assertEqual(self.reaches(f"{job}:0", ["RUNNING"])["status"], "RUNNING")
        self.batch.terminate_job(jobId=f"{job}:0", reason="this too")
        self.assertEqual(self.ended(job)["arrayProperties"]["statusSummary"]["FAILED"], 2)


class Dependencies(AwsTest):
    async def test_the_first_failure_of_a_sequence_ends_the_rest(self):
        job = self.run_command(
            *("stops", "sh", "-c", FIRST_FAILS),
            arrayProperties={"size": 3},
            dependsOn=[{"type": "SEQUENTIAL"}],
        )
        self.assertEqual(self.ended(job)["arrayProperties"]["statusSummary"]["FAILED"], 3)
        for index in (1, 2):
            child = self.detail(f"{job}:{index}")
            self.assertEqual((child["attempts"], child["statusReason"]), ([], "Dependent Job failed"))

    async def test_sequential_with_an_id_is_a_plain_dependency(self):
        good, bad = self.run_command("good", "true"), self.run_command("bad", "false")
        on = [{"jobId": job, "type": "SEQUENTIAL"} for job in (good, bad)]
        runs = self.run_command("runs", "true", dependsOn=on[:1])
        fails = self.run_command("fails", "true", dependsOn=on)
        self.assertEqual(self.ended(runs)["status"], "SUCCEEDED")
        detail = self.ended(fails)
        self.assertEqual((detail["status"], detail["attempts"]), ("FAILED", []))
        self.assertNotIn("logStreamName", detail["container"])
        self.assertEqual([one["jobId"] for one in detail["dependsOn"]], [good, bad])

    async def test_on_an_array_on_one_child_and_on_what_is_over(self):
        array = self.run_command("array", "sh", "-c", FIRST_FAILS, arrayProperties={"size": 2})
        whole = self.run_command("whole", "true", dependsOn=[{"jobId": array}])
        child = self.run_command("child", "true", dependsOn=[{"jobId": f"{array}:1"}])
        self.assertEqual(self.ended(whole)["status"], "FAILED")
        self.assertEqual(self.ended(child)["status"], "SUCCEEDED")
        late = [self.run_command("late", "true", dependsOn=[{"jobId": f"{array}:{index}"}]) for index in range(2)]
        self.assertEqual([self.ended(job)["status"] for job in late], ["FAILED", "SUCCEEDED"])

    async def test_across_queues_also_when_one_is_closed(self):
        self.batch.create_job_queue(jobQueueName="closed", priority=1, computeEnvironmentOrder=ORDER)
        first = self.run_command("first", "sleep", "600")
        second = self.run_command("second", "true", queue="closed", dependsOn=[{"jobId": first}])
        self.reaches(second, ["PENDING"])
        self.batch.update_job_queue(jobQueue="closed", state="DISABLED")
        submission = dict(jobName="a", jobQueue="closed", jobDefinition="adhoc")
        self.refused("ClientException", 400, self.batch.submit_job, **submission)
        self.batch.terminate_job(jobId=first, reason="enough")
        self.assertEqual(self.ended(second)["statusReason"], "Dependent Job failed")

    async def test_who_waits_ends_with_the_queue(self):
        self.batch.create_compute_environment(computeEnvironmentName="nobody", type="UNMANAGED")
        order = [{"order": 1, "computeEnvironment": "nobody"}]
        self.batch.create_job_queue(jobQueueName="goes", priority=1, computeEnvironmentOrder=order)
        job = self.run_command("waits", "true", queue="goes")
        self.refused("ClientException", 400, self.batch.delete_job_queue, jobQueue="goes")
        self.batch.update_job_queue(jobQueue="goes", state="DISABLED")
        self.batch.delete_job_queue(jobQueue="goes")
        self.assertEqual(self.ended(job)["status"], "FAILED")


class Ends(AwsTest):
    def attempts(self, script, *rules, attempts=3, **more):
        """How many attempts a job of these rules made."""
        strategy = {"attempts": attempts, "evaluateOnExit": list(rules)}
        job = self.run_command("a", "sh", "-c", script, retryStrategy=strategy, **more)
        detail = self.ended(job)
        self.assertEqual(detail["retryStrategy"]["attempts"], attempts)
        return len(detail["attempts"])

    async def test_the_first_rule_that_matches_decides_and_none_means_again(self):
        stop = {"onReason": "*", "action": "EXIT"}
        self.assertEqual(self.attempts("exit 3", {"onExitCode": "4", "action": "EXIT"}), 3)
        self.assertEqual(self.attempts("exit 3", {"onExitCode": "3", "action": "RETRY"}, stop), 3)
        self.assertEqual(self.attempts("exit 4", {"onExitCode": "3", "action": "RETRY"}, stop), 1)
        self.assertEqual(self.attempts("exit 137", {"onExitCode": "13*", "action": "exit"}), 1)
        reason = {"onStatusReason": "Essential container*", "action": "EXIT"}
        self.assertEqual(self.attempts("exit 3", reason), 1)
        both = {"onExitCode": "9", "onStatusReason": "Essential*", "action": "EXIT"}
        self.assertEqual(self.attempts("exit 3", both, attempts=2), 2)

    async def test_what_ran_out_of_time_or_was_terminated_is_not_tried_again(self):
        again = {"onReason": "*", "action": "RETRY"}
        self.assertEqual(self.attempts("exec sleep 600", again, timeout={"attemptDurationSeconds": 1}), 1)
        job = self.run_command("ends", "sleep", "600", retryStrategy={"attempts": 3})
        self.reaches(job, ["RUNNING"])
        self.batch.terminate_job(jobId=job, reason="enough")
        detail = self.ended(job)
        self.assertEqual((len(detail["attempts"]), detail["isTerminated"]), (1, True))

    async def test_the_second_attempt_may_succeed(self):
        job = self.run_command("again", "sh", "-c", 'test "$AWS_BATCH_JOB_ATTEMPT" = 2', retryStrategy={"attempts": 3})
        detail = self.ended(job)
        self.assertEqual(detail["status"], "SUCCEEDED")
        self.assertEqual([one["container"]["exitCode"] for one in detail["attempts"]], [1, 0])

    async def test_what_was_cancelled_before_it_ran_has_no_log(self):
        slow = self.run_command("slow", "sleep", "600")
        job = self.run_command("waits", "true", dependsOn=[{"jobId": slow}])
        self.batch.cancel_job(jobId=job, reason="not needed")
        detail = self.ended(job)
        self.assertEqual((detail["statusReason"], detail["isCancelled"]), ("not needed", True))
        self.assertEqual(detail["attempts"], [])
        self.assertNotIn("logStreamName", detail["container"])
        self.batch.terminate_job(jobId=slow, reason="the end")

    async def test_ends_without_an_id_or_a_reason(self):
        for call in (self.batch.cancel_job, self.batch.terminate_job):
            call(jobId="nonexisting_job", reason="nothing there")
            for arguments in ({"jobId": "", "reason": "a"}, {"jobId": "a", "reason": ""}):
                message = self.refused("ClientException", 400, call, **arguments)
                self.assertIn("is a required field (cannot be an empty string)", message)
        answer = self.batch.terminate_jobs(jobs=["nonexisting_job", ""], reason="some")
        self.assertEqual(answer["successful"], ["nonexisting_job"])
        self.assertEqual([(one["job"], one["code"]) for one in answer["errors"]], [("", "ClientException")])

    async def test_the_main_node_decides(self):
        def gang(name, script, **more):
            needs = [{"type": "VCPU", "value": "0.1"}, {"type": "MEMORY", "value": "16"}]
            container = {"command": ["sh", "-c", script], "resourceRequirements": needs}
            ranges = [{"targetNodes": one, "container": container} for one in ("0", "1:")]
            properties = {"numNodes": 2, "mainNode": 0, "nodeRangeProperties": ranges}
            self.batch.register_job_definition(jobDefinitionName=name, type="multinode", nodeProperties=properties)
            job = self.submit(name, name, **more)
            return job, self.ended(job)

        _, detail = gang("main-good", "exit $AWS_BATCH_JOB_NODE_INDEX", nodeOverrides={"numNodes": 3})
        self.assertEqual((detail["status"], detail["nodeProperties"]["numNodes"]), ("SUCCEEDED", 3))
        script = "test $AWS_BATCH_JOB_NODE_INDEX != 0 || exit 7; exec sleep 600"
        job, detail = gang("main-bad", script, retryStrategy={"attempts": 2})
        self.assertEqual((detail["status"], len(detail["attempts"])), ("FAILED", 2))
        other = self.ended(f"{job}#1")
        self.assertFalse(other["nodeDetails"]["isMainNode"])
        overrides = {"nodePropertyOverrides": [{"targetNodes": "0:0", "containerOverrides": {}}]}
        submission = dict(jobName="a", jobQueue="default", jobDefinition="main-bad", nodeOverrides=overrides)
        message = self.refused("ClientException", 400, self.batch.submit_job, **submission)
        self.assertIn("NodeOverride targets should match job definition. Non matching targets - 0:0", message)


class Order(AwsTest):
    """One seat, which nobody has until all have come: who sits down when."""

    def sit(self, queue, *jobs):
        """The places, among these jobs in the order they came, in which they ran."""
        self.batch.create_consumable_resource(consumableResourceName=queue, totalQuantity=0)
        seat = {"consumableResourceList": [{"consumableResource": queue, "quantity": 1}]}
        self.register(queue, "true", consumableResourceProperties=seat)
        ids = [self.submit(f"job-{place}", queue, queue, **more) for place, more in enumerate(jobs)]
        for job in ids:
            self.reaches(job, ["RUNNABLE"])
        shown = self.batch.get_job_queue_snapshot(jobQueue=queue)["frontOfQueue"]["jobs"]
        self.batch.update_consumable_resource(consumableResource=queue, operation="SET", quantity=1)
        details = [self.ended(job) for job in ids]
        for detail in details:
            self.assertEqual(detail["status"], "SUCCEEDED")
        ran = sorted(range(len(ids)), key=lambda place: details[place]["startedAt"])
        for before, after in itertools.pairwise(ran):
            self.assertLessEqual(details[before]["stoppedAt"], details[after]["startedAt"])
        return ran, [ids.index(one["jobArn"].split("/")[-1]) for one in shown]

    async def test_first_come_first_served(self):
        self.batch.create_job_queue(jobQueueName="line", priority=1, computeEnvironmentOrder=ORDER)
        self.assertEqual(self.sit("line", {}, {}, {}), ([0, 1, 2], [0, 1, 2]))

    async def test_within_a_share_the_higher_priority_is_first(self):
        policy = self.batch.create_scheduling_policy(name="fair", fairsharePolicy={"shareDecaySeconds": 60})
        self.batch.create_job_queue(
            jobQueueName="fair", priority=1, computeEnvironmentOrder=ORDER, schedulingPolicyArn=policy["arn"]
        )
        jobs = [{"shareIdentifier": "a", "schedulingPriorityOverride": priority} for priority in (1, 5, 5, 9)]
        self.assertEqual(self.sit("fair", *jobs), ([3, 1, 2, 0], [3, 1, 2, 0]))


class Resources(AwsTest):
    async def test_environments(self):
        made = self.batch.create_compute_environment(
            computeEnvironmentName="own", type="UNMANAGED", state="ENABLED", serviceRole="arn:aws:iam::1:role/a"
        )
        self.assertEqual(made["computeEnvironmentName"], "own")
        self.batch.update_compute_environment(
            computeEnvironment="own", state="DISABLED", serviceRole="arn:aws:iam::1:role/b"
        )
        describe = self.batch.describe_compute_environments
        [shown] = describe(computeEnvironments=["own", "none"])["computeEnvironments"]
        self.assertEqual(shown["computeEnvironmentArn"], made["computeEnvironmentArn"])
        self.assertEqual((shown["state"], shown["serviceRole"]), ("DISABLED", "arn:aws:iam::1:role/b"))
        self.batch.delete_compute_environment(computeEnvironment=made["computeEnvironmentArn"])
        names = [one["computeEnvironmentName"] for one in describe()["computeEnvironments"]]
        self.assertNotIn("own", names)

    async def test_queues(self):
        good = {"jobQueueName": "q", "priority": 123, "computeEnvironmentOrder": ORDER}
        other = [{"order": 1, "computeEnvironment": "other"}]
        for wrong, said in [
            ({"state": "JUNK"}, "JUNK"),
            ({"computeEnvironmentOrder": []}, "At least 1 compute environment must be provided"),
            ({"computeEnvironmentOrder": other}, "other"),
            ({"priority": 1001}, "1001"),
            ({"jobQueueName": "no such name"}, "no such name"),
        ]:
            message = self.refused("ClientException", 400, self.batch.create_job_queue, **good | wrong)
            self.assertIn(said, message)
        arn = self.batch.create_job_queue(**good)["jobQueueArn"]
        for name, priority in ((arn, 5), ("q", 15)):
            self.batch.update_job_queue(jobQueue=name, priority=priority)
            [shown] = self.batch.describe_job_queues(jobQueues=["q", "none"])["jobQueues"]
            self.assertEqual((shown["jobQueueArn"], shown["priority"]), (arn, priority))

    async def test_policies(self):
        share = {"shareIdentifier": "A", "weightFactor": 0.1}
        for number, policy in enumerate(
            [{}, {"shareDecaySeconds": 1, "computeReservation": 2, "shareDistribution": [share]}]
        ):
            made = self.batch.create_scheduling_policy(name=f"p{number}", fairsharePolicy=policy)
            arn = made["arn"]
            self.assertTrue(arn.endswith(f":scheduling-policy/p{number}"))
            [shown] = self.batch.describe_scheduling_policies(arns=[arn])["schedulingPolicies"]
            self.assertEqual(shown["tags"], {})
            self.assertEqual(shown["fairsharePolicy"], {"shareDecaySeconds": 0, "computeReservation": 0} | policy)
            self.assertIn({"arn": arn}, self.batch.list_scheduling_policies()["schedulingPolicies"])
            self.batch.update_scheduling_policy(arn=arn, fairsharePolicy={"computeReservation": 5})
            [shown] = self.batch.describe_scheduling_policies(arns=[arn])["schedulingPolicies"]
            self.assertEqual(shown["fairsharePolicy"], {"shareDecaySeconds": 0, "computeReservation": 5})
            self.batch.delete_scheduling_policy(arn=arn)
            self.assertEqual(self.batch.describe_scheduling_policies(arns=[arn])["schedulingPolicies"], [])

    async def test_tags_from_the_start(self):
        tags = {"one": "1", "two": ""}
        self.batch.create_compute_environment(computeEnvironmentName="tagged", type="UNMANAGED", tags=tags)
        arns = [
            self.batch.describe_compute_environments(computeEnvironments=["tagged"])["computeEnvironments"][0],
            self.batch.create_job_queue(jobQueueName="tagged", priority=1, computeEnvironmentOrder=ORDER, tags=tags),
            self.batch.create_scheduling_policy(name="tagged", fairsharePolicy={}, tags=tags),
            self.batch.create_consumable_resource(consumableResourceName="tagged", tags=tags),
            {"arn": self.register("tagged", "true", tags=tags)},
            self.batch.submit_job(jobName="tagged", jobQueue="default", jobDefinition="tagged", tags=tags),
        ]
        for answer in arns:
            [arn] = [value for name, value in answer.items() if name.lower().endswith("arn")]
            with self.subTest(arn=arn):
                self.assertEqual(self.batch.list_tags_for_resource(resourceArn=arn)["tags"], tags)
        # Of the definition's tags none go to the job, and 50 is the end.
        job = self.batch.submit_job(jobName="plain", jobQueue="default", jobDefinition="tagged")
        self.assertEqual(self.batch.list_tags_for_resource(resourceArn=job["jobArn"])["tags"], {})
        many = {f"key-{number}": "value" for number in range(51)}
        self.refused("ClientException", 400, self.batch.tag_resource, resourceArn=job["jobArn"], tags=many)
        self.refused("ClientException", 400, self.batch.tag_resource, resourceArn=job["jobArn"], tags={"AWS:a": "b"})

    async def test_definitions(self):
        names = ["sleeps", "sleeps", "other"]
        revisions = [int(self.register(name, "true").split(":")[-1]) for name in names]
        self.assertEqual(revisions, [1, 2, 1])
        describe = self.batch.describe_job_definitions
        self.assertEqual(len(describe(jobDefinitionName="sleeps")["jobDefinitions"]), 2)
        self.batch.deregister_job_definition(jobDefinition="sleeps:2")
        # No number is given twice.
        self.assertTrue(self.register("sleeps", "true").endswith(":3"))
        active = describe(jobDefinitionName="sleeps", status="ACTIVE")["jobDefinitions"]
        self.assertEqual({one["revision"] for one in active}, {1, 3})
        self.refused("ClientException", 400, self.batch.deregister_job_definition, jobDefinition="sleeps:9")


class Words(AwsTest):
    """With AWS's limits, what AWS says of them; and what it says in any case."""

    up = (*AwsTest.up, "--coordinator-set", "limits.preset=aws")

    async def test_of_submissions(self):
        job = self.run_command("job", "true")
        good = {"jobName": "a", "jobQueue": "default", "jobDefinition": "adhoc"}
        good["containerOverrides"] = {"command": ["true"]}
        entry = {"onExitCode": "1", "action": "EXIT"}
        for wrong, said in [
            ({"jobQueue": "none"}, "JobQueue none not found."),
            ({"jobDefinition": "none"}, "JobDefinition name none does not exist or is not in ACTIVE status"),
            ({"jobDefinition": "adhoc:9"}, "JobDefinition name adhoc:9 does not exist or is not in ACTIVE status"),
            ({"jobName": "a b"}, "Job name should match valid pattern"),
            ({"dependsOn": [{"jobId": job}] * 21}, "Job cannot have more than 20 dependencies"),
            ({"parameters": {"a": "x" * 40000}}, "Job size must be less than 30 KiB, got 40 KiB"),
            ({"containerOverrides": {"command": ["a", ""]}}, "Command field cannot have empty strings"),
            ({"retryStrategy": {}}, "RetryAttempts must be provided with retry strategy"),
            ({"retryStrategy": {"evaluateOnExit": [entry]}}, "RetryAttempts must be provided with retry strategy"),
            ({"retryStrategy": {"attempts": 11}}, "from 1 to 10, got 11"),
            ({"retryStrategy": {"attempts": 2, "evaluateOnExit": [entry] * 6}}, "5"),
            ({"timeout": {"attemptDurationSeconds": 59}}, "60"),
            ({"arrayProperties": {"size": 10001}}, "from 2 to 10000, got 10001"),
            ({"schedulingPriorityOverride": 10000}, "from 0 to 9999, got 10000"),
        ]:
            with self.subTest(wrong=wrong):
                message = self.refused("ClientException", 400, self.batch.submit_job, **good | wrong)
                self.assertIn(said, message)

    async def test_of_definitions(self):
        container = {"image": "busybox", "vcpus": 1, "memory": 16}
        good = {"jobDefinitionName": "a", "type": "container", "containerProperties": container}
        for wrong, said in [
            ({"type": "none"}, "none"),
            ({"containerProperties": {"image": "busybox", "memory": 16}}, "vCPU is not provided."),
            ({"containerProperties": container | {"memory": 3}}, "at least 4 MiB"),
            ({"containerProperties": container | {"user": "-"}}, "User '-' does not match regex"),
            (
                {"containerProperties": container | {"networkConfiguration": {"assignPublicIp": "ENABLED"}}},
                "networkConfiguration not applicable for EC2.",
            ),
            ({"retryStrategy": {}}, "RetryAttempts must be provided with retry strategy"),
        ]:
            with self.subTest(wrong=wrong):
                message = self.refused("ClientException", 400, self.batch.register_job_definition, **good | wrong)
                self.assertIn(said, message)

    async def test_of_the_rest(self):
        many = ["00000000-0000-0000-0000-000000000000"] * 101
        message = self.refused("ClientException", 400, self.batch.describe_jobs, jobs=many)
        self.assertIn("Maximum number of jobs supported is  100 .", message)
        for call in (self.batch.cancel_jobs, self.batch.terminate_jobs):
            self.assertIn("50", self.refused("ClientException", 400, call, jobs=many[:51], reason="a"))
        delete = self.batch.delete_compute_environment
        self.batch.update_compute_environment(computeEnvironment="default", state="DISABLED")
        message = self.refused("ClientException", 400, delete, computeEnvironment="default")
        self.assertIn("Cannot delete, found existing JobQueue relationship", message)
        self.batch.update_compute_environment(computeEnvironment="default", state="ENABLED")
        limits = {"reason": "none", "state": "RUNNABLE", "maxTimeSeconds": 600, "action": "CANCEL"}
        message = self.refused(
            "ClientException", 400, self.batch.update_job_queue, jobQueue="default", jobStateTimeLimitActions=[limits]
        )
        self.assertIn("Invalid job reason", message)


if __name__ == "__main__":
    unittest.main(verbosity=2)
