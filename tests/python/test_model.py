"""What the gateway answers against AWS's model of the answers, for every operation.

The requests are those of COMPATIBILITY.md's test, sent over HTTP; then each of their members once with a value of
another type, or one that the model does not list, which must be refused in AWS's form; then requests made from the
model by chance, always the same ones, which may be refused, but not otherwise. The model is that of botocore.
"""

import asyncio
import http.client
import json
import random
import unittest
import urllib.parse

import test_compatibility
from cluster import ClusterTest, Refused
from test_compatibility import filled
from compatibility_requests import BASES, DEFINITIONS, ENDINGS, RESOURCES, SUBMISSIONS

# Of a job that has not started AWS gives no such time, whatever the model demands.
NOT_ALWAYS = {"JobDetail": {"startedAt"}, "DescribeServiceJobResponse": {"startedAt"}}
# Written in capitals or not, and shown as it was written.
CASELESS = ("RetryAction",)
# An empty list is an absent one to AWS, and whoever polls may have nothing to ask for.
MAY_BE_MISSING = [("DescribeJobs", "jobs")]
# What requests made by chance say where a name or a number is wanted.
PLAIN = {
    "jobQueue": ["default", "shared", "quota"],
    "jobQueues": ["default", "shared", "trainings"],
    "jobDefinition": ["single", "older:1", "task"],
    "jobDefinitions": ["single", "older:1", "task"],
    "computeEnvironment": ["default", "more"],
    "computeEnvironments": ["default", "more"],
    "serviceEnvironment": ["sage"],
    "consumableResource": ["licence"],
    "operation": ["SET", "ADD"],
    "action": ["RETRY", "EXIT"],
    "targetNodes": ["0:", "0", "1:"],
    "memory": [16, 64],
    "vcpus": [1, 2],
    "priority": [1, 1000],
    "sourcePath": ["/tmp"],
    "containerPath": ["/data"],
    "serviceRequestPayload": ["{}"],
    "shareIdentifier": ["blue", "red"],
    "onExitCode": ["1", "13*"],
    "nextToken": [""],
    "state": ["ENABLED"],
}
ODD = {
    "string": ["", " ", "x" * 300, "\u00fc\U0001f600", "a/b:c#d", "%2F", "arn:aws:batch:x:1:job/y", "\0", "-1"],
    "integer": [-1, 0, 1001, 2**31 - 1],
    "long": [-1, 0, 2**53, 2**63 - 1],
    "float": [-1, 0, 0.0001, 1e30],
    "double": [-1, 0, 0.5, 1e30],
}
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

    def listed(self, name, value, path=""):
        """Where in a request there is one of the values that the model lists."""
        shape = self.shapes[name]
        if shape["type"] == "structure":
            for key, one in value.items():
                if key in shape["members"]:
                    yield from self.listed(shape["members"][key]["shape"], one, f"{path}.{key}")
        elif shape["type"] == "list":
            for index, one in enumerate(value):
                yield from self.listed(shape["member"]["shape"], one, f"{path}.{index}")
        elif "enum" in shape:
            yield path

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


class Everything(Checked, test_compatibility.Everything):
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


class Answers(Everything, test_compatibility.Cluster):
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


def known_requests():
    requests = [(operation, request) for operation, request, _ in RESOURCES]
    requests += [("RegisterJobDefinition", one | {"jobDefinitionName": "x"}) for one in DEFINITIONS.values()]
    return requests + [("SubmitJob", one) for one, _ in SUBMISSIONS]


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


def with_value(request, path, value):
    """A copy of the request with this value at the path."""
    if not path:
        return value
    key, _, rest = path.removeprefix(".").partition(".")
    copy = request.copy()
    key = int(key) if isinstance(copy, list) else key
    copy[key] = with_value(copy[key], rest and "." + rest, value)
    return copy


