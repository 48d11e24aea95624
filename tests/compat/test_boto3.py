"""What users of AWS Batch do, done with boto3, with jobs that truly run.

Runs against a cluster of its own, made of the programs in WINDROW_BIN_DIRECTORY. Run by tests/run.sh in a
virtual environment with boto3 and nats-py, and with tests/python on the module path.
"""

import itertools
import json
import time
import unittest

from aws import AwsTest

MISSING = "00000000-0000-0000-0000-000000000000"


class Resources(AwsTest):
    def create_queue(self, name, **more):
        order = [{"order": 1, "computeEnvironment": "default"}]
        return self.batch.create_job_queue(
            jobQueueName=name, **{"priority": 1, "computeEnvironmentOrder": order} | more
        )["jobQueueArn"]

    def all_of(self, operation, rows, **arguments):
        """What an operation lists, page by page, one to a page."""
        pages = self.batch.get_paginator(operation).paginate(
            **arguments, PaginationConfig={"PageSize": 1}
        )
        found = list(itertools.chain.from_iterable(page[rows] for page in pages))
        self.assertEqual(len(found), len({json.dumps(one, sort_keys=True) for one in found}), "twice")
        return found

    def names(self, operation, rows, name, **arguments):
        return {one[name] for one in self.all_of(operation, rows, **arguments)}

    async def test_environments_and_queues_come_change_and_go(self):
        made = self.batch.create_compute_environment(
            computeEnvironmentName="own-hosts", type="UNMANAGED", tags={"team": "a"}
        )
        self.assertTrue(made["computeEnvironmentArn"].endswith(":compute-environment/own-hosts"))
        [shown] = self.batch.describe_compute_environments(
            computeEnvironments=[made["computeEnvironmentArn"]]
        )["computeEnvironments"]
        self.assertEqual((shown["state"], shown["status"], shown["tags"]), ("ENABLED", "VALID", {"team": "a"}))
        order = [{"order": 1, "computeEnvironment": "own-hosts"}]
        queue = self.create_queue("own", computeEnvironmentOrder=order)
        self.refused(
            "ClientException", 400, self.batch.delete_compute_environment, computeEnvironment="own-hosts"
        )
        message = self.refused(
            "ClientException",
            400,
            self.batch.create_job_queue,
            jobQueueName="own",
            priority=2,
            computeEnvironmentOrder=order,
        )
        self.assertIn("Object already exists", message)
        self.batch.update_job_queue(jobQueue=queue, priority=7, state="DISABLED")
        [shown] = self.batch.describe_job_queues(jobQueues=[queue])["jobQueues"]
        self.assertEqual((shown["priority"], shown["state"], shown["status"]), (7, "DISABLED", "VALID"))
        self.assertTrue(shown["statusReason"])
        self.assertTrue(shown["computeEnvironmentOrder"][0]["computeEnvironment"].endswith("/own-hosts"))
        message = self.refused(
            "ClientException", 400, self.batch.submit_job, jobName="a", jobQueue="own", jobDefinition="adhoc"
        )
        self.assertIn("own", message)
        self.batch.delete_job_queue(jobQueue="own")
        self.batch.update_compute_environment(computeEnvironment="own-hosts", state="DISABLED")
        self.batch.delete_compute_environment(computeEnvironment="own-hosts")
        self.assertEqual(self.batch.describe_job_queues(jobQueues=["own"])["jobQueues"], [])

    async def test_every_paginator_gives_each_once(self):
        three = ["page-a", "page-b", "page-c"]
        lists = {
            "describe_compute_environments": ("computeEnvironments", "computeEnvironmentName", {}),
            "describe_job_queues": ("jobQueues", "jobQueueName", {}),
            "describe_job_definitions": ("jobDefinitions", "jobDefinitionName", {}),
            "describe_service_environments": ("serviceEnvironments", "serviceEnvironmentName", {}),
            "list_consumable_resources": ("consumableResources", "consumableResourceName", {}),
            "list_scheduling_policies": ("schedulingPolicies", "arn", {}),
            "list_quota_shares": ("quotaShares", "quotaShareName", {"jobQueue": "page-quotas"}),
            "list_jobs": ("jobSummaryList", "jobName", {"jobQueue": "page-a", "jobStatus": "RUNNABLE"}),
            "list_jobs_by_consumable_resource": ("jobs", "jobName", {"consumableResource": "page-a"}),
            "list_service_jobs": (
                "jobSummaryList",
                "jobName",
                {"jobQueue": "page-services", "jobStatus": "RUNNABLE"},
            ),
        }
        model = self.batch.meta.service_model
        paged = {self.batch.meta.method_to_api_mapping[name] for name in lists}
        self.assertEqual(paged, {name for name in model.operation_names if self.batch.can_paginate(self.method(name))})
        quotas = self.batch.create_scheduling_policy(
            name="page-quotas", quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"}
        )["arn"]
        self.create_queue("page-quotas", schedulingPolicyArn=quotas)
        expected = set(three)
        for name in three:
            # Nobody is there to run what is submitted.
            self.batch.create_compute_environment(computeEnvironmentName=name, type="UNMANAGED")
            self.create_queue(name, computeEnvironmentOrder=[{"order": 1, "computeEnvironment": name}])
            self.batch.create_service_environment(
                serviceEnvironmentName=name,
                serviceEnvironmentType="SAGEMAKER_TRAINING",
                capacityLimits=[{"maxCapacity": 1, "capacityUnit": "NUM_INSTANCES"}],
            )
            self.batch.create_consumable_resource(consumableResourceName=name, totalQuantity=1)
            self.batch.create_scheduling_policy(name=name, fairsharePolicy={})
            self.batch.create_quota_share(
                quotaShareName=name,
                jobQueue="page-quotas",
                capacityLimits=[{"maxCapacity": 1, "capacityUnit": "VCPU"}],
                resourceSharingConfiguration={"strategy": "RESERVE"},
                preemptionConfiguration={"inSharePreemption": "DISABLED"},
            )
        self.batch.create_job_queue(
            jobQueueName="page-services",
            priority=1,
            jobQueueType="SAGEMAKER_TRAINING",
            serviceEnvironmentOrder=[{"order": 1, "serviceEnvironment": "page-a"}],
        )
        needs = {"consumableResourceList": [{"consumableResource": "page-a", "quantity": 1}]}
        for name in three:
            self.register(name, "true", consumableResourceProperties=needs)
            self.submit(name, definition=name, queue="page-a")
            self.batch.submit_service_job(
                jobName=name,
                jobQueue="page-services",
                serviceJobType="SAGEMAKER_TRAINING",
                serviceRequestPayload="{}",
            )
        for operation, (rows, name, arguments) in lists.items():
            with self.subTest(operation=operation):
                found = self.names(operation, rows, name, **arguments)
                found = {one.split("/")[-1] for one in found}
                self.assertEqual({one for one in found if one in expected}, expected)

    def method(self, operation):
        mapping = self.batch.meta.method_to_api_mapping
        return next(method for method, name in mapping.items() if name == operation)

    async def test_tags_of_everything(self):
        arns = [
            self.batch.create_compute_environment(computeEnvironmentName="tagged", type="UNMANAGED")["computeEnvironmentArn"],
            self.create_queue("tagged"),
            self.register("tagged", "true"),
            self.batch.create_scheduling_policy(name="tagged", fairsharePolicy={})["arn"],
            self.batch.create_consumable_resource(consumableResourceName="tagged")["consumableResourceArn"],
            self.detail(self.run_command("tagged", "true"))["jobArn"],
        ]
        for arn in arns:
            with self.subTest(arn=arn):
                self.batch.tag_resource(resourceArn=arn, tags={"one": "1", "two/2": "ü"})
                self.batch.untag_resource(resourceArn=arn, tagKeys=["one", "none"])
                tags = self.batch.list_tags_for_resource(resourceArn=arn)["tags"]
                self.assertEqual(tags, {"two/2": "ü"})

    async def test_consumable_resources_hold_jobs_back(self):
        self.batch.create_consumable_resource(consumableResourceName="seat", totalQuantity=0)
        needs = {"consumableResourceList": [{"consumableResource": "seat", "quantity": 1}]}
        self.register("sits", "true", consumableResourceProperties=needs)
        job = self.submit("sits", definition="sits")
        self.reaches(job, ["RUNNABLE"])
        [listed] = self.batch.list_jobs_by_consumable_resource(consumableResource="seat")["jobs"]
        self.assertEqual((listed["jobName"], listed["quantity"]), ("sits", 1))
        for _ in range(2):
            # Said twice with one token it is done once.
            self.batch.update_consumable_resource(
                consumableResource="seat", operation="ADD", quantity=1, clientToken="once"
            )
        self.assertEqual(self.ended(job)["status"], "SUCCEEDED")
        shown = self.batch.describe_consumable_resource(consumableResource="seat")
        self.assertEqual((shown["totalQuantity"], shown["inUseQuantity"]), (1, 0))

    async def test_shares_of_a_queue(self):
        shares = [{"shareIdentifier": "red", "weightFactor": 1}, {"shareIdentifier": "blue*"}]
        policy = self.batch.create_scheduling_policy(
            name="fair", fairsharePolicy={"shareDecaySeconds": 60, "shareDistribution": shares}
        )["arn"]
        [shown] = self.batch.describe_scheduling_policies(arns=[policy])["schedulingPolicies"]
        self.assertEqual(shown["fairsharePolicy"]["shareDistribution"][0]["shareIdentifier"], "red")
        self.create_queue("fair", schedulingPolicyArn=policy)
        self.refused(
            "ClientException", 400, self.batch.submit_job, jobName="a", jobQueue="fair", jobDefinition="adhoc"
        )
        command = {"command": ["true"]}
        jobs = [
            self.submit(
                share,
                queue="fair",
                shareIdentifier=share,
                schedulingPriorityOverride=priority,
                containerOverrides=command,
            )
            for share, priority in [("red", 1), ("blue1", 2), ("blue1", 9)]
        ]
        for job in jobs:
            self.assertEqual(self.ended(job)["status"], "SUCCEEDED")
        self.assertEqual(self.detail(jobs[2])["schedulingPriority"], 9)
        self.assertEqual(self.batch.get_job_queue_snapshot(jobQueue="fair")["frontOfQueue"]["jobs"], [])
        self.refused("ClientException", 400, self.batch.delete_scheduling_policy, arn=policy)


