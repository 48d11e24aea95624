// What users of AWS Batch do, with the AWS SDK for JavaScript. The cluster's address and the access key come
// from the environment; started by tests/compat/test_node.py.

import assert from "node:assert/strict";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import * as aws from "@aws-sdk/client-batch";

const batch = new aws.BatchClient({ maxAttempts: 1 });
const ended = ["SUCCEEDED", "FAILED"];

const send = (Command, request) => batch.send(new Command(request));
const submit = async (jobName, request) => {
  const target = { jobQueue: "default", jobDefinition: "adhoc" };
  return (await send(aws.SubmitJobCommand, { jobName, ...target, ...request })).jobId;
};
const run = (jobName, command, more) =>
  submit(jobName, { containerOverrides: { command }, ...more });
const detail = async (job) => (await send(aws.DescribeJobsCommand, { jobs: [job] })).jobs[0];

async function reaches(job, statuses) {
  for (let looks = 0; looks < 1200; looks += 1) {
    const found = await detail(job);
    if (statuses.includes(found.status)) return found;
    await sleep(50);
  }
  assert.fail(`${job} does not get to ${statuses}`);
}

async function all(paginate, rows, request) {
  const found = [];
  for await (const page of paginate({ client: batch, pageSize: 2 }, request)) {
    found.push(...page[rows]);
  }
  return found;
}

test("environments, queues, policies", async () => {
  const environment = { computeEnvironmentName: "own", type: "UNMANAGED", tags: { team: "a" } };
  await send(aws.CreateComputeEnvironmentCommand, environment);
  const [own] = await all(aws.paginateDescribeComputeEnvironments, "computeEnvironments", {
    computeEnvironments: ["own"],
  });
  assert.deepEqual([own.type, own.status, own.tags], ["UNMANAGED", "VALID", { team: "a" }]);
  const shareDistribution = [{ shareIdentifier: "red", weightFactor: 0.5 }];
  const { arn } = await send(aws.CreateSchedulingPolicyCommand, {
    name: "fair",
    fairsharePolicy: { shareDistribution },
  });
  const policies = await send(aws.DescribeSchedulingPoliciesCommand, { arns: [arn] });
  const [fair] = policies.schedulingPolicies;
  assert.deepEqual(fair.fairsharePolicy.shareDistribution, shareDistribution);
  const computeEnvironmentOrder = [{ order: 1, computeEnvironment: "default" }];
  for (const jobQueueName of ["q1", "q2", "q3"]) {
    const queue = { jobQueueName, priority: 5, schedulingPolicyArn: arn, computeEnvironmentOrder };
    await send(aws.CreateJobQueueCommand, queue);
  }
  const queues = await all(aws.paginateDescribeJobQueues, "jobQueues", {});
  assert.deepEqual(queues.map((queue) => queue.jobQueueName).sort(), ["default", "q1", "q2", "q3"]);
  const job = await run("shared", ["true"], { jobQueue: "q1", shareIdentifier: "red" });
  assert.equal((await reaches(job, ended)).shareIdentifier, "red");
  await send(aws.UpdateJobQueueCommand, { jobQueue: "q3", state: "DISABLED" });
  await send(aws.DeleteJobQueueCommand, { jobQueue: "q3" });
});

const resourceRequirements = [
  { type: "VCPU", value: "0.1" },
  { type: "MEMORY", value: "16" },
];

test("definitions, parameters, overrides", async () => {
  const command = ["sh", "-c", 'test "$1 $COLOUR" = "hello red"', "name", "Ref::word"];
  const containerProperties = { command, resourceRequirements };
  const definition = { jobDefinitionName: "greets", type: "container", containerProperties };
  for (const revision of [1, 2]) {
    const made = await send(aws.RegisterJobDefinitionCommand, definition);
    assert.equal(made.revision, revision);
  }
  const [first] = await all(aws.paginateDescribeJobDefinitions, "jobDefinitions", {
    jobDefinitions: ["greets:1"],
  });
  assert.deepEqual(first.containerProperties, containerProperties);
  const job = await submit("greets", {
    jobDefinition: "greets",
    parameters: { word: "hello" },
    containerOverrides: { environment: [{ name: "COLOUR", value: "red" }] },
  });
  assert.equal((await reaches(job, ended)).container.exitCode, 0);
  await send(aws.DeregisterJobDefinitionCommand, { jobDefinition: "greets:2" });
});

test("arrays, dependencies, lists", async () => {
  const arrayProperties = { size: 5 };
  const first = await run("first", ["true"], { arrayProperties });
  const dependsOn = [{ jobId: first, type: "N_TO_N" }];
  const second = await run("second", ["true"], { arrayProperties, dependsOn });
  assert.equal((await reaches(second, ended)).arrayProperties.statusSummary.SUCCEEDED, 5);
  const listed = await all(aws.paginateListJobs, "jobSummaryList", {
    arrayJobId: second,
    jobStatus: "SUCCEEDED",
  });
  const indices = listed.map((child) => child.arrayProperties.index);
  assert.deepEqual(indices.sort(), [0, 1, 2, 3, 4]);
  const filters = [{ name: "JOB_NAME", values: ["SEC*"] }];
  const named = await all(aws.paginateListJobs, "jobSummaryList", { jobQueue: "default", filters });
  assert.deepEqual(
    named.map((job) => job.jobId),
    [second],
  );
  const row = { arrayProperties, dependsOn: [{ type: "SEQUENTIAL" }] };
  const third = await run("third", ["true"], row);
  assert.equal((await reaches(third, ended)).status, "SUCCEEDED");
  const children = await Promise.all([0, 1, 2, 3, 4].map((index) => detail(`${third}:${index}`)));
  for (const [index, child] of children.entries()) {
    if (index > 0) assert.ok(children[index - 1].stoppedAt <= child.startedAt);
  }
});

