"""What the gateway answers against AWS's model of the answers, for every operation.

The requests are those of COMPATIBILITY.md's test, sent over HTTP; then each of their members once with a value of
another type, which must be refused in AWS's form. The model is that of botocore.
"""

import asyncio
import http.client
import json
import unittest
import urllib.parse

import test_compatibility
from cluster import ClusterTest, Refused
from compatibility_requests import BASES, DEFINITIONS, ENDINGS, RESOURCES, SUBMISSIONS

# Of a job that has not started AWS gives no such time, whatever the model demands.
NOT_ALWAYS = {"JobDetail": {"startedAt"}, "DescribeServiceJobResponse": {"startedAt"}}
# Written in capitals or not, and shown as it was written.
CASELESS = ("RetryAction",)
# An empty list is an absent one to AWS, and whoever polls may have nothing to ask for.
MAY_BE_MISSING = [("DescribeJobs", "jobs")]
TYPES = {"string": str, "boolean": bool, "integer": int, "long": int, "float": (int, float), "double": (int, float)}


class Model(test_compatibility.Model):
    """Answers too, and where the parts of a request go."""

    def check(self, name, value, path):
        """Raises AssertionError when the value is not of the shape of this name."""
        shape = self.shapes[name]
        kind = shape["type"]
        if kind == "structure":
            assert isinstance(value, dict), f"{path}: {value!r} is not a structure"
            unknown = set(value) - set(shape["members"])
            assert not unknown, f"{path}: the model does not have {unknown}"
            missing = set(shape.get("required", [])) - set(value) - NOT_ALWAYS.get(name, set())
            assert not missing, f"{path}: the model demands {missing}"
            for key, one in value.items():
                self.check(shape["members"][key]["shape"], one, f"{path}.{key}")
        elif kind == "list":
            assert isinstance(value, list), f"{path}: {value!r} is not a list"
            for one in value:
                self.check(shape["member"]["shape"], one, f"{path}[]")
        elif kind == "map":
            assert isinstance(value, dict), f"{path}: {value!r} is not a map"
            for key, one in value.items():
                self.check(shape["key"]["shape"], key, f"{path} key")
                self.check(shape["value"]["shape"], one, f"{path}.{key}")
        else:
            is_right = isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
            assert is_right, f"{path}: {value!r} is not of type {kind}"
            known = value.upper() if name in CASELESS else value
            assert known in shape.get("enum", [known]), f"{path}: {value!r} is not among the model's values"

    def place(self, operation, request):
        """Method, path and body of a request."""
        how = self.operations[operation]["http"]
        path, query, body = how["requestUri"], [], dict(request)
        for key, member in self.shapes[self.inputs[operation]]["members"].items():
            where = member.get("location")
            if where and key in body:
                value = body.pop(key)
                if where == "uri":
                    path = path.replace("{" + key + "}", urllib.parse.quote(str(value), safe=""))
                else:
                    query += [(member["locationName"], one) for one in value]
        if query:
            path += "?" + urllib.parse.urlencode(query)
        return how["method"], path, json.dumps(body)


class Checked(ClusterTest):
    """A gateway of which every answer is held against the model."""

    async def asyncSetUp(self):
        await super().asyncSetUp()
        self.model, self.answered = Model(), set()
        address = urllib.parse.urlparse(self.cluster_file()["gatewayUrl"]).netloc
        self.connection = http.client.HTTPConnection(address, timeout=60)
        self.addCleanup(self.connection.close)

    async def ask(self, operation, request):
        """The answer to a request over HTTP; raises Refused with the message of an error."""
        method, path, body = self.model.place(operation, request)
        self.connection.request(method, path, body, {"content-type": "application/json"})
        answer = await asyncio.to_thread(self.connection.getresponse)
        content = json.loads(answer.read())
        self.assertRegex(answer.headers["x-amzn-requestid"], r"^[0-9a-f-]{36}$")
        self.assertEqual(answer.headers["content-type"], "application/json")
        if answer.status != 200:
            self.assertEqual(answer.status, 400, f"{operation} {request}: {content}")
            self.assertIn(answer.headers["x-amzn-errortype"], ("ClientException", "SerializationException"))
            self.assertEqual(list(content), ["message"], operation)
            raise Refused(content["message"])
        self.answered.add(operation)
        output = self.model.operations[operation].get("output")
        if output:
            self.model.check(output["shape"], content, operation)
        else:
            self.assertEqual(content, {}, operation)
        return content


