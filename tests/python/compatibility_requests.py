"""Requests that say something in every field that COMPATIBILITY.md calls works, recorded or extension.

Places such as `{policy}` are filled in by the test, with the ARN or id of what has that name.
"""

LICENCE = "licence"


def needs(vcpus, memory):
    return [{"type": "VCPU", "value": vcpus}, {"type": "MEMORY", "value": memory}]


CONSUMABLES = {"consumableResourceList": [{"consumableResource": LICENCE, "quantity": 1}]}
RETRY = {
    "attempts": 3,
    "backoff": {"initialSeconds": 1, "multiplier": 2, "maxSeconds": 9},
    "evaluateOnExit": [
        {"onStatusReason": "Host*", "onReason": "Out*", "onExitCode": "1", "action": "RETRY"}
    ],
}
VOLUMES = [
    {"name": "host", "host": {"sourcePath": "/srv"}},
    {
        "name": "nfs",
        "efsVolumeConfiguration": {
            "fileSystemId": "nas.example",
            "rootDirectory": "/export",
            "transitEncryption": "DISABLED",
            "authorizationConfig": {"iam": "DISABLED"},
        },
    },
]
CONTAINER = {
    "image": "busybox",
    "command": ["echo", "Ref::word"],
    "environment": [{"name": "A", "value": "1"}],
    "mountPoints": [{"containerPath": "/srv", "readOnly": True, "sourceVolume": "host"}],
    "readonlyRootFilesystem": True,
    "privileged": True,
    "ulimits": [{"name": "nofile", "softLimit": 10, "hardLimit": 20}],
    "user": "1000:1000",
    "resourceRequirements": needs("0.25", "64"),
    "linuxParameters": {
        "devices": [
            {"hostPath": "/dev/null", "containerPath": "/dev/zip", "permissions": ["READ"]}
        ],
        "initProcessEnabled": True,
        "sharedMemorySize": 8,
        "tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["noexec"]}],
        "maxSwap": 8,
        "swappiness": 10,
    },
    "logConfiguration": {"logDriver": "json-file", "options": {"max-size": "10m"}},
    "secrets": [{"name": "SECRET", "valueFrom": "env:HOME"}],
    "workingDirectory": "/",
}
SINGLE = CONTAINER | {
    "jobRoleArn": "arn:aws:iam::1:role/job",
    "executionRoleArn": "arn:aws:iam::1:role/execution",
    "volumes": VOLUMES,
    "enableExecuteCommand": True,
    "runtimePlatform": {"operatingSystemFamily": "LINUX", "cpuArchitecture": "X86_64"},
}
OLDER = {"image": "busybox", "vcpus": 1, "memory": 64}
FARGATE = {
    "image": "busybox",
    "resourceRequirements": needs("0.25", "512"),
    "networkConfiguration": {"assignPublicIp": "ENABLED"},
    "fargatePlatformConfiguration": {"platformVersion": "1.4.0"},
    "ephemeralStorage": {"sizeInGiB": 21},
}
TASK = {
    "containers": [
        CONTAINER
        | {
            "name": "main",
            "dependsOn": [{"containerName": "side", "condition": "COMPLETE"}],
            "essential": True,
            "startTimeout": 10,
            "stopTimeout": 5,
        },
        {
            "name": "side",
            "image": "busybox",
            "essential": False,
            "resourceRequirements": needs("0.25", "64"),
        },
    ],
    "executionRoleArn": "arn:aws:iam::1:role/execution",
    "taskRoleArn": "arn:aws:iam::1:role/task",
    "ipcMode": "task",
    "pidMode": "task",
    "networkMode": "host",
    "volumes": VOLUMES,
    "enableExecuteCommand": True,
    "runtimePlatform": {"operatingSystemFamily": "LINUX", "cpuArchitecture": "ARM64"},
}
FARGATE_TASK = {
    "containers": [{"image": "busybox", "resourceRequirements": needs("0.5", "1024")}],
    "ephemeralStorage": {"sizeInGiB": 30},
    "platformVersion": "LATEST",
    "networkConfiguration": {"assignPublicIp": "DISABLED"},
}
NODES = {
    "numNodes": 2,
    "mainNode": 0,
    "nodeRangeProperties": [
        {
            "targetNodes": "0:0",
            "container": OLDER | {"instanceType": "c5.large"},
            "instanceTypes": ["c5.large"],
            "consumableResourceProperties": CONSUMABLES,
        },
        {"targetNodes": "1:", "ecsProperties": {"taskProperties": [FARGATE_TASK["containers"][0]]}},
    ],
}
NODES["nodeRangeProperties"][1]["ecsProperties"] = {
    "taskProperties": [{"containers": FARGATE_TASK["containers"]}]
}

