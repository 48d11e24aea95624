//! `windrow tag ...`.

use serde_json::json;
use windrow_common::api::tags::{
    ListTagsForResource, ListTagsForResourceResponse, TagResource, UntagResource,
};

use crate::args::TagCommand;
use crate::context::Context;
use crate::failure::Result;
use crate::output::{Answer, Grid, View};

/// Our nouns, and how ARNs call them.
const KINDS: [(&str, &str); 5] = [
    ("queue/", "job-queue/"),
    ("ce/", "compute-environment/"),
    ("jobdef/", "job-definition/"),
    ("consumable/", "consumable-resource/"),
    ("policy/", "scheduling-policy/"),
];

pub(super) async fn run(context: &Context, command: TagCommand) -> Result<Answer> {
    let client = context.client().await?;
    match command {
        TagCommand::List { resource } => {
            let request = ListTagsForResource { resource_arn: arn(&resource) };
            Ok(answer(&client.call(&request).await?))
        }
        TagCommand::Set { resource, tags } => {
            let request =
                TagResource { resource_arn: arn(&resource), tags: tags.into_iter().collect() };
            client.call(&request).await?;
            Ok(changed(resource, "tagged"))
        }
        TagCommand::Remove { resource, keys } => {
            let request = UntagResource { resource_arn: arn(&resource), tag_keys: keys };
            client.call(&request).await?;
            Ok(changed(resource, "tags removed"))
        }
    }
}

/// The end of the ARN that a resource written with our nouns has.
fn arn(resource: &str) -> String {
    let ours = KINDS.iter().find_map(|(ours, aws)| Some((aws, resource.strip_prefix(ours)?)));
    ours.map_or_else(|| resource.to_owned(), |(aws, name)| format!("{aws}{name}"))
}

fn changed(resource: String, what: &str) -> Answer {
    let text = format!("{resource}: {what}\n");
    Answer::one(&json!({ "resource": resource }), vec![resource.clone()], text)
}

fn answer(response: &ListTagsForResourceResponse) -> Answer {
    let rows = response.tags.iter().map(|(key, value)| vec![key.clone(), value.clone()]).collect();
    let names = response.tags.keys().cloned().collect();
    let mut answer = Answer::one(response, names, String::new());
    answer.view = View::Grid(Grid::new(&["KEY", "VALUE"], rows), "no tags");
    answer
}
