//! The environment of an attempt: built from scratch, so that nothing of the agent's own leaks in.

use windrow_common::ids::JobRef;
use windrow_common::wire::container::ContainerSpec;
use windrow_common::wire::lease::{Lease, Nodes};

use crate::executor::Environment;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variables of a container of child `child` of `lease`, later ones winning over earlier ones: for a process
/// (`home` given) a search path and home directory, then the user's, then AWS Batch's. A container's
/// image brings its own path and home. `gpus`: those it has, on a host with some.
pub fn environment(
    lease: &Lease,
    child: u32,
    spec: &ContainerSpec,
    home: Option<&str>,
    gpus: Option<&[String]>,
) -> Environment {
    let mut variables = Environment(Vec::with_capacity(spec.environment.len() + 9));
    if let Some(home) = home {
        variables.set("PATH", PATH);
        variables.set("HOME", home);
    }
    for (key, value) in &spec.environment {
        variables.set(key, value);
    }
    let job = match (&lease.nodes, lease.array_size) {
        (Some(_), _) => JobRef::node(lease.job, child),
        (None, Some(_)) => JobRef::child(lease.job, child),
        (None, None) => lease.job.into(),
    };
    variables.set("AWS_BATCH_JOB_ID", &job.to_string());
    variables.set("AWS_BATCH_JOB_ATTEMPT", &lease.attempt.to_string());
    variables.set("AWS_BATCH_JQ_NAME", lease.queue.as_str());
    variables.set("AWS_BATCH_CE_NAME", lease.compute_environment.as_str());
    if let Some(size) = lease.array_size {
        variables.set("AWS_BATCH_JOB_ARRAY_INDEX", &child.to_string());
        variables.set("AWS_BATCH_JOB_ARRAY_SIZE", &size.to_string());
    }
    if let Some(nodes) = &lease.nodes {
        set_node(&mut variables, child, nodes);
    }
    variables.set("AWS_EXECUTION_ENV", "AWS_ECS_EC2");
    if let Some(gpus) = gpus {
        // What has none must not find those of others.
        let visible = if gpus.is_empty() { "void".to_owned() } else { gpus.join(",") };
        variables.set("NVIDIA_VISIBLE_DEVICES", &visible);
        if home.is_some() {
            variables.set("CUDA_VISIBLE_DEVICES", &gpus.join(","));
        }
    }
    variables
}

/// A node's place; the main node, which the others connect to, is not told its own address.
fn set_node(variables: &mut Environment, node: u32, nodes: &Nodes) {
    variables.set("AWS_BATCH_JOB_NODE_INDEX", &node.to_string());
    variables.set("AWS_BATCH_JOB_NUM_NODES", &nodes.count.to_string());
    variables.set("AWS_BATCH_JOB_MAIN_NODE_INDEX", &nodes.main.to_string());
    if let Some(address) = nodes.main_address.as_ref().filter(|_| node != nodes.main) {
        variables.set("AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS", address);
    }
}

#[cfg(test)]
mod tests {
    use windrow_common::ids::{JobId, LeaseId};
    use windrow_common::units::Resources;
    use windrow_common::wire::lease::SpecDigest;

    use super::*;

    fn lease(spec: &ContainerSpec, array_size: Option<u32>) -> Lease {
        Lease {
            id: LeaseId(1),
            job: JobId::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
            array_size,
            first: 0,
            count: 1,
            attempt: 2,
            spec: SpecDigest::of(spec),
            resources: Resources::new(1000, 1),
            timeout_seconds: None,
            queue: "fast".parse().unwrap(),
            compute_environment: "here".parse().unwrap(),
            nodes: None,
        }
    }

    fn find<'a>(variables: &'a Environment, key: &str) -> Option<&'a str> {
        let mut found = variables.0.iter().filter(|(k, _)| k == key);
        let value = found.next().map(|(_, v)| v.as_str());
        assert!(found.next().is_none(), "{key} is given twice");
        value
    }

    #[test]
    fn array_children_of_processes() {
        let of_user = [("PATH", "/opt"), ("A", "1"), ("AWS_BATCH_JOB_ID", "forged")];
        let spec = ContainerSpec {
            environment: of_user.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
            ..ContainerSpec::default()
        };
        let variables = environment(&lease(&spec, Some(10)), 7, &spec, Some("/scratch"), None);
        let job = "01900000-0000-7000-8000-000000000001:7";
        for (key, value) in [
            ("PATH", "/opt"),
            ("HOME", "/scratch"),
            ("A", "1"),
            ("AWS_BATCH_JOB_ID", job),
            ("AWS_BATCH_JOB_ATTEMPT", "2"),
            ("AWS_BATCH_JQ_NAME", "fast"),
            ("AWS_BATCH_CE_NAME", "here"),
            ("AWS_BATCH_JOB_ARRAY_INDEX", "7"),
            ("AWS_BATCH_JOB_ARRAY_SIZE", "10"),
            ("AWS_EXECUTION_ENV", "AWS_ECS_EC2"),
        ] {
            assert_eq!(find(&variables, key), Some(value), "{key}");
        }
        assert_eq!(variables.0.len(), 10);
    }

    #[test]
    fn gpus_are_shown_to_those_that_have_them() {
        let spec = ContainerSpec::default();
        let of = |gpus: &[&str], home| {
            let gpus: Vec<_> = gpus.iter().map(|id| (*id).to_owned()).collect();
            let all = environment(&lease(&spec, None), 0, &spec, home, Some(&gpus));
            let shown = |key| find(&all, key).map(str::to_owned);
            (shown("NVIDIA_VISIBLE_DEVICES"), shown("CUDA_VISIBLE_DEVICES"))
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(of(&["GPU-a", "GPU-b"], Some("/")), (text("GPU-a,GPU-b"), text("GPU-a,GPU-b")));
        assert_eq!(of(&[], Some("/")), (text("void"), text("")));
        assert_eq!(of(&["GPU-a"], None), (text("GPU-a"), None), "a container has no others");
    }

    #[test]
    fn single_containers() {
        let spec = ContainerSpec::default();
        let variables = environment(&lease(&spec, None), 0, &spec, None, None);
        let job = "01900000-0000-7000-8000-000000000001";
        assert_eq!(find(&variables, "AWS_BATCH_JOB_ID"), Some(job));
        for absent in ["PATH", "HOME", "AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"] {
            assert_eq!(find(&variables, absent), None);
        }
    }

    #[test]
    fn nodes_know_their_place_and_where_the_main_node_is() {
        let spec = ContainerSpec::default();
        let nodes = Nodes { count: 3, main: 1, main_address: Some("10.0.0.7".to_owned()) };
        let lease = Lease { nodes: Some(nodes), ..lease(&spec, None) };
        let address = "AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS";
        let other = environment(&lease, 2, &spec, None, None);
        for (key, value) in [
            ("AWS_BATCH_JOB_ID", "01900000-0000-7000-8000-000000000001#2"),
            ("AWS_BATCH_JOB_NODE_INDEX", "2"),
            ("AWS_BATCH_JOB_NUM_NODES", "3"),
            ("AWS_BATCH_JOB_MAIN_NODE_INDEX", "1"),
            (address, "10.0.0.7"),
        ] {
            assert_eq!(find(&other, key), Some(value), "{key}");
        }
        let main = environment(&lease, 1, &spec, None, None);
        assert_eq!(find(&main, "AWS_BATCH_JOB_NODE_INDEX"), Some("1"));
        assert_eq!(find(&main, address), None);
    }
}
