//! Why jobs wait, through the real programs: asked at once after the submission is acknowledged, and
//! what the answer proposes is carried out as a person would type it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};

use serde_json::Value;
use windrow_tests::part::Part;
use windrow_tests::program::Finished;
use windrow_tests::{Cluster, agent, wait_until};

/// Runs until the file `$0` is there.
const HOLDS: &str = "until [ -e \"$0\" ]; do sleep 0.05; done";

/// A cluster with one agent of 8 vCPUs, and what the test started beside it.
struct Site {
    cluster: Cluster,
    /// Ends all jobs when it is made.
    end: PathBuf,
    agents: Vec<Part>,
}

impl Site {
    fn new() -> Self {
        let cluster = Cluster::start();
        let end = cluster.scratch().join("end");
        Self { cluster, end, agents: Vec::new() }
    }

    fn windrow(&self, line: &str) -> String {
        self.cluster.windrow(&words(line)).ok()
    }

    fn json(&self, line: &str) -> Value {
        self.cluster.windrow(&words(&format!("{line} -o json"))).json()
    }

    /// A job of one vCPU, unless `options` say otherwise, that runs until [`Self::end`].
    fn submit(&self, options: &str) -> String {
        self.run("submit -q", options).ok()
    }

    fn run(&self, verb: &str, options: &str) -> Finished {
        let mut all = words(verb);
        if !options.contains("--vcpus") {
            all.extend(["--vcpus", "1"]);
        }
        all.extend(words(options));
        all.extend(["--memory", "16", "--", "sh", "-c", HOLDS, path(&self.end)]);
        self.cluster.windrow(&all)
    }

    /// Asks once, in every way there is, and gets this word from each; what `job why` says beside it.
    fn waits(&self, id: &str, queue: &str, code: &str) -> Value {
        let why = self.json(&format!("job why {id}"));
        assert_eq!(why["code"], code, "{why:#}");
        let text = self.windrow(&format!("job why {id}"));
        assert!(text.contains(code), "{text}");
        assert!(text.contains(why["message"].as_str().unwrap()), "{text}");
        assert!(text.contains(why["hint"].as_str().unwrap()), "{text}");
        let list = match id.split_once(':') {
            None => format!("job list --queue {queue}"),
            Some((array, _)) => format!("job list --children {array}"),
        };
        let rows = self.json(&list);
        let row = find(&rows["jobSummaryList"], "jobId", id);
        assert_eq!(row["waitCode"], code, "{row:#}");
        let sums = self.json(&format!("queue why {queue}"));
        let sum = find(&sums["reasons"], "code", code);
        assert!(sum["children"].as_u64().unwrap() >= 1, "{sums:#}");
        assert_eq!(sum["jobQueue"], queue);
        why
    }

    /// The same submission once more would wait for this.
    fn plans(&self, options: &str, code: &str) {
        let plan = self.run("plan -o json", options);
        assert_eq!(plan.code, if code == "DEPENDENCY_PENDING" { 0 } else { 3 }, "{plan:?}");
        let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
        assert_eq!(plan["startsNow"], false, "{plan:#}");
        assert_eq!(plan["explanation"]["code"], code, "{plan:#}");
    }

    /// Carries out what the answer proposes, and the job starts.
    fn mend(&mut self, id: &str, why: &Value) {
        let fixes = why["fix"].as_array().unwrap();
        assert!(!fixes.is_empty(), "{why:#}");
        for fix in fixes {
            match fix["kind"].as_str().unwrap() {
                "request" => {
                    let command = fix["command"].as_str().unwrap();
                    assert!(why["hint"].as_str().unwrap().contains(command), "{why:#}");
                    self.windrow(command.strip_prefix("windrow ").unwrap());
                }
                "startAgent" => {
                    let vcpus = fix["milliCpu"].as_u64().unwrap().div_ceil(1000).to_string();
                    let name = format!("more-{}", self.agents.len());
                    self.agents.push(agent::start(&self.cluster, &name, &vcpus));
                }
                "jobEnds" => std::fs::write(&self.end, "").unwrap(),
                other => panic!("nobody can carry out {other}: {why:#}"),
            }
        }
        self.starts(id);
    }

    fn starts(&self, id: &str) {
        wait_until(&format!("job {id} to start"), 30, || {
            let status = self.cluster.job(id)["status"].as_str().unwrap().to_owned();
            ["STARTING", "RUNNING", "SUCCEEDED"].contains(&status.as_str()).then_some(())
        });
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The row in which the field has this value.
fn find<'a>(rows: &'a Value, field: &str, value: &str) -> &'a Value {
    let found = rows.as_array().unwrap().iter().find(|row| row[field] == value);
    found.unwrap_or_else(|| panic!("no {field} {value} in {rows:#}"))
}