DEFINITIONS = {
    "single": {
        "type": "container",
        "containerProperties": SINGLE,
        "parameters": {"word": "hello"},
        "schedulingPriority": 5,
        "retryStrategy": RETRY,
        "propagateTags": True,
        "timeout": {"attemptDurationSeconds": 60},
        "tags": {"team": "a"},
        "platformCapabilities": ["EC2"],
        "consumableResourceProperties": CONSUMABLES,
    },
    "older": {"type": "container", "containerProperties": OLDER},
    "fargate": {
        "type": "container",
        "containerProperties": FARGATE,
        "platformCapabilities": ["FARGATE"],
    },
    "task": {"type": "container", "ecsProperties": {"taskProperties": [TASK]}},
    "fargate-task": {
        "type": "container",
        "ecsProperties": {"taskProperties": [FARGATE_TASK]},
        "platformCapabilities": ["FARGATE"],
    },
    "nodes": {"type": "multinode", "nodeProperties": NODES},
}

# Of each submission what DescribeJobs shows of it: where, and what.
SUBMISSIONS = [
    (
        {
            "jobName": "array",
            "jobQueue": "default",
            "jobDefinition": "single",
            "arrayProperties": {"size": 2, "maxParallel": 1},
            "dependsOn": [{"jobId": "{job}", "type": "N_TO_N", "condition": "SUCCESS"}],
            "parameters": {"word": "other"},
            "containerOverrides": {
                "command": ["say", "Ref::word"],
                "environment": [{"name": "B", "value": "2"}],
                "resourceRequirements": [{"type": "MEMORY", "value": "128"}],
                "workingDirectory": "/tmp",
            },
            "retryStrategy": RETRY,
            "propagateTags": True,
            "timeout": {"attemptDurationSeconds": 61},
            "tags": {"job": "b"},
            "consumableResourcePropertiesOverride": {
                "consumableResourceList": [{"consumableResource": LICENCE, "quantity": 2}]
            },
            "idempotencyKey": "compatibility",
        },
        {
            "jobName": "array",
            "arrayProperties.size": 2,
            "arrayProperties.maxParallel": 1,
            "dependsOn.0.jobId": "{job}",
            "dependsOn.0.type": "N_TO_N",
            "parameters.word": "other",
            "container.command": ["say", "other"],
            "container.environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "container.resourceRequirements": needs("0.25", "128"),
            "container.workingDirectory": "/tmp",
            "retryStrategy.attempts": 3,
            "retryStrategy.evaluateOnExit.0.onExitCode": "1",
            "retryStrategy.backoff.initialSeconds": 1,
            "propagateTags": True,
            "timeout.attemptDurationSeconds": 61,
            "tags": {"job": "b"},
            "consumableResourceProperties.consumableResourceList.0.quantity": 2,
            "platformCapabilities": ["EC2"],
        },
    ),
    (
        {
            "jobName": "older",
            "jobQueue": "default",
            "jobDefinition": "older",
            "containerOverrides": {"vcpus": 2, "memory": 128},
        },
        {"container.vcpus": 2, "container.memory": 128},
    ),
    (
        {
            "jobName": "task",
            "jobQueue": "default",
            "jobDefinition": "task",
            "ecsPropertiesOverride": {
                "taskProperties": [
                    {
                        "containers": [
                            {
                                "name": "side",
                                "command": ["true"],
                                "environment": [{"name": "B", "value": "2"}],
                                "resourceRequirements": [{"type": "VCPU", "value": "1"}],
                            }
                        ]
                    }
                ]
            },
        },
        {
            "ecsProperties.taskProperties.0.containers.1.command": ["true"],
            "ecsProperties.taskProperties.0.containers.1.environment.0.value": "2",
            "ecsProperties.taskProperties.0.containers.1.resourceRequirements.0.value": "1",
            "ecsProperties.taskProperties.0.ipcMode": "task",
        },
    ),
    (
        {
            "jobName": "nodes",
            "jobQueue": "default",
            "jobDefinition": "nodes",
            "nodeOverrides": {
                "numNodes": 3,
                "nodePropertyOverrides": [
                    {
                        "targetNodes": "0:0",
                        "containerOverrides": {"command": ["true"], "instanceType": "c6.large"},
                        "instanceTypes": ["c6.large"],
                    }
                ],
            },
        },
        {
            "nodeProperties.numNodes": 3,
            "nodeProperties.nodeRangeProperties.0.container.command": ["true"],
            "nodeProperties.nodeRangeProperties.0.container.instanceType": "c6.large",
            "nodeProperties.nodeRangeProperties.0.instanceTypes": ["c6.large"],
        },
    ),
    (
        {
            "jobName": "shared",
            "jobQueue": "shared",
            "jobDefinition": "older",
            "shareIdentifier": "blue",
            "schedulingPriorityOverride": 7,
        },
        {"shareIdentifier": "blue", "schedulingPriority": 7},
    ),
    (
        {
            "jobName": "quota",
            "jobQueue": "quota",
            "jobDefinition": "older",
            "quotaShareName": "share",
            "preemptionConfiguration": {"preemptionRetriesBeforeTermination": 3},
        },
        {"quotaShareName": "share", "preemptionConfiguration.preemptionRetriesBeforeTermination": 3},
    ),
]

