"""Job output as CloudWatch Logs gives it, read with botocore's client from the gateway of a cluster.

Runs against a cluster of its own, made of the programs in WINDROW_BIN_DIRECTORY. Run by tests/run.sh
in a virtual environment with nats-py and botocore.
"""

import time
import unittest

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from cluster import ClusterTest

GROUP = "/aws/batch/job"
FIVE = ["one", "two ERROR", "three", "four: ERROR x", "five"]


class Logs(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.logs, cls.batch = cls.client("logs"), cls.client("batch")
        cls.lines = cls.run_job("lines", "printf '%s\\n' " + " ".join(f"'{x}'" for x in FIVE))
        cls.array = cls.run_job("array", "echo child $AWS_BATCH_JOB_ARRAY_INDEX", size=3)
        cls.silent = cls.run_job("silent", "true")
        cls.stream = cls.stream_of(cls.lines)
        cls.ready = int(time.time() * 1000) + 1

    @classmethod
    def client(cls, service):
        return botocore.session.get_session().create_client(
            service,
            region_name="local",
            endpoint_url=cls.cluster_file()["gatewayUrl"],
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"max_attempts": 0}),
        )

    @classmethod
    def run_job(cls, name, script, size=None):
        more = {"arrayProperties": {"size": size}} if size else {}
        job = cls.batch.submit_job(
            jobName=name,
            jobQueue="default",
            jobDefinition="adhoc",
            containerOverrides={"command": ["sh", "-c", script]},
            **more,
        )["jobId"]
        cls.windrow("job", "wait", job, "--timeout", "60s")
        # The last output may come after the job's end.
        cls.windrow("job", "logs", job, "--follow")
        return job

    @classmethod
    def stream_of(cls, job):
        return cls.batch.describe_jobs(jobs=[job])["jobs"][0]["container"]["logStreamName"]

    def get(self, **members):
        request = {"logGroupName": GROUP, "logStreamName": self.stream} | members
        return self.logs.get_log_events(**request)

    def filter(self, **members):
        answer = self.logs.filter_log_events(**{"logGroupName": GROUP} | members)
        return [event["message"] for event in answer["events"]]

    def refused(self, code, call, **members):
        with self.assertRaises(ClientError) as caught:
            call(**members)
        self.assertEqual(caught.exception.response["Error"]["Code"], code)
        return caught.exception.response["Error"]["Message"]

    def pages(self, token_member, **members):
        """The messages of each page, until the same token comes back."""
        pages, token = [], None
        while True:
            answer = self.get(**members, **({"nextToken": token} if token else {}))
            pages.append([event["message"] for event in answer["events"]])
            if answer[token_member] == token:
                return pages
            token = answer[token_member]

    async def test_a_stream_is_read_forward_and_backward(self):
        forward = self.pages("nextForwardToken", startFromHead=True, limit=2)
        self.assertEqual(forward, [FIVE[:2], FIVE[2:4], FIVE[4:], []])
        backward = self.pages("nextBackwardToken", limit=2)
        self.assertEqual(backward, [FIVE[3:], FIVE[1:3], FIVE[:1], []])
        latest = self.get()
        self.assertEqual([event["message"] for event in latest["events"]], FIVE)
        self.assertRegex(latest["nextForwardToken"], r"^f/\d{56}/s$")
        self.assertRegex(latest["nextBackwardToken"], r"^b/\d{56}/s$")

    async def test_long_output_is_read_whole(self):
        count = 30_000
        script = f"i=0; while [ $i -lt {count} ]; do i=$((i+1)); echo line $i {'x' * 60}; done"
        stream = self.stream_of(self.run_job("long", script))
        lines = [f"line {number} {'x' * 60}" for number in range(1, count + 1)]
        read = {"logStreamName": stream}
        forward = self.pages("nextForwardToken", startFromHead=True, **read)
        self.assertEqual([line for page in forward for line in page], lines)
        backward = self.pages("nextBackwardToken", **read)
        self.assertEqual([line for page in reversed(backward) for line in page], lines)
        for page in forward + backward:
            self.assertLessEqual(len(page), 10_000)
            self.assertLessEqual(sum(map(len, page)), 1 << 20)
        paginator = self.logs.get_paginator("filter_log_events")
        found = paginator.paginate(logGroupName=GROUP, logStreamNames=[stream])
        events = [event["message"] for page in found for event in page["events"]]
        self.assertEqual(events, lines)

    async def test_times_have_their_start_and_not_their_end(self):
        at = self.get()["events"][0]["timestamp"]
        self.assertLess(abs(at - time.time() * 1000), 600_000)
        self.assertEqual(len(self.get(startTime=at, endTime=at + 60_000)["events"]), 5)
        self.assertEqual(self.get(endTime=at)["events"], [])
        self.assertEqual(self.get(startTime=at + 60_000)["events"], [])
        self.assertEqual(self.filter(logStreamNames=[self.stream], endTime=at), [])

    async def test_the_group_may_be_named_by_its_arn(self):
        group = self.logs.describe_log_groups(logGroupNamePrefix="/aws/ba")["logGroups"][0]
        self.assertEqual(group["logGroupName"], GROUP)
        answer = self.logs.get_log_events(
            logGroupIdentifier=group["arn"].removesuffix(":*"), logStreamName=self.stream
        )
        self.assertEqual(len(answer["events"]), 5)
        self.assertEqual(self.logs.describe_log_groups(logGroupNamePrefix="x")["logGroups"], [])

    async def test_a_filter_finds_messages_in_some_streams_or_all(self):
        one = {"logStreamNames": [self.stream]}
        self.assertEqual(self.filter(**one), FIVE)
        self.assertEqual(self.filter(filterPattern="ERROR", **one), [FIVE[1], FIVE[3]])
        self.assertEqual(self.filter(filterPattern="ERROR -two", **one), [FIVE[3]])
        self.assertEqual(self.filter(filterPattern="?one ?five", **one), ["one", "five"])
        self.assertEqual(self.filter(filterPattern='"four: "'), [FIVE[3]])
        everything = self.filter()
        for message in [*FIVE, "child 0", "child 1", "child 2"]:
            self.assertIn(message, everything)
        children = self.filter(logStreamNamePrefix=f"adhoc/default/{self.array}-")
        self.assertEqual(sorted(children), ["child 0", "child 1", "child 2"])
        self.assertEqual(self.filter(logStreamNamePrefix="adh", filterPattern="three"), ["three"])
        self.assertEqual(self.filter(logStreamNamePrefix="other/"), [])

    async def test_a_filters_pages_hold_each_event_once(self):
        paginator = self.logs.get_paginator("filter_log_events")
        pages = paginator.paginate(logGroupName=GROUP, limit=3, endTime=self.ready)
        pages = [page["events"] for page in pages]
        events = [event for page in pages for event in page]
        self.assertTrue(all(len(page) <= 3 for page in pages))
        self.assertEqual([e["message"] for e in events], self.filter(endTime=self.ready))
        self.assertEqual(len(events), 8)
        self.assertEqual(len({event["eventId"] for event in events}), len(events))
        times = [event["timestamp"] for event in events]
        self.assertEqual(times, sorted(times))

    async def test_streams_are_listed(self):
        listed = self.logs.get_paginator("describe_log_streams").paginate(
            logGroupName=GROUP, PaginationConfig={"PageSize": 2}
        )
        streams = [stream for page in listed for stream in page["logStreams"]]
        names = [stream["logStreamName"] for stream in streams]
        self.assertEqual(names, sorted(set(names)))
        children = [f"adhoc/default/{self.array}-{index}-1" for index in range(3)]
        self.assertLessEqual({self.stream, *children}, set(names))
        for stream in streams:
            self.assertLessEqual(stream["firstEventTimestamp"], stream["lastEventTimestamp"])
            self.assertTrue(stream["arn"].endswith(":log-stream:" + stream["logStreamName"]))
        latest = self.logs.describe_log_streams(
            logGroupName=GROUP, orderBy="LastEventTime", descending=True
        )["logStreams"]
        times = [stream["lastEventTimestamp"] for stream in latest]
        self.assertEqual(times, sorted(times, reverse=True))
        self.assertEqual(latest[-1]["logStreamName"], self.stream)
        prefix = {"logGroupName": GROUP, "logStreamNamePrefix": children[1]}
        found = self.logs.describe_log_streams(**prefix)["logStreams"]
        self.assertEqual([stream["logStreamName"] for stream in found], [children[1]])
        self.refused(
            "InvalidParameterException",
            self.logs.describe_log_streams,
            orderBy="LastEventTime",
            **prefix,
        )

    async def test_a_childs_stream_is_the_one_that_describe_jobs_names(self):
        stream = self.stream_of(f"{self.array}:1")
        self.assertEqual(stream, f"adhoc/default/{self.array}-1-1")
        events = self.get(logStreamName=stream)["events"]
        self.assertEqual([event["message"] for event in events], ["child 1"])

    async def test_a_job_without_output_has_a_stream_without_events(self):
        silent = {"logStreamName": self.stream_of(self.silent)}
        answer = self.get(**silent)
        self.assertEqual(answer["events"], [])
        again = self.get(nextToken=answer["nextForwardToken"], **silent)
        self.assertEqual(again["nextForwardToken"], answer["nextForwardToken"])

    async def test_what_does_not_exist_is_refused_as_cloudwatch_does(self):
        missing = "ResourceNotFoundException"
        text = self.refused(missing, self.get, logGroupName="/other")
        self.assertEqual(text, "The specified log group does not exist.")
        strangers = self.stream.replace("adhoc", "other")
        for stream in ["nothing", strangers, self.stream[:-1] + "2", self.stream + "-1"]:
            text = self.refused(missing, self.get, logStreamName=stream)
            self.assertEqual(text, "The specified log stream does not exist.")
            self.refused(missing, self.filter, logStreamNames=[stream])

    async def test_bad_members_are_refused(self):
        wrong = "InvalidParameterException"
        self.refused(wrong, self.get, nextToken="f/1/s")
        self.refused(wrong, self.get, limit=10_001)
        self.refused(wrong, self.get, startTime=2, endTime=1)
        self.refused(wrong, self.filter, filterPattern="{ $.x = 1 }")
        self.refused(wrong, self.filter, nextToken="x")
        self.refused(
            wrong, self.filter, logStreamNames=[self.stream], logStreamNamePrefix="adhoc"
        )
        self.refused("UnknownOperationException", self.logs.create_log_group, logGroupName="x")

    async def test_output_is_followed(self):
        job = self.batch.submit_job(
            jobName="slow",
            jobQueue="default",
            jobDefinition="adhoc",
            containerOverrides={"command": ["sh", "-c", "echo first; sleep 3; echo last"]},
        )["jobId"]
        prefix = f"adhoc/default/{job}"
        seen, end = [], time.monotonic() + 60
        while seen != ["first", "last"] and time.monotonic() < end:
            # As `aws logs tail --follow` does.
            now = self.filter(logStreamNamePrefix=prefix)
            self.assertEqual(now[: len(seen)], seen)
            seen = now
            time.sleep(0.2)
        self.assertEqual(seen, ["first", "last"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