#[test]
fn agents_that_are_full_too_small_or_draining() {
    let mut site = Site::new();
    site.submit("--vcpus 8");
    let waits = site.submit("");
    let why = site.waits(&waits, "default", "NO_CAPACITY_NOW");
    assert_eq!(why["excluded"]["OCCUPIED"], 1, "{why:#}");
    assert_eq!(why["position"], 1);
    assert_eq!(why["nearestFit"]["missing"]["VCPU"], 1000);
    site.plans("", "NO_CAPACITY_NOW");
    site.mend(&waits, &why);

    let large = site.submit("--vcpus 64");
    let why = site.waits(&large, "default", "NEVER_FITS");
    let reason = why["statusReason"].as_str().unwrap();
    assert!(reason.starts_with("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"), "{reason}");
    assert_eq!(site.cluster.job(&large)["statusReason"], reason);
    site.plans("--vcpus 64", "NEVER_FITS");
    site.mend(&large, &why);

    let agents = site.json("agent list");
    for agent in agents["agents"].as_array().unwrap() {
        site.windrow(&format!("agent drain {}", agent["agent"].as_str().unwrap()));
    }
    let drained = site.submit("");
    site.plans("", "AGENT_DRAINING");
    let why = site.waits(&drained, "default", "AGENT_DRAINING");
    // The others finish what they run: only the agent that is named comes back, and may be full.
    std::fs::write(&site.end, "").unwrap();
    site.mend(&drained, &why);
}

#[test]
fn dependencies_and_what_is_disabled() {
    let mut site = Site::new();
    let first = site.submit("");
    let then = site.submit(&format!("--depends-on {first}"));
    let why = site.waits(&then, "default", "DEPENDENCY_PENDING");
    assert_eq!(why["unmet"][0]["jobId"], first.as_str(), "{why:#}");
    site.plans(&format!("--depends-on {first}"), "DEPENDENCY_PENDING");
    site.mend(&then, &why);

    site.windrow("ce update default --disable");
    let held = site.submit("");
    let why = site.waits(&held, "default", "CE_DISABLED");
    site.plans("", "CE_DISABLED");
    site.mend(&held, &why);

    // A disabled queue takes nothing, and says so; what it has goes on.
    site.windrow("ce update default --disable");
    let there = site.submit("");
    site.windrow("queue update default --disable");
    for verb in ["submit", "plan"] {
        let refused = site.run(verb, "");
        assert_ne!(refused.code, 0);
        assert!(refused.stderr.contains("windrow queue update default --enable"), "{refused:?}");
    }
    let why = site.waits(&there, "default", "CE_DISABLED");
    site.mend(&there, &why);
    site.windrow("queue update default --enable");
    let next = site.submit("");
    site.starts(&next);
}

#[test]
fn limits_of_arrays_and_of_consumable_resources() {
    let mut site = Site::new();
    let array = site.submit("--array 3 --max-parallel 1");
    let child = format!("{array}:1");
    let why = site.waits(&child, "default", "CONCURRENCY_LIMIT");
    let of_parent = site.json(&format!("job why {array}"));
    assert_eq!(of_parent["jobId"], child.as_str(), "of an array the first child that waits");
    assert_eq!(of_parent["children"]["RUNNABLE"], 2, "{of_parent:#}");
    site.mend(&child, &why);

    site.windrow("consumable create licence --total 2");
    site.submit("--consumable licence=1");
    let gathers = site.submit("--consumable licence=2");
    let why = site.waits(&gathers, "default", "CONSUMABLE_RESOURCE");
    let behind = site.submit("--consumable licence=1");
    let message = site.waits(&behind, "default", "CONSUMABLE_RESOURCE")["message"].clone();
    assert!(message.as_str().unwrap().contains("goes before it and takes 2"), "{message}");
    site.plans("--consumable licence=1", "CONSUMABLE_RESOURCE");
    site.mend(&gathers, &why);
    let why = site.waits(&behind, "default", "CONSUMABLE_RESOURCE");
    site.mend(&behind, &why);
}

#[test]
fn limits_of_shares() {
    let mut site = Site::new();
    site.windrow("policy create parts --quota");
    site.windrow("queue create parted --policy parts");
    site.windrow("quota-share create parted/vision --limit VCPU=1 --limit MEMORY_MIB=64");
    let options = "--queue parted --quota-share vision";
    site.submit(options);
    let full = site.submit(options);
    let why = site.waits(&full, "parted", "QUOTA");
    site.plans(options, "QUOTA");
    site.mend(&full, &why);
    let share = site.json("quota-share describe parted/vision");
    let limits = &find(&share["quotaShares"], "quotaShareName", "vision")["capacityLimits"];
    assert_eq!(limits.as_array().unwrap().len(), 2, "the other limit stays: {share:#}");

    site.windrow("policy create fair --reservation 50");
    site.windrow("queue create fair --policy fair");
    let array = site.submit("--queue fair --share a --array 6");
    let child = format!("{array}:4");
    let why = site.waits(&child, "fair", "FAIR_SHARE");
    site.plans("--queue fair --share a", "FAIR_SHARE");
    site.mend(&child, &why);
}
