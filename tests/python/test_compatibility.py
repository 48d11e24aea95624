"""COMPATIBILITY.md against the API's model and a running cluster.

Every field of the model has a row; what the table calls accepted is accepted and comes back; what it calls
refused is refused with the message it gives. The model is that of botocore.
"""

import copy
import gzip
import json
import pathlib
import re
import unittest

import botocore

from cluster import ROOT, ClusterTest, Refused
from compatibility_requests import BASES, DEFINITIONS, ENDINGS, RESOURCES, SERVICE_QUEUE, SUBMISSIONS

MODEL = pathlib.Path(botocore.__file__).parent / "data/batch/2016-08-10/service-2.json.gz"
TABLE = ROOT / "COMPATIBILITY.md"
ACCEPTED = ("works", "recorded", "extension")
# The name that a change goes to is not part of what is shown, nor is a token.
NOT_SHOWN = (
    "jobQueue",
    "computeEnvironment",
    "arn",
    "quotaShareArn",
    "consumableResource",
    "serviceEnvironment",
    "jobId",
    "clientToken",
)


class Model:
    """The requests of AWS's model."""

    def __init__(self):
        model = json.loads(gzip.decompress(MODEL.read_bytes()))
        self.shapes = model["shapes"]
        self.operations = model["operations"]
        inputs = {name: operation.get("input") for name, operation in self.operations.items()}
        self.inputs = {name: shape["shape"] for name, shape in inputs.items() if shape}

    def fields(self, operation):
        """Every field of the operation's request, as `a.b[].c`, with its shape."""
        return dict(self.below(self.inputs[operation], "", ()))

    def below(self, name, path, above):
        shape = self.shapes[name]
        if shape["type"] == "list":
            yield from self.below(shape["member"]["shape"], path + "[]", above)
        for key, member in shape.get("members", {}).items():
            field = f"{path}.{key}" if path else key
            yield field, member["shape"]
            if member["shape"] not in above:
                yield from self.below(member["shape"], field, above + (member["shape"],))

    def sample(self, name, all_fields=True):
        """Some value of a shape that says something."""
        shape = self.shapes[name]
        kind = shape["type"]
        if kind == "structure":
            wanted = shape["members"] if all_fields else shape.get("required", [])
            return {key: self.sample(shape["members"][key]["shape"], all_fields) for key in wanted}
        if kind == "list":
            return [self.sample(shape["member"]["shape"], all_fields)]
        if kind == "map":
            return {"key": "value"}
        return {"string": "x", "boolean": True}.get(kind, 1)

    def with_field(self, operation, base, field):
        """The request with a value in this field, and what must stand beside it."""
        request = copy.deepcopy(base)
        place, shape = request, self.inputs[operation]
        *above, last = field.split(".")
        for step in above:
            shape = self.shapes[shape]["members"][step.removesuffix("[]")]["shape"]
            fresh = self.sample(shape, all_fields=False)
            place = place.setdefault(step.removesuffix("[]"), fresh)
            if step.endswith("[]"):
                shape = self.shapes[shape]["member"]["shape"]
                place = place[0]
        place[last] = self.sample(self.shapes[shape]["members"][last]["shape"])
        return request


class Row:
    def __init__(self, field, state, notes):
        self.field, self.state, self.notes = field, state, notes

    def covers(self, field):
        if not self.field.endswith(".**"):
            return field == self.field
        whole = self.field.removesuffix(".**")
        return field == whole or field.startswith((whole + ".", whole + "[]"))

    def message(self):
        """The first text in code: two backticks around one that has some itself."""
        found = re.search(r"``(.+?)``|`(.+?)`", self.notes)
        return (found[1] or found[2]).strip() if found else None


def read_table():
    """The rows of COMPATIBILITY.md by operation."""
    sections = dict(part.split("\n", 1) for part in TABLE.read_text().split("\n## ")[1:])
    rows = {}
    for operation, section in sections.items():
        lines = re.findall(r"^\| `([^`]+)` \| (.*?) \| (.*?) ?\|$", section, re.MULTILINE)
        rows[operation] = [Row(*line) for line in lines]
    return rows


def paths(value, path=""):
    """The fields that a request says something in."""
    if isinstance(value, list):
        for one in value:
            yield from paths(one, path + "[]")
    elif isinstance(value, dict):
        for key, one in value.items():
            field = f"{path}.{key}" if path else key
            yield field
            yield from paths(one, field)


def is_shown(sent, shown):
    """Whether all that was sent is in what is shown."""
    if isinstance(sent, dict) and isinstance(shown, dict):
        return all(key in shown and is_shown(one, shown[key]) for key, one in sent.items())
    if isinstance(sent, list) and isinstance(shown, list):
        return len(sent) == len(shown) and all(map(is_shown, sent, shown))
    # Names come back as ARNs.
    is_arn = isinstance(shown, str) and shown.startswith("arn:") and isinstance(sent, str)
    return sent == shown or (is_arn and shown.endswith("/" + sent))


def at(value, path):
    for step in path.split("."):
        value = value[int(step)] if isinstance(value, list) else value.get(step, {})
    return value


def filled(value, names):
    """The request with `{name}` replaced by what the name stands for."""
    text = json.dumps(value)
    for name, meant in names.items():
        text = text.replace("{" + name + "}", meant)
    return json.loads(text)