class Definitions(AwsTest):
    async def test_revisions_come_back_as_they_were_registered(self):
        properties = {
            "image": "busybox",
            "command": ["echo", "Ref::word"],
            "environment": [{"name": "A", "value": ""}],
            "mountPoints": [],
            "ulimits": [],
            "volumes": [],
            "linuxParameters": {},
            "resourceRequirements": [
                {"type": "MEMORY", "value": "64"},
                {"type": "VCPU", "value": "0.5"},
            ],
        }
        made = [
            self.batch.register_job_definition(
                jobDefinitionName="twice",
                type="container",
                parameters={"word": str(number)},
                containerProperties=properties,
            )
            for number in range(2)
        ]
        self.assertEqual([one["revision"] for one in made], [1, 2])
        self.assertTrue(made[1]["jobDefinitionArn"].endswith(":job-definition/twice:2"))
        shown = self.batch.describe_job_definitions(jobDefinitionName="twice", status="ACTIVE")
        self.assertEqual({one["revision"] for one in shown["jobDefinitions"]}, {1, 2})
        for one in shown["jobDefinitions"]:
            self.assertEqual(one["containerProperties"], properties)
        self.batch.deregister_job_definition(jobDefinition="twice:2")
        [shown] = self.batch.describe_job_definitions(jobDefinitions=["twice:2"])["jobDefinitions"]
        self.assertEqual(shown["status"], "INACTIVE")
        inactive = dict(jobName="a", jobQueue="default", jobDefinition="twice:2")
        self.refused("ClientException", 400, self.batch.submit_job, **inactive)
        # A bare name is the newest that is active.
        job = self.batch.submit_job(**inactive | {"jobDefinition": "twice"})["jobId"]
        self.assertTrue(self.detail(job)["jobDefinition"].endswith("/twice:1"))

    async def test_parameters_and_overrides_reach_the_job(self):
        script = 'test "$1 $COLOUR $SIZE $AWS_BATCH_JQ_NAME $AWS_BATCH_JOB_ATTEMPT" = "hello red 2 default 1"'
        self.register(
            "overridden",
            "sh",
            "-c",
            script,
            "name",
            "Ref::word",
            properties={"environment": [{"name": "COLOUR", "value": "blue"}, {"name": "SIZE", "value": "2"}]},
            parameters={"word": "bye"},
        )
        overrides = {
            "environment": [{"name": "COLOUR", "value": "red"}],
            "resourceRequirements": [{"type": "MEMORY", "value": "32"}],
        }
        good = self.submit("a", "overridden", parameters={"word": "hello"}, containerOverrides=overrides)
        bad = self.submit("b", "overridden", parameters={}, arrayProperties={}, dependsOn=[], tags={})
        detail = self.ended(good)
        self.assertEqual((detail["status"], detail["container"]["exitCode"]), ("SUCCEEDED", 0))
        self.assertIn({"type": "MEMORY", "value": "32"}, detail["container"]["resourceRequirements"])
        self.assertEqual(self.ended(bad)["container"]["exitCode"], 1)

    async def test_what_runs_sees_the_variables_of_aws(self):
        names = ["JOB_ID", "JOB_ATTEMPT", "CE_NAME", "JQ_NAME", "JOB_ARRAY_INDEX", "JOB_ARRAY_SIZE"]
        tests = [f'test -n "$AWS_BATCH_{name}"' for name in names] + ['test -n "$AWS_EXECUTION_ENV"']
        job = self.run_command("sees", "sh", "-c", " && ".join(tests), arrayProperties={"size": 2})
        self.assertEqual(self.ended(job)["status"], "SUCCEEDED")


