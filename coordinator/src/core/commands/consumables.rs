//! Consumable resources: create, update, delete.

use sha2::{Digest, Sha256};
use windrow_common::api::ApiError;
use windrow_common::api::consumables::{
    CreateConsumableResource, CreateConsumableResourceResponse, DeleteConsumableResource,
    QuantityOperation, UpdateConsumableResource, UpdateConsumableResourceResponse,
};
use windrow_common::ids::Name;
use windrow_common::time::Timestamp;

use super::definitions::check_tags;
use super::{Answer, Decision};
use crate::core::State;
use crate::core::arn;
use crate::core::consumables::{Consumable, Token};
use crate::core::event::Event;
use crate::core::find;
use crate::core::limits::{CLIENT_TOKEN_LENGTH_MAX, Limits, QUANTITY_MAX};

pub(super) fn create(
    state: &State,
    limits: &Limits,
    request: &CreateConsumableResource,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    let name: Name = request
        .consumable_resource_name
        .parse()
        .map_err(|e| ApiError::invalid(format!("consumableResourceName: {e}")))?;
    if state.consumables.contains_key(&name) {
        return Err(ApiError::conflict(format!(
            "consumable resource `{name}`: Object already exists"
        ))
        .hint(format!("change its total with `windrow consumable update {name}`")));
    }
    if state.consumables.len() >= limits.consumables {
        return Err(ApiError::invalid(format!(
            "there are {} consumable resources, at most {} are allowed",
            state.consumables.len(),
            limits.consumables
        )));
    }
    check_tags(&request.tags)?;
    let consumable = Consumable {
        kind: request.resource_type.unwrap_or_default(),
        total: check_quantity("totalQuantity", request.total_quantity.unwrap_or(0))?,
        in_use: 0,
        created_at: now,
        tags: request.tags.clone(),
        tokens: Default::default(),
    };
    let answer = Answer::ConsumableCreated(CreateConsumableResourceResponse {
        consumable_resource_name: name.to_string(),
        consumable_resource_arn: arn::consumable(&name),
    });
    let consumable = Box::new(consumable);
    Ok(Decision { events: vec![Event::ConsumableCreated { name, consumable }], answer })
}

pub(super) fn update(
    state: &State,
    request: &UpdateConsumableResource,
    now: Timestamp,
) -> Result<Decision, ApiError> {
    let (name, consumable) = find::consumable(state, &request.consumable_resource)?;
    let digest = digest(&name, request);
    let token = check_token(request.client_token.as_deref())?;
    if let Some(token) = token
        && let Some(known) = consumable.token(token, now)
    {
        if known.digest == digest {
            return Ok(Decision { events: vec![], answer: updated(&name, consumable.total) });
        }
        return Err(ApiError::conflict(format!(
            "clientToken `{token}` was used for another update of consumable resource `{name}`"
        ))
        .hint("use a new token for a new update, or repeat the first one unchanged"));
    }
    let quantity = check_quantity("quantity", request.quantity.unwrap_or(0))?;
    let total = match request.operation.unwrap_or_default() {
        QuantityOperation::Set => quantity,
        QuantityOperation::Add => check_quantity("the new total", consumable.total + quantity)?,
        QuantityOperation::Remove => consumable.total.checked_sub(quantity).ok_or_else(|| {
            ApiError::invalid(format!(
                "cannot remove {quantity} from consumable resource `{name}`: its total is {}",
                consumable.total
            ))
        })?,
    };
    let token = token.map(|token| (token.to_owned(), Token { digest, at: now }));
    let answer = updated(&name, total);
    Ok(Decision { events: vec![Event::ConsumableChanged { name, total, token }], answer })
}

pub(super) fn delete(
    state: &State,
    request: &DeleteConsumableResource,
) -> Result<Decision, ApiError> {
    let (name, _) = find::consumable(state, &request.consumable_resource)?;
    let needs = |id: &&windrow_common::ids::JobId| !state.jobs[*id].children.all_ended();
    if let Some(job) = state.index.consumers(&name, None).find(needs) {
        return Err(ApiError::conflict(format!(
            "consumable resource `{name}` cannot be deleted: job {job} needs it and has not ended"
        ))
        .hint(format!("`windrow consumable jobs {name}` lists the jobs; end them first")));
    }
    Ok(vec![Event::ConsumableDeleted { name }].into())
}

fn updated(name: &Name, total: u64) -> Answer {
    Answer::ConsumableUpdated(UpdateConsumableResourceResponse {
        consumable_resource_name: name.to_string(),
        consumable_resource_arn: arn::consumable(name),
        total_quantity: total,
    })
}

fn check_quantity(what: &str, quantity: u64) -> Result<u64, ApiError> {
    if quantity > QUANTITY_MAX {
        return Err(ApiError::invalid(format!(
            "{what} must be from 0 to {QUANTITY_MAX}, got {quantity}"
        )));
    }
    Ok(quantity)
}

pub(super) fn check_token(token: Option<&str>) -> Result<Option<&str>, ApiError> {
    let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(None) };
    let length = token.chars().count();
    if length > CLIENT_TOKEN_LENGTH_MAX {
        return Err(ApiError::invalid(format!(
            "clientToken is {length} characters long, at most {CLIENT_TOKEN_LENGTH_MAX} are allowed"
        )));
    }
    Ok(Some(token))
}

/// Of an update's content, without its token.
fn digest(name: &Name, request: &UpdateConsumableResource) -> u64 {
    let content = format!("{name} {:?} {:?}", request.operation, request.quantity);
    let mut first = [0; 8];
    first.copy_from_slice(&Sha256::digest(content)[..8]);
    u64::from_be_bytes(first)
}