ORDER = [{"order": 1, "computeEnvironment": "default"}]
LIMITS = [
    {"reason": reason, "state": "RUNNABLE", "maxTimeSeconds": 600, "action": action}
    for reason, action in [
        ("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT", "CANCEL"),
        ("CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY", "TERMINATE"),
    ]
]
FAIRSHARE = {
    "shareDecaySeconds": 600,
    "computeReservation": 10,
    "shareDistribution": [{"shareIdentifier": "blue", "weightFactor": 0.5}],
}
QUOTAS = {
    "capacityLimits": [{"capacityUnit": "VCPU", "maxCapacity": 4}],
    "resourceSharingConfiguration": {"strategy": "LEND_AND_BORROW", "borrowLimit": 50},
    "preemptionConfiguration": {"inSharePreemption": "ENABLED"},
    "state": "ENABLED",
}
SERVICE = "SAGEMAKER_TRAINING"
SERVICE_ORDER = [{"order": 1, "serviceEnvironment": "sage"}]
INSTANCES = [{"maxCapacity": 4, "capacityUnit": "NUM_INSTANCES"}]
# What a queue of service jobs needs, and one.
SERVICE_QUEUE = [
    (
        "CreateServiceEnvironment",
        {
            "serviceEnvironmentName": "base",
            "serviceEnvironmentType": SERVICE,
            "capacityLimits": INSTANCES,
        },
    ),
    (
        "CreateJobQueue",
        {
            "jobQueueName": "base",
            "priority": 1,
            "serviceEnvironmentOrder": [{"order": 1, "serviceEnvironment": "base"}],
        },
    ),
]
NAME_FILTER = [{"name": "JOB_NAME", "values": ["no*"]}]
PAGE = {"maxResults": 5, "nextToken": ""}