class Jobs(AwsTest):
    async def test_children_in_pairs_and_in_sequence(self):
        script = 'test "$AWS_BATCH_JOB_ARRAY_INDEX" != 1'
        size = {"size": 3}
        first = self.run_command("first", "sh", "-c", script, arrayProperties=size)
        pairs = [{"jobId": first, "type": "N_TO_N"}]
        second = self.run_command("second", "true", arrayProperties=size, dependsOn=pairs)
        parent = self.ended(second)
        self.assertEqual(parent["status"], "FAILED")
        summary = parent["arrayProperties"]["statusSummary"]
        self.assertEqual((summary["SUCCEEDED"], summary["FAILED"]), (2, 1))
        self.assertEqual(self.detail(f"{second}:1")["arrayProperties"]["index"], 1)
        self.assertEqual(self.detail(f"{second}:1")["status"], "FAILED")
        sequence = [{"type": "SEQUENTIAL"}]
        third = self.run_command("third", "sleep", "0.1", arrayProperties=size, dependsOn=sequence)
        self.assertEqual(self.ended(third)["status"], "SUCCEEDED")
        children = [self.detail(f"{third}:{index}") for index in range(3)]
        for before, after in itertools.pairwise(children):
            self.assertLessEqual(before["stoppedAt"], after["startedAt"])

    async def test_a_failed_dependency_ends_who_waits(self):
        bad = self.run_command("bad", "false")
        waits = self.run_command("waits", "true", dependsOn=[{"jobId": bad}])
        detail = self.ended(waits)
        self.assertEqual(detail["status"], "FAILED")
        self.assertEqual(detail["attempts"], [])
        self.assertIn("Dependent Job failed", detail["statusReason"])
        self.refused(
            "ClientException",
            400,
            self.batch.submit_job,
            jobName="a",
            jobQueue="default",
            jobDefinition="adhoc",
            dependsOn=[{"jobId": MISSING}],
        )

    async def test_retries(self):
        again = self.run_command("again", "false", retryStrategy={"attempts": 3})
        rules = [{"onExitCode": "9", "action": "EXIT"}, {"onReason": "*", "action": "RETRY"}]
        once = self.run_command(
            "once", "sh", "-c", "exit 9", retryStrategy={"attempts": 3, "evaluateOnExit": rules}
        )
        detail = self.ended(again)
        self.assertEqual([one["container"]["exitCode"] for one in detail["attempts"]], [1, 1, 1])
        self.assertEqual(len({one["container"]["logStreamName"] for one in detail["attempts"]}), 3)
        self.assertEqual(detail["statusReason"], "Essential container in task exited")
        self.assertEqual(len(self.ended(once)["attempts"]), 1)

    async def test_time_limits(self):
        job = self.run_command("slow", "sleep", "600", timeout={"attemptDurationSeconds": 1})
        detail = self.ended(job)
        self.assertEqual(detail["status"], "FAILED")
        self.assertEqual(detail["statusReason"], "Job attempt duration exceeded timeout")
        self.assertEqual(detail["timeout"], {"attemptDurationSeconds": 1})

    async def test_cancel_and_terminate(self):
        runs = self.run_command("runs", "sleep", "600")
        waits = self.run_command("waits", "true", dependsOn=[{"jobId": runs}])
        self.reaches(runs, ["RUNNING"])
        self.batch.cancel_job(jobId=runs, reason="too late")
        self.batch.cancel_job(jobId=waits, reason="not needed, she said")
        detail = self.ended(waits)
        self.assertEqual((detail["status"], detail["statusReason"]), ("FAILED", "not needed, she said"))
        self.assertEqual(self.detail(runs)["status"], "RUNNING", "a cancel leaves what runs alone")
        self.batch.terminate_job(jobId=runs, reason="enough")
        detail = self.ended(runs)
        self.assertEqual((detail["status"], detail["statusReason"]), ("FAILED", "enough"))
        self.assertIn("exitCode", detail["container"])
        for call in (self.batch.cancel_job, self.batch.terminate_job):
            for job in (runs, MISSING):
                call(jobId=job, reason="again")
        self.assertEqual(self.detail(runs)["statusReason"], "enough")

    async def test_nodes(self):
        properties = {
            "numNodes": 2,
            "mainNode": 0,
            "nodeRangeProperties": [
                {
                    "targetNodes": "0:",
                    "container": {
                        "command": ["sh", "-c", 'test "$AWS_BATCH_JOB_NUM_NODES" = 2'],
                        "resourceRequirements": [
                            {"type": "VCPU", "value": "0.1"},
                            {"type": "MEMORY", "value": "16"},
                        ],
                    },
                }
            ],
        }
        self.batch.register_job_definition(
            jobDefinitionName="gang", type="multinode", nodeProperties=properties
        )
        job = self.submit("gang", definition="gang")
        detail = self.ended(job)
        self.assertEqual((detail["status"], detail["nodeProperties"]["numNodes"]), ("SUCCEEDED", 2))
        self.assertTrue(self.detail(f"{job}#0")["nodeDetails"]["isMainNode"])
        nodes = self.batch.list_jobs(multiNodeJobId=job, jobStatus="SUCCEEDED")["jobSummaryList"]
        self.assertEqual({one["nodeProperties"]["nodeIndex"] for one in nodes}, {0, 1})

    async def test_lists_by_filter(self):
        start = int(time.time() * 1000)
        self.register("filtered", "true")
        jobs = [self.submit(f"sheep-{n}", definition="filtered") for n in range(3)]
        other = self.submit("goat", definition="filtered")
        for job in jobs + [other]:
            self.ended(job)

        def listed(name, *values, **more):
            pages = self.batch.get_paginator("list_jobs").paginate(
                jobQueue="default",
                filters=[{"name": name, "values": list(values)}],
                PaginationConfig={"PageSize": 2},
                **more,
            )
            return {job["jobId"] for page in pages for job in page["jobSummaryList"]}

        self.assertEqual(listed("JOB_NAME", "SHEEP*"), set(jobs))
        self.assertEqual(listed("JOB_NAME", "goat"), {other})
        self.assertEqual(listed("JOB_DEFINITION", "filtered"), {*jobs, other})
        self.assertLessEqual({*jobs, other}, listed("AFTER_CREATED_AT", str(start - 1)))
        self.assertFalse({*jobs, other} & listed("BEFORE_CREATED_AT", str(start)))
        done = self.batch.list_jobs(jobQueue="default", jobStatus="SUCCEEDED", maxResults=1000)
        self.assertLessEqual({*jobs, other}, {job["jobId"] for job in done["jobSummaryList"]})
        running = self.batch.list_jobs(jobQueue="default")["jobSummaryList"]
        self.assertTrue(all(job["status"] == "RUNNING" for job in running))

    async def test_a_hundred_are_described_at_once(self):
        jobs = [self.run_command(f"many-{n}", "true") for n in range(100)]
        known = self.batch.describe_jobs(jobs=[*jobs[1:], MISSING])["jobs"]
        self.assertEqual([job["jobId"] for job in known], jobs[1:])
        self.refused("ClientException", 400, self.batch.describe_jobs, jobs=[*jobs, MISSING])

    async def test_bulk_ends(self):
        runs = self.run_command("runs", "sleep", "600")
        waits = [self.run_command("waits", "true", dependsOn=[{"jobId": runs}]) for _ in range(3)]
        self.batch.cancel_jobs(jobs=waits, reason="all of them")
        for job in waits:
            self.assertEqual(self.ended(job)["statusReason"], "all of them")
        self.batch.terminate_jobs(jobs=[runs, MISSING], reason="this too")
        self.assertEqual(self.ended(runs)["statusReason"], "this too")

    async def test_errors_say_what_and_where(self):
        command = {"containerOverrides": {"command": ["true"]}}
        good = {"jobName": "a", "jobQueue": "default", "jobDefinition": "adhoc"} | command
        for wrong, said in [
            ({"jobName": "-a"}, "Job name should match valid pattern"),
            ({"jobQueue": "nowhere"}, "nowhere"),
            ({"jobDefinition": "nothing:3"}, "nothing:3"),
            ({"arrayProperties": {"size": 1}}, "size"),
            ({"retryStrategy": {"attempts": -1}}, "retryStrategy.attempts"),
            ({"timeout": {"attemptDurationSeconds": 0}}, "attemptDurationSeconds"),
            ({"shareIdentifier": "red"}, "share"),
            ({"dependsOn": [{"jobId": "not an id"}]}, "not an id"),
            ({"containerOverrides": {"resourceRequirements": [{"type": "VCPU", "value": "x"}]}}, "VCPU"),
        ]:
            with self.subTest(wrong=wrong):
                message = self.refused("ClientException", 400, self.batch.submit_job, **good | wrong)
                self.assertIn(said, message)


if __name__ == "__main__":
    unittest.main(verbosity=2)