class Answers(Checked, test_compatibility.Cluster):
    async def test_what_is_accepted_comes_back(self):
        await super().test_what_is_accepted_comes_back()
        await self.describe_what_ended()
        self.assertEqual(set(self.model.inputs) - self.answered, set(), "operations without an answer")

    async def describe_what_ended(self):
        """Answers have more to show when attempts have ended."""
        job = {"jobName": "ends", "jobQueue": "default", "jobDefinition": "adhoc"}
        override = {"containerOverrides": {"command": ["false"]}, "retryStrategy": {"attempts": 2}}
        job = await self.ask("SubmitJob", job | override)
        for _ in range(600):
            described = await self.ask("DescribeJobs", {"jobs": [job["jobId"]]})
            if described["jobs"][0]["status"] == "FAILED":
                break
            await asyncio.sleep(0.1)
        self.assertEqual(len(described["jobs"][0]["attempts"]), 2)
        listed = await self.ask("ListJobs", {"jobQueue": "default", "jobStatus": "FAILED"})
        self.assertIn(job["jobId"], [one["jobId"] for one in listed["jobSummaryList"]])

    # What comes back is the matter of the test over NATS; members that AWS does not have are not in
    # answers over HTTP.
    async def check_shown(self, request, shown):
        await self.ask(*shown[:2])

    async def check_definitions(self):
        for name, definition in DEFINITIONS.items():
            answer = await self.ask("RegisterJobDefinition", definition | {"jobDefinitionName": name})
            await self.ask("DescribeJobDefinitions", {"jobDefinitions": [answer["jobDefinitionArn"]]})

    async def check_submission(self, request, shown):
        answer = await self.ask("SubmitJob", request)
        await self.ask("DescribeJobs", {"jobs": [answer["jobId"]]})
        return answer["jobId"]


def of_another_type(value):
    return {str: 7, bool: "perhaps", int: "many", float: "many", list: "x", dict: "x"}[type(value)]


def with_one_wrong(value):
    """Copies of a request, each with one member of another type, and that member's path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        for wrong, path in [(of_another_type(one), ""), *with_one_wrong(one)]:
            copy = value.copy()
            copy[key] = wrong
            yield copy, f".{key}{path}"


class WrongMembers(Checked):
    async def test_a_member_of_another_type_is_refused(self):
        requests = [(operation, request) for operation, request, _ in RESOURCES]
        requests += [("RegisterJobDefinition", one | {"jobDefinitionName": "x"}) for one in DEFINITIONS.values()]
        requests += [("SubmitJob", one) for one, _ in SUBMISSIONS]
        requests += ENDINGS + [(operation, request) for operation, _, request in BASES]
        for operation, request in requests:
            where = self.model.shapes[self.model.inputs[operation]]["members"]
            for wrong, path in with_one_wrong(request):
                member = where.get(path.split(".")[1], {})
                # What comes in the path or the query is text.
                if "location" in member:
                    continue
                with self.subTest(operation=operation, member=path):
                    with self.assertRaises(Refused) as refusal:
                        await self.ask(operation, wrong)
                    name = [step for step in path.split(".") if step and not step.isdigit()][-1]
                    self.assertIn(name, str(refusal.exception))

    async def test_a_missing_member_that_the_model_demands_is_refused(self):
        for operation, shape in self.model.inputs.items():
            demanded = self.model.shapes[shape].get("required", [])
            whole = self.model.sample(shape, all_fields=False)
            for member in demanded:
                is_in_path = "location" in self.model.shapes[shape]["members"][member]
                if is_in_path or (operation, member) in MAY_BE_MISSING:
                    continue
                rest = {key: value for key, value in whole.items() if key != member}
                with self.subTest(operation=operation, member=member), self.assertRaises(Refused):
                    await self.ask(operation, rest)

    async def test_members_that_nobody_knows_are_refused_by_name(self):
        for operation, shape in self.model.inputs.items():
            request = self.model.sample(shape, all_fields=False) | {"nobodyKnows": 1}
            with self.subTest(operation=operation), self.assertRaises(Refused) as refusal:
                await self.ask(operation, request)
            self.assertIn("nobodyKnows", str(refusal.exception), operation)


if __name__ == "__main__":
    unittest.main(verbosity=2)