test("retries and time limits", async () => {
  const evaluateOnExit = [
    { onExitCode: "9", action: "EXIT" },
    { onReason: "*", action: "RETRY" },
  ];
  const script = "exit $(( AWS_BATCH_JOB_ATTEMPT == 2 ? 9 : 1 ))";
  const retryStrategy = { attempts: 5, evaluateOnExit };
  const again = await run("again", ["sh", "-c", script], { retryStrategy });
  const timeout = { attemptDurationSeconds: 1 };
  const slow = await run("slow", ["sleep", "600"], { timeout, retryStrategy: { attempts: 2 } });
  const waits = await run("waits", ["true"], { dependsOn: [{ jobId: again }] });
  const { attempts } = await reaches(again, ended);
  assert.deepEqual(
    attempts.map((attempt) => attempt.container.exitCode),
    [1, 9],
  );
  const late = await reaches(slow, ended);
  assert.equal(late.statusReason, "Job attempt duration exceeded timeout");
  assert.deepEqual([late.timeout, late.attempts.length], [timeout, 1]);
  const never = await reaches(waits, ended);
  assert.deepEqual([never.status, never.attempts], ["FAILED", []]);
});

test("a job of several nodes", async () => {
  const container = {
    command: ["sh", "-c", 'test "$AWS_BATCH_JOB_NUM_NODES" = 2'],
    resourceRequirements,
  };
  const nodeRangeProperties = [{ targetNodes: "0:", container }];
  await send(aws.RegisterJobDefinitionCommand, {
    jobDefinitionName: "gang",
    type: "multinode",
    nodeProperties: { numNodes: 2, mainNode: 0, nodeRangeProperties },
  });
  const gang = await submit("gang", { jobDefinition: "gang" });
  const { status, nodeProperties } = await reaches(gang, ended);
  assert.deepEqual([status, nodeProperties.numNodes], ["SUCCEEDED", 2]);
  assert.equal((await detail(`${gang}#0`)).nodeDetails.isMainNode, true);
});

test("equal calls at one time are as many jobs", async () => {
  const twins = await Promise.all(Array.from({ length: 10 }, () => run("twin", ["true"])));
  assert.equal(new Set(twins).size, 10);
  for (const twin of twins) assert.equal((await reaches(twin, ended)).status, "SUCCEEDED");
});

test("cancel, terminate, tags", async () => {
  const runs = await run("runs", ["sleep", "600"], { tags: { a: "1" } });
  const waits = await run("waits", ["true"], { dependsOn: [{ jobId: runs }] });
  await send(aws.CancelJobCommand, { jobId: waits, reason: "not needed" });
  assert.equal((await reaches(waits, ended)).statusReason, "not needed");
  const { jobArn } = await reaches(runs, ["RUNNING"]);
  await send(aws.TagResourceCommand, { resourceArn: jobArn, tags: { "b/c": "ü" } });
  await send(aws.UntagResourceCommand, { resourceArn: jobArn, tagKeys: ["a"] });
  const { tags } = await send(aws.ListTagsForResourceCommand, { resourceArn: jobArn });
  assert.deepEqual(tags, { "b/c": "ü" });
  await send(aws.TerminateJobCommand, { jobId: runs, reason: "enough" });
  assert.equal((await reaches(runs, ended)).statusReason, "enough");
});

test("errors", async () => {
  await assert.rejects(submit("a", { jobQueue: "nowhere" }), (error) => {
    assert.ok(error instanceof aws.ClientException);
    assert.match(error.message, /nowhere/);
    assert.equal(error.$metadata.httpStatusCode, 400);
    assert.match(error.$metadata.requestId, /^[0-9a-f-]{36}$/);
    return true;
  });
});

test("keys", async () => {
  const submitted = new aws.SubmitJobCommand({
    jobName: "a",
    jobQueue: "default",
    jobDefinition: "adhoc",
  });
  const refusal = async (accessKeyId, secretAccessKey) => {
    const credentials = { accessKeyId, secretAccessKey };
    const client = new aws.BatchClient({ maxAttempts: 1, credentials });
    const error = await client.send(submitted).then(assert.fail, (error) => error);
    assert.equal(error.$metadata.httpStatusCode, 403, error);
    return error;
  };
  const { AWS_ACCESS_KEY_ID, READER_ACCESS_KEY_ID, READER_SECRET_ACCESS_KEY } = process.env;
  const wrong = "x".repeat(40);
  assert.equal((await refusal("AKIDUNKNOWN", wrong)).name, "UnrecognizedClientException");
  assert.equal((await refusal(AWS_ACCESS_KEY_ID, wrong)).name, "InvalidSignatureException");
  const denied = await refusal(READER_ACCESS_KEY_ID, READER_SECRET_ACCESS_KEY);
  assert.equal(denied.name, "AccessDeniedException");
  assert.match(denied.message, /user\/reader is not authorized to perform: batch:SubmitJob/);
});