# (operation, request, what shows it: operation, request, list in the answer or None)
RESOURCES = [
    (
        "CreateSchedulingPolicy",
        {"name": "fair", "fairsharePolicy": FAIRSHARE, "tags": {"a": "b"}},
        ("DescribeSchedulingPolicies", {"arns": ["{fair}"]}, "schedulingPolicies"),
    ),
    (
        "CreateSchedulingPolicy",
        {"name": "quotas", "quotaSharePolicy": {"idleResourceAssignmentStrategy": "FIFO"}},
        ("DescribeSchedulingPolicies", {"arns": ["{quotas}"]}, "schedulingPolicies"),
    ),
    (
        "UpdateSchedulingPolicy",
        {"arn": "{fair}", "fairsharePolicy": FAIRSHARE | {"computeReservation": 20}},
        ("DescribeSchedulingPolicies", {"arns": ["{fair}"]}, "schedulingPolicies"),
    ),
    (
        "UpdateSchedulingPolicy",
        {"arn": "{quotas}", "quotaSharePolicy": {"idleResourceAssignmentStrategy": "FIFO"}},
        ("DescribeSchedulingPolicies", {"arns": ["{quotas}"]}, "schedulingPolicies"),
    ),
    ("ListSchedulingPolicies", PAGE, None),
    (
        "CreateComputeEnvironment",
        {
            "computeEnvironmentName": "more",
            "type": "UNMANAGED",
            "state": "DISABLED",
            "unmanagedvCpus": 8,
            "serviceRole": "role",
            "tags": {"a": "b"},
        },
        (
            "DescribeComputeEnvironments",
            {"computeEnvironments": ["more"]} | PAGE,
            "computeEnvironments",
        ),
    ),
    (
        "UpdateComputeEnvironment",
        {
            "computeEnvironment": "more",
            "state": "ENABLED",
            "unmanagedvCpus": 9,
            "serviceRole": "other",
        },
        ("DescribeComputeEnvironments", {"computeEnvironments": ["more"]}, "computeEnvironments"),
    ),
    (
        "CreateJobQueue",
        {
            "jobQueueName": "shared",
            "state": "ENABLED",
            "schedulingPolicyArn": "{fair}",
            "priority": 3,
            "computeEnvironmentOrder": ORDER,
            "jobStateTimeLimitActions": LIMITS,
            "tags": {"a": "b"},
        },
        ("DescribeJobQueues", {"jobQueues": ["shared"]} | PAGE, "jobQueues"),
    ),
    (
        "UpdateJobQueue",
        {
            "jobQueue": "shared",
            "state": "ENABLED",
            "schedulingPolicyArn": "{fair}",
            "priority": 4,
            "computeEnvironmentOrder": ORDER,
            "jobStateTimeLimitActions": LIMITS[:1],
        },
        ("DescribeJobQueues", {"jobQueues": ["shared"]}, "jobQueues"),
    ),
    (
        "CreateJobQueue",
        {
            "jobQueueName": "quota",
            "priority": 1,
            "schedulingPolicyArn": "{quotas}",
            "computeEnvironmentOrder": ORDER,
        },
        ("DescribeJobQueues", {"jobQueues": ["quota"]}, "jobQueues"),
    ),
    ("GetJobQueueSnapshot", {"jobQueue": "shared"}, None),
    (
        "CreateQuotaShare",
        {"quotaShareName": "share", "jobQueue": "quota", "tags": {"a": "b"}} | QUOTAS,
        ("DescribeQuotaShare", {"quotaShareArn": "{share}"}, None),
    ),
    (
        "UpdateQuotaShare",
        {"quotaShareArn": "{share}"} | QUOTAS,
        ("DescribeQuotaShare", {"quotaShareArn": "{share}"}, None),
    ),
    ("ListQuotaShares", {"jobQueue": "quota"} | PAGE, None),
    (
        "CreateConsumableResource",
        {
            "consumableResourceName": LICENCE,
            "totalQuantity": 5,
            "resourceType": "REPLENISHABLE",
            "tags": {"a": "b"},
        },
        ("DescribeConsumableResource", {"consumableResource": LICENCE}, None),
    ),
    (
        "UpdateConsumableResource",
        {
            "consumableResource": LICENCE,
            "operation": "ADD",
            "quantity": 5,
            "clientToken": "once",
        },
        None,
    ),
    (
        "ListConsumableResources",
        {"filters": [{"name": "CONSUMABLE_RESOURCE_NAME", "values": ["lic*"]}]} | PAGE,
        None,
    ),
    (
        "ListJobsByConsumableResource",
        {"consumableResource": LICENCE, "filters": NAME_FILTER} | PAGE,
        None,
    ),
    (
        "CreateServiceEnvironment",
        {
            "serviceEnvironmentName": "sage",
            "serviceEnvironmentType": SERVICE,
            "state": "DISABLED",
            "capacityLimits": INSTANCES,
            "tags": {"a": "b"},
        },
        (
            "DescribeServiceEnvironments",
            {"serviceEnvironments": ["sage"]} | PAGE,
            "serviceEnvironments",
        ),
    ),
    (
        "UpdateServiceEnvironment",
        {
            "serviceEnvironment": "{sage}",
            "state": "ENABLED",
            "capacityLimits": [{"maxCapacity": 2, "capacityUnit": "ml.m5.large"}],
        },
        ("DescribeServiceEnvironments", {"serviceEnvironments": ["{sage}"]}, "serviceEnvironments"),
    ),
    (
        "CreateJobQueue",
        {
            "jobQueueName": "trainings",
            "priority": 1,
            "schedulingPolicyArn": "{fair}",
            "jobQueueType": SERVICE,
            "serviceEnvironmentOrder": SERVICE_ORDER,
        },
        ("DescribeJobQueues", {"jobQueues": ["trainings"]}, "jobQueues"),
    ),
    (
        "UpdateJobQueue",
        {"jobQueue": "trainings", "serviceEnvironmentOrder": SERVICE_ORDER},
        ("DescribeJobQueues", {"jobQueues": ["trainings"]}, "jobQueues"),
    ),
    (
        "SubmitServiceJob",
        {
            "jobName": "train",
            "jobQueue": "trainings",
            "retryStrategy": {
                "attempts": 2,
                "evaluateOnExit": [{"action": "RETRY", "onStatusReason": "Received*"}],
            },
            "schedulingPriority": 5,
            "serviceRequestPayload": '{"TrainingJobName": "train"}',
            "serviceJobType": SERVICE,
            "shareIdentifier": "blue",
            "timeoutConfig": {"attemptDurationSeconds": 60},
            "tags": {"a": "b"},
            "clientToken": "once",
        },
        ("DescribeServiceJob", {"jobId": "{train}"}, None),
    ),
    (
        "UpdateServiceJob",
        {"jobId": "{train}", "schedulingPriority": 6},
        ("DescribeServiceJob", {"jobId": "{train}"}, None),
    ),
    (
        "ListServiceJobs",
        {"jobQueue": "trainings", "jobStatus": "RUNNABLE", "filters": NAME_FILTER} | PAGE,
        None,
    ),
    ("TagResource", {"resourceArn": "{fair}", "tags": {"c": "d"}}, None),
    ("UntagResource", {"resourceArn": "{fair}", "tagKeys": ["c"]}, None),
    ("ListTagsForResource", {"resourceArn": "{fair}"}, None),
    ("ListJobs", {"jobQueue": "default", "filters": NAME_FILTER} | PAGE, None),
    ("ListJobs", {"jobQueue": "default", "jobStatus": "FAILED"}, None),
    ("DescribeJobDefinitions", {"jobDefinitionName": "x", "status": "ACTIVE"} | PAGE, None),
    ("DescribeJobDefinitions", {"jobDefinitions": ["x:1"]}, None),
]
# Sent at the end, in this order: with the jobs and resources above.
ENDINGS = [
    ("ListJobs", {"arrayJobId": "{array}"}),
    ("ListJobs", {"multiNodeJobId": "{nodes}"}),
    ("CancelJob", {"jobId": "{job}", "reason": "test"}),
    ("CancelJobs", {"jobs": ["{job}"], "reason": "test"}),
    ("TerminateJob", {"jobId": "{array}", "reason": "test"}),
    ("TerminateJobs", {"jobs": ["{nodes}"], "reason": "test"}),
    ("TerminateServiceJob", {"jobId": "{train}", "reason": "test"}),
    ("TerminateServiceJobs", {"jobs": ["{train}"], "reason": "test"}),
    ("UpdateJobQueue", {"jobQueue": "trainings", "state": "DISABLED"}),
    ("DeleteJobQueue", {"jobQueue": "trainings"}),
    ("UpdateServiceEnvironment", {"serviceEnvironment": "sage", "state": "DISABLED"}),
    ("DeleteServiceEnvironment", {"serviceEnvironment": "sage"}),
    ("DeregisterJobDefinition", {"jobDefinition": "older:1"}),
    ("UpdateQuotaShare", {"quotaShareArn": "{share}", "state": "DISABLED"}),
    ("DeleteQuotaShare", {"quotaShareArn": "{share}"}),
    ("CreateConsumableResource", {"consumableResourceName": "gone"}),
    ("DeleteConsumableResource", {"consumableResource": "gone"}),
    ("CreateSchedulingPolicy", {"name": "gone", "fairsharePolicy": {}}),
    ("DeleteSchedulingPolicy", {"arn": "{gone}"}),
    ("UpdateComputeEnvironment", {"computeEnvironment": "more", "state": "DISABLED"}),
    ("DeleteComputeEnvironment", {"computeEnvironment": "more"}),
    ("CreateJobQueue", {"jobQueueName": "gone", "priority": 1, "state": "DISABLED", "computeEnvironmentOrder": ORDER}),
    ("DeleteJobQueue", {"jobQueue": "gone"}),
]