class Table(unittest.TestCase):
    def setUp(self):
        self.model = Model()
        self.rows = read_table()

    def test_every_operation_is_named(self):
        self.assertEqual(set(self.rows), set(self.model.inputs))

    def test_every_operation_is_in_the_first_table_once(self):
        table = re.findall(r"^\| ([A-Z].*?) \| (?:works|kept) \|", TABLE.read_text(), re.MULTILINE)
        named = [name for row in table for name in row.split(", ")]
        self.assertEqual(sorted(named), sorted(self.model.inputs))

    def test_every_field_has_a_row_and_every_row_a_field(self):
        for operation, rows in self.rows.items():
            fields = self.model.fields(operation)
            for field in fields:
                covering = [row.field for row in rows if row.covers(field)]
                exact = [row for row in covering if not row.endswith(".**")]
                self.assertTrue(covering, f"{operation}: no row for {field}")
                self.assertLessEqual(len(exact), 1, f"{operation}: {covering} for {field}")
            for row in rows:
                known = any(row.covers(field) for field in fields)
                self.assertEqual(known, row.state != "extension", f"{operation}: {row.field}")
                states = ACCEPTED + ("refused",)
                self.assertTrue(row.state in states or row.state.startswith("as `"), row.state)
                if row.state == "refused":
                    self.assertTrue(row.message(), f"{operation}: {row.field} without a message")

    def test_every_accepted_field_is_in_a_request_below(self):
        sent = {"RegisterJobDefinition": list(DEFINITIONS.values()) + [{"jobDefinitionName": "x"}]}
        sent["SubmitJob"] = [request for request, _ in SUBMISSIONS]
        sent["DescribeJobs"] = [{"jobs": ["x"]}]
        for operation, request, shown in RESOURCES:
            sent.setdefault(operation, []).append(request)
            if shown:
                sent.setdefault(shown[0], []).append(shown[1])
        for operation, request in ENDINGS:
            sent.setdefault(operation, []).append(request)
        for operation, rows in self.rows.items():
            said = {path for request in sent[operation] for path in paths(request)}
            for row in rows:
                if row.state in ACCEPTED:
                    self.assertIn(row.field, said, f"{operation}: no request says {row.field}")


class Everything(ClusterTest):
    async def make_all(self):
        """Makes the resources, definitions and jobs; what their names stand for."""
        names = {}
        for operation, request, shown in RESOURCES:
            request = filled(request, names)
            with self.subTest(operation=operation):
                answer = await self.ask(operation, request)
                arns = [value for key, value in answer.items() if key.lower().endswith("arn")]
                name = next((v for k, v in request.items() if k.lower().endswith("name")), None)
                if arns and name:
                    names[name] = arns[0]
                if shown:
                    await self.check_shown(request, filled(shown, names))
        await self.check_definitions()
        job = {"jobName": "job", "jobQueue": "default", "jobDefinition": "single"}
        answer = await self.ask("SubmitJob", job | {"arrayProperties": {"size": 2}})
        names["job"] = answer["jobId"]
        for request, shown in SUBMISSIONS:
            with self.subTest(submission=request["jobName"]):
                names[request["jobName"]] = await self.check_submission(
                    filled(request, names), filled(shown, names)
                )
        return names

    async def check_shown(self, request, shown):
        operation, question, rows = shown
        answer = await self.ask(operation, question)
        detail = answer[rows][0] if rows else answer
        for key, value in request.items():
            if key not in NOT_SHOWN:
                self.assertTrue(is_shown(value, detail.get(key)), f"{operation}: {key}: {detail}")

    async def check_definitions(self):
        for name, definition in DEFINITIONS.items():
            with self.subTest(definition=name):
                request = definition | {"jobDefinitionName": name}
                answer = await self.ask("RegisterJobDefinition", request)
                question = {"jobDefinitions": [answer["jobDefinitionArn"]]}
                described = await self.ask("DescribeJobDefinitions", question)
                shown = described["jobDefinitions"][0]
                for field, value in request.items():
                    self.assertEqual(shown.get(field), value, field)

    async def check_submission(self, request, shown):
        answer = await self.ask("SubmitJob", request)
        described = await self.ask("DescribeJobs", {"jobs": [answer["jobId"]]})
        for path, value in shown.items():
            self.assertEqual(at(described["jobs"][0], path), value, path)
        return answer["jobId"]


class Cluster(Everything):
    async def test_what_is_refused_is_refused_with_its_message(self):
        model, rows = Model(), read_table()
        await self.ask("RegisterJobDefinition", DEFINITIONS["older"] | {"jobDefinitionName": "older"})
        for operation, request in SERVICE_QUEUE:
            await self.ask(operation, request)
        for operation, fields in rows.items():
            for row in (row for row in fields if row.state == "refused"):
                with self.subTest(operation=operation, row=row.field):
                    for field in filter(row.covers, model.fields(operation)):
                        bases = [b for o, start, b in BASES if o == operation and field.startswith(start)]
                        request = model.with_field(operation, bases[0], field)
                        with self.assertRaises(Refused, msg=field) as refusal:
                            await self.ask(operation, request)
                        self.assertIn(row.message(), str(refusal.exception), field)

    async def test_what_is_accepted_comes_back(self):
        names = await self.make_all()
        for operation, request in ENDINGS:
            with self.subTest(operation=operation):
                answer = await self.ask(operation, filled(request, names))
                if "arn" in answer:
                    names[request["name"]] = answer["arn"]


if __name__ == "__main__":
    unittest.main(verbosity=2)