class ByChance:
    """Requests of the model's shapes: known good ones with parts that are made by chance, from a seed."""

    def __init__(self, model, names):
        self.model, self.random, self.made = model, random.Random(1), 0
        ids = {"jobId": ["job", "train"], "jobs": ["job", "nodes"], "arrayJobId": ["job"], "multiNodeJobId": ["nodes"]}
        ids |= {"arn": ["fair", "quotas"], "quotaShareArn": ["share"], "schedulingPolicyArn": ["fair"]}
        self.plain = PLAIN | {member: [names[name] for name in some] for member, some in ids.items()}
        self.plain["arns"] = self.plain["arn"]
        self.plain["resourceArn"] = [name for name in names.values() if name.startswith("arn:")]
        self.refused = {
            operation: [row for row in rows if row.state == "refused"]
            for operation, rows in test_compatibility.read_table().items()
        }
        self.good = {}
        for operation, request in known_requests():
            self.good.setdefault(operation, []).append(filled(request, names))

    def request(self, operation):
        request = self.structure(operation, self.model.inputs[operation], "")
        good = self.random.choice(self.good.get(operation, [{}]))
        if good:
            kept = {key: value for key, value in good.items() if self.random.random() < 0.95}
            more = {key: value for key, value in request.items() if key not in good and self.random.random() < 0.15}
            request = {key: value for key, value in request.items() if key in good} | kept | more
        for key in request:
            is_name = operation.startswith("Create") and (key == "name" or key.endswith("Name"))
            if is_name or key == "clientToken":
                self.made += 1
                request[key] = f"made-{self.made}"
        return request

    def structure(self, operation, name, path):
        shape = self.model.shapes[name]
        members = shape["members"].items()
        return {
            key: self.value(operation, member["shape"], f"{path}.{key}")
            for key, member in members
            if key in shape.get("required", []) or self.is_wanted(operation, f"{path}.{key}")
        }

    def is_wanted(self, operation, path):
        is_refused = any(row.covers(path.removeprefix(".")) for row in self.refused[operation])
        return self.random.random() < (0.005 if is_refused else 0.6 / path.count("."))

    def value(self, operation, name, path):
        shape = self.model.shapes[name]
        kind, member = shape["type"], path.split(".")[-1].removesuffix("[]")
        if kind == "structure":
            return self.structure(operation, name, path)
        if kind == "list":
            count = self.random.choice([0, 1, 1, 1, 2])
            return [self.value(operation, shape["member"]["shape"], path + "[]") for _ in range(count)]
        if kind == "map":
            return {f"key{number}": "value" for number in range(self.random.randrange(3))}
        if kind == "boolean":
            return self.random.random() < 0.5
        if self.random.random() < 0.03:
            return self.random.choice(ODD[kind])
        usual = ["one", "two", "1"] if kind == "string" else [1, 2, 60]
        return self.random.choice(self.plain.get(member) or shape.get("enum") or usual)


class Chance(Everything):
    async def test_requests_made_by_chance_are_answered_or_refused_as_the_model_says(self):
        chance = ByChance(self.model, await self.make_all())
        # What ends resources would soon leave nothing to ask for.
        ends = ("Delete", "Deregister", "TerminateService")
        operations = [one for one in sorted(self.model.inputs) if not one.startswith(ends)]
        accepted = dict.fromkeys(operations, 0)
        for _ in range(3000):
            operation = chance.random.choice(operations)
            request = chance.request(operation)
            with self.subTest(operation=operation, request=request):
                try:
                    await self.ask(operation, request)
                    accepted[operation] += 1
                except Refused:
                    pass
        self.assertEqual([one for one, count in accepted.items() if count < 5], [], "hardly ever accepted")


class WrongMembers(Everything):
    async def test_a_member_of_another_type_is_refused(self):
        requests = known_requests() + ENDINGS + [(operation, request) for operation, _, request in BASES]
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

    async def test_a_value_that_the_model_does_not_list_is_refused(self):
        await self.check_definitions()
        looked = set()
        for operation, request in known_requests():
            for path in self.model.listed(self.model.inputs[operation], request):
                looked.add((operation, path))
                with self.subTest(operation=operation, member=path):
                    with self.assertRaises(Refused) as refusal:
                        await self.ask(operation, with_value(request, path, "NONSENSE"))
                    self.assertIn("NONSENSE", str(refusal.exception))
        self.assertGreater(len(looked), 50)

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