# The least that makes a request, by operation and the beginning of the field that is to be added.
BASES = [
    (
        "RegisterJobDefinition",
        "ecsProperties",
        {
            "jobDefinitionName": "x",
            "type": "container",
            "ecsProperties": {
                "taskProperties": [
                    {
                        "containers": [{"image": "i", "resourceRequirements": needs("1", "64")}],
                        "volumes": [{"name": "v"}],
                    }
                ]
            },
        },
    ),
    (
        "RegisterJobDefinition",
        "",
        {
            "jobDefinitionName": "x",
            "type": "container",
            "containerProperties": {
                "image": "i",
                "resourceRequirements": needs("1", "64"),
                "volumes": [{"name": "v"}],
                "logConfiguration": {"logDriver": "awslogs"},
            },
        },
    ),
    (
        "SubmitJob",
        "",
        {"jobName": "x", "jobQueue": "default", "jobDefinition": "older"},
    ),
    (
        "CreateJobQueue",
        "",
        {"jobQueueName": "x", "priority": 1, "computeEnvironmentOrder": ORDER},
    ),
    ("UpdateJobQueue", "", {"jobQueue": "default"}),
    (
        "SubmitServiceJob",
        "",
        {
            "jobName": "x",
            "jobQueue": "base",
            "serviceRequestPayload": "{}",
            "serviceJobType": SERVICE,
        },
    ),
    ("CreateComputeEnvironment", "", {"computeEnvironmentName": "x", "type": "UNMANAGED"}),
    ("UpdateComputeEnvironment", "", {"computeEnvironment": "default"}),
    ("CreateSchedulingPolicy", "", {"name": "x"}),
    ("UpdateSchedulingPolicy", "", {"arn": "x"}),
]
