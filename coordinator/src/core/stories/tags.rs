//! Tags: merged, removed, listed; of what exists and within AWS's rules.

use std::collections::BTreeMap;

use windrow_common::api::ErrorKind;
use windrow_common::api::consumables::CreateConsumableResource;
use windrow_common::api::policies::FairsharePolicy;
use windrow_common::api::quota::ResourceSharingStrategy;
use windrow_common::api::tags::{ListTagsForResource, TagResource, UntagResource};

use crate::core::Command;
use crate::core::world::World;
use crate::view;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

fn tag(arn: &str, tags: &[(&str, &str)]) -> Command {
    Command::Tag(TagResource { resource_arn: arn.into(), tags: map(tags) })
}

fn untag(arn: &str, keys: &[&str]) -> Command {
    let tag_keys = keys.iter().map(|key| (*key).into()).collect();
    Command::Untag(UntagResource { resource_arn: arn.into(), tag_keys })
}

fn listed(w: &World, arn: &str) -> BTreeMap<String, String> {
    let request = ListTagsForResource { resource_arn: arn.into() };
    view::list_tags(&w.state, &request).unwrap().tags
}

#[test]
fn tags_are_merged_and_removed_on_everything_that_has_them() {
    let mut w = World::new();
    let job = w.array(2, vec![]);
    let detail = w.detail(job);
    w.does(Command::CreateConsumable(CreateConsumableResource {
        consumable_resource_name: "licence".into(),
        ..Default::default()
    }));
    w.policy("fair", FairsharePolicy::default());
    w.quota_queue();
    w.quota_share("team", 1, ResourceSharingStrategy::Lend);
    let arns = [
        detail.job_arn.as_str(),
        detail.job_definition.as_str(),
        detail.job_queue.as_str(),
        "arn:aws:batch:eu-west-1:123456789012:compute-environment/e",
        "compute-environment/e",
        "consumable-resource/licence",
        "scheduling-policy/fair",
        "quota-share/shared/team",
        "arn:aws:batch:local:000000000000:quota-share/shared/team",
    ];
    for arn in arns {
        w.does(tag(arn, &[("team", "a"), ("cost", "1")]));
        w.does(tag(arn, &[("team", "b"), ("empty", "")]));
        assert_eq!(listed(&w, arn), map(&[("team", "b"), ("cost", "1"), ("empty", "")]), "{arn}");
        w.does(untag(arn, &["cost", "empty", "unknown"]));
        assert_eq!(listed(&w, arn), map(&[("team", "b")]), "{arn}");
    }
    assert_eq!(w.detail(job).tags, map(&[("team", "b")]));
    w.check_replay();
}

#[test]
fn tags_outside_the_rules_are_refused() {
    let mut w = World::new();
    let array = w.array(2, vec![]);
    let refused = |w: &mut World, command| w.refused(command);
    let error = refused(&mut w, tag("job-queue/nowhere", &[("a", "b")]));
    assert_eq!(error.kind, ErrorKind::NotFound);
    let error = refused(&mut w, tag("q", &[("a", "b")]));
    assert!(error.message.contains("not the ARN"), "{}", error.message);
    let error = refused(&mut w, tag("host/q", &[("a", "b")]));
    assert_eq!(error.kind, ErrorKind::NotFound);
    let child = w.detail(windrow_common::ids::JobRef::child(array, 0)).job_arn;
    let error = refused(&mut w, tag(&child, &[("a", "b")]));
    assert!(error.message.contains("no tags of their own"), "{}", error.message);
    let error = refused(&mut w, tag("job-queue/q", &[("AWS:x", "b")]));
    assert!(error.message.contains("do not start with `aws:`"), "{}", error.message);
    assert!(refused(&mut w, tag("job-queue/q", &[])).message.contains("must be provided"));
    assert!(refused(&mut w, untag("job-queue/q", &[])).message.contains("got 0"));
    // Fifty in all, those that are there included.
    let tags: BTreeMap<String, String> = (0..50).map(|n| (n.to_string(), String::new())).collect();
    w.does(Command::Tag(TagResource { resource_arn: "job-queue/q".into(), tags }));
    let error = refused(&mut w, tag("job-queue/q", &[("one more", "")]));
    assert!(error.message.contains("at most 50 tags are allowed, got 51"), "{}", error.message);
    w.does(tag("job-queue/q", &[("7", "replaced")]));
}
